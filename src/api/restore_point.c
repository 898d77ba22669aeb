/*-------------------------------------------------------------------------
 *
 * restore_point.c
 *	  restore_point: a named point in the WAL of each node, to which all of
 *	  them can be recovered together.
 *
 * Nodes reach their points one after the other, so nothing may pass between
 * two of them meanwhile of which one node would have the cause and another
 * would not have the effect, or the other way round.  On all nodes, in the
 * order of their numbers, tables are locked against writers, which waits for
 * those that are at it; then each node writes its point; then all go on:
 *
 *	- decision: a transaction is decided before all points or after all of
 *	  them.  If before, a participant that has not committed at its own point
 *	  is prepared there, and finds the row.  That rows are not deleted
 *	  meanwhile is what makes it find it.
 *	- inbox: a message that has arrived before one point was sent before all
 *	  of them, and an acknowledgement that was seen is of one that has.
 *	- ballot, epoch: no map of slots is decided in between.
 *
 * What a client does on one node, then on another, in transactions of their
 * own, may be found in part.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "api/args.h"
#include "cluster/global.h"
#include "compat.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(actorstore_restore_point);
PG_FUNCTION_INFO_V1(actorstore_local_hold);
PG_FUNCTION_INFO_V1(actorstore_local_restore_point);

static const char *const held[] = {"decision", "inbox", "ballot", "epoch"};

/* ---- One node ---- */

static void
hold(void)
{
	for (int i = 0; i < (int) lengthof(held); i++)
		LockRelationOid(as_catalog_relation(held[i]), ShareLock);
}

/* It is on disk when this returns. */
static XLogRecPtr
write_point(text *name)
{
	XLogRecPtr	lsn;

	for (int i = 0; i < (int) lengthof(held); i++)
	{
		LOCKTAG		tag;

		SET_LOCKTAG_RELATION(tag, MyDatabaseId, as_catalog_relation(held[i]));
		if (!as_lock_held_by_me(&tag, ShareLock))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("a point to restore to needs actorstore.local_hold() in the same transaction")));
	}
	lsn = DatumGetLSN(DirectFunctionCall1(pg_create_restore_point, PointerGetDatum(name)));
	XLogFlush(lsn);
	return lsn;
}

/* For other nodes: till this transaction ends, nothing is decided here. */
Datum
actorstore_local_hold(PG_FUNCTION_ARGS)
{
	PreventCommandDuringRecovery("actorstore.local_hold()");
	(void) as_node_need_self();
	hold();
	PG_RETURN_VOID();
}

Datum
actorstore_local_restore_point(PG_FUNCTION_ARGS)
{
	PG_RETURN_LSN(write_point(PG_GETARG_TEXT_PP(0)));
}

/* ---- All of them ---- */

typedef struct Place
{
	AsNode		node;
	AsPeer	   *peer;			/* NULL: this node */
	int			command;
} Place;

static int
compare_places(const void *a, const void *b)
{
	return ((const Place *) a)->node.number - ((const Place *) b)->node.number;
}

static int
read_places(Place *places, int16 here)
{
	int			n = as_node_count();

	if (n > AS_MAX_PEERS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("too many nodes")));
	for (int i = 0; i < n; i++)
	{
		places[i].node = *as_node_nth(i);
		places[i].node.name = pstrdup(places[i].node.name);
		if (places[i].node.conninfo != NULL)
			places[i].node.conninfo = pstrdup(places[i].node.conninfo);
	}
	qsort(places, n, sizeof(Place), compare_places);
	for (int i = 0; i < n; i++)
	{
		if (places[i].node.number != here)
			places[i].peer = as_global_enlist(&places[i].node);
	}
	return n;
}

static void
hold_there(Place *place)
{
	(void) as_global_enlist(&place->node);
	as_peer_add_settings(place->peer);
	place->command = as_peer_add(place->peer, "SELECT actorstore.local_hold()", 0, NULL, false);
	(void) as_peer_launch(place->peer);
	(void) as_peers_wait(&place->peer, 1, 0);
	(void) as_peer_result(place->peer, place->command);
}

static void
write_points(Place *places, int n, text *name, XLogRecPtr *points)
{
	AsPeer	   *peers[AS_MAX_PEERS] = {NULL};
	const char *values[1] = {text_to_cstring(name)};

	for (int i = 0; i < n; i++)
	{
		peers[i] = places[i].peer;
		if (peers[i] == NULL)
			continue;
		places[i].command = as_peer_add(peers[i], "SELECT actorstore.local_restore_point($1)", 1, values, false);
		(void) as_peer_launch(peers[i]);
	}
	for (int i = 0; i < n; i++)
	{
		if (peers[i] == NULL)
			points[i] = write_point(name);
	}
	(void) as_peers_wait(peers, n, 0);
	for (int i = 0; i < n; i++)
	{
		if (peers[i] != NULL)
			points[i] = DatumGetLSN(DirectFunctionCall1(pg_lsn_in, CStringGetDatum(PQgetvalue(as_peer_result(peers[i], places[i].command), 0, 0))));
	}
}

/* Before anybody is held up for it. */
static text *
arg_point_name(FunctionCallInfo fcinfo, int n)
{
	text	   *name;

	as_reject_null(fcinfo, n, "point_name");
	name = PG_GETARG_TEXT_PP(n);
	if (VARSIZE_ANY_EXHDR(name) == 0 || VARSIZE_ANY_EXHDR(name) >= MAXFNAMELEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("point_name must have 1 to %d bytes", MAXFNAMELEN - 1)));
	return name;
}

Datum
actorstore_restore_point(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Place	   *places = palloc0(sizeof(Place) * AS_MAX_PEERS);
	XLogRecPtr *points = palloc0(sizeof(XLogRecPtr) * AS_MAX_PEERS);
	text	   *name;
	int			n;

	as_only_superusers("actorstore.restore_point()");
	PreventInTransactionBlock(true, "actorstore.restore_point()");
	PreventCommandDuringRecovery("actorstore.restore_point()");
	name = arg_point_name(fcinfo, 0);
	InitMaterializedSRF(fcinfo, 0);
	n = read_places(places, as_node_need_self()->number);
	for (int i = 0; i < n; i++)
	{
		if (places[i].peer == NULL)
			hold();
		else
			hold_there(&places[i]);
	}
	write_points(places, n, name, points);
	for (int i = 0; i < n; i++)
	{
		Datum		values[2] = {CStringGetTextDatum(places[i].node.name), LSNGetDatum(points[i])};
		bool		nulls[2] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

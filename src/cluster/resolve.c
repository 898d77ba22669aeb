/*-------------------------------------------------------------------------
 *
 * resolve.c
 *	  One pass of the resolver.
 *
 * The order of looking is what makes it right:
 *
 *	1. the oldest transaction that runs, then the decision rows there are, then
 *	   how far WAL is flushed: if the standbys have all that, so have they these
 *	   decisions.  If not, nothing is committed in this pass.
 *	2. on each peer, what of ours is prepared there, then which of the decided
 *	   have receipts, then whether its standbys have all that.
 *	3. What is prepared and decided: COMMIT PREPARED.  What is prepared and had
 *	   no row in step 1: its transaction runs, or its backend is at it: leave it;
 *	   else a newer look at the rows decides: COMMIT PREPARED or ROLLBACK
 *	   PREPARED.  (First whether it runs, then the rows: a transaction that ends
 *	   in between has its row.)
 *	4. What was decided and has a receipt is confirmed.  Neither prepared nor a
 *	   receipt: lost.
 *	5. Rows all of whose participants are confirmed are deleted; once that is
 *	   flushed and on the standbys, the peers forget the receipts of all that is
 *	   older than what is left.
 *
 * What a COMMIT PREPARED answers is not looked at: the next pass sees whether
 * it worked.  Global ids of another coordinator are never touched, nor are
 * those of a later incarnation, or of a start of the server that this database
 * has not written down: this is a copy from the past then, or the original of
 * one that went on.
 *
 * One file of more than 500 lines: the steps of one pass over one struct.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/resolver.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "cluster/catch_up.h"
#include "cluster/decision.h"
#include "cluster/life.h"
#include "cluster/peer.h"
#include "cluster/peer_stat.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "state/own_transaction.h"
#include "state/text_query.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* as many participants are looked at in a pass */
#define MAX_ROWS	20000

/* One participant of a decided transaction */
typedef struct Decided
{
	uint64		xid;
	int			node;
	char	   *gid;
	bool		lost;			/* as written in the row */
	bool		confirmed;
	bool		missing;		/* neither prepared nor with a receipt */
} Decided;

typedef struct Pass
{
	AsNode		self;
	AsNode	   *nodes;			/* the others */
	AsPeer	  **peers;			/* NULL: out of reach */
	int			nnodes;
	Decided    *decided;
	int			ndecided;
	bool		truncated;
	uint64		horizon;		/* all older transactions had ended */
	bool		acknowledged;
	uint64		nresolved;
} Pass;

/* rows below have been deleted, by this process, all of them */
static uint64 low = 0;

/* ---- 1. Here ---- */

static text *
xid_text(uint64 xid)
{
	return cstring_to_text(psprintf(UINT64_FORMAT, xid));
}

static uint64
oldest_running(void)
{
	FullTransactionId next = ReadNextFullTransactionId();
	TransactionId oldest = GetOldestActiveTransactionId();
	uint64		full = U64FromFullTransactionId(next);

	return full - (uint32) (XidFromFullTransactionId(next) - oldest);
}

static void
read_nodes(Pass *pass)
{
	int			n = as_node_count();

	pass->self = *as_node_need_self();
	pass->nodes = palloc0(sizeof(AsNode) * (n + 1));
	pass->peers = palloc0(sizeof(AsPeer *) * (n + 1));
	for (int i = 0; i < n && pass->nnodes < AS_MAX_PEERS; i++)
	{
		const AsNode *node = as_node_nth(i);

		if (node->number == pass->self.number || node->conninfo == NULL)
			continue;
		pass->nodes[pass->nnodes] = *node;
		pass->nodes[pass->nnodes].name = pstrdup(node->name);
		pass->nodes[pass->nnodes++].conninfo = pstrdup(node->conninfo);
	}
}

static void
read_decisions(Pass *pass)
{
	AsRows		rows;
	text	   *args[2] = {xid_text(low), as_int_text(MAX_ROWS)};

	as_own_transaction_begin();
	read_nodes(pass);
	pass->horizon = oldest_running();
	(void) as_text_query(&rows, SPI_OK_SELECT,
						 "SELECT d.full_xid::text, u.node::text, u.gid, coalesce(u.node = ANY (d.lost), false)::text"
						 " FROM (SELECT * FROM actorstore.decision WHERE full_xid >= $1::text::xid8"
						 "  ORDER BY full_xid LIMIT $2::text::int) AS d, unnest(d.nodes, d.gids) AS u (node, gid)"
						 " ORDER BY d.full_xid",
						 2, args);
	pass->decided = palloc0(sizeof(Decided) * (rows.nrows + 1));
	pass->ndecided = rows.nrows;
	pass->truncated = rows.nrows >= MAX_ROWS;
	for (int i = 0; i < rows.nrows; i++)
	{
		pass->decided[i].xid = strtou64(text_to_cstring(as_cell(&rows, i, 0)), NULL, 10);
		pass->decided[i].node = (int) as_cell_int(&rows, i, 1);
		pass->decided[i].gid = text_to_cstring(as_cell(&rows, i, 2));
		pass->decided[i].lost = as_cell_bool(&rows, i, 3);

		/* who has gone confirms nothing, and has nothing any more */
		pass->decided[i].confirmed = as_node_by_number(pass->decided[i].node) == NULL;
	}
	as_own_transaction_end();
	pass->acknowledged = as_sync_acknowledged(GetFlushRecPtr(NULL));
}

/* ---- 2. There ---- */

/* Once it is out of reach, that is said once. */
static bool
say_once(int node, bool reachable)
{
	static bool silent[AS_MAX_PEERS];
	bool		say = !reachable && !silent[node % AS_MAX_PEERS];

	silent[node % AS_MAX_PEERS] = !reachable;
	return say;
}

AsPeer *
as_resolver_reach(const AsNode *node)
{
	MemoryContext context = CurrentMemoryContext;
	AsPeer	   *volatile peer = NULL;

	PG_TRY();
	{
		peer = as_peer_get(node);
		(void) say_once(node->number, true);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		if (say_once(node->number, false))
			ereport(LOG,
					(errmsg("the resolver does not reach node \"%s\": %s", node->name, error->message),
					 error->detail == NULL ? 0 : errdetail_internal("%s", error->detail)));
		peer = NULL;
	}
	PG_END_TRY();
	return peer;
}

static bool missed_some = false;

bool
as_resolve_missed_some(void)
{
	return missed_some;
}

/* The global ids decided for a node, as text of an array. */
static char *
gids_of(Pass *pass, int node)
{
	StringInfoData array;

	initStringInfo(&array);
	appendStringInfoChar(&array, '{');
	for (int i = 0; i < pass->ndecided; i++)
	{
		if (pass->decided[i].node == node)
			appendStringInfo(&array, "%s%s", array.len > 1 ? "," : "", pass->decided[i].gid);
	}
	appendStringInfoChar(&array, '}');
	return array.data;
}

static void
ask(Pass *pass)
{
	const char *uuid = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&pass->self.uuid)));

	for (int i = 0; i < pass->nnodes; i++)
	{
		const char *values[2] = {uuid, gids_of(pass, pass->nodes[i].number)};
		AsPeer	   *peer = as_resolver_reach(&pass->nodes[i]);

		pass->peers[i] = peer;
		if (peer == NULL)
			continue;
		(void) as_peer_add(peer, "SELECT actorstore.local_prepared($1)", 1, values, true);
		(void) as_peer_add(peer, "SELECT actorstore.local_receipts($1, $2)", 2, values, true);
		(void) as_peer_add(peer, "SELECT actorstore.local_acknowledged()", 0, NULL, true);
		(void) as_peer_launch(peer);
	}
	(void) as_peers_wait(pass->peers, pass->nnodes, as_peer_deadline(actorstore_peer_timeout));
	for (int i = 0; i < pass->nnodes; i++)
	{
		AsPeer	   *peer = pass->peers[i];

		if (peer == NULL)
			continue;
		if (peer->state != AS_PEER_IDLE || peer->broken || !as_peer_succeeded(peer, 2))
		{
			const char *state = as_peer_sqlstate(peer, 0);

			if (say_once(pass->nodes[i].number, false))
				ereport(LOG,
						(errmsg("node \"%s\" does not answer the resolver", pass->nodes[i].name),
						 state == NULL ? 0 : errdetail_internal("SQLSTATE %s", state)));
			as_peer_close(peer);
			pass->peers[i] = NULL;
		}
	}
	missed_some = false;
	for (int i = 0; i < pass->nnodes; i++)
		missed_some |= pass->peers[i] == NULL;
}

/* ---- 3. What is prepared ---- */

static void
finish_prepared(Pass *pass, int i, const char *gid, bool commit)
{
	AsPeer	   *peer = pass->peers[i];
	char		command[AS_GID_SIZE + 32];

	snprintf(command, sizeof(command), "%s PREPARED '%s'", commit ? "COMMIT" : "ROLLBACK", gid);
	(void) as_peer_add(peer, command, 0, NULL, false);
	(void) as_peer_launch(peer);
	if (!as_peers_wait(&peer, 1, as_peer_deadline(actorstore_peer_timeout)))
	{
		as_peer_close(peer);
		pass->peers[i] = NULL;
		return;
	}
	if (!as_peer_succeeded(peer, 0))
		return;
	pass->nresolved++;
	as_peer_stat_count(peer->stat, AS_PEER_RESOLVED, 1);
	ereport(LOG,
			(errmsg("the resolver has %s transaction \"%s\" on node \"%s\"",
					commit ? "committed" : "rolled back", gid, pass->nodes[i].name)));
}

/* Has this transaction of ours a row, by now; was it one of our starts? */
static bool
look_up(const AsGid *parts, const char *gid, bool *own_boot)
{
	text	   *args[3] = {
		xid_text(U64FromFullTransactionId(parts->xid)), cstring_to_text(gid), xid_text(parts->boot)
	};
	AsRows		rows;
	bool		decided;

	as_own_transaction_begin();
	(void) as_text_query(&rows, SPI_OK_SELECT,
						 "SELECT EXISTS (SELECT FROM actorstore.decision WHERE full_xid = $1::text::xid8 AND $2::text = ANY (gids))::text,"
						 " EXISTS (SELECT FROM actorstore.boot WHERE boot = $3::text::bigint)::text",
						 3, args);
	decided = as_cell_bool(&rows, 0, 0);
	*own_boot = as_cell_bool(&rows, 0, 1);
	as_own_transaction_end();
	return decided;
}

static void
complain(const char *gid, const char *node)
{
	static char last[AS_GID_SIZE];

	if (strcmp(last, gid) == 0)
		return;
	strlcpy(last, gid, sizeof(last));
	ereport(LOG,
			(errmsg("transaction \"%s\" on node \"%s\" is left alone: this node has never begun it", gid, node),
			 errhint("One of two copies of this node should be stopped, or removed from the cluster.")));
}

/* Returns whether it is for us, and to what end. */
static bool
judge_orphan(Pass *pass, const char *gid, const char *node, bool *commit)
{
	AsGid		parts;
	bool		own_boot;

	if (!as_gid_read(&parts, gid) ||
		memcmp(&parts.uuid, &pass->self.uuid, sizeof(pg_uuid_t)) != 0)
		return false;

	/* what an earlier start of the server began runs no more */
	if (parts.boot == as_boot_peek() &&
		(as_life_is_attended(parts.xid) ||
		 FullTransactionIdFollowsOrEquals(parts.xid, ReadNextFullTransactionId()) ||
		 (FullTransactionIdFollowsOrEquals(parts.xid, FullTransactionIdFromU64(pass->horizon)) &&
		  TransactionIdIsInProgress(XidFromFullTransactionId(parts.xid)))))
		return false;
	*commit = look_up(&parts, gid, &own_boot);
	if (parts.incarnation > pass->self.incarnation || !own_boot)
	{
		complain(gid, node);
		return false;
	}
	return !*commit || as_sync_acknowledged(GetFlushRecPtr(NULL));
}

static Decided *
find_decided(Pass *pass, int node, const char *gid)
{
	for (int i = 0; i < pass->ndecided; i++)
	{
		if (pass->decided[i].node == node && strcmp(pass->decided[i].gid, gid) == 0)
			return &pass->decided[i];
	}
	return NULL;
}

static void
finish_node(Pass *pass, int i)
{
	const AsNode *node = &pass->nodes[i];
	PGresult   *result = as_peer_result(pass->peers[i], 0);
	int			n = PQntuples(result);
	char	  **gids = palloc(sizeof(char *) * (n + 1));

	for (int j = 0; j < n; j++)
		gids[j] = pstrdup(PQgetvalue(result, j, 0));
	for (int j = 0; j < n && pass->peers[i] != NULL; j++)
	{
		Decided    *decided = find_decided(pass, node->number, gids[j]);
		bool		commit = true;
		AsGid		parts;

		if (decided != NULL)
		{
			if (pass->acknowledged && as_gid_read(&parts, gids[j]) &&
				!as_life_is_attended(parts.xid))
				finish_prepared(pass, i, gids[j], true);
		}
		else if (judge_orphan(pass, gids[j], node->name, &commit))
			finish_prepared(pass, i, gids[j], commit);
	}
}

/* ---- 4. What is confirmed ---- */

static int
compare_gids(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

static char **
sorted_gids(PGresult *result, int *n)
{
	char	  **gids;

	*n = PQntuples(result);
	gids = palloc(sizeof(char *) * (*n + 1));
	for (int i = 0; i < *n; i++)
		gids[i] = PQgetvalue(result, i, 0);
	qsort(gids, *n, sizeof(char *), compare_gids);
	return gids;
}

static void
mark_node(Pass *pass, int i)
{
	AsPeer	   *peer = pass->peers[i];
	bool		safe = PQgetvalue(as_peer_result(peer, 2), 0, 0)[0] == 't';
	int			nprepared,
				nreceipts;
	char	  **prepared = sorted_gids(as_peer_result(peer, 0), &nprepared);
	char	  **receipts = sorted_gids(as_peer_result(peer, 1), &nreceipts);

	for (int j = 0; j < pass->ndecided; j++)
	{
		Decided    *decided = &pass->decided[j];

		if (decided->node != pass->nodes[i].number ||
			bsearch(&decided->gid, prepared, nprepared, sizeof(char *), compare_gids))
			continue;
		if (bsearch(&decided->gid, receipts, nreceipts, sizeof(char *), compare_gids))
			decided->confirmed = safe;
		else
			decided->missing = true;
	}
}

/* The rows of this node, lost ones are told of once. */
static void
write_lost(Pass *pass)
{
	as_own_transaction_begin();
	for (int i = 0; i < pass->ndecided; i++)
	{
		Decided    *decided = &pass->decided[i];
		text	   *args[2] = {xid_text(decided->xid), as_int_text(decided->node)};

		if (!decided->missing || decided->lost)
			continue;
		(void) as_text_query(NULL, SPI_OK_UPDATE,
							 "UPDATE actorstore.decision SET lost = lost || $2::text::smallint WHERE full_xid = $1::text::xid8",
							 2, args);
		decided->lost = true;
		ereport(LOG,
				(errmsg("transaction \"%s\" is LOST on node number %d: committed here, neither prepared nor committed there",
						decided->gid, decided->node),
				 errhint("That node has lost what it had promised to keep, as after a failover to a standby that was behind. See actorstore.in_doubt.")));
	}
	as_own_transaction_end();
}

/* ---- 5. Rows that are not needed ---- */

/* Up to where nothing is left; what is lost will be for long. */
static uint64
delete_confirmed(Pass *pass)
{
	uint64		left = pass->horizon;
	StringInfoData xids;
	text	   *args[1];

	initStringInfo(&xids);
	appendStringInfoChar(&xids, '{');
	for (int i = 0, next; i < pass->ndecided; i = next)
	{
		bool		all = true;
		bool		lost = false;

		for (next = i; next < pass->ndecided && pass->decided[next].xid == pass->decided[i].xid; next++)
		{
			all = all && pass->decided[next].confirmed;
			lost = lost || pass->decided[next].lost;
		}
		if (all && !(pass->truncated && next == pass->ndecided))
			appendStringInfo(&xids, "%s" UINT64_FORMAT, xids.len > 1 ? "," : "", pass->decided[i].xid);
		else if (pass->decided[i].xid < left)
			left = pass->decided[i].xid;
	}
	appendStringInfoChar(&xids, '}');

	/* what others have deleted counts once it cannot come back, either */
	if (xids.len == 2)
		return pass->acknowledged ? left : low;
	args[0] = cstring_to_text(xids.data);
	as_own_transaction_begin();
	(void) as_text_query(NULL, SPI_OK_DELETE,
						 "DELETE FROM actorstore.decision WHERE full_xid = ANY ($1::text::xid8[])", 1, args);
	as_sync_require();
	ForceSyncCommit();
	as_own_transaction_end();
	return as_sync_acknowledged(XactLastCommitEnd) ? left : low;
}

static void
forget(Pass *pass, uint64 left)
{
	const char *uuid = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&pass->self.uuid)));
	const char *values[3] = {
		uuid, psprintf(INT64_FORMAT, pass->self.incarnation), psprintf(UINT64_FORMAT, left)
	};

	for (int i = 0; i < pass->nnodes; i++)
	{
		if (pass->peers[i] == NULL)
			continue;
		(void) as_peer_add(pass->peers[i], "SELECT actorstore.local_forget($1, $2, $3)", 3, values, true);
		(void) as_peer_launch(pass->peers[i]);
	}
	(void) as_peers_wait(pass->peers, pass->nnodes, as_peer_deadline(actorstore_peer_timeout));
}

uint64
as_resolve(void)
{
	Pass		pass = {.nresolved = 0};
	uint64		left;
	bool		lost = false;

	if (RecoveryInProgress())
		return 0;
	read_decisions(&pass);
	ask(&pass);
	for (int i = 0; i < pass.nnodes; i++)
	{
		if (pass.peers[i] != NULL)
			mark_node(&pass, i);
	}
	for (int i = 0; i < pass.nnodes; i++)
	{
		if (pass.peers[i] != NULL)
			finish_node(&pass, i);
	}
	for (int i = 0; i < pass.ndecided; i++)
		lost = lost || (pass.decided[i].missing && !pass.decided[i].lost);
	if (lost)
		write_lost(&pass);
	left = delete_confirmed(&pass);
	if (left > low)
	{
		forget(&pass, left);
		low = left;
	}
	as_catch_up(pass.peers, pass.nnodes);
	return pass.nresolved;
}

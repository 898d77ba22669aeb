/*-------------------------------------------------------------------------
 *
 * handover.c
 *	  See handover.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/handover.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "cluster/fault.h"
#include "cluster/global.h"
#include "cluster/haul.h"
#include "cluster/peer.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "runtime/outgoing.h"
#include "runtime/sched.h"
#include "state/catalog.h"
#include "state/owner.h"
#include "state/rows_delete.h"
#include "state/text_query.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(actorstore_local_take);
PG_FUNCTION_INFO_V1(actorstore_local_taken);

/* Rows that travel together, and what they may take up, compressed as they are */
#define ROWS_AT_ONCE	1000
#define BYTES_AT_ONCE	(1024 * 1024)

/* The tables by actor, but for the actors themselves (haul.h).  Rows of messages go in the order of their positions. */
typedef struct Table
{
	const char *name;
	const char *order;
	const char *bytes;			/* of what may be large; NULL: nothing may */
} Table;

#define BYTES_OF(column) "coalesce(pg_column_size(t." column "), 0)"

static const Table tables[] = {
	{"message", "position", BYTES_OF("body") " + " BYTES_OF("headers")},
	{"dedup", "ctid", BYTES_OF("reply")},
	{"timer", "ctid", BYTES_OF("body")},
	{"dead_message", "ctid", BYTES_OF("body") " + " BYTES_OF("headers")},
	{"halted", "ctid", NULL},
	{"spawned", "ctid", BYTES_OF("state")},
	{"link", "ctid", NULL},
	{"monitor", "ctid", NULL},
	{"watcher", "ctid", NULL},
	{"group_member", "ctid", NULL},
	{"supervisor", "ctid", NULL},
	{"supervised", "ctid", NULL},
	{"child", "ctid", NULL},
	{"supervision_step", "ctid", NULL},
	{"supervision_restart", "ctid", NULL},
};

/* ---- What cannot move ---- */

int
as_handover_kept(AsKept **kept)
{
	AsRows		rows;

	as_text_query(&rows, SPI_OK_SELECT,
				  "SELECT l.slot::text, 'a turn is checked out' FROM ("
				  "SELECT DISTINCT actorstore.slot_of(actor_type, actor_id) AS slot FROM actorstore.lease) AS l ORDER BY l.slot",
				  0, NULL);
	*kept = palloc(Max(rows.nrows, 1) * sizeof(AsKept));
	for (int i = 0; i < rows.nrows; i++)
	{
		(*kept)[i].slot = (int) as_cell_int(&rows, i, 0);
		(*kept)[i].reason = text_to_cstring(as_cell(&rows, i, 1));
	}
	return rows.nrows;
}

void
as_handover_check(const AsTransit *transit)
{
	AsKept	   *kept;
	int			n = as_handover_kept(&kept);

	for (int i = 0; i < n; i++)
	{
		for (int j = 0; j < transit->n; j++)
		{
			if (kept[i].slot == transit->slots[j])
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_IN_USE),
						 errmsg("slot %d cannot move: %s", kept[i].slot, kept[i].reason)));
		}
	}
}

/* ---- The giver ---- */

/*
 * Which of a table's rows: messages by their index, the others one by one.  Each
 * node has the pauses of whole types for itself.
 */
static const char *
condition(const Table *table)
{
	if (strcmp(table->name, "message") == 0)
		return "t.key_hash BETWEEN ((s.slot::bigint << 52)) AND ((s.slot::bigint << 52) | 4503599627370495)";
	if (strcmp(table->name, "halted") == 0)
		return "t.actor_id <> '' AND actorstore.slot_of(t.actor_type, t.actor_id) = s.slot";
	return "actorstore.slot_of(t.actor_type, t.actor_id) = s.slot";
}

/* Where the rows are, in their order, some in each array. */
static void
find_rows(const Table *table, const AsTransit *transit, AsRows *places)
{
	text	   *args[3] = {as_transit_array(transit), as_int_text(ROWS_AT_ONCE), as_int_text(BYTES_AT_ONCE)};

	as_text_query(places, SPI_OK_SELECT,
				  psprintf("SELECT array_agg(ctid ORDER BY n)::text, count(*)::text FROM ("
						   "SELECT t.ctid, row_number() OVER w - 1 AS n, sum(%s) OVER w AS bytes"
						   " FROM unnest($1::int[]) AS s (slot) JOIN actorstore.%s AS t ON %s"
						   " WINDOW w AS (ORDER BY t.%s ROWS UNBOUNDED PRECEDING)) AS f"
						   " GROUP BY n / $2::bigint, bytes / $3::bigint ORDER BY min(n)",
						   table->bytes == NULL ? "0" : table->bytes, table->name, condition(table), table->order),
				  3, args);
}

/* Rows of messages the executor might not delete (rows_delete.h). */
static text *
delete_messages(const Table *table, text *places, int64 *n)
{
	ArrayType  *array = DatumGetArrayTypeP(OidInputFunctionCall(F_ARRAY_IN, text_to_cstring(places), TIDOID, -1));
	Datum	   *datums;
	ItemPointerData *at;
	AsRows		rows;
	int			nplaces;

	deconstruct_array(array, TIDOID, sizeof(ItemPointerData), false, TYPALIGN_SHORT, &datums, NULL, &nplaces);
	at = palloc(Max(nplaces, 1) * sizeof(ItemPointerData));
	for (int i = 0; i < nplaces; i++)
		at[i] = *(ItemPointer) DatumGetPointer(datums[i]);
	as_text_query(&rows, SPI_OK_SELECT,
				  psprintf("SELECT array_agg(t::actorstore.%s::text ORDER BY t.%s)::text FROM actorstore.%s AS t WHERE ctid = ANY ($1::tid[])",
						   table->name, table->order, table->name),
				  1, &places);
	*n = as_rows_delete_at(as_catalog()->message, at, nplaces);
	return as_cell(&rows, 0, 0);
}

static text *
delete_others(const Table *table, text *places, int64 *n)
{
	AsRows		rows;

	as_text_query(&rows, SPI_OK_SELECT,
				  psprintf("WITH gone AS (DELETE FROM actorstore.%s AS t WHERE ctid = ANY ($1::tid[]) RETURNING t::actorstore.%s::text AS r)"
						   " SELECT array_agg(r)::text, count(*)::text FROM gone",
						   table->name, table->name),
				  1, &places);
	*n = as_cell_int(&rows, 0, 1);
	return as_cell(&rows, 0, 0);
}

static text *
delete_rows(const Table *table, text *places, int64 n)
{
	int64		ndeleted;
	text	   *rows = strcmp(table->name, "message") == 0 ? delete_messages(table, places, &ndeleted) :
		delete_others(table, places, &ndeleted);

	if (ndeleted != n)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("somebody else has deleted rows of \"actorstore.%s\"", table->name)));
	return rows;
}

static void
send_rows(AsPeer *peer, const Table *table, text *rows)
{
	const char *values[2] = {table->name, text_to_cstring(rows)};

	as_haul_await(peer);
	(void) as_peer_add(peer, "SELECT actorstore.local_take($1::pg_catalog.text, $2::pg_catalog.text[])", 2, values, true);
	as_global_wrote(peer);
	(void) as_peer_launch(peer);
}

/* Most tables are empty: these are not asked. */
static bool
has_pages(const Table *table)
{
	Relation	rel = table_open(as_catalog_relation(table->name), AccessShareLock);
	bool		has = RelationGetNumberOfBlocks(rel) > 0;

	table_close(rel, NoLock);
	return has;
}

static void
move_rows(AsPeer *peer, const Table *table, const AsTransit *transit)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "rows that move", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = CurrentMemoryContext;
	AsRows		places;

	find_rows(table, transit, &places);
	for (int i = 0; i < places.nrows; i++)
	{
		MemoryContextSwitchTo(context);
		send_rows(peer, table, delete_rows(table, as_cell(&places, i, 0), as_cell_int(&places, i, 1)));
		MemoryContextSwitchTo(caller);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
}

int64
as_handover(const AsTransit *transit)
{
	AsPeer	   *peer;
	const char *values[1] = {text_to_cstring(as_transit_array(transit))};
	int64		nactors;

	as_haul_forget_others(transit);
	peer = as_global_enlist(as_node_need_number(transit->taker));
	as_handover_check(transit);
	as_transit_unpark(transit);
	as_peer_add_settings(peer);
	nactors = as_haul_actors(peer, transit);
	for (int i = 0; i < (int) lengthof(tables); i++)
	{
		if (has_pages(&tables[i]))
			move_rows(peer, &tables[i], transit);
	}
	AS_FAULT("move_sent");
	as_haul_await(peer);
	(void) as_peer_add(peer, "SELECT actorstore.local_taken($1::pg_catalog.int2[])", 1, values, false);
	as_global_wrote(peer);
	(void) as_peer_launch(peer);
	as_haul_await(peer);
	as_transit_set(transit, AS_TRANSIT_FROZEN, AS_TRANSIT_HANDED);
	as_outgoing_note_doubt();
	AS_FAULT("move_taken");
	return nactors;
}

/* ---- The taker ---- */

static const Table *
table_of(const char *name)
{
	for (int i = 0; i < (int) lengthof(tables); i++)
	{
		if (strcmp(tables[i].name, name) == 0)
			return &tables[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is no table of which rows move", name)));
}

/* Positions in the order of the rows. */
static void
take_messages(text *rows)
{
	text	   *args[2] = {rows};

	args[1] = as_int_text(as_sched_ids(ROWS_AT_ONCE));
	as_text_query(NULL, SPI_OK_INSERT,
				  "INSERT INTO actorstore.message SELECT m.message_id, m.actor_type, m.actor_id, m.message, m.body, m.key_hash,"
				  " $2::bigint + m.place - 1, m.priority, m.lane, m.attempts, m.sent_at, m.due, m.expires_at, m.headers,"
				  " m.sender_type, m.sender_id, m.dedup_key"
				  " FROM (SELECT (p.message).*, p.place FROM (SELECT u.row::actorstore.message AS message, u.place"
				  " FROM unnest($1::text[]) WITH ORDINALITY AS u (row, place) OFFSET 0) AS p) AS m",
				  2, args);
}

/* local_take(table_name, moved) */
Datum
actorstore_local_take(PG_FUNCTION_ARGS)
{
	const Table *table = table_of(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	text	   *rows = cstring_to_text(OidOutputFunctionCall(F_ARRAY_OUT, PG_GETARG_DATUM(1)));

	PreventCommandIfReadOnly("actorstore.local_take()");
	if (strcmp(table->name, "message") == 0)
		take_messages(rows);
	else
		as_text_query(NULL, SPI_OK_INSERT,
					  psprintf("INSERT INTO actorstore.%s SELECT (p.r).* FROM ("
							   "SELECT u.row::actorstore.%s AS r FROM unnest($1::text[]) AS u (row) OFFSET 0) AS p",
							   table->name, table->name),
					  1, &rows);
	PG_RETURN_VOID();
}

/* local_taken(slots) */
Datum
actorstore_local_taken(PG_FUNCTION_ARGS)
{
	text	   *args[1] = {cstring_to_text(OidOutputFunctionCall(F_ARRAY_OUT, PG_GETARG_DATUM(0)))};
	int			n = as_text_query(NULL, SPI_OK_UPDATE,
								  "UPDATE actorstore.transit SET state = 't', since = clock_timestamp()"
								  " WHERE slot = ANY ($1::smallint[]) AND state = 'p'"
								  " AND taker = (SELECT node_number FROM actorstore.node WHERE is_self)",
								  1, args);
	AsRows		rows;

	as_text_query(&rows, SPI_OK_SELECT, "SELECT cardinality($1::smallint[])::text", 1, args);
	if (n != as_cell_int(&rows, 0, 0))
		ereport(ERROR,
				(errcode(AS_ERRCODE_NOT_THE_OWNER),
				 errmsg("slots are taken that are not on their way to this node")));
	PG_RETURN_VOID();
}

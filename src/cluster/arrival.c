/*-------------------------------------------------------------------------
 *
 * arrival.c
 *	  See arrival.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/arrival.h"

#include "cluster/ballot.h"
#include "cluster/give.h"
#include "cluster/node.h"
#include "cluster/settle.h"
#include "executor/spi.h"
#include "lib/slot_map.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "state/text_query.h"
#include "utils/builtins.h"

/* ---- Types ---- */

text *
as_arrival_types(void)
{
	AsRows		rows;

	as_text_query(&rows, SPI_OK_SELECT,
				  "SELECT jsonb_build_object("
				  "'types', coalesce((SELECT jsonb_agg(to_jsonb(t)) FROM actorstore.type AS t), '[]'),"
				  "'handlers', coalesce((SELECT jsonb_agg(to_jsonb(h)) FROM actorstore.handler AS h), '[]'),"
				  "'grants', coalesce((SELECT jsonb_agg(to_jsonb(g)) FROM actorstore.type_grant AS g), '[]'),"
				  "'pauses', coalesce((SELECT jsonb_agg(to_jsonb(p)) FROM actorstore.halted AS p WHERE actor_id = ''), '[]'))::text",
				  0, NULL);
	return as_cell(&rows, 0, 0);
}

static void
check_handlers(text *types)
{
	AsRows		rows;

	as_text_query(&rows, SPI_OK_SELECT,
				  "SELECT h.function, h.actor_type FROM jsonb_populate_recordset(NULL::actorstore.handler, $1::jsonb -> 'handlers') AS h"
				  " WHERE to_regprocedure(h.function) IS NULL ORDER BY 1, 2 LIMIT 1",
				  1, &types);
	if (rows.nrows > 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function %s does not exist on the new node",
						text_to_cstring(as_cell(&rows, 0, 0))),
				 errdetail("It is a handler of actor type \"%s\".",
						   text_to_cstring(as_cell(&rows, 0, 1)))));
}

/* A type here, but for those that were only used, that is not as the others have it. */
static void
find_other_type(text *types, AsRows *rows)
{
	as_text_query(rows, SPI_OK_SELECT,
				  "SELECT o.actor_type FROM ("
				  "SELECT actor_type, to_jsonb(t) - 'partition' FROM actorstore.type AS t WHERE declared"
				  " UNION ALL SELECT actor_type, to_jsonb(h) FROM actorstore.handler AS h"
				  " UNION ALL SELECT actor_type, to_jsonb(g) FROM actorstore.type_grant AS g"
				  ") AS o (actor_type, row) WHERE NOT EXISTS (SELECT FROM jsonb_each($1::jsonb) AS e,"
				  " jsonb_array_elements(e.value) AS n WHERE n - 'partition' = o.row)"
				  " ORDER BY 1 LIMIT 1",
				  1, &types);
}

/* What is declared here already must be what the others have. */
static void
check_own_types(text *types)
{
	AsRows		rows;

	find_other_type(types, &rows);
	if (rows.nrows > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the other database has an actor type \"%s\" of its own",
						text_to_cstring(as_cell(&rows, 0, 0))),
				 errhint("Drop it there, or declare it there as it is here.")));
}

/*
 * A node that is no superuser may not give a type to one: its handlers would
 * run with that one's rights.
 */
static void
check_owners(text *types)
{
	AsRows		rows;

	if (superuser())
		return;
	as_text_query(&rows, SPI_OK_SELECT,
				  "SELECT t.actor_type, t.owner::text FROM jsonb_populate_recordset(NULL::actorstore.type, $1::jsonb -> 'types') AS t"
				  " JOIN pg_catalog.pg_roles AS r ON r.oid = t.owner WHERE r.rolsuper ORDER BY 1 LIMIT 1",
				  1, &types);
	if (rows.nrows > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("actor type \"%s\" belongs to \"%s\", a superuser on the new node",
						text_to_cstring(as_cell(&rows, 0, 0)),
						text_to_cstring(as_cell(&rows, 0, 1))),
				 errhint("Nodes that do not log in as superusers share types of other roles only.")));
}

/* They were taken before, and have changed since. */
static void
drop_taken(text *types)
{
	AsRows		rows;

	find_other_type(types, &rows);
	if (rows.nrows > 0)
		as_text_query(NULL, SPI_OK_SELECT,
					  "SELECT actorstore.drop_type(t.actor_type, false) FROM actorstore.type AS t", 0, NULL);
}

static void
take_types(text *types)
{
	AsAdmin		admin;

	check_owners(types);
	check_handlers(types);
	check_own_types(types);
	as_text_query(NULL, SPI_OK_SELECT,
				  "SELECT actorstore.create_type(t.actor_type, t.persistence, t.mailbox_limit, t.on_full, t.max_attempts,"
				  " t.backoff, t.backoff_max, t.turn_timeout, t.on_exhausted, t.rate_limit, t.max_concurrency, t.order_by_deadline)"
				  " FROM jsonb_populate_recordset(NULL::actorstore.type, $1::jsonb -> 'types') AS t"
				  " WHERE t.declared AND NOT EXISTS (SELECT FROM actorstore.type AS o WHERE o.actor_type = t.actor_type AND o.declared)",
				  1, &types);
	as_text_query(NULL, SPI_OK_INSERT,
				  "INSERT INTO actorstore.type AS o SELECT t.* FROM jsonb_populate_recordset(NULL::actorstore.type, $1::jsonb -> 'types') AS t"
				  " ON CONFLICT (actor_type) DO UPDATE SET owner = excluded.owner",
				  1, &types);
	as_text_query(NULL, SPI_OK_INSERT,
				  "INSERT INTO actorstore.handler SELECT * FROM jsonb_populate_recordset(NULL::actorstore.handler, $1::jsonb -> 'handlers')"
				  " ON CONFLICT (actor_type, message) DO UPDATE SET function = excluded.function, search_path = excluded.search_path",
				  1, &types);
	as_text_query(NULL, SPI_OK_INSERT,
				  "INSERT INTO actorstore.type_grant SELECT * FROM jsonb_populate_recordset(NULL::actorstore.type_grant, $1::jsonb -> 'grants')"
				  " ON CONFLICT DO NOTHING",
				  1, &types);

	as_text_query(NULL, SPI_OK_DELETE, "DELETE FROM actorstore.halted WHERE actor_id = ''", 0, NULL);
	as_text_query(NULL, SPI_OK_INSERT,
				  "INSERT INTO actorstore.halted SELECT * FROM jsonb_populate_recordset(NULL::actorstore.halted, $1::jsonb -> 'pauses')",
				  1, &types);

	/* every backend reads the types anew */
	as_admin_begin(&admin);
	as_admin_end(&admin);
}

/* ---- Arriving ---- */

static void
check_empty(void)
{
	bool		occupied[AS_SLOTS];

	as_give_occupied(occupied);
	if (memchr(occupied, true, sizeof(occupied)) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the other database has actors of its own")));
}

bool
as_arrival_uuid(pg_uuid_t *uuid)
{
	AsRows		rows;

	as_text_query(&rows, SPI_OK_SELECT, "SELECT node_uuid::text FROM actorstore.arrival", 0, NULL);
	if (rows.nrows == 0)
		return false;
	*uuid = *DatumGetUUIDP(DirectFunctionCall1(uuid_in,
											   CStringGetDatum(text_to_cstring(as_cell(&rows, 0, 0)))));
	return true;
}

/* Unless it never was anything but a node alone, which was only given a name. */
static void
give_up_own(void)
{
	AsRows		rows;

	(void) as_node_need_self();
	as_text_query(&rows, SPI_OK_SELECT,
				  "SELECT FROM actorstore.epoch WHERE last_number > 1 LIMIT 1", 0, NULL);
	if (rows.nrows > 0 || as_node_count() > 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the other database is a node already"),
				 errdetail("It is, or was, one among others.")));
	as_text_query(NULL, SPI_OK_DELETE, "DELETE FROM actorstore.node", 0, NULL);
	as_text_query(NULL, SPI_OK_DELETE, "DELETE FROM actorstore.epoch", 0, NULL);
	as_text_query(NULL, SPI_OK_DELETE, "DELETE FROM actorstore.ballot", 0, NULL);
	as_text_query(NULL, SPI_OK_DELETE, "DELETE FROM actorstore.arrival", 0, NULL);
}

bool
as_arrival_begin(text *types, pg_uuid_t *uuid)
{
	bool		chosen;

	as_ballot_lock();
	check_empty();
	if (as_node_count() > 0)
		give_up_own();
	chosen = as_arrival_uuid(uuid);
	if (chosen)
		drop_taken(types);
	take_types(types);
	if (chosen)
		return false;
	as_text_query(NULL, SPI_OK_INSERT,
				  "INSERT INTO actorstore.arrival VALUES (gen_random_uuid())", 0, NULL);
	return as_arrival_uuid(uuid);
}

void
as_arrival_settle(void)
{
	if (as_node_count() > 0)
		return;
	as_settle_wait(0);
	check_empty();
}

void
as_arrival_leave(void)
{
	as_ballot_lock();
	as_text_query(NULL, SPI_OK_DELETE,
				  "DELETE FROM actorstore.arrival WHERE NOT EXISTS (SELECT FROM actorstore.node)", 0, NULL);
}

/*-------------------------------------------------------------------------
 *
 * supervise_relation.c
 *	  The two rows of a relation between a supervisor and a child, where they
 *	  may live on several nodes: see supervise.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/supervise.h"

#include "state/catalog.h"
#include "state/text_query.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* ---- Rows ---- */

static AsChild *
read_child(const AsRows *rows)
{
	AsChild    *child;

	if (rows->nrows == 0)
		return NULL;
	child = palloc(sizeof(AsChild));
	child->parent_type = as_cell(rows, 0, 0);
	child->parent_id = as_cell(rows, 0, 1);
	child->restart = as_cell(rows, 0, 2);
	child->keep_state = as_cell_bool(rows, 0, 3);
	child->strategy = as_cell(rows, 0, 4);
	child->number = as_cell_int(rows, 0, 5);
	child->relation = as_cell_int(rows, 0, 6);
	return child;
}

AsChild *
as_child_find(text *type, text *id)
{
	text	   *args[2] = {type, id};
	AsRows		rows;

	(void) as_text_query_kept(&rows, SPI_OK_SELECT,
							  "SELECT c.parent_type, c.parent_id, c.restart, c.keep_state::text, coalesce(s.strategy, c.strategy),"
							  " c.number::text, c.relation::text"
							  " FROM actorstore.child AS c LEFT JOIN actorstore.supervisor AS s"
							  " ON (s.actor_type, s.actor_id) = (c.parent_type, c.parent_id)"
							  " WHERE (c.actor_type, c.actor_id) = ($1, $2)", 2, args);
	return read_child(&rows);
}

AsChild *
as_child_of(AsTurn *turn, text *type, text *id)
{
	text	   *args[4] = {as_turn_type_name(turn), as_turn_id(turn), type, id};
	AsRows		rows;

	(void) as_text_query_kept(&rows, SPI_OK_SELECT,
							  "SELECT c.actor_type, c.actor_id, c.restart, c.keep_state::text, s.strategy, c.number::text, c.relation::text"
							  " FROM actorstore.supervised AS c JOIN actorstore.supervisor AS s USING (actor_type, actor_id)"
							  " WHERE (c.actor_type, c.actor_id, c.child_type, c.child_id) = ($1, $2, $3, $4)", 4, args);
	return read_child(&rows);
}

/* ---- What was asked for ---- */

void
as_supervise_add_asked(AsJson *json, text *type, text *id)
{
	text	   *args[2] = {type, id};
	AsRows		rows;

	if (as_text_query_kept(&rows, SPI_OK_SELECT,
						   "SELECT relation::text, number::text, restart, keep_state::text, strategy, max_restarts::text, period::text,"
						   " asked_at::text FROM actorstore.child WHERE (actor_type, actor_id) = ($1, $2)", 2, args) == 0)
		elog(ERROR, "a child has no row");
	as_json_int(json, "relation", as_cell_int(&rows, 0, 0));
	as_json_int(json, "number", as_cell_int(&rows, 0, 1));
	as_json_text(json, "restart", as_cell(&rows, 0, 2));
	as_json_bool(json, "keep_state", as_cell_bool(&rows, 0, 3));
	as_json_text(json, "strategy", as_cell(&rows, 0, 4));
	as_json_int(json, "max_restarts", as_cell_int(&rows, 0, 5));
	as_json_text(json, "period", as_cell(&rows, 0, 6));
	as_json_int(json, "asked_at", as_cell_int(&rows, 0, 7));
}

static bool
is_one_of(const text *word, const char *a, const char *b, const char *c)
{
	const char *plain = word == NULL ? "" : text_to_cstring(word);

	return strcmp(plain, a) == 0 || strcmp(plain, b) == 0 || strcmp(plain, c) == 0;
}

/* Throws what interval_in() throws. */
static bool
is_period(const text *period)
{
	Interval	zero = {0};

	return period != NULL &&
		DatumGetBool(DirectFunctionCall2(interval_gt,
										 DirectFunctionCall3(interval_in, CStringGetDatum(text_to_cstring(period)),
															 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)),
										 IntervalPGetDatum(&zero)));
}

/* There are as many numbers as one needs behind it. */
static bool
is_instant(int64 at)
{
	return at > 0 && IS_VALID_TIMESTAMP(at);
}

bool
as_supervise_is_asked(Datum body)
{
	int64		max_restarts = as_json_get_int(body, "max_restarts");

	return is_one_of(as_json_get_text(body, "restart"), "permanent", "transient", "temporary") &&
		is_one_of(as_json_get_text(body, "strategy"), "one_for_one", "one_for_all", "rest_for_one") &&
		max_restarts >= 0 && max_restarts <= PG_INT32_MAX &&
		is_instant(as_json_get_int(body, "number")) && is_instant(as_json_get_int(body, "asked_at")) &&
		is_period(as_json_get_text(body, "period"));
}

/* ---- The supervisor ---- */

/* It takes what was asked for, unless it knows of something later. */
static void
adopt(AsTurn *turn, Datum body)
{
	text	   *asked_at = as_int_text(as_json_get_int(body, "asked_at"));
	text	   *supervisor[6] = {as_turn_type_name(turn), as_turn_id(turn),
		as_json_get_text(body, "strategy"),
		as_int_text(as_json_get_int(body, "max_restarts")),
	as_json_get_text(body, "period"), asked_at};
	text	   *child[9] = {as_turn_type_name(turn), as_turn_id(turn),
		as_json_get_text(body, "actor_type"), as_json_get_text(body, "actor_id"),
		as_int_text(as_json_get_int(body, "relation")),
		as_int_text(as_json_get_int(body, "number")),
		as_json_get_text(body, "restart"),
	as_int_text(as_json_get_bool(body, "keep_state")), asked_at};

	(void) as_text_query_kept(NULL, SPI_OK_INSERT,
							  "INSERT INTO actorstore.supervisor AS s (actor_type, actor_id, strategy, max_restarts, period, asked_at)"
							  " VALUES ($1, $2, $3, $4::int, $5::interval, $6::bigint) ON CONFLICT (actor_type, actor_id) DO UPDATE"
							  " SET strategy = excluded.strategy, max_restarts = excluded.max_restarts, period = excluded.period,"
							  " asked_at = excluded.asked_at WHERE s.asked_at < excluded.asked_at", 6, supervisor);
	(void) as_text_query_kept(NULL, SPI_OK_INSERT,
							  "INSERT INTO actorstore.supervised AS c (actor_type, actor_id, child_type, child_id, relation, number, restart, keep_state, asked_at)"
							  " VALUES ($1, $2, $3, $4, $5::bigint, $6::bigint, $7, $8::int::boolean, $9::bigint)"
							  " ON CONFLICT (actor_type, actor_id, child_type, child_id) DO UPDATE"
							  " SET relation = excluded.relation, number = excluded.number, restart = excluded.restart,"
							  " keep_state = excluded.keep_state, asked_at = excluded.asked_at WHERE c.asked_at < excluded.asked_at",
							  9, child);
}

/* The child may have left meanwhile: it says so then. */
static void
say_kept(text *type, text *id, int64 relation)
{
	AsJson		json;

	as_json_begin(&json);
	as_json_int(&json, "relation", relation);
	(void) as_system_send(type, id, "$kept", as_json_end(&json), (Datum) 0);
}

bool
as_supervise_knows(AsTurn *turn, Datum body)
{
	text	   *type = as_json_get_text(body, "actor_type");
	text	   *id = as_json_get_text(body, "actor_id");
	int64		relation = as_json_get_int(body, "relation");
	AsChild    *child = as_child_of(turn, type, id);

	if (child != NULL && child->relation == relation)
		return true;
	if (as_json_get_text(body, "strategy") == NULL || as_type_find(type) == NULL)
		return false;
	adopt(turn, body);
	say_kept(type, id, relation);
	child = as_child_of(turn, type, id);
	return child != NULL && child->relation == relation;
}

bool
as_supervise_handle_adopt(AsTurn *turn, AsMessage *message)
{
	if (!as_supervise_knows(turn, message->body))
		return true;
	adopt(turn, message->body);
	return as_supervise_handle_adopted(turn, message);
}

void
as_say_left(text *parent_type, text *parent_id, text *type, text *id,
			int64 relation)
{
	AsJson		json;

	as_json_begin(&json);
	as_json_text(&json, "actor_type", type);
	as_json_text(&json, "actor_id", id);
	as_json_int(&json, "relation", relation);
	(void) as_system_send_from(type, id, parent_type, parent_id, "$left",
							   as_json_end(&json), (Datum) 0);
}

bool
as_supervise_handle_left(AsTurn *turn, AsMessage *message)
{
	text	   *args[5] = {as_turn_type_name(turn), as_turn_id(turn),
		as_json_get_text(message->body, "actor_type"),
		as_json_get_text(message->body, "actor_id"),
	as_int_text(as_json_get_int(message->body, "relation"))};

	(void) as_text_query_kept(NULL, SPI_OK_DELETE,
							  "DELETE FROM actorstore.supervised WHERE (actor_type, actor_id, child_type, child_id) = ($1, $2, $3, $4)"
							  " AND relation = $5::bigint", 5, args);

	/* if it has come back, what it was told before it left was lost on it */
	(void) as_text_query_kept(NULL, SPI_OK_UPDATE,
							  "UPDATE actorstore.supervision_step SET sent = false"
							  " WHERE (actor_type, actor_id, child_type, child_id) = ($1, $2, $3, $4) AND sent", 4, args);
	as_steps_advance(turn);
	return true;
}

/* ---- Lost with a node ---- */

static void
log_lost(const AsRows *rows, int i, const char *event)
{
	AsLogLine	line = {.parent_type = as_cell(rows, i, 0), .parent_id = as_cell(rows, i, 1),
		.child_type = as_cell(rows, i, 2), .child_id = as_cell(rows, i, 3),
	.event = event, .reason = "nodedown"};

	as_system_log(&line);
}

/* Nothing is left of a child that could be restarted, nor of a supervisor that could do so. */
void
as_supervise_lost(text *slots)
{
	AsRows		rows;

	(void) as_text_query(&rows, SPI_OK_DELETE_RETURNING,
						 "DELETE FROM actorstore.supervised WHERE " AS_IS_LOST("child_type", "child_id")
						 " RETURNING actor_type, actor_id, child_type, child_id", 1, &slots);
	for (int i = 0; i < rows.nrows; i++)
	{
		log_lost(&rows, i, "exited");
		(void) as_system_send(as_cell(&rows, i, 0), as_cell(&rows, i, 1), "$advance",
							  (Datum) 0, (Datum) 0);
	}
	(void) as_text_query(&rows, SPI_OK_DELETE_RETURNING,
						 "DELETE FROM actorstore.child WHERE " AS_IS_LOST("parent_type", "parent_id")
						 " RETURNING parent_type, parent_id, actor_type, actor_id", 1, &slots);
	for (int i = 0; i < rows.nrows; i++)
	{
		log_lost(&rows, i, "unsupervised");
		as_say_released(as_cell(&rows, i, 2), as_cell(&rows, i, 3), 0, false);
	}
}

/*-------------------------------------------------------------------------
 *
 * supervise_steps.c
 *	  What a supervisor has still to do: see supervise.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/supervise.h"

#include "lib/json_object.h"
#include "state/catalog.h"
#include "state/text_query.h"
#include "utils/builtins.h"

/* The steps of the turn's actor, which is $1, $2 */
#define MINE		"(actor_type, actor_id) = ($1, $2)"

/* Reports and what the supervisor does of its own accord wait for the others. */
#define LATER		"action IN ('report', 'start_all')"

/* Its children */
#define CHILDREN	"actorstore.child AS c WHERE (c.parent_type, c.parent_id) = ($1, $2)"

/* Run SQL with the turn's actor as $1, $2. */
static int
query(AsTurn *turn, int expected, const char *sql)
{
	text	   *args[2] = {as_turn_type_name(turn), as_turn_id(turn)};

	return as_text_query(NULL, expected, sql, 2, args);
}

/* ---- Messages ---- */

void
as_say_restart(text *type, text *id, int64 step, const char *reason)
{
	AsJson		json;

	as_json_begin(&json);
	as_json_int(&json, "step", step);
	as_json_string(&json, "reason", reason);
	(void) as_system_send(type, id, "$restart", as_json_end(&json), (Datum) 0);
}

void
as_say_shutdown(text *type, text *id, int64 step, bool final)
{
	AsJson		json;

	as_json_begin(&json);
	as_json_int(&json, "step", step);
	as_json_bool(&json, "final", final);
	(void) as_system_send(type, id, "$shutdown", as_json_end(&json), (Datum) 0);
}

void
as_say_done(text *type, text *id, const char *name, int64 step)
{
	AsJson		json;

	if (step == 0)
		return;
	as_json_begin(&json);
	as_json_int(&json, "step", step);
	(void) as_system_send(type, id, name, as_json_end(&json), (Datum) 0);
}

/* ---- Writing steps ---- */

bool
as_steps_pending(AsTurn *turn)
{
	return query(turn, SPI_OK_SELECT,
				 "SELECT FROM actorstore.supervision_step WHERE " MINE
				 " AND NOT " LATER " LIMIT 1") > 0;
}

bool
as_steps_pending_for(AsTurn *turn, text *type, text *id)
{
	text	   *args[4] = {as_turn_type_name(turn), as_turn_id(turn), type, id};

	return as_text_query(NULL, SPI_OK_SELECT,
						 "SELECT FROM actorstore.supervision_step WHERE " MINE
						 " AND action IN ('stop', 'start') AND (child_type, child_id) = ($3, $4)",
						 4, args) > 0;
}

void
as_steps_stop_all(AsTurn *turn)
{
	(void) query(turn, SPI_OK_INSERT,
				 "INSERT INTO actorstore.supervision_step (actor_type, actor_id, action, child_type, child_id)"
				 " SELECT $1, $2, 'stop', c.actor_type, c.actor_id FROM " CHILDREN
				 " ORDER BY c.number DESC");
}

void
as_steps_start_all(AsTurn *turn)
{
	(void) query(turn, SPI_OK_INSERT,
				 "INSERT INTO actorstore.supervision_step (actor_type, actor_id, action, child_type, child_id, reason)"
				 " SELECT $1, $2, 'start', c.actor_type, c.actor_id, 'supervisor started' FROM " CHILDREN
				 " AND c.restart <> 'temporary' ORDER BY c.number");
}

void
as_steps_restart_from(AsTurn *turn, const AsChild *child, text *type, text *id,
					  const char *reason)
{
	bool		all = strcmp(text_to_cstring(child->strategy), "one_for_all") == 0;
	text	   *args[6] = {as_turn_type_name(turn), as_turn_id(turn), type, id,
	as_int_text(all ? 0 : child->number), cstring_to_text(reason)};

	/* what they had to say before is of no interest any more */
	(void) as_text_query(NULL, SPI_OK_DELETE,
						 "DELETE FROM actorstore.supervision_step AS s USING " CHILDREN
						 " AND c.number >= $5::bigint AND (s.actor_type, s.actor_id) = ($1, $2) AND s.action = 'report'"
						 " AND (s.child_type, s.child_id) = (c.actor_type, c.actor_id)",
						 6, args);
	(void) as_text_query(NULL, SPI_OK_INSERT,
						 "INSERT INTO actorstore.supervision_step (actor_type, actor_id, action, child_type, child_id)"
						 " SELECT $1, $2, 'stop', c.actor_type, c.actor_id FROM " CHILDREN
						 " AND c.number >= $5::bigint AND (c.actor_type, c.actor_id) <> ($3, $4)"
						 " ORDER BY c.number DESC", 5, args);
	(void) as_text_query(NULL, SPI_OK_INSERT,
						 "INSERT INTO actorstore.supervision_step (actor_type, actor_id, action, child_type, child_id, reason)"
						 " SELECT $1, $2, 'start', c.actor_type, c.actor_id, $6 FROM " CHILDREN
						 " AND c.number >= $5::bigint AND c.restart <> 'temporary' ORDER BY c.number",
						 6, args);
}

void
as_steps_add(AsTurn *turn, const AsStep *step)
{
	text	   *args[10] = {as_turn_type_name(turn), as_turn_id(turn),
		cstring_to_text(step->action), step->child_type, step->child_id,
		step->reason == NULL ? NULL : cstring_to_text(step->reason),
		as_int_text(step->answers), as_int_text(step->ordered),
	as_int_text(step->gave_up), as_int_text(step->at)};

	(void) as_text_query(NULL, SPI_OK_INSERT,
						 "INSERT INTO actorstore.supervision_step"
						 " (actor_type, actor_id, action, child_type, child_id, reason, answers, ordered, gave_up, at)"
						 " VALUES ($1, $2, $3, $4, $5, $6, $7::bigint, $8::int::boolean, $9::int::boolean, $10::bigint)",
						 10, args);
}

void
as_steps_give_up(AsTurn *turn)
{
	(void) query(turn, SPI_OK_DELETE,
				 "DELETE FROM actorstore.supervision_step WHERE " MINE
				 " AND action IN ('stop', 'start', 'report', 'start_all')");
	(void) query(turn, SPI_OK_DELETE,
				 "DELETE FROM actorstore.supervision_restart WHERE " MINE);
}

/* ---- Taking steps ---- */

static void
delete_step(AsTurn *turn, text *number)
{
	text	   *args[3] = {as_turn_type_name(turn), as_turn_id(turn), number};

	(void) as_text_query(NULL, SPI_OK_DELETE,
						 "DELETE FROM actorstore.supervision_step WHERE " MINE
						 " AND step = $3::bigint", 3, args);
}

/* A temporary child that has been stopped is a child no more. */
void
as_steps_done(AsTurn *turn, int64 step)
{
	text	   *args[3] = {as_turn_type_name(turn), as_turn_id(turn), as_int_text(step)};

	(void) as_text_query(NULL, SPI_OK_DELETE,
						 "WITH done AS (DELETE FROM actorstore.supervision_step WHERE " MINE
						 " AND step = $3::bigint AND sent RETURNING action, child_type, child_id)"
						 " DELETE FROM actorstore.child AS c USING done AS d"
						 " WHERE d.action = 'stop' AND c.restart = 'temporary'"
						 " AND (c.actor_type, c.actor_id) = (d.child_type, d.child_id)"
						 " AND (c.parent_type, c.parent_id) = ($1, $2)", 3, args);
	as_steps_advance(turn);
}

/* Tell the child, and wait; false if it is a child no more. */
static bool
take_child_step(AsTurn *turn, const char *action, text *number, text *type,
				text *id, const char *reason, bool sent)
{
	AsChild    *child = as_child_find(type, id);
	int64		step = DatumGetInt64(DirectFunctionCall1(int8in,
														 CStringGetDatum(text_to_cstring(number))));
	text	   *args[3] = {as_turn_type_name(turn), as_turn_id(turn), number};

	if (child == NULL || as_type_find(type) == NULL ||
		strcmp(text_to_cstring(child->parent_type),
			   text_to_cstring(as_turn_type_name(turn))) != 0 ||
		strcmp(text_to_cstring(child->parent_id),
			   text_to_cstring(as_turn_id(turn))) != 0)
	{
		delete_step(turn, number);
		return false;
	}
	if (sent)
		return true;
	(void) as_text_query(NULL, SPI_OK_UPDATE,
						 "UPDATE actorstore.supervision_step SET sent = true WHERE " MINE
						 " AND step = $3::bigint", 3, args);
	if (strcmp(action, "start") == 0)
		as_say_restart(type, id, step, reason);
	else
		as_say_shutdown(type, id, step,
						turn->halt == AS_STOPPED ||
						strcmp(text_to_cstring(child->restart), "temporary") == 0);
	return true;
}

/* A step that needs no child; it is taken away before. */
static void
take_own_step(AsTurn *turn, const AsStep *step)
{
	if (strcmp(step->action, "exit") == 0)
	{
		AsExit		how = {.reason = step->reason, .ordered = step->ordered,
			.step = step->answers, .gave_up = step->gave_up};

		as_life_announce(turn, &how);
	}
	else if (strcmp(step->action, "tell") == 0)
	{
		AsChild    *child = as_child_find(as_turn_type_name(turn), as_turn_id(turn));

		if (child != NULL)
			as_say_done(child->parent_type, child->parent_id, step->reason,
						step->answers);
	}
	else if (turn->halt != AS_NOT_HALTED)
		;						/* too late */
	else if (strcmp(step->action, "start_all") == 0)
		as_steps_start_all(turn);
	else
		as_supervise_decide(turn, step);
}

void
as_steps_advance(AsTurn *turn)
{
	text	   *args[2] = {as_turn_type_name(turn), as_turn_id(turn)};
	AsRows		rows;

	while (as_text_query(&rows, SPI_OK_SELECT,
						 "SELECT step::text, action, child_type, child_id, reason, sent::text, answers::text,"
						 " ordered::text, gave_up::text, at::text"
						 " FROM actorstore.supervision_step AS s WHERE " MINE
						 " ORDER BY " LATER ", s.step LIMIT 1", 2, args) > 0)
	{
		text	   *reason = as_cell(&rows, 0, 4);
		AsStep		step = {.action = text_to_cstring(as_cell(&rows, 0, 1)),
			.child_type = as_cell(&rows, 0, 2),
			.child_id = as_cell(&rows, 0, 3),
			.reason = reason == NULL ? NULL : text_to_cstring(reason),
			.answers = as_cell_int(&rows, 0, 6),
			.ordered = as_cell_bool(&rows, 0, 7),
			.gave_up = as_cell_bool(&rows, 0, 8),
		.at = as_cell_int(&rows, 0, 9)};

		if (strcmp(step.action, "stop") == 0 || strcmp(step.action, "start") == 0)
		{
			if (take_child_step(turn, step.action, as_cell(&rows, 0, 0),
								step.child_type, step.child_id, step.reason,
								as_cell_bool(&rows, 0, 5)))
				return;
			continue;
		}
		delete_step(turn, as_cell(&rows, 0, 0));
		take_own_step(turn, &step);
	}
}

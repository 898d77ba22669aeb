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

#include "runtime/sched.h"
#include "state/catalog.h"
#include "state/text_query.h"
#include "utils/builtins.h"

/* The steps of the turn's actor, which is $1, $2 */
#define MINE		"(actor_type, actor_id) = ($1, $2)"

/* Reports and what the supervisor does of its own accord wait for the others. */
#define LATER		"action IN ('report', 'start_all')"

/* Its children */
#define CHILDREN	"actorstore.supervised AS c WHERE (c.actor_type, c.actor_id) = ($1, $2)"

/*
 * Their numbers are unique in the cluster, as answers may come to a supervisor that
 * has moved; what stands above the number of the sequence is an argument.
 */
#define NUMBER(above)	above "::bigint + nextval('actorstore.supervision_step_number')"
#define ABOVE			as_int_text(as_message_id(0))

/* Behind all that are there */
#define LAST_PLACE	"(SELECT coalesce(max(place), 0) FROM actorstore.supervision_step WHERE " MINE ")"

/* Run SQL with the turn's actor as $1, $2. */
static int
query(AsTurn *turn, int expected, const char *sql)
{
	text	   *args[2] = {as_turn_type_name(turn), as_turn_id(turn)};

	return as_text_query_kept(NULL, expected, sql, 2, args);
}

/* ---- Messages ---- */

void
as_say_restart(text *type, text *id, int64 relation, int64 step,
			   const char *reason)
{
	AsJson		json;

	as_json_begin(&json);
	as_json_int(&json, "relation", relation);
	as_json_int(&json, "step", step);
	as_json_string(&json, "reason", reason);
	(void) as_system_send(type, id, "$restart", as_json_end(&json), (Datum) 0);
}

void
as_say_shutdown(text *type, text *id, int64 relation, int64 step, bool final)
{
	AsJson		json;

	as_json_begin(&json);
	as_json_int(&json, "relation", relation);
	as_json_int(&json, "step", step);
	as_json_bool(&json, "final", final);
	(void) as_system_send(type, id, "$shutdown", as_json_end(&json), (Datum) 0);
}

void
as_say_released(text *type, text *id, int64 relation, bool forget)
{
	AsJson		json;

	as_json_begin(&json);
	as_json_int(&json, "relation", relation);
	as_json_bool(&json, "forget", forget);
	(void) as_system_send(type, id, "$released", as_json_end(&json), (Datum) 0);
}

void
as_say_done(const AsChild *child, const char *name, int64 step)
{
	AsJson		json;

	if (step == 0)
		return;
	as_json_begin(&json);
	as_json_int(&json, "relation", child->relation);
	as_json_int(&json, "step", step);
	(void) as_system_send(child->parent_type, child->parent_id, name,
						  as_json_end(&json), (Datum) 0);
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

	return as_text_query_kept(NULL, SPI_OK_SELECT,
							  "SELECT FROM actorstore.supervision_step WHERE " MINE
							  " AND action IN ('stop', 'start') AND (child_type, child_id) = ($3, $4)",
							  4, args) > 0;
}

void
as_steps_stop_all(AsTurn *turn)
{
	text	   *args[3] = {as_turn_type_name(turn), as_turn_id(turn), ABOVE};

	(void) as_text_query_kept(NULL, SPI_OK_INSERT,
							  "INSERT INTO actorstore.supervision_step (step, place, actor_type, actor_id, action, child_type, child_id)"
							  " SELECT " NUMBER("$3") ", " LAST_PLACE " + row_number() OVER (ORDER BY c.number DESC),"
							  " $1, $2, 'stop', c.child_type, c.child_id FROM " CHILDREN, 3, args);
}

void
as_steps_start_all(AsTurn *turn)
{
	text	   *args[3] = {as_turn_type_name(turn), as_turn_id(turn), ABOVE};

	(void) as_text_query_kept(NULL, SPI_OK_INSERT,
							  "INSERT INTO actorstore.supervision_step (step, place, actor_type, actor_id, action, child_type, child_id, reason)"
							  " SELECT " NUMBER("$3") ", " LAST_PLACE " + row_number() OVER (ORDER BY c.number),"
							  " $1, $2, 'start', c.child_type, c.child_id, 'supervisor started' FROM " CHILDREN
							  " AND c.restart <> 'temporary'", 3, args);
}

void
as_steps_restart_from(AsTurn *turn, const AsChild *child, text *type, text *id,
					  const char *reason)
{
	bool		all = strcmp(text_to_cstring(child->strategy), "one_for_all") == 0;
	text	   *args[7] = {as_turn_type_name(turn), as_turn_id(turn), type, id,
	as_int_text(all ? 0 : child->number), ABOVE, cstring_to_text(reason)};

	/* what they had to say before is of no interest any more */
	(void) as_text_query_kept(NULL, SPI_OK_DELETE,
							  "DELETE FROM actorstore.supervision_step AS s USING " CHILDREN
							  " AND c.number >= $5::bigint AND (s.actor_type, s.actor_id) = ($1, $2) AND s.action = 'report'"
							  " AND (s.child_type, s.child_id) = (c.child_type, c.child_id)",
							  5, args);
	(void) as_text_query_kept(NULL, SPI_OK_INSERT,
							  "INSERT INTO actorstore.supervision_step (step, place, actor_type, actor_id, action, child_type, child_id)"
							  " SELECT " NUMBER("$6") ", " LAST_PLACE " + row_number() OVER (ORDER BY c.number DESC),"
							  " $1, $2, 'stop', c.child_type, c.child_id FROM " CHILDREN
							  " AND c.number >= $5::bigint AND (c.child_type, c.child_id) <> ($3, $4)", 6, args);
	(void) as_text_query_kept(NULL, SPI_OK_INSERT,
							  "INSERT INTO actorstore.supervision_step (step, place, actor_type, actor_id, action, child_type, child_id, reason)"
							  " SELECT " NUMBER("$6") ", " LAST_PLACE " + row_number() OVER (ORDER BY c.number),"
							  " $1, $2, 'start', c.child_type, c.child_id, $7 FROM " CHILDREN
							  " AND c.number >= $5::bigint AND c.restart <> 'temporary'",
							  7, args);
}

void
as_steps_add(AsTurn *turn, const AsStep *step)
{
	text	   *args[11] = {as_turn_type_name(turn), as_turn_id(turn),
		cstring_to_text(step->action), step->child_type, step->child_id,
		step->reason == NULL ? NULL : cstring_to_text(step->reason),
		as_int_text(step->answers), as_int_text(step->ordered),
	as_int_text(step->gave_up), as_int_text(step->at), ABOVE};

	(void) as_text_query_kept(NULL, SPI_OK_INSERT,
							  "INSERT INTO actorstore.supervision_step"
							  " (actor_type, actor_id, action, child_type, child_id, reason, answers, ordered, gave_up, at, step, place)"
							  " VALUES ($1, $2, $3, $4, $5, $6, $7::bigint, $8::int::boolean, $9::int::boolean, $10::bigint,"
							  NUMBER("$11") ", " LAST_PLACE " + 1)", 11, args);
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

	(void) as_text_query_kept(NULL, SPI_OK_DELETE,
							  "DELETE FROM actorstore.supervision_step WHERE " MINE
							  " AND step = $3::bigint", 3, args);
}

/* A temporary child that has been stopped is a child no more. */
void
as_steps_done(AsTurn *turn, int64 step)
{
	text	   *args[3] = {as_turn_type_name(turn), as_turn_id(turn), as_int_text(step)};
	AsRows		rows;

	(void) as_text_query_kept(&rows, SPI_OK_DELETE_RETURNING,
							  "WITH done AS (DELETE FROM actorstore.supervision_step WHERE " MINE
							  " AND step = $3::bigint AND sent RETURNING action, child_type, child_id)"
							  " DELETE FROM actorstore.supervised AS c USING done AS d"
							  " WHERE d.action = 'stop' AND c.restart = 'temporary'"
							  " AND (c.actor_type, c.actor_id, c.child_type, c.child_id) = ($1, $2, d.child_type, d.child_id)"
							  " RETURNING c.child_type, c.child_id, c.relation::text", 3, args);
	for (int i = 0; i < rows.nrows; i++)
		as_say_released(as_cell(&rows, i, 0), as_cell(&rows, i, 1),
						as_cell_int(&rows, i, 2), true);
	as_steps_advance(turn);
}

/* Tell the child, and wait; false if it is a child no more. */
static bool
take_child_step(AsTurn *turn, const char *action, text *number, text *type,
				text *id, const char *reason, bool sent)
{
	AsChild    *child = as_child_of(turn, type, id);
	int64		step = DatumGetInt64(DirectFunctionCall1(int8in,
														 CStringGetDatum(text_to_cstring(number))));
	text	   *args[3] = {as_turn_type_name(turn), as_turn_id(turn), number};

	if (child == NULL || as_type_find(type) == NULL)
	{
		delete_step(turn, number);
		return false;
	}
	if (sent)
		return true;
	(void) as_text_query_kept(NULL, SPI_OK_UPDATE,
							  "UPDATE actorstore.supervision_step SET sent = true WHERE " MINE
							  " AND step = $3::bigint", 3, args);
	if (strcmp(action, "start") == 0)
		as_say_restart(type, id, child->relation, step, reason);
	else
		as_say_shutdown(type, id, child->relation, step,
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
			as_say_done(child, step->reason, step->answers);
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

	while (as_text_query_kept(&rows, SPI_OK_SELECT,
							  "SELECT step::text, action, child_type, child_id, reason, sent::text, answers::text,"
							  " ordered::text, gave_up::text, at::text"
							  " FROM actorstore.supervision_step AS s WHERE " MINE
							  " ORDER BY " LATER ", s.place LIMIT 1", 2, args) > 0)
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

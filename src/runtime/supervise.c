/*-------------------------------------------------------------------------
 *
 * supervise.c
 *	  What supervisors and their children say to each other: see supervise.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/supervise.h"

#include "lib/json_object.h"
#include "runtime/halt.h"
#include "state/catalog.h"
#include "state/text_query.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* ---- Children ---- */

bool
as_child_is_to_restart(const AsChild *child, const char *reason, bool gave_up)
{
	char	   *restart = text_to_cstring(child->restart);

	if (strcmp(restart, "transient") == 0)
		return gave_up ||
			!(as_life_is_normal(reason) || as_life_is_shutdown(reason));
	return strcmp(restart, "permanent") == 0;
}

static bool
has_children(AsTurn *turn)
{
	text	   *args[2] = {as_turn_type_name(turn), as_turn_id(turn)};

	return as_text_query_kept(NULL, SPI_OK_SELECT,
							  "SELECT FROM actorstore.supervised WHERE (actor_type, actor_id) = ($1, $2) LIMIT 1",
							  2, args) > 0;
}

/* ---- An exit ---- */

bool
as_supervise_exit(AsTurn *turn, const AsExit *how)
{
	AsStep		step = {.action = "exit", .reason = how->reason,
		.answers = how->step, .ordered = how->ordered,
	.gave_up = how->gave_up};

	as_steps_give_up(turn);
	if (!has_children(turn))
	{
		as_steps_advance(turn);
		return false;
	}
	as_steps_stop_all(turn);
	as_steps_add(turn, &step);
	as_steps_advance(turn);
	return true;
}

void
as_supervise_report(AsTurn *turn, const AsExit *how)
{
	AsChild    *child = as_child_find(as_turn_type_name(turn), as_turn_id(turn));
	AsJson		json;

	if (child == NULL)
		return;
	if (how->ordered)
	{
		as_say_done(child, "$terminated", how->step);
		return;
	}
	as_json_begin(&json);
	as_json_text(&json, "actor_type", as_turn_type_name(turn));
	as_json_text(&json, "actor_id", as_turn_id(turn));
	as_json_string(&json, "reason", how->reason);
	as_json_bool(&json, "gave_up", how->gave_up);
	if (as_lives_elsewhere(child->parent_type, child->parent_id))
		as_supervise_add_asked(&json, as_turn_type_name(turn), as_turn_id(turn));
	else
		as_json_int(&json, "relation", child->relation);
	(void) as_system_send_from(as_turn_type_name(turn), as_turn_id(turn),
							   child->parent_type, child->parent_id, "$child",
							   as_json_end(&json), (Datum) 0);
}

/* ---- The supervisor ---- */

/* How many restarts there were within its period, this one included. */
static int64
count_restart(AsTurn *turn, TimestampTz at, bool *too_many)
{
	text	   *args[3] = {as_turn_type_name(turn), as_turn_id(turn), as_int_text(at)};
	AsRows		rows;

	(void) as_text_query_kept(NULL, SPI_OK_INSERT,
							  "INSERT INTO actorstore.supervision_restart (actor_type, actor_id, at)"
							  " VALUES ($1, $2, $3::bigint)", 3, args);
	(void) as_text_query_kept(NULL, SPI_OK_DELETE,
							  "DELETE FROM actorstore.supervision_restart AS r USING actorstore.supervisor AS s"
							  " WHERE (r.actor_type, r.actor_id) = ($1, $2) AND (s.actor_type, s.actor_id) = ($1, $2)"
							  " AND r.at < $3::bigint - extract(epoch FROM s.period) * 1000000", 3, args);
	(void) as_text_query_kept(&rows, SPI_OK_SELECT,
							  "SELECT count(*)::text, (count(*) > (SELECT max_restarts FROM actorstore.supervisor"
							  "  WHERE (actor_type, actor_id) = ($1, $2)))::text"
							  " FROM actorstore.supervision_restart WHERE (actor_type, actor_id) = ($1, $2)",
							  2, args);
	*too_many = as_cell_bool(&rows, 0, 1);
	return as_cell_int(&rows, 0, 0);
}

static void
log_decision(AsTurn *turn, const AsChild *child, const AsStep *report,
			 const char *event, int64 restarts)
{
	AsLogLine	line = {.parent_type = as_turn_type_name(turn),
		.parent_id = as_turn_id(turn), .child_type = report->child_type,
		.child_id = report->child_id, .event = event,
		.reason = report->reason, .strategy = child->strategy,
	.restarts = restarts};

	as_system_log(&line);
}

/* The child stays as it is; a temporary one is a child no more. */
static void
let_go(AsTurn *turn, const AsChild *child, const AsStep *report)
{
	text	   *args[4] = {as_turn_type_name(turn), as_turn_id(turn),
	report->child_type, report->child_id};
	bool		forget = strcmp(text_to_cstring(child->restart), "temporary") == 0;

	as_say_released(report->child_type, report->child_id, child->relation, forget);
	if (forget)
		(void) as_text_query_kept(NULL, SPI_OK_DELETE,
								  "DELETE FROM actorstore.supervised WHERE (actor_type, actor_id, child_type, child_id) = ($1, $2, $3, $4)",
								  4, args);
}

void
as_supervise_decide(AsTurn *turn, const AsStep *report)
{
	AsChild    *child = as_child_of(turn, report->child_type, report->child_id);
	bool		too_many;
	int64		restarts;

	if (child == NULL)
		return;
	if (!as_child_is_to_restart(child, report->reason, report->gave_up))
	{
		let_go(turn, child, report);
		return;
	}
	restarts = count_restart(turn, report->at, &too_many);
	if (too_many)
	{
		AsExit		how = {.reason = "shutdown", .gave_up = true};

		log_decision(turn, child, report, "gave up", restarts);
		ereport(LOG,
				(errmsg("supervisor (%s, %s) gives up after %lld restarts: %s",
						text_to_cstring(as_turn_type_name(turn)),
						text_to_cstring(as_turn_id(turn)),
						(long long) restarts - 1, report->reason)));
		as_life_exit(turn, &how);
		return;
	}
	log_decision(turn, child, report, "restart", restarts);
	if (strcmp(text_to_cstring(child->strategy), "one_for_one") == 0)
	{
		as_say_restart(report->child_type, report->child_id, child->relation, 0,
					   report->reason);
		return;
	}
	as_steps_restart_from(turn, child, report->child_type, report->child_id,
						  report->reason);
	as_steps_advance(turn);
}

/* A child has exited of its own accord. */
bool
as_supervise_handle_child(AsTurn *turn, AsMessage *message)
{
	AsStep		report = {.action = "report",
		.child_type = as_json_get_text(message->body, "actor_type"),
		.child_id = as_json_get_text(message->body, "actor_id"),
		.reason = text_to_cstring(as_json_get_text(message->body, "reason")),
		.gave_up = as_json_get_bool(message->body, "gave_up"),
	.at = message->sent_at};

	if (!as_supervise_knows(turn, message->body) ||
		as_steps_pending_for(turn, report.child_type, report.child_id))
		return true;
	if (turn->halt == AS_STOPPED)
		as_say_released(report.child_type, report.child_id,
						as_json_get_int(message->body, "relation"), false);
	if (turn->halt != AS_NOT_HALTED)
		return true;
	if (as_steps_pending(turn))
		as_steps_add(turn, &report);
	else
		as_supervise_decide(turn, &report);
	return true;
}

bool
as_supervise_handle_done(AsTurn *turn, AsMessage *message)
{
	as_steps_done(turn, as_json_get_int(message->body, "step"));
	return true;
}

bool
as_supervise_handle_adopted(AsTurn *turn, AsMessage *message)
{
	if (turn->halt != AS_NOT_HALTED)
		as_say_shutdown(as_json_get_text(message->body, "actor_type"),
						as_json_get_text(message->body, "actor_id"),
						as_json_get_int(message->body, "relation"), 0,
						turn->halt == AS_STOPPED);
	return true;
}

bool
as_supervise_handle_revived(AsTurn *turn, AsMessage *message)
{
	AsStep		step = {.action = "start_all"};

	if (turn->halt != AS_NOT_HALTED || !has_children(turn))
		return true;
	as_steps_add(turn, &step);
	as_steps_advance(turn);
	return true;
}

bool
as_supervise_handle_advance(AsTurn *turn, AsMessage *message)
{
	as_steps_advance(turn);
	return true;
}

/* ---- The child ---- */

/* It has exited already; what its supervisor waits for? */
static void
answer_when_done(AsTurn *turn, const AsChild *child, const char *name,
				 int64 step)
{
	AsStep		tell = {.action = "tell", .reason = name, .answers = step};

	if (as_steps_pending(turn))
	{
		if (step != 0)
			as_steps_add(turn, &tell);
		as_steps_advance(turn);
	}
	else
		as_say_done(child, name, step);
}

/* Nobody will restart it: its mail need not wait, nor its children. */
static void
stop_for_good(AsTurn *turn)
{
	as_halt_for_good(as_turn_type_name(turn), as_turn_id(turn));
	turn->halt = AS_STOPPED;
	turn->exited = true;
	as_steps_stop_all(turn);
}

/*
 * The relation that its supervisor's message is about; NULL if the actor has it no
 * more, which the supervisor is told.  Those of unsupervise() say no relation.
 */
static AsChild *
relation_of(AsTurn *turn, AsMessage *message)
{
	int64		relation = as_json_get_int(message->body, "relation");
	AsChild    *child = as_child_find(as_turn_type_name(turn), as_turn_id(turn));

	if (child != NULL && child->relation == relation)
		return child;
	if (relation != 0 && message->sender_type != NULL)
		as_say_left(message->sender_type, message->sender_id,
					as_turn_type_name(turn), as_turn_id(turn), relation);
	return NULL;
}

/* Nobody's any more, or not to be restarted. */
static void
be_released(AsTurn *turn)
{
	if (turn->halt != AS_DOWN)
		return;
	stop_for_good(turn);
	as_steps_advance(turn);
}

bool
as_supervise_handle_released(AsTurn *turn, AsMessage *message)
{
	int64		relation = as_json_get_int(message->body, "relation");
	text	   *args[3] = {as_turn_type_name(turn), as_turn_id(turn), as_int_text(relation)};
	AsChild    *child = as_child_find(args[0], args[1]);

	/* it has another supervisor by now, who will say what is to happen */
	if (relation != 0 && child != NULL && child->relation != relation)
		return true;
	be_released(turn);
	if (as_json_get_bool(message->body, "forget"))
		(void) as_text_query_kept(NULL, SPI_OK_DELETE,
								  "DELETE FROM actorstore.child WHERE (actor_type, actor_id) = ($1, $2)"
								  " AND relation = $3::bigint", 3, args);
	return true;
}

bool
as_supervise_handle_kept(AsTurn *turn, AsMessage *message)
{
	(void) relation_of(turn, message);
	return true;
}

bool
as_supervise_handle_shutdown(AsTurn *turn, AsMessage *message)
{
	AsExit		how = {.reason = "shutdown", .ordered = true,
		.step = as_json_get_int(message->body, "step"),
	.final = as_json_get_bool(message->body, "final")};
	AsChild    *child = relation_of(turn, message);

	/* it has become nobody's while this was under way: nobody waits */
	if (child == NULL)
	{
		if (as_child_find(as_turn_type_name(turn), as_turn_id(turn)) == NULL)
			be_released(turn);
		return true;
	}
	if (turn->halt == AS_NOT_HALTED)
	{
		as_life_exit(turn, &how);
		return true;
	}
	if (turn->halt == AS_DOWN && how.final)
		stop_for_good(turn);
	answer_when_done(turn, child, "$terminated", how.step);
	return true;
}

bool
as_supervise_handle_restart(AsTurn *turn, AsMessage *message)
{
	AsChild    *child = relation_of(turn, message);
	int64		step = as_json_get_int(message->body, "step");
	char	   *reason = text_to_cstring(as_json_get_text(message->body, "reason"));
	AsExit		how = {0};
	AsLogLine	line = {.child_type = as_turn_type_name(turn),
		.child_id = as_turn_id(turn), .event = "restarted",
	.reason = reason};

	if (child == NULL)
		return true;
	if (turn->halt != AS_NOT_HALTED)
	{
		(void) as_halt_end(as_turn_type_name(turn), as_turn_id(turn));
		turn->halt = AS_NOT_HALTED;
		turn->more = true;
		how.reason = as_life_restart(turn, reason, child->keep_state);
		line.parent_type = child->parent_type;
		line.parent_id = child->parent_id;
		line.strategy = child->strategy;
		as_system_log(&line);
		if (how.reason == NULL)
			as_steps_start_all(turn);
	}
	answer_when_done(turn, child, "$started", step);
	if (how.reason != NULL)
		as_life_exit(turn, &how);
	return true;
}

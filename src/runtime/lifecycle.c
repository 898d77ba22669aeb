/*-------------------------------------------------------------------------
 *
 * lifecycle.c
 *	  See lifecycle.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/lifecycle.h"

#include "catalog/pg_type.h"
#include "lib/json_object.h"
#include "mb/pg_wchar.h"
#include "runtime/deeds.h"
#include "runtime/groups.h"
#include "runtime/halt.h"
#include "runtime/hook.h"
#include "runtime/links.h"
#include "runtime/node_watch.h"
#include "runtime/outgoing.h"
#include "runtime/sched.h"
#include "runtime/supervise.h"
#include "state/actor.h"
#include "state/catalog.h"
#include "state/text_query.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* ---- Reasons ---- */

bool
as_life_is_normal(const char *reason)
{
	return strcmp(reason, "normal") == 0;
}

bool
as_life_is_shutdown(const char *reason)
{
	return strcmp(reason, "shutdown") == 0 ||
		strncmp(reason, "shutdown:", strlen("shutdown:")) == 0;
}

static const char *
cut(const char *reason)
{
	size_t		length = strlen(reason);

	return length <= AS_MAX_REASON ? reason :
		pnstrdup(reason, pg_mbcliplen(reason, length, AS_MAX_REASON));
}

/* ---- Hooks ---- */

static Datum
reason_body(const char *reason)
{
	AsJson		json;

	as_json_begin(&json);
	as_json_string(&json, "reason", reason);
	return as_json_end(&json);
}

static void
log_actor(AsTurn *turn, const AsChild *child, const char *event,
		  const char *reason)
{
	AsLogLine	line = {.child_type = as_turn_type_name(turn),
		.child_id = as_turn_id(turn), .event = event, .reason = reason};

	if (child != NULL)
	{
		line.parent_type = child->parent_type;
		line.parent_id = child->parent_id;
		line.strategy = child->strategy;
	}
	as_system_log(&line);
}

/* A message of the system has failed, or ended its worker, too often. */
static bool
does_without_hooks(AsTurn *turn)
{
	AsMessage  *message = &turn->messages[turn->at];

	return as_is_system(message->name) &&
		message->attempts >= turn->type->max_attempts;
}

static AsHookResult
call_hook(AsTurn *turn, const char *name, Datum body, const char **reason)
{
	AsHookResult result = AS_HOOK_FAILED;

	if (does_without_hooks(turn))
		*reason = "it has failed too often";
	else
		result = as_hook_call(turn, name, body, reason);
	if (result == AS_HOOK_FAILED &&
		as_handler_find(turn->type, cstring_to_text(name)) != NULL)
	{
		log_actor(turn, NULL, psprintf("%s failed", name), *reason);
		ereport(LOG,
				(errmsg("%s of actor (%s, %s) failed: %s", name,
						text_to_cstring(as_turn_type_name(turn)),
						text_to_cstring(as_turn_id(turn)), *reason)));
	}
	return result;
}

/* ---- The beginning ---- */

void
as_life_spawned(text *type, text *id, Datum state)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[3] = {TEXTOID, TEXTOID, JSONBOID};
	Datum		values[3] = {PointerGetDatum(type), PointerGetDatum(id), state};
	AsAdmin		admin;

	as_admin_begin(&admin);
	(void) as_admin_execute_kept(&plan,
								 "INSERT INTO actorstore.spawned (actor_type, actor_id, state) VALUES ($1, $2, $3)"
								 " ON CONFLICT (actor_type, actor_id) DO UPDATE SET state = excluded.state",
								 SPI_OK_INSERT, 3, types, values, NULL);
	as_admin_leave(&admin);
}

void
as_life_say_start(text *type, text *id)
{
	if (as_handler_find(as_type_get(type), cstring_to_text("$start")) != NULL)
		(void) as_system_send(type, id, "$start", reason_body("spawn"), (Datum) 0);
}

/* The state given at spawn(), or 0, in the context given. */
static Datum
spawn_state(AsTurn *turn, MemoryContext context)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		values[2] = {PointerGetDatum(as_turn_type_name(turn)),
	PointerGetDatum(as_turn_id(turn))};
	Datum		state = (Datum) 0;
	AsAdmin		admin;

	as_admin_begin(&admin);
	if (as_admin_execute_kept(&plan,
							  "SELECT state FROM actorstore.spawned WHERE actor_type = $1 AND actor_id = $2",
							  SPI_OK_SELECT, 2, types, values, NULL) > 0)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[0],
										  SPI_tuptable->tupdesc, 1, &isnull);
		MemoryContext old = MemoryContextSwitchTo(context);

		state = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
		MemoryContextSwitchTo(old);
	}
	as_admin_leave(&admin);
	return state;
}

/* Who was never spawned began without a state. */
static void
put_back_state(AsTurn *turn)
{
	turn->state = spawn_state(turn, GetMemoryChunkContext(turn->messages));
	turn->changed = turn->state != (Datum) 0;
	if (!turn->changed && turn->exists)
	{
		AsWrite		write = {0};

		(void) as_actor_delete(turn->partition, as_turn_id(turn), &write);
		turn->exists = false;
		turn->version = -1;
	}
}

const char *
as_life_restart(AsTurn *turn, const char *reason, bool keep_state)
{
	Datum		before = turn->state;
	const char *why;
	AsJson		json;

	reason = cut(reason);
	(void) call_hook(turn, "$pre_restart", reason_body(reason), &why);
	if (!keep_state)
		put_back_state(turn);
	as_json_begin(&json);
	as_json_string(&json, "reason", reason);
	as_json_value(&json, "state", before);
	switch (call_hook(turn, "$post_restart", as_json_end(&json), &why))
	{
		case AS_HOOK_RAN:
			return NULL;
		case AS_HOOK_STOPPED:
			return why;
		case AS_HOOK_FAILED:
			break;
	}

	/* without a handler there is nothing that could have failed */
	if (as_handler_find(turn->type, cstring_to_text("$post_restart")) == NULL)
		return NULL;
	return psprintf("restart failed: %s", why);
}

/* ---- The end ---- */

/* May the supervisor restart it?  Then its mail waits. */
static AsHalt
halt_of(const AsChild *child, const AsExit *how)
{
	if (how->ordered)
		return how->final ? AS_STOPPED : AS_DOWN;
	return child != NULL && as_child_is_to_restart(child, how->reason,
												   how->gave_up) ?
		AS_DOWN : AS_STOPPED;
}

void
as_life_announce(AsTurn *turn, const AsExit *how)
{
	as_links_announce(turn, how->reason);
	as_supervise_report(turn, how);
}

void
as_life_exit(AsTurn *turn, const AsExit *as_given)
{
	text	   *type = as_turn_type_name(turn);
	text	   *id = as_turn_id(turn);
	AsChild    *child = as_child_find(type, id);
	AsExit		cut_down = *as_given;
	const AsExit *how = &cut_down;
	const char *why;

	cut_down.reason = cut(as_given->reason);
	(void) call_hook(turn, "$stop", reason_body(how->reason), &why);
	turn->halt = halt_of(child, how);
	turn->exited = true;
	as_halt(type, id, turn->halt, how->reason);
	as_groups_leave(type, id);
	if (child != NULL || !(as_life_is_normal(how->reason)))
		log_actor(turn, child, how->ordered ? "stopped" : "exited", how->reason);
	if (!as_supervise_exit(turn, how))
		as_life_announce(turn, how);
}

void
as_life_stop(AsTurn *turn)
{
	AsExit		how = {.reason = turn->says.stop_reason};

	turn->says.stop_reason = NULL;
	as_life_exit(turn, &how);
}

/* ---- Messages that were given up ---- */

static const char *
directive(AsOnExhausted on_exhausted)
{
	return on_exhausted == AS_EXHAUSTED_RESTART ? "restart" :
		on_exhausted == AS_EXHAUSTED_STOP ? "stop" : "escalate";
}

/* Say to the actor what it is to do, before it does anything else. */
static void
tell_itself(AsTurn *turn, AsMailbox *mailbox, const char *error)
{
	AsMessage  *failed = &turn->messages[0];
	AsMessage	message = {0};
	AsJson		json;
	int			mine;

	as_json_begin(&json);
	as_json_string(&json, "directive", directive(turn->type->on_exhausted));
	as_json_string(&json, "reason", error);
	message.message_id = as_message_id(as_sched_ids(1));
	message.actor_type = failed->actor_type;
	message.actor_id = failed->actor_id;
	message.name = cstring_to_text("$failed");
	message.body = as_json_end(&json);
	message.key_hash = failed->key_hash;
	message.position = AS_FIRST_POSITION;
	message.priority = message.lane = AS_SYSTEM_PRIORITY;
	message.sent_at = GetCurrentTimestamp();
	(void) as_outgoing_reserve(mailbox, message.key_hash, PG_INT32_MAX - 1,
							   &mine);
	as_mailbox_insert(mailbox, &message, 1);
	as_outgoing_note(message.key_hash, message.lane, message.position, 0);
}

void
as_life_exhausted(AsTurn *turn, AsMailbox *mailbox, const ErrorData *error)
{
	const char *reason = cut(psprintf("%s: %s", unpack_sql_state(error->sqlerrcode),
									  error->message));

	if (turn->type == NULL)
		return;
	switch (turn->type->on_exhausted)
	{
		case AS_EXHAUSTED_GO_ON:
			break;
		case AS_EXHAUSTED_PAUSE:
			as_halt(as_turn_type_name(turn), as_turn_id(turn), AS_PAUSED,
					reason);
			break;
		case AS_EXHAUSTED_RESTART:
		case AS_EXHAUSTED_STOP:
		case AS_EXHAUSTED_ESCALATE:
			tell_itself(turn, mailbox, reason);
			break;
	}
}

static bool
handle_failed(AsTurn *turn, AsMessage *message)
{
	char	   *reason = text_to_cstring(as_json_get_text(message->body, "reason"));
	char	   *what = text_to_cstring(as_json_get_text(message->body, "directive"));
	AsExit		how = {.reason = reason};
	AsChild    *child;

	if (turn->halt != AS_NOT_HALTED)
		return true;
	child = as_child_find(as_turn_type_name(turn), as_turn_id(turn));
	if (strcmp(what, "restart") == 0)
	{
		how.reason = as_life_restart(turn, reason,
									 child != NULL && child->keep_state);
		log_actor(turn, child, "restarted", reason);
		if (how.reason != NULL)
			as_life_exit(turn, &how);
		return true;
	}
	if (strcmp(what, "stop") == 0)
		how.reason = psprintf("shutdown: %s", reason);
	else if (child == NULL)
		ereport(LOG,
				(errmsg("actor (%s, %s) stops, as it has no supervisor: %s",
						text_to_cstring(as_turn_type_name(turn)),
						text_to_cstring(as_turn_id(turn)), reason)));
	as_life_exit(turn, &how);
	return true;
}

/* ---- Messages of the system ---- */

/* From another node it may come to an actor that was never spawned. */
static bool
was_spawned(AsTurn *turn)
{
	text	   *args[2] = {as_turn_type_name(turn), as_turn_id(turn)};

	return as_text_query_kept(NULL, SPI_OK_SELECT,
							  "SELECT FROM actorstore.spawned WHERE (actor_type, actor_id) = ($1, $2)",
							  2, args) > 0;
}

static bool
handle_start(AsTurn *turn, AsMessage *message)
{
	return turn->halt != AS_NOT_HALTED ||
		(as_is_in_node() && !was_spawned(turn)) ||
		as_handler_find(turn->type, message->name) == NULL;
}

static const struct
{
	const char *name;
	bool		(*handle) (AsTurn *turn, AsMessage *message);
	bool		calls_handler;	/* it may, and can be given up then */
}			kinds[] =
{
	{"$start", handle_start, true},
	{"$down", as_links_handle_down, true},
	{"$exit", as_links_handle_exit, true},
	{"$nodedown", as_watch_handle, true},
	{"$nodeup", as_watch_handle, true},
	{"$failed", handle_failed, false},
	{"$monitor", as_links_handle_monitor, false},
	{"$demonitor", as_links_handle_demonitor, false},
	{"$link", as_links_handle_link, false},
	{"$linked", as_links_handle_linked, false},
	{"$unlink", as_links_handle_unlink, false},
	{"$child", as_supervise_handle_child, false},
	{"$terminated", as_supervise_handle_done, false},
	{"$started", as_supervise_handle_done, false},
	{"$restart", as_supervise_handle_restart, false},
	{"$shutdown", as_supervise_handle_shutdown, false},
	{"$released", as_supervise_handle_released, false},
	{"$kept", as_supervise_handle_kept, false},
	{"$adopted", as_supervise_handle_adopted, false},
	{"$adopt", as_supervise_handle_adopt, false},
	{"$left", as_supervise_handle_left, false},
	{"$revived", as_supervise_handle_revived, false},
	{"$advance", as_supervise_handle_advance, false},
};

static int
kind_of(const AsMessage *message)
{
	for (int i = 0; i < (int) lengthof(kinds); i++)
	{
		if (strlen(kinds[i].name) == VARSIZE_ANY_EXHDR(message->name) &&
			memcmp(kinds[i].name, VARDATA_ANY(message->name),
				   VARSIZE_ANY_EXHDR(message->name)) == 0)
			return i;
	}
	return -1;
}

bool
as_life_handle(AsTurn *turn, AsMessage *message)
{
	int			kind = kind_of(message);

	return kind >= 0 && kinds[kind].handle(turn, message);
}

bool
as_life_must_be_handled(AsTurn *turn, const AsMessage *message)
{
	int			kind;

	if (!as_is_system(message->name) || turn->type == NULL)
		return false;
	kind = kind_of(message);
	return kind >= 0 &&
		!(kinds[kind].calls_handler &&
		  as_handler_find(turn->type, message->name) != NULL);
}

void
as_life_given_up(const AsMessage *message)
{
	as_links_given_up(message);
}

bool
as_life_exists(AsTurn *turn)
{
	text	   *args[3] = {as_int_text((int64) turn->key_hash),
	as_turn_type_name(turn), as_turn_id(turn)};

	return turn->exists ||
		as_text_query_kept(NULL, SPI_OK_SELECT,
						   "SELECT WHERE EXISTS (SELECT FROM actorstore.message WHERE key_hash = $1::bigint"
						   "   AND actor_type = $2 AND actor_id = $3 AND left(message, 1) <> '$')"
						   " OR EXISTS (SELECT FROM actorstore.supervised WHERE (actor_type, actor_id) = ($2, $3))"
						   " OR EXISTS (SELECT FROM actorstore.child WHERE (actor_type, actor_id) = ($2, $3))"
						   " OR EXISTS (SELECT FROM actorstore.link WHERE (actor_type, actor_id) = ($2, $3))"
						   " OR EXISTS (SELECT FROM actorstore.monitor WHERE (actor_type, actor_id) = ($2, $3))",
						   3, args) > 0;
}

void
as_life_nobody(const AsMessage *message)
{
	as_links_nobody(message);
	as_supervise_nobody(message);
}

void
as_life_type_drops(text *type)
{
	as_supervise_type_drops(type);
}

/* Nobody can write rows of its actors any more. */
void
as_life_type_dropped(text *type)
{
	static const char *const deletions[] = {
		"DELETE FROM actorstore.spawned WHERE actor_type = $1",
		"DELETE FROM actorstore.monitor WHERE actor_type = $1",
		"DELETE FROM actorstore.watcher WHERE $1 IN (actor_type, watcher_type)",
		"DELETE FROM actorstore.group_member WHERE actor_type = $1",
		"DELETE FROM actorstore.child WHERE $1 IN (actor_type, parent_type)",
		"DELETE FROM actorstore.supervised WHERE $1 IN (actor_type, child_type)",
		"DELETE FROM actorstore.supervisor WHERE actor_type = $1",
		"DELETE FROM actorstore.supervision_step WHERE actor_type = $1",
		"DELETE FROM actorstore.supervision_restart WHERE actor_type = $1",
	"DELETE FROM actorstore.supervision_event WHERE child_type = $1"};
	text	   *args[1] = {type};

	as_links_type_dropped(type);
	as_deeds_doubt();
	for (int i = 0; i < (int) lengthof(deletions); i++)
		(void) as_text_query(NULL, SPI_OK_DELETE, deletions[i], 1, args);
}

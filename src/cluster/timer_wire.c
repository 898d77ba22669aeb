/*-------------------------------------------------------------------------
 *
 * timer_wire.c
 *	  See timer_wire.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/timer_wire.h"

#include "access/xact.h"
#include "cluster/outbox.h"
#include "lib/json_object.h"
#include "lib/key_hash.h"
#include "pgtime.h"
#include "runtime/grid.h"
#include "runtime/sched.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Priorities say nothing about timers. */
#define PRIORITY	4

/* ---- Going ---- */

/* When it is due, and when again */
static Datum
times_of(const AsTimer *timer)
{
	AsJson		json;

	as_json_begin(&json);
	as_json_int(&json, "due", timer->due);
	as_json_int(&json, "missed", timer->missed);
	as_json_bool(&json, "recurs", timer->every != NULL);
	if (timer->every != NULL)
	{
		as_json_int(&json, "months", timer->every->month);
		as_json_int(&json, "days", timer->every->day);
		as_json_int(&json, "time", timer->every->time);
		as_json_int(&json, "start", timer->start);
		as_json_int(&json, "nth", timer->nth);
		as_json_text(&json, "time_zone", timer->time_zone);
	}
	return as_json_end(&json);
}

void
as_timer_wire_send(const AsNode *node, const AsType *type, const AsTimer *timer)
{
	AsMessage	message = {
		.message_id = as_message_id(as_sched_ids(1)),
		.actor_type = timer->actor_type, .actor_id = timer->actor_id,
		.name = timer->message, .body = timer->body, .headers = times_of(timer),
		.dedup_key = timer->name, .priority = PRIORITY,
		.sent_at = GetCurrentTimestamp()
	};

	message.key_hash = as_key_hash(VARDATA_ANY(message.actor_type),
								   VARSIZE_ANY_EXHDR(message.actor_type),
								   VARDATA_ANY(message.actor_id),
								   VARSIZE_ANY_EXHDR(message.actor_id));
	(void) as_outbox_send(node, type, AS_KIND_SET_TIMER, &message);
	CommandCounterIncrement();
}

/* ---- Coming ---- */

static bool
fits(int64 value)
{
	return value >= 0 && value <= PG_INT32_MAX;
}

/* The grid of a timer that recurs; false if it is none. */
static bool
read_grid(Datum headers, AsTimer *timer)
{
	int64		months = as_json_get_int(headers, "months");
	int64		days = as_json_get_int(headers, "days");
	int64		time = as_json_get_int(headers, "time");

	if (!fits(months) || !fits(days) || time < 0)
		return false;
	timer->every = palloc0(sizeof(Interval));
	timer->every->month = (int32) months;
	timer->every->day = (int32) days;
	timer->every->time = time;
	timer->start = as_json_get_int(headers, "start");
	timer->nth = as_json_get_int(headers, "nth");
	timer->time_zone = as_json_get_text(headers, "time_zone");
	return as_grid_length(timer->every) > 0 && IS_VALID_TIMESTAMP(timer->start) &&
		timer->nth >= 0 &&
		as_grid_needs_calendar(timer->every) == (timer->time_zone != NULL) &&
		(timer->time_zone == NULL || pg_tzset(text_to_cstring(timer->time_zone)) != NULL);
}

static bool
read_timer(const AsMessage *message, AsTimer *timer)
{
	int64		missed;

	timer->actor_type = message->actor_type;
	timer->actor_id = message->actor_id;
	timer->name = message->dedup_key;
	timer->message = message->name;
	timer->body = message->body;
	if (message->dedup_key == NULL || message->headers == 0)
		return false;
	timer->due = as_json_get_int(message->headers, "due");
	missed = as_json_get_int(message->headers, "missed");
	if (timer->due <= 0 || !IS_VALID_TIMESTAMP(timer->due) || missed < AS_MISSED_ONCE || missed > AS_MISSED_SKIP)
		return false;
	timer->missed = (AsMissed) missed;
	return !as_json_get_bool(message->headers, "recurs") || read_grid(message->headers, timer);
}

/* The same where a number may be too large; nothing but memory is used. */
static bool
understand(const AsMessage *message, AsTimer *timer)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool understood = false;

	memset(timer, 0, sizeof(AsTimer));
	PG_TRY();
	{
		understood = read_timer(message, timer);
	}
	PG_CATCH();
	{
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	return understood;
}

/* Nobody drops the type before this commits; false if it is gone. */
static bool
lock_type(text *name)
{
	AsType	   *type = as_type_find(name);
	Oid			locked = InvalidOid;

	while (type != NULL && type->relation != locked)
	{
		locked = type->relation;
		LockRelationOid(locked, RowExclusiveLock);
		type = as_type_find(name);
	}
	return type != NULL;
}

bool
as_timer_wire_set(const AsMessage *message, AsReason *reason)
{
	AsTimers	timers;
	AsTimer		timer;

	if (!understand(message, &timer))
	{
		reason->reason = "not understood";
		reason->sqlerrcode = ERRCODE_DATA_CORRUPTED;
		return false;
	}
	if (!lock_type(message->actor_type))
	{
		reason->reason = "no such type";
		reason->sqlerrcode = ERRCODE_UNDEFINED_OBJECT;
		return false;
	}
	as_timers_open(&timers, RowExclusiveLock);
	as_timer_set(&timers, &timer);
	as_timers_close(&timers);
	return true;
}

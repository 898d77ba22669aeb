/*-------------------------------------------------------------------------
 *
 * timers.c
 *	  The SQL functions that set timers.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "api/args.h"
#include "api/timer_there.h"
#include "cluster/outbox.h"
#include "cluster/route.h"
#include "cluster/timer_wire.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "runtime/grid.h"
#include "runtime/sched.h"
#include "runtime/send.h"
#include "runtime/timer.h"
#include "state/type.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(actorstore_set_timer);
PG_FUNCTION_INFO_V1(actorstore_cancel_timer);

/* Arguments of set_timer() */
enum
{
	ARG_TYPE,
	ARG_ID,
	ARG_NAME,
	ARG_MESSAGE,
	ARG_BODY,
	ARG_AFTER,
	ARG_AT,
	ARG_EVERY,
	ARG_MISSED
};

/* No timer recurs so rarely, and the end of time is farther away. */
#define MAX_YEARS	100000

static text *
arg_name(FunctionCallInfo fcinfo, int n)
{
	text	   *name;

	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("name must not be NULL")));
	name = PG_GETARG_TEXT_PP(n);
	as_check_name("name", name);
	return name;
}

static AsMissed
arg_missed(FunctionCallInfo fcinfo, int n)
{
	char	   *word;

	as_reject_null(fcinfo, n, "missed");
	word = text_to_cstring(PG_GETARG_TEXT_PP(n));
	if (strcmp(word, "once") == 0)
		return AS_MISSED_ONCE;
	if (strcmp(word, "all") == 0)
		return AS_MISSED_ALL;
	if (strcmp(word, "skip") == 0)
		return AS_MISSED_SKIP;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for missed: \"%s\"", word),
			 errhint("Valid values are: \"once\", \"all\", \"skip\".")));
}

static Interval *
arg_every(FunctionCallInfo fcinfo, int n)
{
	Interval   *every;

	if (PG_ARGISNULL(n))
		return NULL;
	every = PG_GETARG_INTERVAL_P(n);
	if (as_grid_length(every) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("every must be greater than zero")));
	if (every->month < 0 || every->day < 0 || every->time < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no part of every may be negative")));
	if (as_grid_length(every) > MAX_YEARS * 365.0 * USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("every must not be longer than %d years", MAX_YEARS)));
	return every;
}

static TimestampTz
now_plus(TimestampTz now, Interval *interval)
{
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												   TimestampTzGetDatum(now),
												   IntervalPGetDatum(interval)));
}

/* When the timer is due first, which may be over. */
static TimestampTz
arg_start(FunctionCallInfo fcinfo, TimestampTz now, Interval *every)
{
	TimestampTz start;

	if (!PG_ARGISNULL(ARG_AFTER) && !PG_ARGISNULL(ARG_AT))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("after and at must not be given together")));
	if (!PG_ARGISNULL(ARG_AFTER))
	{
		start = now_plus(now, PG_GETARG_INTERVAL_P(ARG_AFTER));
		if (start < now)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("after must not be negative")));
	}
	else if (!PG_ARGISNULL(ARG_AT))
	{
		start = PG_GETARG_TIMESTAMPTZ(ARG_AT);
	}
	else if (every != NULL)
		start = now_plus(now, every);
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a timer needs a time"),
				 errhint("Give after, at or every.")));
	if (TIMESTAMP_NOT_FINITE(start))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a timer must be due at a finite time")));
	return start;
}

/*
 * The times of a timer.  One that should have been due already is due now;
 * the grid of one that recurs is counted from the time that was given.
 */
static void
arg_times(FunctionCallInfo fcinfo, AsTimer *timer)
{
	TimestampTz now = GetCurrentTimestamp();

	timer->every = arg_every(fcinfo, ARG_EVERY);
	timer->start = arg_start(fcinfo, now, timer->every);
	timer->due = Max(timer->start, now);
	if (timer->every == NULL)
		return;
	if (as_grid_needs_calendar(timer->every))
		timer->time_zone = cstring_to_text(pg_get_timezone_name(session_timezone));
	timer->nth = as_grid_after(timer, timer->due);
}

/*
 * The type, which nobody drops before this transaction ends: drop_type() would
 * not see the timer.
 */
static AsType *
lock_type(text *name)
{
	AsType	   *type = as_type_get(name);
	Oid			locked = InvalidOid;

	as_type_check(type, AS_PRIV_SEND);
	while (type->relation != locked)
	{
		locked = type->relation;
		LockRelationOid(locked, RowExclusiveLock);
		type = as_type_get(name);
	}
	as_type_check(type, AS_PRIV_SEND);
	return type;
}

static void
check_may_change(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
}

Datum
actorstore_set_timer(PG_FUNCTION_ARGS)
{
	AsTimer		timer = {0};
	AsMessage	message = {0};
	AsTimers	timers;
	AsType	   *type;
	const AsNode *node;

	timer.actor_type = as_arg_type(fcinfo, ARG_TYPE);
	timer.actor_id = as_arg_id(fcinfo, ARG_ID);
	timer.name = arg_name(fcinfo, ARG_NAME);
	timer.message = as_arg_message(fcinfo, ARG_MESSAGE);
	timer.body = PG_ARGISNULL(ARG_BODY) ? (Datum) 0 : PG_GETARG_DATUM(ARG_BODY);
	timer.missed = arg_missed(fcinfo, ARG_MISSED);
	arg_times(fcinfo, &timer);
	message.body = timer.body;
	as_message_check_size(&message);
	check_may_change("actorstore.set_timer()");

	type = lock_type(timer.actor_type);
	if (!as_sched_active())
		as_warn_not_preloaded("timers");
	node = as_outbox_way(timer.actor_type, timer.actor_id);
	if (node != NULL)
	{
		as_timer_wire_send(node, type, &timer);
		PG_RETURN_VOID();
	}
	as_timers_open(&timers, RowExclusiveLock);
	as_timer_set(&timers, &timer);
	as_timers_close(&timers);
	PG_RETURN_VOID();
}

Datum
actorstore_cancel_timer(PG_FUNCTION_ARGS)
{
	text	   *type_name = as_arg_type(fcinfo, 0);
	text	   *id = as_arg_id(fcinfo, 1);
	text	   *name = arg_name(fcinfo, 2);
	AsTimers	timers;
	bool		found = false;
	bool		is_here = true;

	check_may_change("actorstore.cancel_timer()");
	as_type_check(as_type_get(type_name), AS_PRIV_SEND);
	if (as_route_find(type_name, id) != NULL)
		found = as_timer_there_cancel(type_name, id, name, &is_here);
	else
		found = as_timer_there_take_back(type_name, id, name);
	if (!is_here)
		PG_RETURN_BOOL(found);
	as_timers_open(&timers, RowExclusiveLock);
	found = as_timer_cancel(&timers, type_name, id, name) || found;
	as_timers_close(&timers);
	PG_RETURN_BOOL(found);
}

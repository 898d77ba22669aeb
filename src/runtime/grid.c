/*-------------------------------------------------------------------------
 *
 * grid.c
 *	  See grid.h.
 *
 * No field of EVERY is negative, and one is positive: the times rise with
 * their numbers.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/grid.h"

#include <math.h>

#include "common/int.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* Of the Gregorian calendar, as an average */
#define DAYS_IN_A_MONTH		(146097.0 / 4800.0)

/* What an estimate may be wrong by, in microseconds: a few days */
#define SLACK				(5.0 * USECS_PER_DAY)

bool
as_grid_needs_calendar(const Interval *every)
{
	return every->month != 0 || every->day != 0;
}

double
as_grid_length(const Interval *every)
{
	return ((double) every->month * DAYS_IN_A_MONTH + (double) every->day) *
		USECS_PER_DAY + (double) every->time;
}

static TimestampTz
add(TimestampTz start, Interval *span)
{
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												   TimestampTzGetDatum(start),
												   IntervalPGetDatum(span)));
}

/* The same by the calendar of a time zone; that of the session if it is gone. */
static TimestampTz
add_in_zone(TimestampTz start, Interval *span, const text *name)
{
	pg_tz	   *session = session_timezone;
	pg_tz	   *zone = pg_tzset(text_to_cstring(name));
	TimestampTz result;

	PG_TRY();
	{
		if (zone != NULL)
			session_timezone = zone;
		result = add(start, span);
	}
	PG_FINALLY();
	{
		session_timezone = session;
	}
	PG_END_TRY();
	return result;
}

TimestampTz
as_grid_at(const AsTimer *timer, int64 n)
{
	Interval	span;
	int32		largest = Max(timer->every->month, timer->every->day);

	if ((double) timer->start + (double) n * as_grid_length(timer->every) >
		(double) END_TIMESTAMP - SLACK ||
		(largest > 0 && n > PG_INT32_MAX / largest) ||
		pg_mul_s64_overflow(timer->every->time, n, &span.time))
		return DT_NOEND;
	span.month = timer->every->month * (int32) n;
	span.day = timer->every->day * (int32) n;
	return timer->time_zone == NULL ? add(timer->start, &span) :
		add_in_zone(timer->start, &span, timer->time_zone);
}

int64
as_grid_after(const AsTimer *timer, TimestampTz time)
{
	double		length = as_grid_length(timer->every);
	int64		n;

	if (time < timer->start)
		return 0;

	/* at or before it; then step by step, as the calendar says */
	n = (int64) floor(((double) (time - timer->start) - SLACK) / length);
	if (!as_grid_needs_calendar(timer->every))
		n = (time - timer->start) / timer->every->time;
	n = Max(n, 0);
	while (as_grid_at(timer, n) <= time)
		n++;
	return n;
}

/*-------------------------------------------------------------------------
 *
 * interval.h
 *	  Intervals as microseconds.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_INTERVAL_H
#define AS_INTERVAL_H

#include "actorstore.h"

#include "datatype/timestamp.h"

/*
 * An interval that is not negative, a month being 30 days; one that is longer
 * than AS_LONGEST, as there are, counts as that.
 */
static inline int64
as_interval_us(const Interval *interval)
{
	int64		days = interval->month * (int64) DAYS_PER_MONTH + interval->day;

	if (days > AS_LONGEST / USECS_PER_DAY / 2 || interval->time > AS_LONGEST / 2)
		return AS_LONGEST;
	return interval->time + days * USECS_PER_DAY;
}

#endif							/* AS_INTERVAL_H */

/*-------------------------------------------------------------------------
 *
 * grid.h
 *	  The times at which a timer that recurs is due.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_GRID_H
#define AS_GRID_H

#include "actorstore.h"

#include "runtime/timer.h"

/* Has the interval days or months, whose length a calendar says? */
extern bool as_grid_needs_calendar(const Interval *every);

/* How long is the interval, about, in microseconds? */
extern double as_grid_length(const Interval *every);

/*
 * The n-th time of the timer's grid, START + n * EVERY; DT_NOEND if it is
 * behind the end of time.
 */
extern TimestampTz as_grid_at(const AsTimer *timer, int64 n);

/* The number of the first time of the grid that comes after a time. */
extern int64 as_grid_after(const AsTimer *timer, TimestampTz time);

#endif							/* AS_GRID_H */

/*-------------------------------------------------------------------------
 *
 * steady_clock.h
 *	  A clock that nobody sets: it only goes forward.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_STEADY_CLOCK_H
#define AS_STEADY_CLOCK_H

#include "actorstore.h"

#include <time.h>

/* Microseconds since some time before the server was started; the same in all its processes. */
static inline int64
as_steady_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

#endif							/* AS_STEADY_CLOCK_H */

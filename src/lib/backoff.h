/*-------------------------------------------------------------------------
 *
 * backoff.h
 *	  How long to wait before what has failed is tried again.
 *
 * Twice as long after each failure, between two bounds; of that at least one
 * half, and of the other half a part that chance decides on, so that all who
 * have lost the same server do not come back to it at the same moment.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_BACKOFF_H
#define AS_BACKOFF_H

#include "actorstore.h"

/* After one failure more; ms: what it was before, 0 after success. */
static inline int
as_backoff_next(int ms, int least, int most)
{
	return ms >= most / 2 ? most : Max(least, 2 * ms);
}

/* How long to wait this time; chance: from 0 on, less than 1. */
static inline int
as_backoff_wait(int ms, double chance)
{
	return ms - ms / 2 + (int) (chance * (ms / 2 + 1));
}

#endif							/* AS_BACKOFF_H */

/*-------------------------------------------------------------------------
 *
 * near.h
 *	  Memory that is needed soon.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_NEAR_H
#define AS_NEAR_H

#include "actorstore.h"

/* A processor fetches so many bytes at a time. */
#define AS_LINE		64

/*
 * Have so many bytes from there on fetched into the processor's cache, while
 * something else is done.  It may be memory that is not ours to read.
 */
static inline void
as_bring_near(const void *from, Size length)
{
	for (Size at = 0; at < length; at += AS_LINE)
		__builtin_prefetch((const char *) from + at);
}

#endif							/* AS_NEAR_H */

/*-------------------------------------------------------------------------
 *
 * sweep.h
 *	  Work that no hint leads to.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SWEEP_H
#define AS_SWEEP_H

#include "actorstore.h"

/*
 * Is there something to look for, and has nobody else set out to?  Each of
 * the two then looks in a transaction of its own; the sweep says whether it
 * found anything to do.
 */
extern bool as_sweep_is_wanted(void);
extern bool as_sweep(void);

extern bool as_due_is_wanted(void);
extern void as_due(void);

/*
 * Milliseconds until something, or a timer, is due, or slots that are parked
 * have room; at most max.
 */
extern long as_due_sleep(long max);

/* The process exits. */
extern void as_sweep_exit(void);

#endif							/* AS_SWEEP_H */

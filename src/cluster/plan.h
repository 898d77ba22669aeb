/*-------------------------------------------------------------------------
 *
 * plan.h
 *	  Which slots move next, so that each node gets its share.
 *
 * Slots that hold something stay where they are when nodes come, go or get other
 * weights (member.h).  rebalance() has an epoch decided that says "rebalancing":
 * from then on each node that has more than its share gives slots away, batch by
 * batch (transit.h), until all have theirs or what is left cannot move; the last
 * one takes the word back.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_PLAN_H
#define AS_PLAN_H

#include "actorstore.h"
#include "cluster/transit.h"

/* setting, defined in plan.c: slots in a batch */
extern int	actorstore_rebalance_batch;

/* Owners as they shall be in the end; returns how many slots will have moved. */
extern int	as_plan_target(const int16 *now, int16 *target);

/* Does the epoch in force say "rebalancing"? */
extern bool as_plan_is_on(void);

/* Have an epoch decided that says so, or no more. */
extern void as_plan_switch(bool on);

/* Is there anything that this node should give away, and can? */
extern bool as_plan_has_work(void);

/* Are slots of this node's moving? */
extern bool as_plan_is_moving(void);

/*
 * Have an epoch decided by which what was handed over is given, and the next
 * batch, of so many slots at most, is announced, if there is one, and nobody else's is
 * moving.  Or by which what was announced is taken back.
 */
extern void as_plan_advance(int room);
extern void as_plan_take_back(void);

/* Before the library is used */
extern void as_plan_init(void);

#endif							/* AS_PLAN_H */

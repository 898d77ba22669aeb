/*-------------------------------------------------------------------------
 *
 * leave.h
 *	  A node leaves the cluster, and what is on it goes to the others first.
 *
 *		weigh	its weight becomes 0, and "rebalancing" is on (plan.h): its
 *				slots move to the others, by their weights
 *		wait	until it owns no slot; then until nothing is on its way to it or
 *				from it, and no transaction in doubt that it takes part in, as far
 *				as the nodes that can be reached know
 *		remove	an epoch is decided without it (member.h)
 *
 * Whoever waits may stop: the node is still one, without weight.  What a node
 * that could not be reached had still on its way to it goes to whoever owns the
 * slots, once that node learns the epoch (transit.h).
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_LEAVE_H
#define AS_LEAVE_H

#include "actorstore.h"

/*
 * Raises what as_member_remove() does; 55006 also if what is left on it does not
 * move for long.
 */
extern void as_leave(const char *name);

#endif							/* AS_LEAVE_H */

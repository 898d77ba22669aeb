/*-------------------------------------------------------------------------
 *
 * timer_there.h
 *	  Cancelling a timer of an actor that lives on another node.
 *
 * That is a command to the owner, as whether there is one is asked for; it waits
 * there for timers on their way: see cluster/timer_wire.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_TIMER_THERE_H
#define AS_TIMER_THERE_H

#include "actorstore.h"

/*
 * Cancel a timer, and say whether there was one, in this transaction; to be
 * called where as_route_find() says that the actor lives elsewhere.  *is_here is
 * set if it turns out not to.  08006 if what is on its way to the owner does not
 * arrive, 40001 if it has arrived since this transaction's snapshot.
 */
extern bool as_timer_there_cancel(text *type, text *id, text *name, bool *is_here);

/* One that was set from here and has not left yet, as its actor's slot is in transit. */
extern bool as_timer_there_take_back(text *type, text *id, text *name);

#endif							/* AS_TIMER_THERE_H */

/*-------------------------------------------------------------------------
 *
 * timer_wire.h
 *	  Timers of actors that live on other nodes, on their way.
 *
 * A timer takes the way of messages (outbox.h): with the transaction that sets
 * it, in one order with what that sends to the same actor, and exactly once.  On
 * the way it is a message of AS_KIND_SET_TIMER: the message that it will send,
 * with its name where messages have a dedup_key, and headers that say when.  The
 * owner sets it as it would for a client of its own; it fires there.
 *
 * cancel_timer() says whether there was one, which only the owner knows: it is a
 * command that is part of the transaction (route.h).  A timer that was set before
 * must not pass it, so it takes back, here, what has not left yet, and the owner
 * answers only once it has all batches that were made by then.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_TIMER_WIRE_H
#define AS_TIMER_WIRE_H

#include "actorstore.h"

#include "cluster/node.h"
#include "runtime/letters.h"
#include "runtime/timer.h"
#include "state/type.h"

/*
 * Have a timer set on a node: all but spread and place are given.  Where too much
 * is on its way there, what the type says of full mailboxes happens.
 */
extern void as_timer_wire_send(const AsNode *node, const AsType *type,
							   const AsTimer *timer);

/*
 * Set the timer that a message from another node is; false, and why, if it
 * cannot be understood, or its type is gone.
 */
extern bool as_timer_wire_set(const AsMessage *message, AsReason *reason);

#endif							/* AS_TIMER_WIRE_H */

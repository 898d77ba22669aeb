/*-------------------------------------------------------------------------
 *
 * fire.h
 *	  Timers that are due: their messages are sent.
 *
 * A timer fires in the transaction that deletes it, or gives it its next
 * time: each firing has effect once, whoever dies when.  Any process of the
 * home may fire; a timer that somebody is just changing is left to him.
 *
 * A firing is MISSED if it was due more than a second before anybody was there
 * to fire it: the server was down, the database not served, the machine
 * asleep.  A steward that is busy misses nothing, but sends one message for
 * all times of a timer once it is late by more than a second, unless the timer
 * wants each.
 *
 * A message that finds the mailbox full becomes a dead letter, whatever its
 * type says of senders: who would wait, or get the error?  A timer of a type
 * that is gone goes, too.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_FIRE_H
#define AS_FIRE_H

#include "actorstore.h"

/*
 * Fire some of the home's timers that are due, in a transaction.  Returns
 * whether there are more: this process then goes on where it stopped.
 */
extern bool as_fire(uint32 home);

/* It does not go on: others find what is left. */
extern void as_fire_let_go(uint32 home);

/* Is there something for a worker to fire, as there is no steward? */
extern bool as_fire_is_wanted(uint32 home);

#endif							/* AS_FIRE_H */

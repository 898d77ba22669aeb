/*-------------------------------------------------------------------------
 *
 * waiting.h
 *	  Senders that wait for room in a mailbox: first come, first served.
 *
 * Each draws a ticket.  Room is for the one with the lowest ticket of those
 * who wait for the same mailbox; whoever comes later and finds somebody
 * waiting draws a ticket, too, even if there is room.  They sleep on the
 * home's condition variable, which workers and who has found room broadcast.
 *
 * An entry is written by its process alone, the mailbox before the ticket.
 * Two who look at the same time may both find themselves first for a moment:
 * they then race for the room, and neither waits longer than for his turn.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_WAITING_H
#define AS_WAITING_H

#include "actorstore.h"

extern Size as_waiting_shmem_size(void);
extern void as_waiting_shmem_init(void);

/* Does anybody wait for room in the mailbox of that key? */
extern bool as_waiting_anyone(uint64 key_hash);

/* Draw a ticket; give it back, which an error or the end of the process needs. */
extern void as_waiting_begin(uint64 key_hash);
extern void as_waiting_end(void);

/* Is it our turn? */
extern bool as_waiting_is_first(void);

#endif							/* AS_WAITING_H */

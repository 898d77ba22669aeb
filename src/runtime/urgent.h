/*-------------------------------------------------------------------------
 *
 * urgent.h
 *	  Slots of types that want the nearest deadline first.
 *
 * A slot of such a type has a DEADLINE: the earliest expires_at of its
 * messages, as far as those who schedule it know.  Whoever has sent one lowers
 * it by an atomic minimum before he schedules the slot; the worker that runs
 * the slot takes it out, and afterwards puts back that of what it left.  It is
 * a hint: all that depends on it is who comes first.
 *
 * A slot that has a deadline is queued in its home's heap, the nearest on top,
 * instead of a worker's deque or the home's ring.  A deadline that is lowered
 * while the slot stands there moves it up.  One lock guards the heaps; where
 * no type asks for them nobody touches it.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_URGENT_H
#define AS_URGENT_H

#include "actorstore.h"

#include "datatype/timestamp.h"
#include "runtime/slot.h"

/* Of slots of other types; and of those whose messages never expire */
#define AS_NO_DEADLINE		PG_UINT64_MAX
#define AS_DEADLINE_NEVER	(PG_UINT64_MAX - 1)

extern Size as_urgent_shmem_size(void);
extern void as_urgent_shmem_init(void);

/* The deadline of a message, from its expires_at. */
static inline uint64
as_deadline_of(TimestampTz expires_at)
{
	return expires_at == 0 ? AS_DEADLINE_NEVER : (uint64) Max(expires_at, 0);
}

/* Lower the slot's deadline, which is not scheduled by us yet. */
extern void as_urgent_note(AsSlotRef ref, uint64 deadline);

/* It was SCHEDULED already: if it stands in the heap, move it up. */
extern void as_urgent_raise(uint32 home, AsSlotRef ref);

/* A worker runs the slot: take the deadline out. */
extern uint64 as_urgent_take(AsSlotRef ref);

/* What it is now, or AS_NO_DEADLINE. */
extern uint64 as_urgent_deadline(AsSlotRef ref);

/* Queue a slot that has a deadline; false if it has none, or the heap is full. */
extern bool as_urgent_push(uint32 home, AsSlotRef ref);

/* The slot with the nearest deadline; false if there is none. */
extern bool as_urgent_pop(uint32 home, AsSlotRef *ref);

/* How many slots are in the heap? */
extern uint32 as_urgent_count(uint32 home);

/* The home is another database's now. */
extern void as_urgent_forget(uint32 home);

#endif							/* AS_URGENT_H */

/*-------------------------------------------------------------------------
 *
 * stopped.c
 *	  The operations of ring and deque by hand, once, with a stop of the
 *	  process in the middle.
 *
 * A stop from outside would hardly ever fall there.  These do what those in
 * src/lib do, step by step, and return false if they come
 * to nothing, stopped or not.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "stress.h"

#include <signal.h>

/* Only once. */
static void
stop(pg_atomic_uint64 *stop_at)
{
	pg_atomic_write_u64(stop_at, STRESS_NOWHERE);
	raise(SIGSTOP);
}

/* Claimed, but not published. */
bool
stopped_push(AsRingShared *ring, uint64 item, pg_atomic_uint64 *stop_at)
{
	uint64		position = pg_atomic_read_u64(&ring->tail);
	AsRingCellShared *cell = &ring->cells[position & ring->mask];

	pg_read_barrier();
	if (pg_atomic_read_u64(&cell->turn) != position ||
		!pg_atomic_compare_exchange_u64(&ring->tail, &position, position + 1))
		return false;
	stop(stop_at);
	pg_atomic_write_u64(&cell->item, item);
	pg_write_barrier();
	pg_atomic_write_u64(&cell->turn, position + 1);
	return true;
}

/* Claimed, but not freed. */
bool
stopped_pop(AsRingShared *ring, uint64 *item, pg_atomic_uint64 *stop_at)
{
	uint64		position = pg_atomic_read_u64(&ring->head);
	AsRingCellShared *cell = &ring->cells[position & ring->mask];

	pg_read_barrier();
	if (pg_atomic_read_u64(&cell->turn) != position + 1)
		return false;
	pg_read_barrier();
	*item = pg_atomic_read_u64(&cell->item);
	if (!pg_atomic_compare_exchange_u64(&ring->head, &position, position + 1))
		return false;
	stop(stop_at);
	pg_write_barrier();
	pg_atomic_write_u64(&cell->turn, position + ring->mask + 1);
	return true;
}

/* Bottom lowered, with something above it. */
bool
stopped_take(AsDequeShared *deque, uint64 *item, pg_atomic_uint64 *stop_at)
{
	uint64		bottom = pg_atomic_read_u64(&deque->bottom);
	uint64		top = pg_atomic_read_u64(&deque->top);
	bool		won;

	if ((int64) (bottom - top) <= 1)
		return false;
	bottom--;
	pg_atomic_write_u64(&deque->bottom, bottom);
	pg_memory_barrier();
	stop(stop_at);
	top = pg_atomic_read_u64(&deque->top);
	*item = pg_atomic_read_u64(&deque->cells[bottom & deque->mask]);
	if ((int64) (bottom - top) > 0)
		return true;
	won = bottom == top &&
		pg_atomic_compare_exchange_u64(&deque->top, &top, top + 1);
	pg_atomic_write_u64(&deque->bottom, bottom + 1);
	return won;
}

/* The item read, but not won.  True: it was won all the same. */
bool
stopped_steal(AsDequeShared *deque, uint64 *item, pg_atomic_uint64 *stop_at)
{
	uint64		top = pg_atomic_read_u64(&deque->top);
	uint64		bottom;

	pg_memory_barrier();
	bottom = pg_atomic_read_u64(&deque->bottom);
	if ((int64) (bottom - top) <= 0)
		return false;
	pg_read_barrier();
	*item = pg_atomic_read_u64(&deque->cells[top & deque->mask]);
	stop(stop_at);
	return pg_atomic_compare_exchange_u64(&deque->top, &top, top + 1);
}

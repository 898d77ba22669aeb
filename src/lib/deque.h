/*-------------------------------------------------------------------------
 *
 * deque.h
 *	  A bounded work-stealing deque in shared memory, without locks.
 *
 * One process at a time owns it: the owner pushes and takes at the bottom,
 * last in, first out.  Anybody, the owner included, steals at the top, first
 * in, first out.  What is pushed is taken or stolen once.  Nobody waits for
 * anybody: whoever is stopped or gone in the middle of an operation keeps at
 * most the one item that he was about to get from the others.
 *
 * As with the ring, who pushes and then looks for sleepers needs a
 * pg_memory_barrier() between the two.  Ownership passes from one process to
 * another through something that is a full barrier, such as a lock.
 *
 * The protocol (Chase and Lev 2005, with the barriers of Le, Pop, Cohen and
 * Zappa Nardelli 2013).  The items are those at the positions from top to
 * bottom - 1; position p stands in cell p & mask.  Top is moved by
 * compare-and-swap only, and only upwards; bottom is written by the owner
 * alone.
 *
 * push:	store the item; barrier; bottom = b + 1
 * take:	bottom = b - 1; full barrier; read top.  If b - 1 is above top, it
 *			is the owner's.  If it is top itself, the last item, the owner
 *			must win it like a thief, and bottom goes back to b.
 * steal:	read top; full barrier; read bottom; barrier; read the item; it is
 *			the thief's if the compare-and-swap of top succeeds.
 *
 * Owner and thief both write nothing but ordinary stores and one
 * compare-and-swap, and nothing between them raises an error, allocates or
 * serves an interrupt, so an orderly exit never leaves bottom lowered.
 *
 * The races, one by one:
 *
 * Two thieves, or a thief and an owner who takes the last item: the
 * compare-and-swap of top has one winner.
 *
 * The owner takes b - 1 without a compare-and-swap while a thief steals the
 * same position.  The thief would have to read top == b - 1 and then bottom
 * == b.  Each has a full barrier between his two accesses, and one of the
 * barriers is the earlier one.  If it is the thief's, the owner sees top to
 * be b - 1 at least, and goes the way of the compare-and-swap.  If it is the
 * owner's, the thief sees the lowered bottom, and nothing to steal.
 *
 * The owner overwrites a cell that a thief is about to read.  The thief of p
 * reads the cell of p, which push fills again for p + capacity.  Push does so
 * only when it has seen top > p, and top never goes back.  So a thief who
 * reads anything but the item of p finds top moved, his compare-and-swap
 * fails, and what he has read is thrown away; it is atomic, so reading it
 * while it changes is allowed.  If on the other hand his compare-and-swap
 * succeeds, then it was the one that moved top past p; it is a full barrier
 * that comes after his read, push has seen its result before a full barrier
 * and the store that overwrites: the read came first.
 *
 * The owner takes p and pushes another item at p, while a thief has read the
 * old one.  Could he get it as well?  He had to read it at top == p, and to
 * move top from there.  To take p without moving top, the owner must have
 * seen top < p after bottom had gone down to p; and if top is p by now,
 * others have stolen all below.  A thief who read top == p did so after that,
 * and so did his full barrier; he sees the bottom that the owner lowered, and
 * finds p only if it has been pushed again, with the new item in front of it.
 *
 * Positions are compared by the sign of their difference, so they may wrap.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_DEQUE_H
#define AS_DEQUE_H

#include "actorstore.h"

#include "port/atomics.h"

#ifdef PG_HAVE_ATOMIC_U64_SIMULATION
#error "actorstore needs 64-bit atomic operations: spinlocks in their place would be waited for"
#endif

/* how many lost races in a row make a thief try elsewhere */
#define AS_DEQUE_STEAL_TRIES	4

typedef struct AsDequeShared
{
	uint64		mask;			/* capacity - 1; immutable */
	char		pad1[PG_CACHE_LINE_SIZE - sizeof(uint64)];
	pg_atomic_uint64 top;		/* next to be stolen; by anyone, upwards */
	char		pad2[PG_CACHE_LINE_SIZE - sizeof(pg_atomic_uint64)];
	pg_atomic_uint64 bottom;	/* next to be pushed; by the owner */
	uint64		top_seen;		/* never above top; by and for the owner, who
								 * so need not fetch top at every push */
	char		pad3[PG_CACHE_LINE_SIZE - 2 * sizeof(uint64)];
	pg_atomic_uint64 cells[FLEXIBLE_ARRAY_MEMBER];	/* by the owner */
} AsDequeShared;

/*
 * Bytes that a deque for capacity items (a power of two, at least 2) takes:
 * whole cache lines, so that what stands behind it has lines of its own.
 */
static inline Size
as_deque_size(uint64 capacity)
{
	return TYPEALIGN(PG_CACHE_LINE_SIZE,
					 offsetof(AsDequeShared, cells) +
					 capacity * sizeof(pg_atomic_uint64));
}

/*
 * Make an empty deque in the memory given, before anybody else knows of it.
 * Its first position is start, which matters only to who wants to see the
 * counters wrap.
 */
static inline void
as_deque_init_at(AsDequeShared *deque, uint64 capacity, uint64 start)
{
	Assert(capacity >= 2 && (capacity & (capacity - 1)) == 0);

	deque->mask = capacity - 1;
	pg_atomic_init_u64(&deque->top, start);
	pg_atomic_init_u64(&deque->bottom, start);
	deque->top_seen = start;
	for (uint64 i = 0; i < capacity; i++)
		pg_atomic_init_u64(&deque->cells[i], 0);
}

static inline void
as_deque_init(AsDequeShared *deque, uint64 capacity)
{
	as_deque_init_at(deque, capacity, 0);
}

/* The owner puts an item in at the bottom.  False: the deque is full. */
static inline bool
as_deque_push(AsDequeShared *deque, uint64 item)
{
	uint64		bottom = pg_atomic_read_u64(&deque->bottom);

	if (bottom - deque->top_seen > deque->mask)
	{
		deque->top_seen = pg_atomic_read_u64(&deque->top);
		/* whoever moved top has read the cell before we overwrite it */
		pg_memory_barrier();
		if (bottom - deque->top_seen > deque->mask)
			return false;
	}
	pg_atomic_write_u64(&deque->cells[bottom & deque->mask], item);
	pg_write_barrier();
	pg_atomic_write_u64(&deque->bottom, bottom + 1);
	return true;
}

/* The owner takes the item out that was pushed last.  False: it is empty. */
static inline bool
as_deque_take(AsDequeShared *deque, uint64 *item)
{
	uint64		bottom = pg_atomic_read_u64(&deque->bottom);
	uint64		top = pg_atomic_read_u64(&deque->top);
	int64		below;
	bool		won;

	/* an old top is a low one: what looks empty is empty, at less cost */
	if ((int64) (bottom - top) <= 0)
		return false;

	bottom--;
	pg_atomic_write_u64(&deque->bottom, bottom);
	pg_memory_barrier();
	top = pg_atomic_read_u64(&deque->top);
	below = (int64) (bottom - top);
	if (below > 0)
	{
		*item = pg_atomic_read_u64(&deque->cells[bottom & deque->mask]);
		return true;
	}

	/* the last one, which thieves want as well, or one that they have got */
	won = below == 0 &&
		pg_atomic_compare_exchange_u64(&deque->top, &top, top + 1);
	if (won)
		*item = pg_atomic_read_u64(&deque->cells[bottom & deque->mask]);
	pg_atomic_write_u64(&deque->bottom, bottom + 1);
	return won;
}

/*
 * Anybody takes the item out that was pushed first.  False: it is empty, or
 * others were faster, several times in a row; as_deque_count() tells.
 */
static inline bool
as_deque_steal(AsDequeShared *deque, uint64 *item)
{
	for (int i = 0; i < AS_DEQUE_STEAL_TRIES; i++)
	{
		uint64		top = pg_atomic_read_u64(&deque->top);
		uint64		bottom;
		uint64		found;

		pg_memory_barrier();
		bottom = pg_atomic_read_u64(&deque->bottom);
		if ((int64) (bottom - top) <= 0)
			return false;
		/* behind bottom: the item, and what the owner wrote elsewhere */
		pg_read_barrier();
		found = pg_atomic_read_u64(&deque->cells[top & deque->mask]);
		if (pg_atomic_compare_exchange_u64(&deque->top, &top, top + 1))
		{
			*item = found;
			return true;
		}
	}
	return false;
}

/* About how many items there are; exact if nobody pushes, takes or steals. */
static inline uint64
as_deque_count(AsDequeShared *deque)
{
	uint64		top = pg_atomic_read_u64(&deque->top);
	int64		count;

	pg_read_barrier();
	count = (int64) (pg_atomic_read_u64(&deque->bottom) - top);
	return Min((uint64) Max(count, 0), deque->mask + 1);
}

#endif							/* AS_DEQUE_H */

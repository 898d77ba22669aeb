/*-------------------------------------------------------------------------
 *
 * pool.h
 *	  A pool of numbered things and lists of them, in shared memory and
 *	  without locks.
 *
 * Things are numbered from 0; what they are is the caller's.  A thing is in
 * the pool, in one list, or somebody's.  Each has one link, which says who
 * comes after it in the pool or in a list.
 *
 * THE POOL is a stack.  Its head holds the number of the first thing, plus
 * one, in the lower 32 bits, and in the upper ones a tag that grows with each
 * change of the head.
 *
 * take:	1. read head		(tag, first)
 *			2. read first's link
 *			3. compare-and-swap head to (tag + 1, link)
 * give:	1. read head		(tag, first)
 *			2. the last given thing's link := first
 *			3. compare-and-swap head to (tag + 1, the first given thing)
 *
 * Between 1 and 3 others may take the first thing, use its link for something
 * else and give it back: the tag has moved on, and 3 fails.  (Whoever sleeps
 * through 2^32 changes in between, to the very tag, is beyond what we care
 * for.)  A link is atomic: what was read of one that changes is thrown away.
 *
 * A LIST grows by one at its end and is taken as a whole.  Its head is the
 * newest thing, plus one, and each link leads to the thing that came before.
 *
 * push:	1. read head; 2. own link := it; 3. compare-and-swap to own number
 * take:	exchange the head for nothing
 *
 * No tag is needed: should the head have gone and come back between 1 and 3,
 * it is the head that our link names.  Who has taken the list turns it round
 * (as_list_reverse), so that the oldest comes first.  A push ends with a full
 * barrier, as does a take.
 *
 * Nobody waits for anybody: of those who try at the same time one always
 * succeeds, and who is stopped anywhere stops nobody.  A process that dies
 * with things of its own has taken them from the pool for ever: let it give
 * them back on its way out.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_POOL_H
#define AS_POOL_H

#include "actorstore.h"

#include "port/atomics.h"

#ifdef PG_HAVE_ATOMIC_U64_SIMULATION
#error "actorstore needs 64-bit atomic operations: spinlocks in their place would be waited for"
#endif

/* no thing, where a number is meant */
#define AS_POOL_NONE	PG_UINT32_MAX

typedef struct AsPoolShared
{
	uint32		size;			/* immutable */
	char		pad1[PG_CACHE_LINE_SIZE - sizeof(uint32)];
	pg_atomic_uint64 head;		/* by anyone */
	char		pad2[PG_CACHE_LINE_SIZE - sizeof(pg_atomic_uint64)];

	/* the next thing's number plus one, or 0; by whoever owns the thing */
	pg_atomic_uint32 links[FLEXIBLE_ARRAY_MEMBER];
} AsPoolShared;

/* Bytes that a pool of size things takes, in whole cache lines. */
static inline Size
as_pool_size(uint32 size)
{
	return TYPEALIGN(PG_CACHE_LINE_SIZE,
					 offsetof(AsPoolShared, links) +
					 size * sizeof(pg_atomic_uint32));
}

/* The thing that comes after another one, or AS_POOL_NONE. */
static inline uint32
as_pool_next(AsPoolShared *pool, uint32 number)
{
	return pg_atomic_read_u32(&pool->links[number]) - 1;
}

/* Let a thing be followed by another one, or by none.  Owner only. */
static inline void
as_pool_link(AsPoolShared *pool, uint32 number, uint32 next)
{
	pg_atomic_write_u32(&pool->links[number], next + 1);
}

/* Make a pool with all things in it, before anybody else knows of it. */
static inline void
as_pool_init(AsPoolShared *pool, uint32 size)
{
	Assert(size > 0 && size < AS_POOL_NONE);
	pool->size = size;
	pg_atomic_init_u64(&pool->head, 1);
	for (uint32 i = 0; i < size; i++)
		pg_atomic_init_u32(&pool->links[i], i + 1 < size ? i + 2 : 0);
}

/* Take a thing out; AS_POOL_NONE if there is none. */
static inline uint32
as_pool_take(AsPoolShared *pool)
{
	uint64		head = pg_atomic_read_u64(&pool->head);

	for (;;)
	{
		uint32		first = (uint32) head;
		uint64		next;

		if (first == 0)
			return AS_POOL_NONE;
		/* a link older than the head would not be the first thing's */
		pg_read_barrier();
		next = pg_atomic_read_u32(&pool->links[first - 1]);
		if (pg_atomic_compare_exchange_u64(&pool->head, &head,
										   (((head >> 32) + 1) << 32) | next))
			return first - 1;
	}
}

/* Put a chain of linked things back, from the first to the last one. */
static inline void
as_pool_give_chain(AsPoolShared *pool, uint32 first, uint32 last)
{
	uint64		head = pg_atomic_read_u64(&pool->head);

	do
	{
		pg_atomic_write_u32(&pool->links[last], (uint32) head);
	} while (!pg_atomic_compare_exchange_u64(&pool->head, &head,
											 (((head >> 32) + 1) << 32) |
											 (uint64) (first + 1)));
}

/* Put a thing back. */
static inline void
as_pool_give(AsPoolShared *pool, uint32 number)
{
	as_pool_give_chain(pool, number, number);
}

/* How many things are in it; exact if nobody takes or gives. */
static inline uint32
as_pool_count(AsPoolShared *pool)
{
	uint32		n = 0;
	uint32		link = (uint32) pg_atomic_read_u64(&pool->head);

	while (link != 0 && n < pool->size)
	{
		n++;
		link = pg_atomic_read_u32(&pool->links[link - 1]);
	}
	return n;
}

/* Put a thing at the end of a list. */
static inline void
as_list_push(AsPoolShared *pool, pg_atomic_uint32 *list, uint32 number)
{
	uint32		head = pg_atomic_read_u32(list);

	do
	{
		pg_atomic_write_u32(&pool->links[number], head);
	} while (!pg_atomic_compare_exchange_u32(list, &head, number + 1));
}

/*
 * Take all of a list, the newest first, or AS_POOL_NONE.  An empty list costs
 * a look and no write.
 */
static inline uint32
as_list_take(pg_atomic_uint32 *list)
{
	if (pg_atomic_read_u32(list) == 0)
		return AS_POOL_NONE;
	return pg_atomic_exchange_u32(list, 0) - 1;
}

/*
 * Turn a list that was taken round; returns its first, and in *last its last
 * one.
 */
static inline uint32
as_list_reverse(AsPoolShared *pool, uint32 newest, uint32 *last)
{
	uint32		first = AS_POOL_NONE;

	*last = newest;
	while (newest != AS_POOL_NONE)
	{
		uint32		before = as_pool_next(pool, newest);

		as_pool_link(pool, newest, first);
		first = newest;
		newest = before;
	}
	return first;
}

#endif							/* AS_POOL_H */

/*-------------------------------------------------------------------------
 *
 * ring.h
 *	  A bounded queue for many producers and many consumers, in shared memory
 *	  and without locks.
 *
 * It promises that what is pushed is popped once, and that of two items the
 * one whose push ended before the other's began comes out first.  It waits for
 * nobody: a push may report full, and a pop empty, while another process is in
 * the middle of an operation (see the races below).  It does not wake anybody
 * either: who pushes and then looks for sleepers needs a pg_memory_barrier()
 * between the two, as a push ends with an ordinary store.
 *
 * The protocol (D. Vyukov's bounded queue).  Positions count from the start of
 * the ring's life and never go back; position p stands in cell p & mask.  The
 * cell's turn says what it is ready for:
 *
 *		turn == p				free: p may be pushed
 *		turn == p + 1			full: p may be popped
 *		turn == p + capacity	free: p has been popped; the same as the first
 *								line, one lap later
 *
 * push:	1. claim	compare-and-swap tail from p to p + 1, if turn == p
 *			2. publish	store the item, then turn = p + 1
 * pop:		3. claim	read the item, then compare-and-swap head from p to
 *						p + 1, if turn == p + 1
 *			4. free		store turn = p + capacity
 *
 * Between claim and what follows it stand only ordinary stores: no function
 * that could raise an error, allocate or serve an interrupt.  So an orderly
 * exit never leaves a cell claimed for ever, and after any other exit the
 * postmaster makes shared memory anew.
 *
 * The races, one by one:
 *
 * Two producers want p: one compare-and-swap wins, the other goes on with a
 * later p.  The same for two consumers.  To have lost means that another one
 * has got further, so of those who try at the same time one always succeeds,
 * whoever else is stopped.
 *
 * A producer is stopped between 1 and 2: consumers who come to p find
 * turn < p + 1 and report empty, although later positions may be full.  They
 * get them when p has been published, by the producer of p, who then looks for
 * sleepers like everybody else.  Other producers go on until they have come
 * round to the cell: there turn < p + capacity, full.
 *
 * A consumer is stopped between 3 and 4: the other consumers go on.  Producers
 * go on until they have come round to the cell: turn < p + capacity, full.
 *
 * A consumer reads the item of p and is then overtaken: the one who has popped
 * p has moved head, and only after that can the cell have been filled again.
 * Head never comes back to p, so the compare-and-swap fails and whatever was
 * read is thrown away.  (It is atomic, so reading it while it changes is
 * allowed.)  If the compare-and-swap succeeds, nobody has freed the cell
 * since turn was seen to be p + 1, and the item belongs to it.
 *
 * A producer fills the cell of p + capacity while the consumer of p still
 * reads it: it cannot, because it waits for turn == p + capacity, and 4 comes
 * after the read: the compare-and-swap between them is a full barrier.  As
 * compilers for ARM make of it an instruction that lets later stores pass,
 * there are barriers in front of 4 and behind the look at the turn as well.
 *
 * Turns are compared by the sign of their difference, so counters may wrap.
 * With a capacity of 1, full (p + 1) and free for the next lap (p + capacity)
 * would be the same: hence at least 2.  A process that sleeps in the middle of
 * an operation while the others move 2^63 items on is beyond what we care for.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_RING_H
#define AS_RING_H

#include "actorstore.h"

#include "port/atomics.h"

#ifdef PG_HAVE_ATOMIC_U64_SIMULATION
#error "actorstore needs 64-bit atomic operations: spinlocks in their place would be waited for"
#endif

typedef struct AsRingCellShared
{
	pg_atomic_uint64 turn;		/* by whoever has claimed the position */
	pg_atomic_uint64 item;		/* by the producer who has claimed it */
} AsRingCellShared;

typedef struct AsRingShared
{
	uint64		mask;			/* capacity - 1; immutable */
	char		pad1[PG_CACHE_LINE_SIZE - sizeof(uint64)];
	pg_atomic_uint64 tail;		/* next to be pushed; by producers */
	char		pad2[PG_CACHE_LINE_SIZE - sizeof(pg_atomic_uint64)];
	pg_atomic_uint64 head;		/* next to be popped; by consumers */
	char		pad3[PG_CACHE_LINE_SIZE - sizeof(pg_atomic_uint64)];
	AsRingCellShared cells[FLEXIBLE_ARRAY_MEMBER];
} AsRingShared;

/*
 * Bytes that a ring for capacity items (a power of two, at least 2) takes:
 * whole cache lines, so that what stands behind it has lines of its own.
 */
static inline Size
as_ring_size(uint64 capacity)
{
	return TYPEALIGN(PG_CACHE_LINE_SIZE,
					 offsetof(AsRingShared, cells) +
					 capacity * sizeof(AsRingCellShared));
}

/*
 * Make an empty ring in the memory given, before anybody else knows of it.
 * Its first position is start, which matters only to who wants to see the
 * counters wrap.
 */
static inline void
as_ring_init_at(AsRingShared *ring, uint64 capacity, uint64 start)
{
	Assert(capacity >= 2 && (capacity & (capacity - 1)) == 0);

	ring->mask = capacity - 1;
	pg_atomic_init_u64(&ring->tail, start);
	pg_atomic_init_u64(&ring->head, start);
	for (uint64 i = 0; i < capacity; i++)
	{
		AsRingCellShared *cell = &ring->cells[(start + i) & ring->mask];

		pg_atomic_init_u64(&cell->turn, start + i);
		pg_atomic_init_u64(&cell->item, 0);
	}
}

static inline void
as_ring_init(AsRingShared *ring, uint64 capacity)
{
	as_ring_init_at(ring, capacity, 0);
}

/*
 * Put an item in at the end.  False: the ring is full, or the cell that would
 * be next has not been freed yet.
 */
static inline bool
as_ring_push(AsRingShared *ring, uint64 item)
{
	for (;;)
	{
		uint64		position = pg_atomic_read_u64(&ring->tail);
		AsRingCellShared *cell = &ring->cells[position & ring->mask];
		int64		ahead;

		/* a turn older than the tail would be mistaken for a full ring */
		pg_read_barrier();
		ahead = (int64) (pg_atomic_read_u64(&cell->turn) - position);
		if (ahead < 0)
			return false;
		/* behind the turn: the store over what its consumer has read */
		pg_read_barrier();
		if (ahead == 0 &&
			pg_atomic_compare_exchange_u64(&ring->tail, &position, position + 1))
		{
			pg_atomic_write_u64(&cell->item, item);
			pg_write_barrier();
			pg_atomic_write_u64(&cell->turn, position + 1);
			return true;
		}
	}
}

/*
 * Take the first item out.  False: the ring is empty, or the item that would
 * be next has not been published yet.
 */
static inline bool
as_ring_pop(AsRingShared *ring, uint64 *item)
{
	for (;;)
	{
		uint64		position = pg_atomic_read_u64(&ring->head);
		AsRingCellShared *cell = &ring->cells[position & ring->mask];
		int64		ahead;

		/* a turn older than the head would be mistaken for an empty ring */
		pg_read_barrier();
		ahead = (int64) (pg_atomic_read_u64(&cell->turn) - (position + 1));
		if (ahead < 0)
			return false;
		/* behind the turn: the item, and what its producer wrote elsewhere */
		pg_read_barrier();
		if (ahead == 0)
		{
			uint64		found = pg_atomic_read_u64(&cell->item);

			if (pg_atomic_compare_exchange_u64(&ring->head, &position, position + 1))
			{
				pg_write_barrier();
				pg_atomic_write_u64(&cell->turn, position + ring->mask + 1);
				*item = found;
				return true;
			}
		}
	}
}

/* About how many items there are; exact if nobody pushes or pops. */
static inline uint64
as_ring_count(AsRingShared *ring)
{
	uint64		head = pg_atomic_read_u64(&ring->head);
	int64		count;

	/* the tail last: it is never behind a head that was seen before it */
	pg_read_barrier();
	count = (int64) (pg_atomic_read_u64(&ring->tail) - head);
	return Min((uint64) Max(count, 0), ring->mask + 1);
}

#endif							/* AS_RING_H */

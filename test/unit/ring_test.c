/*-------------------------------------------------------------------------
 *
 * ring_test.c
 *	  Unit test of src/lib/ring.h: what is pushed is popped once and in order,
 *	  by however many, and nobody waits for anybody.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/ring.h"

#include <pthread.h>

#include "tap.h"

/* where the sign of a position changes, and where it begins anew */
#define MIDDLE	(UINT64CONST(1) << 63)
#define END		UINT64CONST(0)

static AsRingShared *
new_ring(uint64 capacity, uint64 start)
{
	AsRingShared *ring = aligned_alloc(PG_CACHE_LINE_SIZE, as_ring_size(capacity));

	memset(ring, 0x5a, as_ring_size(capacity));
	as_ring_init_at(ring, capacity, start);
	return ring;
}

static bool
pops(AsRingShared *ring, uint64 expected)
{
	uint64		item = ~expected;

	return as_ring_pop(ring, &item) && item == expected;
}

static bool
is_empty(AsRingShared *ring)
{
	uint64		item = 42;

	return !as_ring_pop(ring, &item) && item == 42;
}

static void
layout(void)
{
	AsRingShared *ring = aligned_alloc(PG_CACHE_LINE_SIZE, as_ring_size(2));

	ok(offsetof(AsRingShared, tail) % PG_CACHE_LINE_SIZE == 0 &&
	   offsetof(AsRingShared, head) % PG_CACHE_LINE_SIZE == 0 &&
	   offsetof(AsRingShared, cells) % PG_CACHE_LINE_SIZE == 0 &&
	   offsetof(AsRingShared, tail) != offsetof(AsRingShared, head),
	   "tail, head and cells have cache lines of their own");
	ok(as_ring_size(32768) - as_ring_size(16384) == 16384 * 16, "sixteen bytes an item");
	ok(as_ring_size(2) % PG_CACHE_LINE_SIZE == 0, "whole cache lines");

	as_ring_init(ring, 2);
	ok(pg_atomic_read_u64(&ring->tail) == 0 && pg_atomic_read_u64(&ring->head) == 0, "positions start at 0");
	free(ring);
}

static void
smallest(uint64 start, const char *what)
{
	AsRingShared *ring = new_ring(2, start);
	int			wrong = 0;

	ok(is_empty(ring) && as_ring_count(ring) == 0, "%s: a new ring is empty", what);
	for (uint64 i = 1; i < 100; i += 2)
	{
		wrong += !as_ring_push(ring, i) + !as_ring_push(ring, UINT64_MAX - i);
		wrong += as_ring_count(ring) != 2;
		wrong += as_ring_push(ring, 0) + as_ring_push(ring, 0);
		wrong += !pops(ring, i);
		wrong += as_ring_count(ring) != 1;
		wrong += !pops(ring, UINT64_MAX - i) + !is_empty(ring) + !is_empty(ring);
		/* one place further on: the next turn begins in the other cell */
		wrong += !as_ring_push(ring, i) + !pops(ring, i) + !is_empty(ring);
	}
	ok(wrong == 0, "%s: a ring of 2 is full with two, gives them back in order, and is empty", what);
	free(ring);
}

/* Pushes and pops at random, and the same with two counters. */
static void
at_random(uint64 capacity, uint64 start)
{
	AsRingShared *ring = new_ring(capacity, start);
	uint64		pushed = 0;
	uint64		popped = 0;
	int			wrong = 0;

	for (uint64 i = tap_times(100000); i > 0; i--)
	{
		/* long tides, so that both full and empty are met */
		if (tap_random() % 16 < (i / (4 * capacity) % 2 == 0 ? 10 : 6))
		{
			bool		room = pushed - popped < capacity;

			wrong += as_ring_push(ring, pushed) != room;
			pushed += room;
		}
		else if (pushed == popped)
			wrong += !is_empty(ring);
		else
			wrong += !pops(ring, popped++);
		wrong += as_ring_count(ring) != pushed - popped;
	}
	ok(wrong == 0, "as a counter says: capacity " UINT64_FORMAT ", from " UINT64_FORMAT " on", capacity, start);
	free(ring);
}

/* A producer stops after his claim and publishes later. */
static void
stopped_producer(uint64 start)
{
	AsRingShared *ring = new_ring(4, start);
	uint64		position = start + 1;
	AsRingCellShared *cell = &ring->cells[position & ring->mask];

	as_ring_push(ring, 10);
	pg_atomic_compare_exchange_u64(&ring->tail, &position, position + 1);
	ok(as_ring_push(ring, 12) && as_ring_push(ring, 13), "a producer has stopped: others push behind him");
	ok(pops(ring, 10) && is_empty(ring) && is_empty(ring), "what is before him is popped, and no more");
	ok(as_ring_push(ring, 14) && !as_ring_push(ring, 15), "others push until they come round to him");
	pg_atomic_write_u64(&cell->item, 11);
	pg_atomic_write_u64(&cell->turn, position + 1);
	ok(pops(ring, 11) && pops(ring, 12) && pops(ring, 13) && pops(ring, 14) && is_empty(ring),
	   "he goes on: everything comes out, in order");
	free(ring);
}

/* A consumer stops after his claim and frees the cell later. */
static void
stopped_consumer(uint64 start)
{
	AsRingShared *ring = new_ring(4, start);
	uint64		position = start;
	AsRingCellShared *cell = &ring->cells[position & ring->mask];
	int			wrong = 0;

	for (uint64 i = 0; i < 4; i++)
		as_ring_push(ring, i);
	pg_atomic_compare_exchange_u64(&ring->head, &position, position + 1);
	for (uint64 i = 1; i < 4; i++)
		wrong += as_ring_push(ring, 99) + !pops(ring, i);
	ok(wrong == 0 && is_empty(ring), "a consumer has stopped: others pop all the rest, his cell is not filled");
	ok(!as_ring_push(ring, 99), "as long as he is stopped");
	pg_atomic_write_u64(&cell->turn, position + 4);
	ok(as_ring_push(ring, 4) && pops(ring, 4) && is_empty(ring), "he goes on: the ring does, too");
	free(ring);
}

/*
 * All at once.  Each producer writes the payload of an item, by an ordinary
 * store, before he pushes it; whoever pops the item reads the payload.
 */
#define MAX_THREADS 8

typedef struct Run
{
	AsRingShared *ring;
	int			producers;
	uint64		quota;			/* items per producer */
	uint64	   *payload;		/* of each item */
	pg_atomic_uint64 *seen;		/* how often each item was popped */
	pg_atomic_uint64 popped;	/* items in all */
} Run;

typedef struct Side
{
	Run		   *run;
	int			number;
	uint64		out_of_order;
	uint64		wrong_payload;
} Side;

static uint64
payload_of(uint64 item)
{
	return item * UINT64CONST(0x9E3779B97F4A7C15) + 1;
}

static void *
produce(void *arg)
{
	Side	   *side = arg;
	Run		   *run = side->run;
	uint64		failures = 0;

	for (uint64 i = 0; i < run->quota; i++)
	{
		uint64		item = side->number * run->quota + i;

		run->payload[item] = payload_of(item);
		while (!as_ring_push(run->ring, item))
			tap_rest(&failures);
	}
	return NULL;
}

static void *
consume(void *arg)
{
	Side	   *side = arg;
	Run		   *run = side->run;
	uint64		next[MAX_THREADS] = {0};
	uint64		all = run->producers * run->quota;
	uint64		failures = 0;

	while (pg_atomic_read_u64(&run->popped) < all)
	{
		uint64		item;
		uint64		producer;

		if (!as_ring_pop(run->ring, &item))
		{
			tap_rest(&failures);
			continue;
		}
		producer = item / run->quota;
		side->out_of_order += item % run->quota < next[producer];
		next[producer] = item % run->quota + 1;
		side->wrong_payload += run->payload[item] != payload_of(item);
		pg_atomic_fetch_add_u64(&run->seen[item], 1);
		pg_atomic_fetch_add_u64(&run->popped, 1);
	}
	return NULL;
}

static void
all_at_once(int producers, int consumers, uint64 capacity, uint64 wraps_at, uint64 quota)
{
	Run			run = {0};
	pthread_t	threads[2 * MAX_THREADS];
	Side		sides[2 * MAX_THREADS] = {{0}};
	uint64		wrong = 0;
	uint64		out_of_order = 0;
	uint64		wrong_payload = 0;
	uint64		all;

	run.producers = producers;
	run.quota = tap_times(quota);
	all = producers * run.quota;
	run.ring = new_ring(capacity, wraps_at - all / 2);
	run.payload = calloc(all, sizeof(uint64));
	run.seen = calloc(all, sizeof(pg_atomic_uint64));
	for (int i = 0; i < producers + consumers; i++)
	{
		sides[i].run = &run;
		sides[i].number = i;
		pthread_create(&threads[i], NULL, i < producers ? produce : consume, &sides[i]);
	}
	for (int i = 0; i < producers + consumers; i++)
	{
		pthread_join(threads[i], NULL);
		out_of_order += sides[i].out_of_order;
		wrong_payload += sides[i].wrong_payload;
	}
	for (uint64 i = 0; i < all; i++)
		wrong += pg_atomic_read_u64(&run.seen[i]) != 1;

	ok(wrong == 0 && is_empty(run.ring) && as_ring_count(run.ring) == 0,
	   "%d producers, %d consumers, capacity " UINT64_FORMAT ": " UINT64_FORMAT " items, each popped once",
	   producers, consumers, capacity, all);
	ok(out_of_order == 0, "each producer's in order");
	ok(wrong_payload == 0, "and with what was written before they were pushed");
	free(run.ring);
	free(run.payload);
	free(run.seen);
}

int
main(void)
{
	/* what loses an item waits for it for ever */
	alarm(600);

	layout();
	smallest(0, "from the start");
	smallest(END - 3, "before positions begin anew");
	smallest(MIDDLE - 3, "before their sign changes");
	at_random(2, END - 1000);
	at_random(8, END - 30000);
	at_random(64, MIDDLE - 30000);
	at_random(1024, 0);
	stopped_producer(0);
	stopped_producer(END - 2);
	stopped_consumer(0);
	stopped_consumer(END - 2);
	all_at_once(1, 1, 2, END, 20000);
	all_at_once(1, 1, 1024, MIDDLE, 1000000);
	all_at_once(4, 4, 2, END, 15000);
	all_at_once(4, 4, 64, END, 250000);
	all_at_once(8, 1, 256, MIDDLE, 125000);
	all_at_once(1, 8, 256, END, 1000000);
	return done();
}

/*-------------------------------------------------------------------------
 *
 * pool_test.c
 *	  Unit test of src/lib/pool.h: a thing is in the pool, in one list, or
 *	  somebody's, whoever takes and gives at the same time, and lists keep the
 *	  order.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/pool.h"

#include <pthread.h>

#include "tap.h"

/* where the tag of the pool's head begins anew */
#define TAG(head)	((uint32) ((head) >> 32))

static AsPoolShared *
new_pool(uint32 size, uint32 tag)
{
	AsPoolShared *pool = aligned_alloc(PG_CACHE_LINE_SIZE, as_pool_size(size));

	memset(pool, 0x5a, as_pool_size(size));
	as_pool_init(pool, size);
	pg_atomic_write_u64(&pool->head, ((uint64) tag << 32) | 1);
	return pool;
}

static void
layout(void)
{
	ok(offsetof(AsPoolShared, head) == PG_CACHE_LINE_SIZE &&
	   offsetof(AsPoolShared, links) == 2 * PG_CACHE_LINE_SIZE,
	   "head and links have cache lines of their own");
	ok(as_pool_size(1) % PG_CACHE_LINE_SIZE == 0 && as_pool_size(1001) % PG_CACHE_LINE_SIZE == 0,
	   "whole cache lines");
	ok(as_pool_size(32768) - as_pool_size(16384) == 16384 * 4, "four bytes a thing");
}

/* ---- The pool ---- */

static void
smallest(void)
{
	AsPoolShared *pool = new_pool(1, 0);
	int			wrong = 0;

	ok(as_pool_count(pool) == 1, "a pool of 1 has one thing");
	for (int i = 0; i < 100; i++)
	{
		wrong += as_pool_take(pool) != 0 || as_pool_count(pool) != 0;
		wrong += as_pool_take(pool) != AS_POOL_NONE || as_pool_take(pool) != AS_POOL_NONE;
		as_pool_give(pool, 0);
		wrong += as_pool_count(pool) != 1;
	}
	ok(wrong == 0, "it gives it, and nothing more, until it is back");
	free(pool);
}

static void
stack(uint32 size)
{
	AsPoolShared *pool = new_pool(size, 0);
	int			wrong = 0;

	for (uint32 i = 0; i < size; i++)
		wrong += as_pool_take(pool) != i;
	ok(wrong == 0 && as_pool_take(pool) == AS_POOL_NONE && as_pool_count(pool) == 0,
	   "a new pool of %u gives each thing once, in order", size);
	for (uint32 i = 0; i < size; i += 2)
		as_pool_give(pool, i);
	for (uint32 i = 1; i < size; i += 2)
		as_pool_give(pool, i);
	wrong += as_pool_count(pool) != size;
	for (uint32 i = 0; i < size; i++)
		wrong += as_pool_take(pool) != (i < size / 2 ? size - 1 - 2 * i : size - 2 - 2 * (i - size / 2));
	ok(wrong == 0 && as_pool_take(pool) == AS_POOL_NONE, "what came back last goes first");
	free(pool);
}

static void
chains(void)
{
	AsPoolShared *pool = new_pool(8, 0);
	uint64		head;

	for (int i = 0; i < 8; i++)
		(void) as_pool_take(pool);
	as_pool_link(pool, 5, 2);
	as_pool_link(pool, 2, 7);
	head = pg_atomic_read_u64(&pool->head);
	as_pool_give_chain(pool, 5, 7);
	ok(TAG(pg_atomic_read_u64(&pool->head)) == TAG(head) + 1, "a chain is given in one step");
	as_pool_link(pool, 0, 3);
	as_pool_give_chain(pool, 0, 3);
	as_pool_give_chain(pool, 6, 6);
	ok(as_pool_count(pool) == 6, "all of it is in the pool");
	ok(as_pool_take(pool) == 6 && as_pool_take(pool) == 0 && as_pool_take(pool) == 3 &&
	   as_pool_take(pool) == 5 && as_pool_take(pool) == 2 && as_pool_take(pool) == 7 &&
	   as_pool_take(pool) == AS_POOL_NONE, "and comes out in its order");
	free(pool);
}

/* The tag goes round; what it is next to does not change. */
static void
tag_begins_anew(void)
{
	AsPoolShared *pool = new_pool(3, PG_UINT32_MAX - 49);
	int			wrong = 0;

	for (uint32 i = 0; i < 50; i++)
	{
		wrong += as_pool_take(pool) != 0;
		as_pool_give(pool, 0);
	}
	ok(wrong == 0 && TAG(pg_atomic_read_u64(&pool->head)) == 50 && as_pool_count(pool) == 3,
	   "the tag begins anew after its greatest value");
	ok(as_pool_take(pool) == 0 && as_pool_take(pool) == 1 && as_pool_take(pool) == 2 &&
	   as_pool_take(pool) == AS_POOL_NONE, "and the things are those of before");
	free(pool);
}

/*
 * One who takes stops between looking and swapping; meanwhile the thing that
 * he has seen goes and comes back, with another one behind it.
 */
static void
stopped_taker(uint32 tag)
{
	AsPoolShared *pool = new_pool(4, tag);
	uint64		seen = pg_atomic_read_u64(&pool->head);
	uint32		next = pg_atomic_read_u32(&pool->links[0]);

	(void) as_pool_take(pool);
	(void) as_pool_take(pool);
	as_pool_give(pool, 0);
	ok((uint32) pg_atomic_read_u64(&pool->head) == (uint32) seen && as_pool_next(pool, 0) == 2 && next == 2,
	   "from tag %u on: the head has gone and come back, with another link", tag);
	ok(!pg_atomic_compare_exchange_u64(&pool->head, &seen, (((seen >> 32) + 1) << 32) | next),
	   "who has seen it before does not get it");
	ok(as_pool_take(pool) == 0 && as_pool_take(pool) == 2 && as_pool_take(pool) == 3 &&
	   as_pool_take(pool) == AS_POOL_NONE, "and nothing is doubled");
	free(pool);
}

/* ---- Lists ---- */

static void
lists(void)
{
	AsPoolShared *pool = new_pool(100, 0);
	pg_atomic_uint32 list;
	uint32		first;
	uint32		last = 0;
	int			wrong = 0;

	pg_atomic_init_u32(&list, 0);
	ok(as_list_take(&list) == AS_POOL_NONE && as_list_take(&list) == AS_POOL_NONE, "an empty list gives nothing");
	ok(as_list_reverse(pool, AS_POOL_NONE, &last) == AS_POOL_NONE && last == AS_POOL_NONE, "which can be turned round");

	for (int round = 0; round < 3; round++)
	{
		for (uint32 i = 0; i < 100; i++)
			as_list_push(pool, &list, (i * 37) % 100);
		first = as_list_take(&list);
		wrong += first != 99 * 37 % 100U || as_list_take(&list) != AS_POOL_NONE;
		first = as_list_reverse(pool, first, &last);
		wrong += last != 99 * 37 % 100U;
		for (uint32 i = 0; i < 100; i++)
		{
			wrong += first != (i * 37) % 100;
			first = as_pool_next(pool, first);
		}
		wrong += first != AS_POOL_NONE;
	}
	ok(wrong == 0, "a list is taken as a whole, and is in order once turned round");

	as_list_push(pool, &list, 42);
	first = as_list_reverse(pool, as_list_take(&list), &last);
	ok(first == 42 && last == 42 && as_pool_next(pool, 42) == AS_POOL_NONE, "a list of one");

	as_list_push(pool, &list, 0);
	as_list_push(pool, &list, 1);
	first = as_list_reverse(pool, as_list_take(&list), &last);
	as_list_push(pool, &list, 2);
	as_pool_link(pool, last, as_list_take(&list));
	ok(first == 0 && as_pool_next(pool, 0) == 1 && as_pool_next(pool, 1) == 2 &&
	   as_pool_next(pool, 2) == AS_POOL_NONE && last == 1, "what has come since is linked behind");
	free(pool);
}

/* Takes and gives, single and in chains, as a plain array says. */
static void
at_random(uint32 size, uint32 tag)
{
	AsPoolShared *pool = new_pool(size, tag);
	bool	   *mine = calloc(size, sizeof(bool));
	uint32	   *taken = calloc(size, sizeof(uint32));
	uint32		n = 0;
	int			wrong = 0;

	for (uint64 i = tap_times(100000); i > 0; i--)
	{
		/* long tides, so that both empty and full are met */
		if (tap_random() % 16 < (i / (4 * size) % 2 == 0 ? 10 : 6))
		{
			uint32		number = as_pool_take(pool);

			wrong += (number == AS_POOL_NONE) != (n == size);
			if (number == AS_POOL_NONE)
				continue;
			wrong += number >= size || mine[number];
			mine[number] = true;
			taken[n++] = number;
		}
		else if (n > 0)
		{
			uint32		count = 1 + tap_random() % Min(n, 5);

			for (uint32 k = n - count; k < n; k++)
			{
				mine[taken[k]] = false;
				if (k + 1 < n)
					as_pool_link(pool, taken[k], taken[k + 1]);
			}
			as_pool_give_chain(pool, taken[n - count], taken[n - 1]);
			n -= count;
		}
		if (i % 64 == 0)
			wrong += as_pool_count(pool) != size - n;
	}
	ok(wrong == 0, "as an array says: %u things, from tag %u on", size, tag);
	free(pool);
	free(mine);
	free(taken);
}

/* ---- All at once ---- */

/*
 * Producers take a thing from the pool, write to it by ordinary stores, and
 * push it to one of a few lists.  Consumers, one for each list, take what has
 * come, read it, and give it back, one by one or as a chain.
 */
#define MAX_THREADS 8

typedef struct Thing
{
	int			producer;
	uint64		serial;			/* the producer's, for that list */
	uint64		payload;
	bool		taken;
} Thing;

typedef struct Run
{
	AsPoolShared *pool;
	Thing	   *things;
	int			producers;
	int			nlists;
	uint64		quota;			/* things per producer and list */
	pg_atomic_uint32 lists[MAX_THREADS];
} Run;

typedef struct Side
{
	Run		   *run;
	int			number;
	uint64		wrong;
	uint64		out_of_order;
} Side;

static uint64
payload_of(int producer, uint64 serial)
{
	return (serial * MAX_THREADS + producer) * UINT64CONST(0x9E3779B97F4A7C15) + 1;
}

static void *
produce(void *arg)
{
	Side	   *side = arg;
	Run		   *run = side->run;
	uint64		failures = 0;

	for (uint64 i = 0; i < run->quota * run->nlists; i++)
	{
		uint32		number;
		Thing	   *thing;

		while ((number = as_pool_take(run->pool)) == AS_POOL_NONE)
			tap_rest(&failures);
		thing = &run->things[number];
		side->wrong += thing->taken;
		thing->taken = true;
		thing->producer = side->number;
		thing->serial = i / run->nlists;
		thing->payload = payload_of(side->number, thing->serial);
		as_list_push(run->pool, &run->lists[i % run->nlists], number);
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
	uint64		popped = 0;
	int			rounds = 0;

	while (popped < all)
	{
		uint32		last;
		uint32		first = as_list_reverse(run->pool, as_list_take(&run->lists[side->number]), &last);
		bool		at_once = rounds++ % 2 == 0;

		if (first == AS_POOL_NONE)
		{
			tap_rest(&failures);
			continue;
		}
		for (uint32 number = first; number != AS_POOL_NONE;)
		{
			uint32		after = as_pool_next(run->pool, number);
			Thing	   *thing = &run->things[number];

			side->wrong += !thing->taken;
			side->wrong += thing->payload != payload_of(thing->producer, thing->serial);
			side->out_of_order += thing->serial != next[thing->producer]++;
			thing->taken = false;
			popped++;
			if (!at_once)
				as_pool_give(run->pool, number);
			number = after;
		}
		if (at_once)
			as_pool_give_chain(run->pool, first, last);
	}
	side->wrong += popped != all;
	return NULL;
}

static void
all_at_once(int producers, int nlists, uint32 size, uint64 quota)
{
	Run			run = {0};
	pthread_t	threads[2 * MAX_THREADS];
	Side		sides[2 * MAX_THREADS] = {{0}};
	uint64		wrong = 0;
	uint64		out_of_order = 0;
	bool		all_back = true;

	run.producers = producers;
	run.nlists = nlists;
	run.quota = tap_times(quota);
	/* the tag goes round in the middle */
	run.pool = new_pool(size, (uint32) (0 - producers * nlists * run.quota));
	run.things = calloc(size, sizeof(Thing));
	for (int i = 0; i < nlists; i++)
		pg_atomic_init_u32(&run.lists[i], 0);
	for (int i = 0; i < producers + nlists; i++)
	{
		sides[i].run = &run;
		sides[i].number = i < producers ? i : i - producers;
		pthread_create(&threads[i], NULL, i < producers ? produce : consume, &sides[i]);
	}
	for (int i = 0; i < producers + nlists; i++)
	{
		pthread_join(threads[i], NULL);
		wrong += sides[i].wrong;
		out_of_order += sides[i].out_of_order;
	}
	for (uint32 i = 0; i < size; i++)
	{
		uint32		number = as_pool_take(run.pool);

		all_back &= number < size && !run.things[number].taken;
		if (number < size)
			run.things[number].taken = true;
	}
	ok(wrong == 0, "%d producers, %d lists, %u things: each is somebody's alone, with what was written to it",
	   producers, nlists, size);
	ok(out_of_order == 0, "none is lost, and each producer's are in order");
	ok(all_back && as_pool_take(run.pool) == AS_POOL_NONE, "all things are back, each once");
	free(run.pool);
	free(run.things);
}

/* Everybody takes a few and gives them back: nothing but the head is fought for. */
static void *
take_and_give(void *arg)
{
	Side	   *side = arg;
	Run		   *run = side->run;

	for (uint64 i = 0; i < run->quota; i++)
	{
		uint32		taken[3];
		uint32		n = 0;

		while (n < 1 + i % 3)
		{
			uint32		number = as_pool_take(run->pool);

			if (number == AS_POOL_NONE)
				break;
			side->wrong += run->things[number].taken;
			run->things[number].taken = true;
			taken[n++] = number;
		}
		for (uint32 k = 0; k < n; k++)
			run->things[taken[k]].taken = false;
		if (n == 3 && i % 2 == 0)
		{
			as_pool_link(run->pool, taken[0], taken[1]);
			as_pool_link(run->pool, taken[1], taken[2]);
			as_pool_give_chain(run->pool, taken[0], taken[2]);
			n = 0;
		}
		while (n > 0)
			as_pool_give(run->pool, taken[--n]);
	}
	return NULL;
}

static void
crowd(int nthreads, uint32 size, uint64 quota)
{
	Run			run = {0};
	pthread_t	threads[MAX_THREADS];
	Side		sides[MAX_THREADS] = {{0}};
	uint64		wrong = 0;

	run.quota = tap_times(quota);
	run.pool = new_pool(size, (uint32) (0 - run.quota));
	run.things = calloc(size, sizeof(Thing));
	for (int i = 0; i < nthreads; i++)
	{
		sides[i].run = &run;
		pthread_create(&threads[i], NULL, take_and_give, &sides[i]);
	}
	for (int i = 0; i < nthreads; i++)
	{
		pthread_join(threads[i], NULL);
		wrong += sides[i].wrong;
	}
	ok(wrong == 0 && as_pool_count(run.pool) == size, "%d take and give, %u things: each is somebody's alone, all come back",
	   nthreads, size);
	free(run.pool);
	free(run.things);
}

int
main(void)
{
	/* what loses a thing waits for it for ever */
	alarm(600);

	layout();
	smallest();
	stack(2);
	stack(1000);
	chains();
	tag_begins_anew();
	stopped_taker(0);
	stopped_taker(PG_UINT32_MAX - 1);
	lists();
	at_random(1, 0);
	at_random(7, PG_UINT32_MAX - 10000);
	at_random(1024, PG_UINT32_MAX - 10000);
	crowd(2, 2, 200000);
	crowd(8, 4, 60000);
	crowd(8, 1024, 60000);
	all_at_once(1, 1, 1, 20000);
	all_at_once(4, 1, 2, 20000);
	all_at_once(4, 4, 64, 30000);
	all_at_once(8, 1, 1024, 30000);
	all_at_once(1, 8, 256, 30000);
	return done();
}

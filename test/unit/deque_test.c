/*-------------------------------------------------------------------------
 *
 * deque_test.c
 *	  Unit test of src/lib/deque.h: what the owner pushes is taken or stolen
 *	  once, from the end it should come from.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/deque.h"

#include <pthread.h>

#include "tap.h"

/* where the sign of a position changes, and where it begins anew */
#define MIDDLE	(UINT64CONST(1) << 63)
#define END		UINT64CONST(0)

static AsDequeShared *
new_deque(uint64 capacity, uint64 start)
{
	AsDequeShared *deque = aligned_alloc(PG_CACHE_LINE_SIZE, as_deque_size(capacity));

	memset(deque, 0x5a, as_deque_size(capacity));
	as_deque_init_at(deque, capacity, start);
	return deque;
}

static bool
takes(AsDequeShared *deque, uint64 expected)
{
	uint64		item = ~expected;

	return as_deque_take(deque, &item) && item == expected;
}

static bool
steals(AsDequeShared *deque, uint64 expected)
{
	uint64		item = ~expected;

	return as_deque_steal(deque, &item) && item == expected;
}

static bool
is_empty(AsDequeShared *deque)
{
	uint64		item = 42;

	return !as_deque_take(deque, &item) && !as_deque_steal(deque, &item) &&
		as_deque_count(deque) == 0 && item == 42;
}

static void
layout(void)
{
	AsDequeShared *deque = aligned_alloc(PG_CACHE_LINE_SIZE, as_deque_size(2));

	ok(offsetof(AsDequeShared, top) % PG_CACHE_LINE_SIZE == 0 &&
	   offsetof(AsDequeShared, bottom) % PG_CACHE_LINE_SIZE == 0 &&
	   offsetof(AsDequeShared, cells) % PG_CACHE_LINE_SIZE == 0 &&
	   offsetof(AsDequeShared, top) != offsetof(AsDequeShared, bottom),
	   "top, bottom and cells have cache lines of their own");
	ok(as_deque_size(4096) - as_deque_size(2048) == 2048 * 8, "eight bytes an item");
	ok(as_deque_size(2) % PG_CACHE_LINE_SIZE == 0, "whole cache lines");

	as_deque_init(deque, 2);
	ok(pg_atomic_read_u64(&deque->top) == 0 && pg_atomic_read_u64(&deque->bottom) == 0, "positions start at 0");
	free(deque);
}

static void
smallest(uint64 start, const char *what)
{
	AsDequeShared *deque = new_deque(2, start);
	int			wrong = 0;

	ok(is_empty(deque), "%s: a new deque is empty", what);
	for (uint64 i = 1; i < 100; i += 2)
	{
		/* both ends, each with two and with the last one */
		wrong += !as_deque_push(deque, i) + !as_deque_push(deque, UINT64_MAX - i);
		wrong += as_deque_push(deque, 0) + as_deque_push(deque, 0);
		wrong += as_deque_count(deque) != 2;
		wrong += !takes(deque, UINT64_MAX - i) + !takes(deque, i) + !is_empty(deque);
		wrong += !as_deque_push(deque, i) + !as_deque_push(deque, i + 1);
		wrong += !steals(deque, i) + !steals(deque, i + 1) + !is_empty(deque);
		wrong += !as_deque_push(deque, i) + !as_deque_push(deque, i + 1);
		wrong += !steals(deque, i) + !as_deque_push(deque, i + 2) + as_deque_push(deque, 0);
		wrong += !takes(deque, i + 2) + !takes(deque, i + 1) + !is_empty(deque);
	}
	ok(wrong == 0, "%s: a deque of 2 is full with two, and gives them back at both ends", what);
	free(deque);
}

/* Pushes, takes and steals at random, and the same with an array. */
static void
at_random(uint64 capacity, uint64 start)
{
	AsDequeShared *deque = new_deque(capacity, start);
	uint64		times = tap_times(100000);
	uint64	   *model = calloc(times + 1, sizeof(uint64));
	uint64		top = 0;
	uint64		bottom = 0;
	int			wrong = 0;

	for (uint64 i = times; i > 0; i--)
	{
		/* long tides, so that both full and empty are met */
		if (tap_random() % 16 < (i / (4 * capacity) % 2 == 0 ? 10 : 6))
		{
			bool		room = bottom - top < capacity;

			wrong += as_deque_push(deque, i) != room;
			if (room)
				model[bottom++] = i;
		}
		else if (bottom == top)
			wrong += !is_empty(deque);
		else if (tap_random() % 2 == 0)
			wrong += !takes(deque, model[--bottom]);
		else
			wrong += !steals(deque, model[top++]);
		wrong += as_deque_count(deque) != bottom - top;
	}
	ok(wrong == 0, "as an array says: capacity " UINT64_FORMAT ", from " UINT64_FORMAT " on", capacity, start);
	free(deque);
	free(model);
}

/* A thief stops after he has read the item, and comes too late. */
static void
stopped_thief(uint64 start)
{
	AsDequeShared *deque = new_deque(2, start);
	uint64		top = start;

	as_deque_push(deque, 1);
	ok(takes(deque, 1) && !pg_atomic_compare_exchange_u64(&deque->top, &top, top + 1),
	   "a thief has stopped: the owner takes the last item, the thief does not get it");

	top = pg_atomic_read_u64(&deque->top);
	as_deque_push(deque, 2);
	as_deque_push(deque, 3);
	ok(steals(deque, 2) && as_deque_push(deque, 4) && pg_atomic_read_u64(&deque->cells[top & deque->mask]) == 4 &&
	   !pg_atomic_compare_exchange_u64(&deque->top, &top, top + 1),
	   "his cell is filled again: he does not get what is in it now");
	ok(steals(deque, 3) && takes(deque, 4) && is_empty(deque), "the others get everything");

	/* above top, the owner may take and push as he likes */
	top = pg_atomic_read_u64(&deque->top);
	as_deque_push(deque, 5);
	as_deque_push(deque, 6);
	ok(takes(deque, 6) && as_deque_push(deque, 7) && pg_atomic_compare_exchange_u64(&deque->top, &top, top + 1) &&
	   takes(deque, 7) && is_empty(deque),
	   "nobody has touched his item: he gets it");
	free(deque);
}

/* The owner stops when he has lowered bottom, and a thief empties the deque. */
static void
stopped_owner(uint64 start)
{
	AsDequeShared *deque = new_deque(4, start);
	uint64		item = 42;

	for (uint64 i = 1; i <= 3; i++)
		as_deque_push(deque, i);
	pg_atomic_write_u64(&deque->bottom, start + 2);
	ok(steals(deque, 1) && steals(deque, 2) && !as_deque_steal(deque, &item),
	   "an owner has stopped: thieves get all but the item that he is about to take");
	pg_atomic_write_u64(&deque->bottom, start + 3);
	ok(takes(deque, 3) && is_empty(deque), "which is there when he goes on");
	pg_atomic_write_u64(&deque->bottom, start + 2);
	ok(as_deque_count(deque) == 0 && !as_deque_steal(deque, &item), "lowered below top, it is empty");
	free(deque);
}

/*
 * All at once.  The owner writes the payload of an item, by an ordinary
 * store, before he pushes it; whoever gets the item reads the payload.
 *
 * Items are numbered in the order of pushing.  Those in the deque ascend from
 * top to bottom at any time, so each thief's ascend as well; and what the
 * owner takes is always the last one of those he has pushed and not taken yet.
 */
#define MAX_THIEVES 8

typedef struct Run
{
	AsDequeShared *deque;
	uint64		items;
	int			burst;			/* pushes at a time, at most */
	uint64	   *payload;		/* of each item */
	pg_atomic_uint64 *seen;		/* how often each item was had */
	pg_atomic_uint64 had;		/* items in all */
	pg_atomic_uint64 thieves;	/* who have begun */
} Run;

typedef struct Side
{
	Run		   *run;
	uint64		had;
	uint64		out_of_order;
	uint64		wrong_payload;
} Side;

static uint64
payload_of(uint64 item)
{
	return item * UINT64CONST(0x9E3779B97F4A7C15) + 1;
}

static void
has(Side *side, uint64 item)
{
	Run		   *run = side->run;

	side->had++;
	side->wrong_payload += run->payload[item] != payload_of(item);
	pg_atomic_fetch_add_u64(&run->seen[item], 1);
	pg_atomic_fetch_add_u64(&run->had, 1);
}

static void
own(Side *side)
{
	Run		   *run = side->run;
	uint64	   *stack = calloc(run->items, sizeof(uint64));
	uint64		height = 0;
	uint64		next = 0;
	uint64		item;

	while (next < run->items)
	{
		for (int i = tap_random() % run->burst; i >= 0 && next < run->items; i--)
		{
			run->payload[next] = payload_of(next);
			if (!as_deque_push(run->deque, next))
				break;
			stack[height++] = next++;
		}
		for (int i = tap_random() % run->burst; i >= 0; i--)
		{
			if (!as_deque_take(run->deque, &item))
			{
				height = 0;		/* all stolen */
				break;
			}
			side->out_of_order += height == 0 || item != stack[--height];
			has(side, item);
		}
		if (tap_random() % 4096 == 0)
			usleep(1);
	}
	while (as_deque_take(run->deque, &item))
	{
		side->out_of_order += height == 0 || item != stack[--height];
		has(side, item);
	}
	free(stack);
}

static void *
thieve(void *arg)
{
	Side	   *side = arg;
	Run		   *run = side->run;
	uint64		next = 0;
	uint64		failures = 0;

	pg_atomic_fetch_add_u64(&run->thieves, 1);
	while (pg_atomic_read_u64(&run->had) < run->items)
	{
		uint64		item;

		if (!as_deque_steal(run->deque, &item))
		{
			tap_rest(&failures);
			continue;
		}
		side->out_of_order += item < next;
		next = item + 1;
		has(side, item);
	}
	return NULL;
}

static void
all_at_once(int thieves, uint64 capacity, int burst, uint64 wraps_at, uint64 items)
{
	Run			run = {0};
	pthread_t	threads[MAX_THIEVES];
	Side		sides[MAX_THIEVES + 1] = {{0}};
	uint64		wrong = 0;
	uint64		out_of_order = 0;
	uint64		wrong_payload = 0;

	run.items = tap_times(items);
	run.burst = burst;
	run.deque = new_deque(capacity, wraps_at - run.items / 10);
	run.payload = calloc(run.items, sizeof(uint64));
	run.seen = calloc(run.items, sizeof(pg_atomic_uint64));
	for (int i = 0; i <= thieves; i++)
		sides[i].run = &run;
	for (int i = 0; i < thieves; i++)
		pthread_create(&threads[i], NULL, thieve, &sides[i]);
	while (pg_atomic_read_u64(&run.thieves) < (uint64) thieves)
		usleep(100);
	own(&sides[thieves]);
	for (int i = 0; i <= thieves; i++)
	{
		if (i < thieves)
			pthread_join(threads[i], NULL);
		out_of_order += sides[i].out_of_order;
		wrong_payload += sides[i].wrong_payload;
	}
	for (uint64 i = 0; i < run.items; i++)
		wrong += pg_atomic_read_u64(&run.seen[i]) != 1;

	ok(wrong == 0 && is_empty(run.deque),
	   "%d thieves, capacity " UINT64_FORMAT ", bursts of %d: " UINT64_FORMAT " items, each had once",
	   thieves, capacity, burst, run.items);
	printf("# the owner had " UINT64_FORMAT " of them\n", sides[thieves].had);
	ok(out_of_order == 0, "the owner takes the last, thieves steal the first");
	ok(wrong_payload == 0, "with what was written before they were pushed");
	free(run.deque);
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
	at_random(8, END - 10000);
	at_random(64, MIDDLE - 10000);
	at_random(1024, 0);
	stopped_thief(0);
	stopped_thief(END - 2);
	stopped_owner(0);
	stopped_owner(END - 2);
	all_at_once(1, 2, 1, END, 4000000);
	all_at_once(4, 2, 2, END, 2000000);
	all_at_once(1, 1024, 64, MIDDLE, 2000000);
	all_at_once(4, 16, 16, END, 2000000);
	all_at_once(8, 4096, 256, MIDDLE, 2000000);
	return done();
}

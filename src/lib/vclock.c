/*-------------------------------------------------------------------------
 *
 * vclock.c
 *	  Vector clocks: what each node had done when something was written.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/vclock.h"

/* A place in both clocks, and the counters of the lowest node that is next. */
typedef struct Walk
{
	const AsVclock *a;
	const AsVclock *b;
	int			i;
	int			j;
	int32		node;
	int64		in_a;
	int64		in_b;
} Walk;

static bool
step(Walk *walk)
{
	bool		more_a = walk->i < walk->a->count;
	bool		more_b = walk->j < walk->b->count;
	int32		node_a = more_a ? walk->a->entries[walk->i].node : PG_INT32_MAX;
	int32		node_b = more_b ? walk->b->entries[walk->j].node : PG_INT32_MAX;

	if (!more_a && !more_b)
		return false;
	walk->node = Min(node_a, node_b);
	walk->in_a = walk->in_b = 0;
	if (more_a && node_a == walk->node)
		walk->in_a = walk->a->entries[walk->i++].counter;
	if (more_b && node_b == walk->node)
		walk->in_b = walk->b->entries[walk->j++].counter;
	return true;
}

int64
as_vclock_counter(const AsVclock *clock, int32 node)
{
	for (int i = 0; i < clock->count; i++)
	{
		if (clock->entries[i].node == node)
			return clock->entries[i].counter;
	}
	return 0;
}

AsVclockOrder
as_vclock_order(const AsVclock *a, const AsVclock *b)
{
	Walk		walk = {.a = a, .b = b};
	bool		less = false;
	bool		greater = false;

	while (step(&walk))
	{
		less |= walk.in_a < walk.in_b;
		greater |= walk.in_a > walk.in_b;
	}
	if (less)
		return greater ? AS_VCLOCK_CONCURRENT : AS_VCLOCK_BEFORE;
	return greater ? AS_VCLOCK_AFTER : AS_VCLOCK_EQUAL;
}

int
as_vclock_compare(const AsVclock *a, const AsVclock *b)
{
	Walk		walk = {.a = a, .b = b};

	while (step(&walk))
	{
		if (walk.in_a != walk.in_b)
			return walk.in_a < walk.in_b ? -1 : 1;
	}
	return 0;
}

AsVclock *
as_vclock_make(int count)
{
	AsVclock   *clock = palloc0(AS_VCLOCK_SIZE(count));

	SET_VARSIZE(clock, AS_VCLOCK_SIZE(0));
	return clock;
}

static void
append(AsVclock *clock, int32 node, int64 counter)
{
	clock->entries[clock->count].node = node;
	clock->entries[clock->count].counter = counter;
	clock->count++;
	SET_VARSIZE(clock, AS_VCLOCK_SIZE(clock->count));
}

/* How many nodes are in one of them. */
static int
count_both(const AsVclock *a, const AsVclock *b)
{
	Walk		walk = {.a = a, .b = b};
	int			count = 0;

	while (step(&walk))
		count++;
	return count;
}

AsVclock *
as_vclock_merge(const AsVclock *a, const AsVclock *b)
{
	Walk		walk = {.a = a, .b = b};
	int			count = count_both(a, b);
	AsVclock   *merged;

	if (count > AS_VCLOCK_MAX)
		return NULL;
	merged = as_vclock_make(count);
	while (step(&walk))
		append(merged, walk.node, Max(walk.in_a, walk.in_b));
	return merged;
}

AsVclock *
as_vclock_increment(const AsVclock *clock, int32 node)
{
	AsVclock   *one = as_vclock_make(1);
	AsVclock   *next;
	int64		counter = as_vclock_counter(clock, node);

	if (counter == PG_INT64_MAX)
		return NULL;
	append(one, node, counter + 1);
	next = as_vclock_merge(clock, one);
	pfree(one);
	return next;
}

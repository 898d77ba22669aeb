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

#include "compat.h"

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

/* ---- Text ---- */

const char *const as_vclock_out_of_range = "A number is too large.";
const char *const as_vclock_too_many = "There are too many nodes.";

static int
by_node(const void *a, const void *b)
{
	int32		node_a = ((const AsVclockEntry *) a)->node;
	int32		node_b = ((const AsVclockEntry *) b)->node;

	return node_a < node_b ? -1 : node_a > node_b;
}

static const char *
skip_blanks(const char *p)
{
	while (*p == ' ' || (*p >= '\t' && *p <= '\r'))
		p++;
	return p;
}

/* Digits, blanks around them, at most so much; NULL if it is none. */
static const char *
read_number(const char *p, int64 most, int64 *value, const char **problem)
{
	uint64		number = 0;

	p = skip_blanks(p);
	*problem = "There must be a number without a sign.";
	if (*p < '0' || *p > '9')
		return NULL;
	*problem = as_vclock_out_of_range;
	for (; *p >= '0' && *p <= '9'; p++)
	{
		/* no more than nine tenths above what fits */
		if (number > (uint64) most / 10 ||
			number * 10 + (uint64) (*p - '0') > (uint64) most)
			return NULL;
		number = number * 10 + (uint64) (*p - '0');
	}
	*value = (int64) number;
	return skip_blanks(p);
}

/* node:counter; NULL if it is not. */
static const char *
read_entry(const char *p, AsVclockEntry *entry, const char **problem)
{
	int64		node;

	p = read_number(p, PG_INT32_MAX, &node, problem);
	if (p == NULL)
		return NULL;
	*problem = "There must be \":\" after a node.";
	if (*p != ':')
		return NULL;
	p = read_number(p + 1, PG_INT64_MAX, &entry->counter, problem);
	if (p == NULL)
		return NULL;
	*problem = "Nodes are numbered from 1.";
	entry->node = (int32) node;
	return node == 0 ? NULL : p;
}

/* What stands between braces; NULL if it is malformed. */
static const char *
read_entries(const char *p, AsVclock *clock, const char **problem)
{
	p = skip_blanks(p);
	while (*p != '}')
	{
		*problem = "There must be \",\" or \"}\" after a counter.";
		if (clock->count > 0 && *p++ != ',')
			return NULL;
		*problem = as_vclock_too_many;
		if (clock->count == AS_VCLOCK_MAX)
			return NULL;
		p = read_entry(p, &clock->entries[clock->count], problem);
		if (p == NULL)
			return NULL;
		clock->count++;
	}
	return p + 1;
}

AsVclock *
as_vclock_parse(const char *input, const char **problem)
{
	AsVclock   *read = as_vclock_make(AS_VCLOCK_MAX);
	const char *p = skip_blanks(input);
	AsVclock   *clock = NULL;

	*problem = "It must begin with \"{\".";
	p = *p == '{' ? read_entries(p + 1, read, problem) : NULL;
	if (p != NULL)
	{
		*problem = *skip_blanks(p) == '\0' ? NULL : "There is something after \"}\".";
		qsort(read->entries, read->count, sizeof(AsVclockEntry), by_node);
		for (int i = 1; i < read->count; i++)
		{
			if (read->entries[i].node == read->entries[i - 1].node)
				*problem = "A node is in it twice.";
		}
	}
	if (*problem == NULL)
	{
		/* a counter of 0 says nothing */
		clock = as_vclock_make(read->count);
		for (int i = 0; i < read->count; i++)
		{
			if (read->entries[i].counter > 0)
				append(clock, read->entries[i].node, read->entries[i].counter);
		}
	}
	pfree(read);
	return clock;
}

void
as_vclock_print(StringInfo out, const AsVclock *clock)
{
	appendStringInfoChar(out, '{');
	for (int i = 0; i < clock->count; i++)
		appendStringInfo(out, "%s%d:" INT64_FORMAT, i > 0 ? "," : "",
						 clock->entries[i].node, clock->entries[i].counter);
	appendStringInfoChar(out, '}');
}

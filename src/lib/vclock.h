/*-------------------------------------------------------------------------
 *
 * vclock.h
 *	  Vector clocks: what each node had done when something was written.
 *
 * A clock holds a counter for each node that has counted; a node that is not
 * in it stands at 0.  One clock is before another if none of its counters is
 * greater and at least one is less.  If each has one that is greater, they
 * are concurrent: neither writer knew of the other.  A merge has the greater
 * of both counters for each node, and is at or after both.
 *
 * Entries ascend by node and none has the counter 0, so that clocks are equal
 * if their bytes are.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_VCLOCK_H
#define AS_VCLOCK_H

#include "actorstore.h"

#include "lib/stringinfo.h"

typedef struct AsVclockEntry
{
	int64		counter;		/* above 0 */
	int32		node;			/* above 0 */
	int32		unused;			/* 0 */
} AsVclockEntry;

/* A value of actorstore.vclock, aligned as double. */
typedef struct AsVclock
{
	int32		vl_len_;		/* varlena header (do not touch directly!) */
	int32		count;
	AsVclockEntry entries[FLEXIBLE_ARRAY_MEMBER];
} AsVclock;

#define AS_VCLOCK_MAX	1024	/* the most nodes of a clock */
#define AS_VCLOCK_SIZE(count) \
	(offsetof(AsVclock, entries) + (count) * sizeof(AsVclockEntry))

typedef enum AsVclockOrder
{
	AS_VCLOCK_BEFORE,
	AS_VCLOCK_EQUAL,
	AS_VCLOCK_AFTER,
	AS_VCLOCK_CONCURRENT
} AsVclockOrder;

/* How a stands to b. */
extern AsVclockOrder as_vclock_order(const AsVclock *a, const AsVclock *b);

/*
 * A total order that agrees with the partial one, for sorting and for
 * indexes: less than, equal to or greater than 0.
 */
extern int	as_vclock_compare(const AsVclock *a, const AsVclock *b);

/* A node's counter; 0 if it is not in the clock. */
extern int64 as_vclock_counter(const AsVclock *clock, int32 node);

/* An empty clock with room for so many nodes, in the current memory context. */
extern AsVclock *as_vclock_make(int count);

/*
 * The merge of two clocks, in the current memory context; NULL if it would
 * have more than AS_VCLOCK_MAX nodes.
 */
extern AsVclock *as_vclock_merge(const AsVclock *a, const AsVclock *b);

/*
 * The clock with the counter of a node above 0 one higher, in the current
 * memory context; NULL if it cannot be, or there are too many nodes.
 */
extern AsVclock *as_vclock_increment(const AsVclock *clock, int32 node);

/*
 * A clock that is written {1:5,2:7}, in any order, in the current memory
 * context; NULL if that is none.  *problem then is one of these two, or a
 * sentence that says what is wrong.
 */
extern AsVclock *as_vclock_parse(const char *input, const char **problem);
extern const char *const as_vclock_out_of_range;
extern const char *const as_vclock_too_many;

/* Append what it reads. */
extern void as_vclock_print(StringInfo out, const AsVclock *clock);

#endif							/* AS_VCLOCK_H */

/*-------------------------------------------------------------------------
 *
 * histogram.h
 *	  How often something took how long: counters in shared memory, one for
 *	  each range of durations.
 *
 * Durations are microseconds.  Up to 2^AS_HISTOGRAM_BITS - 1 each has a counter
 * of its own; from there on each power of two is divided into 2^AS_HISTOGRAM_BITS
 * equal ranges, so that no range is wider than an eighth of its lower end and
 * what is read back is at most 12.5 % too high.  Whatever takes longer than
 * AS_HISTOGRAM_MAX, somewhat above an hour, counts as that long.
 *
 * The protocol: anybody adds to any counter, by one atomic addition, which
 * loses nothing, waits for nobody and leaves nothing half done.  Readers take
 * one counter after the other, so they see a histogram that lacks some of what
 * was added meanwhile, though never one with less than what was added before.
 * There is no total apart from the counters, which would be a second word to
 * write and could disagree.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_HISTOGRAM_H
#define AS_HISTOGRAM_H

#include "actorstore.h"

#include "port/atomics.h"
#include "port/pg_bitutils.h"

#ifdef PG_HAVE_ATOMIC_U64_SIMULATION
#error "actorstore needs 64-bit atomic operations: spinlocks in their place would be waited for"
#endif

/* a power of two is divided into this many ranges, as a binary logarithm */
#define AS_HISTOGRAM_BITS		3

/* the longest duration told apart from longer ones: 71 minutes and a half */
#define AS_HISTOGRAM_MAX		UINT64CONST(0xFFFFFFFF)

/* the exact ones, and then as many again for each power of two up to 2^31 */
#define AS_HISTOGRAM_BUCKETS	((32 - AS_HISTOGRAM_BITS + 1) << AS_HISTOGRAM_BITS)

typedef struct AsHistogramShared
{
	pg_atomic_uint64 buckets[AS_HISTOGRAM_BUCKETS]; /* added to by anyone */
} AsHistogramShared;

/* The counter of a duration. */
static inline int
as_histogram_bucket(uint64 us)
{
	int			shift;

	us = Min(us, AS_HISTOGRAM_MAX);
	if (us < (1 << AS_HISTOGRAM_BITS))
		return (int) us;
	shift = pg_leftmost_one_pos64(us) - AS_HISTOGRAM_BITS;
	return (shift << AS_HISTOGRAM_BITS) + (int) (us >> shift);
}

/* The same duration n times. */
static inline void
as_histogram_add_many(AsHistogramShared *histogram, uint64 us, uint64 n)
{
	pg_atomic_fetch_add_u64(&histogram->buckets[as_histogram_bucket(us)], (int64) n);
}

static inline void
as_histogram_add(AsHistogramShared *histogram, uint64 us)
{
	as_histogram_add_many(histogram, us, 1);
}

/* Make an empty histogram, before anybody else knows of it. */
extern void as_histogram_init(AsHistogramShared *histogram);

/* How many durations have been added. */
extern uint64 as_histogram_count(AsHistogramShared *histogram);

/*
 * The duration that the fraction p (0 to 1; 0.5 is the median) of all did not
 * exceed, as percentile_disc() chooses it: the upper end of its range, or 0 if
 * nothing has been added.
 */
extern uint64 as_histogram_percentile(AsHistogramShared *histogram, double p);

#endif							/* AS_HISTOGRAM_H */

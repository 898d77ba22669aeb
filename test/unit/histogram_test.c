/*-------------------------------------------------------------------------
 *
 * histogram_test.c
 *	  Unit test of src/lib/histogram: durations come back at most an eighth too
 *	  long, and none is lost.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/histogram.h"

#include <math.h>
#include <pthread.h>

#include "tap.h"

static AsHistogramShared histogram;

static void
empty(void)
{
	memset(&histogram, 0x5a, sizeof(histogram));
	as_histogram_init(&histogram);
}

/* What one duration alone comes back as. */
static uint64
reads_back(uint64 us)
{
	uint64		result;

	as_histogram_add(&histogram, us);
	result = as_histogram_percentile(&histogram, 0.5);
	pg_atomic_write_u64(&histogram.buckets[as_histogram_bucket(us)], 0);
	return result;
}

static bool
close_enough(uint64 read, uint64 us)
{
	return read >= us && (read - us) * 8 <= us;
}

static void
one_by_one(void)
{
	int			wrong = 0;
	int			previous = -1;

	empty();
	ok(as_histogram_count(&histogram) == 0, "a new histogram is empty");
	ok(as_histogram_percentile(&histogram, 0) == 0 && as_histogram_percentile(&histogram, 0.5) == 0 &&
	   as_histogram_percentile(&histogram, 1) == 0, "and has 0 for all percentiles");
	ok(AS_HISTOGRAM_BUCKETS <= 256, "at most 256 counters");

	for (uint64 us = 0; us < 16; us++)
		wrong += reads_back(us) != us;
	ok(wrong == 0, "durations below 16 are exact");

	for (uint64 us = 0; us < 70000; us++)
	{
		int			bucket = as_histogram_bucket(us);

		wrong += bucket != previous && bucket != previous + 1;
		wrong += !close_enough(reads_back(us), us);
		previous = bucket;
	}
	ok(wrong == 0, "up to 70000 every counter is used, in order, none too wide");

	/* at all limits between counters, and at random */
	for (int power = 3; power < 32; power++)
	{
		for (int part = 0; part < 8; part++)
		{
			uint64		lower = (UINT64CONST(1) << power) + ((uint64) part << (power - 3));
			uint64		upper = lower + (UINT64CONST(1) << (power - 3)) - 1;

			wrong += reads_back(lower) != upper || reads_back(upper) != upper;
			wrong += as_histogram_bucket(lower - 1) != as_histogram_bucket(lower) - 1;
		}
	}
	ok(wrong == 0, "each power of two has eight counters of equal width");
	for (uint64 i = tap_times(1000000); i > 0; i--)
	{
		uint64		us = tap_random() >> (32 + tap_random() % 32);

		wrong += !close_enough(reads_back(us), us);
	}
	ok(wrong == 0, "at random: never less, at most 12.5 %% more");

	ok(as_histogram_bucket(AS_HISTOGRAM_MAX) == AS_HISTOGRAM_BUCKETS - 1, "the longest has the last counter");
	ok(reads_back(UINT64CONST(3600000000)) < UINT64CONST(3600000000) * 9 / 8, "an hour is in range");
	ok(reads_back(AS_HISTOGRAM_MAX + 1) == AS_HISTOGRAM_MAX && reads_back(UINT64_MAX) == AS_HISTOGRAM_MAX,
	   "what is longer counts as the longest");
	ok(as_histogram_count(&histogram) == 0, "no other counter was touched");
}

static int
compare(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return x < y ? -1 : x > y;
}

/* Many durations, beside the same sorted. */
static void
percentiles(void)
{
	static const double fractions[] = {0.0, 0.001, 0.01, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 1.0};
	static uint64 sample[10007];
	int			wrong = 0;

	empty();
	for (size_t i = 0; i < lengthof(sample); i++)
	{
		sample[i] = tap_random() >> (34 + tap_random() % 24);
		as_histogram_add(&histogram, sample[i]);
	}
	qsort(sample, lengthof(sample), sizeof(uint64), compare);
	ok(as_histogram_count(&histogram) == lengthof(sample), "all are counted");
	for (size_t i = 0; i < lengthof(fractions); i++)
	{
		size_t		rank = (size_t) ceil(fractions[i] * lengthof(sample));

		wrong += !close_enough(as_histogram_percentile(&histogram, fractions[i]), sample[Max(rank, 1) - 1]);
	}
	ok(wrong == 0, "percentiles are those of the sorted durations");
	ok(as_histogram_percentile(&histogram, -1) == as_histogram_percentile(&histogram, 0) &&
	   as_histogram_percentile(&histogram, 2) == as_histogram_percentile(&histogram, 1),
	   "fractions beyond 0 and 1 are those");

	empty();
	as_histogram_add_many(&histogram, 3, 99);
	as_histogram_add_many(&histogram, 5, 0);
	as_histogram_add(&histogram, 7);
	ok(as_histogram_count(&histogram) == 100, "many at once");
	ok(as_histogram_percentile(&histogram, 0) == 3 && as_histogram_percentile(&histogram, 0.99) == 3 &&
	   as_histogram_percentile(&histogram, 0.991) == 7 && as_histogram_percentile(&histogram, 1) == 7,
	   "a percentile is that of the last of so many");
	as_histogram_add_many(&histogram, 7, UINT64CONST(1) << 40);
	ok(as_histogram_count(&histogram) == (UINT64CONST(1) << 40) + 100 && as_histogram_percentile(&histogram, 0.5) == 7,
	   "very many at once");
}

/* Several threads add, and one looks at it. */
#define THREADS 4

static uint64 turns;

static void *
add(void *arg)
{
	uint64		state = *(uint64 *) arg;

	for (uint64 i = 0; i < turns; i++)
	{
		state = state * UINT64CONST(6364136223846793005) + UINT64CONST(1442695040888963407);
		as_histogram_add(&histogram, state >> 61);
		as_histogram_add_many(&histogram, 1000, 2);
	}
	return NULL;
}

static void
all_at_once(void)
{
	pthread_t	threads[THREADS];
	uint64		seeds[THREADS];
	uint64		all;
	uint64		count = 0;
	int			wrong = 0;

	empty();
	turns = tap_times(300000);
	all = 3 * THREADS * turns;
	for (int i = 0; i < THREADS; i++)
	{
		seeds[i] = tap_random();
		pthread_create(&threads[i], NULL, add, &seeds[i]);
	}
	for (int i = 0; i < 1000 && count < all; i++)
	{
		uint64		now = as_histogram_count(&histogram);
		uint64		percentile = as_histogram_percentile(&histogram, 0.9);

		wrong += now < count || now > all;
		wrong += percentile > 7 && percentile != 1023;
		count = now;
	}
	ok(wrong == 0, "seen while others add, it grows, and has what was added");
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ok(as_histogram_count(&histogram) == all, "none of " UINT64_FORMAT " was lost", all);
	ok(as_histogram_percentile(&histogram, 1) == 1023, "1000 is told as 1023");
}

int
main(void)
{
	one_by_one();
	percentiles();
	all_at_once();
	return done();
}

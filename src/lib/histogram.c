/*-------------------------------------------------------------------------
 *
 * histogram.c
 *	  Making and reading a histogram of durations.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/histogram.h"

#include <math.h>

void
as_histogram_init(AsHistogramShared *histogram)
{
	for (int i = 0; i < AS_HISTOGRAM_BUCKETS; i++)
		pg_atomic_init_u64(&histogram->buckets[i], 0);
}

uint64
as_histogram_count(AsHistogramShared *histogram)
{
	uint64		count = 0;

	for (int i = 0; i < AS_HISTOGRAM_BUCKETS; i++)
		count += pg_atomic_read_u64(&histogram->buckets[i]);
	return count;
}

/* The longest duration that is counted in this bucket. */
static uint64
upper_end(int bucket)
{
	int			shift;
	uint64		leading;

	if (bucket < (1 << AS_HISTOGRAM_BITS))
		return bucket;
	shift = (bucket >> AS_HISTOGRAM_BITS) - 1;
	leading = bucket - (shift << AS_HISTOGRAM_BITS);
	return ((leading + 1) << shift) - 1;
}

uint64
as_histogram_percentile(AsHistogramShared *histogram, double p)
{
	uint64		counts[AS_HISTOGRAM_BUCKETS];
	uint64		total = 0;
	uint64		up_to = 0;
	double		rank;
	int			last = 0;

	/* what the rank is part of must not grow while it is looked for */
	for (int i = 0; i < AS_HISTOGRAM_BUCKETS; i++)
	{
		counts[i] = pg_atomic_read_u64(&histogram->buckets[i]);
		total += counts[i];
	}

	rank = ceil(p * (double) total);
	for (int i = 0; i < AS_HISTOGRAM_BUCKETS; i++)
	{
		if (counts[i] == 0)
			continue;
		last = i;
		up_to += counts[i];
		if ((double) up_to >= rank)
			break;
	}
	return total == 0 ? 0 : upper_end(last);
}

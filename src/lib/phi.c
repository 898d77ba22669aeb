/*-------------------------------------------------------------------------
 *
 * phi.c
 *	  Is somebody who answers from time to time still there?  See phi.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/phi.h"

#include <math.h>

/* phi of a silence that is as good as impossible */
#define MAX_PHI		1000.0

static void
learn_interval(AsPhi *phi, int64 interval)
{
	uint64		us = (uint64) Min(Max(interval, 0), AS_PHI_MAX_INTERVAL);

	if (phi->count == AS_PHI_SAMPLES)
	{
		uint64		oldest = phi->intervals[phi->next];

		phi->sum -= oldest;
		phi->squares -= oldest * oldest;
	}
	else
		phi->count++;
	phi->intervals[phi->next] = (uint32) us;
	phi->next = (phi->next + 1) % AS_PHI_SAMPLES;
	phi->sum += us;
	phi->squares += us * us;
}

void
as_phi_begin(AsPhi *phi, int64 interval, int64 now)
{
	memset(phi, 0, sizeof(AsPhi));
	phi->last = now;

	/* a standard deviation of a quarter, till more is known */
	learn_interval(phi, interval - interval / 4);
	learn_interval(phi, interval + interval / 4);
}

void
as_phi_beat(AsPhi *phi, int64 now, bool learn)
{
	if (learn)
		learn_interval(phi, now - phi->last);
	phi->last = now;
}

double
as_phi_value(const AsPhi *phi, int64 now, int64 pause, double stretch)
{
	double		mean = (double) phi->sum / phi->count;
	double		variance = (double) phi->squares / phi->count - mean * mean;
	double		sigma = Max(sqrt(Max(variance, 0)), AS_PHI_MIN_SIGMA);
	double		silence = (double) Max(now - phi->last, 0) / stretch;
	double		later = erfc((silence - mean - pause) / sigma / M_SQRT2) / 2;

	/* not -log10(), which makes a minus of nothing */
	return later > 0 ? Min(0 - log10(later), MAX_PHI) : MAX_PHI;
}

void
as_phi_excuse(AsPhi *phi, int64 late, int64 interval, int64 now)
{
	if (late > interval / 2)
		phi->last = Min(phi->last + late, now);
}

int
as_phi_stretch(int stretch, int64 late, int64 interval)
{
	return late > interval / 2 ? Min(stretch + 1, AS_PHI_MAX_STRETCH) : Max(stretch - 1, 1);
}

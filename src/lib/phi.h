/*-------------------------------------------------------------------------
 *
 * phi.h
 *	  Is somebody who answers from time to time still there?
 *
 * The phi accrual failure detector of Hayashibara and others: phi is
 * -log10 of the probability that an answer comes later than now, if answers
 * go on to come as they have.  1 is wrong once in ten times, 8 once in 10^8,
 * as far as they are distributed normally.
 *
 * Times are microseconds of a clock that only goes forward.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_PHI_H
#define AS_PHI_H

#include "actorstore.h"

/* intervals that are remembered */
#define AS_PHI_SAMPLES		256

/* an interval that is longer counts as this long */
#define AS_PHI_MAX_INTERVAL (60 * 1000 * 1000)

/* nobody is given more time than so many times what is usual */
#define AS_PHI_MAX_STRETCH	8

/* answers are never taken to come more regularly than this */
#define AS_PHI_MIN_SIGMA	(100 * 1000)

typedef struct AsPhi
{
	int64		last;			/* when the last answer came */
	uint32		count;			/* intervals remembered */
	uint32		next;			/* the oldest of them, once all are taken */
	uint64		sum;
	uint64		squares;
	uint32		intervals[AS_PHI_SAMPLES];
} AsPhi;

/* Begin, as if there had been answers at this interval till now. */
extern void as_phi_begin(AsPhi *phi, int64 interval, int64 now);

/*
 * There was an answer.  After an outage the interval says nothing of those to
 * come: learn is false then.
 */
extern void as_phi_beat(AsPhi *phi, int64 now, bool learn);

/*
 * phi now.  A silence of up to pause is expected at any time.  stretch (1 or
 * more) makes time pass more slowly: we ourselves may be what is late.
 */
extern double as_phi_value(const AsPhi *phi, int64 now, int64 pause,
						   double stretch);

/*
 * Who asks was to do so earlier, and did not run: nobody has been silent in that
 * time.  Less than half an interval is not worth a word.
 */
extern void as_phi_excuse(AsPhi *phi, int64 late, int64 interval, int64 now);

/* The stretch from now on, if he is late by so much this time. */
extern int	as_phi_stretch(int stretch, int64 late, int64 interval);

#endif							/* AS_PHI_H */

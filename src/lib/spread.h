/*-------------------------------------------------------------------------
 *
 * spread.h
 *	  Some of a list of nodes, so that few of them go down together.
 *
 * Nodes stand in an order that says who comes next (slot_map.h), and each may
 * have two labels: the data centre that it is in, and the rack there.  Those
 * that are chosen first shall be in as many data centres as possible, then in
 * as many racks:
 *
 *	1. of each data centre the node that comes first in the order
 *	2. of each rack that none of these is in, the one that comes first
 *	3. the others
 *
 * each of the three in the order given.  So the first one stays the first, the
 * first m of these are the best m, and where all have the same labels, or none,
 * the order stays as it is.
 *
 * What has no label counts as GROUP BY has it: all of them are one data centre,
 * or one rack of their data centre.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SPREAD_H
#define AS_SPREAD_H

#include "actorstore.h"
#include "lib/slot_map.h"

/*
 * Numbers that stand for labels, from 0 to AS_MAX_NODES - 1: equal where these
 * are.  Racks of two data centres have two numbers, whatever they are called.
 */
typedef struct AsLocation
{
	int16		datacenter;
	int16		rack;
} AsLocation;

/* order[i]: where in locations, which has n, the node stands that is chosen as number i. */
extern void as_spread(const AsLocation *locations, int n, int *order);

#endif							/* AS_SPREAD_H */

/*-------------------------------------------------------------------------
 *
 * placement.c
 *	  How long it takes to find the node of an actor: by key hash and map of
 *	  slots, and, beside it, by the same hash and a ring of virtual nodes.
 *
 * Usage: placement NODES LOOKUPS.  Prints nanoseconds a look-up: map, ring.
 * The actors are a million different ones, in an order of no pattern.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/key_hash.h"
#include "lib/slot_map.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ACTORS			1000000
#define ID_LEN			12
#define POINTS_A_NODE	256		/* as libketama and others have them, or more */

typedef struct Point
{
	uint64		hash;
	int16		node;
} Point;

static char (*ids)[ID_LEN + 1];
static int16 owners[AS_SLOTS];
static Point *ring;
static int	npoints;

static int
compare_points(const void *a, const void *b)
{
	uint64		x = ((const Point *) a)->hash;
	uint64		y = ((const Point *) b)->hash;

	return x < y ? -1 : x > y;
}

static void
make_map(int nodes)
{
	AsMember	members[AS_MAX_NODES];

	for (int i = 0; i < nodes; i++)
		members[i] = (AsMember) {(int16) (i + 1), 100};
	(void) as_slot_map_next(owners, members, nodes, owners);
}

static void
make_ring(int nodes)
{
	npoints = nodes * POINTS_A_NODE;
	ring = malloc(npoints * sizeof(Point));
	for (int i = 0; i < npoints; i++)
	{
		char		point[16];
		int			len = snprintf(point, sizeof(point), "%d", i);

		ring[i].hash = as_key_hash("point", 5, point, len);
		ring[i].node = (int16) (i / POINTS_A_NODE + 1);
	}
	qsort(ring, npoints, sizeof(Point), compare_points);
}

static inline int16
in_map(uint64 hash)
{
	return owners[as_slot_of(hash)];
}

/* The first point at or after the hash. */
static inline int16
in_ring(uint64 hash)
{
	int			low = 0;
	int			high = npoints;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (ring[middle].hash < hash)
			low = middle + 1;
		else
			high = middle;
	}
	return ring[low == npoints ? 0 : low].node;
}

/* Nanoseconds a look-up.  The sum keeps the compiler from leaving it out. */
static double
measure(int16 (*find) (uint64), int64 lookups, int64 *sum)
{
	struct timespec from;
	struct timespec to;

	clock_gettime(CLOCK_MONOTONIC, &from);
	for (int64 i = 0; i < lookups; i++)
		*sum += find(as_key_hash("device", 6, ids[i % ACTORS], ID_LEN));
	clock_gettime(CLOCK_MONOTONIC, &to);
	return ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / lookups;
}

int
main(int argc, char **argv)
{
	int			nodes = argc == 3 ? atoi(argv[1]) : 0;
	int64		lookups = argc == 3 ? atoll(argv[2]) : 0;
	int64		sum = 0;
	double		map;

	if (nodes < 1 || nodes > AS_MAX_NODES || lookups < 1)
	{
		fprintf(stderr, "usage: placement NODES LOOKUPS\n");
		return 2;
	}
	ids = malloc(ACTORS * sizeof(*ids));
	for (int64 i = 0; i < ACTORS; i++)
		snprintf(ids[i], sizeof(ids[i]), "%012lld", (long long) (i * 48271 % 999999999989LL));
	make_map(nodes);
	make_ring(nodes);
	map = measure(in_map, lookups, &sum);
	printf("%.2f %.2f\n", map, measure(in_ring, lookups, &sum));
	return sum > 0 ? 0 : 1;
}

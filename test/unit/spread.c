/*-------------------------------------------------------------------------
 *
 * spread.c
 *	  Unit test of src/lib/spread: as many data centres, then racks, as can be.
 *
 * Thousands of random clusters.  What is chosen is compared with what could be:
 * of k nodes that begin with a given one, no more can be in different data centres
 * than there are, nor more than k; likewise racks.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/slot_map.h"
#include "lib/spread.h"

#include "tap.h"

#define NODES	30

/* A rack's number says its data centre, too. */
static AsLocation
at(int datacenter, int rack)
{
	AsLocation	location = {(int16) datacenter, (int16) (datacenter * 5 + rack)};

	return location;
}

/* How many data centres, or racks, are among the first n of an order? */
static int
count_different(const AsLocation *locations, const int *order, int n, bool racks)
{
	bool		seen[AS_MAX_NODES] = {false};
	int			different = 0;

	for (int i = 0; i < n; i++)
	{
		const AsLocation *location = &locations[order == NULL ? i : order[i]];
		int			number = racks ? location->rack : location->datacenter;

		different += !seen[number];
		seen[number] = true;
	}
	return different;
}

/* Is each there once? */
static bool
is_whole(const int *order, int n)
{
	bool		seen[NODES] = {false};

	for (int i = 0; i < n; i++)
	{
		if (order[i] < 0 || order[i] >= n || seen[order[i]])
			return false;
		seen[order[i]] = true;
	}
	return true;
}

/*
 * The slow way to say it: who comes next is the first one left in a data centre
 * that has none yet; if there is none, in a rack; if there is none, at all.
 */
static int
next_by_hand(const AsLocation *locations, int n, const int *order, int nchosen)
{
	int			best = -1;
	int			best_class = 3;

	for (int i = 0; i < n; i++)
	{
		int			class = 0;

		for (int k = 0; k < nchosen; k++)
		{
			const AsLocation *other = &locations[order[k]];

			if (order[k] == i)
				class = 3;
			else if (other->rack == locations[i].rack)
				class = Max(class, 2);
			else if (other->datacenter == locations[i].datacenter)
				class = Max(class, 1);
		}
		if (class < best_class)
		{
			best = i;
			best_class = class;
		}
	}
	return best;
}

static void
test_random(void)
{
	int			times = (int) tap_times(20000);
	int			broken = 0;
	int			owners = 0;
	int			datacenters = 0;
	int			racks = 0;
	int			others = 0;
	int			moved = 0;

	for (int t = 0; t < times; t++)
	{
		AsLocation	locations[NODES];
		int			order[NODES];
		int			n = 1 + (int) (tap_random() % NODES);
		int			ndatacenters = 1 + (int) (tap_random() % 6);
		int			nracks = 1 + (int) (tap_random() % 5);

		for (int i = 0; i < n; i++)
			locations[i] = at((int) (tap_random() % ndatacenters), (int) (tap_random() % nracks));
		as_spread(locations, n, order);
		broken += !is_whole(order, n);
		owners += order[0] != 0;
		for (int k = 1; k <= n; k++)
		{
			datacenters += count_different(locations, order, k, false) !=
				Min(k, count_different(locations, NULL, n, false));
			racks += count_different(locations, order, k, true) !=
				Min(k, count_different(locations, NULL, n, true));
			others += order[k - 1] != next_by_hand(locations, n, order, k - 1);
			moved += order[k - 1] != k - 1;
		}
	}
	ok(moved > times, "%d clusters: %d nodes have another place than without labels", times, moved);
	ok(broken == 0, "each node is there once");
	ok(owners == 0, "the owner stays the first");
	ok(datacenters == 0, "however many are chosen, they are in as many data centres as possible");
	ok(racks == 0, "and in as many racks");
	ok(others == 0, "in the order of the ring where that does not matter");
}

/* Nothing is said, or of all the same: the order of today, with real weights and slots. */
static void
test_unlabelled(void)
{
	int			times = (int) tap_times(5000);
	int			changed = 0;
	int			shuffled = 0;

	for (int t = 0; t < times; t++)
	{
		AsMember	members[NODES];
		AsLocation	locations[NODES];
		int16		ring[NODES];
		int			order[NODES];
		int			n = 1 + (int) (tap_random() % NODES);
		AsLocation	everywhere = at((int) (tap_random() % 6), (int) (tap_random() % 5));

		for (int i = 0; i < n; i++)
		{
			members[i].node = (int16) (i + 1);
			members[i].weight = 1 + (int32) (tap_random() % 300);
		}
		n = as_slot_map_order((int) (tap_random() % AS_SLOTS), (int16) (1 + tap_random() % n), members, n, ring);
		for (int i = 0; i < n; i++)
			locations[i] = everywhere;
		as_spread(locations, n, order);
		for (int i = 0; i < n; i++)
		{
			changed += ring[order[i]] != ring[i];
			shuffled += ring[i] != i + 1;
		}
	}
	ok(shuffled > times && changed == 0, "without labels, or with the same ones, the order is the ring's");
}

static void
test_simple(void)
{
	/* two in each rack, two racks in each data centre */
	AsLocation	eight[] = {at(0, 0), at(0, 0), at(0, 1), at(0, 1), at(1, 0), at(1, 0), at(1, 1), at(1, 1)};
	static const int expected[] = {0, 4, 2, 6, 1, 3, 5, 7};
	AsLocation	all[AS_MAX_NODES];
	int			order[AS_MAX_NODES];
	int			wrong = 0;

	as_spread(eight, 8, order);
	ok(memcmp(order, expected, sizeof(expected)) == 0, "data centres, then racks, then the others");
	as_spread(eight, 1, order);
	ok(order[0] == 0, "one node");
	for (int i = 0; i < AS_MAX_NODES; i++)
		all[i] = (AsLocation) {(int16) (i / 2), (int16) (AS_MAX_NODES - 1 - i)};
	as_spread(all, AS_MAX_NODES, order);
	for (int i = 0; i < AS_MAX_NODES; i++)
		wrong += order[i] != (i < AS_MAX_NODES / 2 ? 2 * i : 2 * i + 1 - AS_MAX_NODES);
	ok(wrong == 0, "as many nodes, data centres and racks as there can be");
}

int
main(void)
{
	test_simple();
	test_random();
	test_unlabelled();
	return done();
}

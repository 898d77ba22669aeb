/*-------------------------------------------------------------------------
 *
 * slot_map.c
 *	  Unit test of src/lib/slot_map: exact shares, fewest moves, one order.
 *
 * Thousands of random changes: nodes come, go, and get other weights.  After
 * each the shares are compared with the exact ones, and the number of slots
 * that moved with the fewest that any map with exact shares would have moved,
 * which is found here by trying all ways to round.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/key_hash.h"
#include "lib/slot_map.h"

#include "tap.h"

#define NODES	20

static AsMember members[NODES + 1];
static int	nmembers = 0;
static int16 map[AS_SLOTS];
static int16 next_number = 1;

/* ---- The fewest moves ---- */

static int64
total(void)
{
	int64		sum = 0;

	for (int i = 0; i < nmembers; i++)
		sum += members[i].weight;
	return sum;
}

static int
owned(const int16 *of, int16 node)
{
	int			n = 0;

	for (int slot = 0; slot < AS_SLOTS; slot++)
		n += of[slot] == node;
	return n;
}

/*
 * Of all ways to give each member its exact share rounded down or up, the one
 * that takes the fewest slots away from those who have them; slots of nobody
 * must move anyway.  fewest[k]: with k shares rounded up so far.
 */
static int
fewest_moves(const int16 *before)
{
	int			fewest[NODES + 2];
	int			up = AS_SLOTS;
	int			kept = 0;

	for (int i = 0; i <= NODES + 1; i++)
		fewest[i] = i == 0 ? 0 : AS_SLOTS + 1;
	for (int i = 0; i < nmembers; i++)
	{
		int64		exact = (int64) AS_SLOTS * members[i].weight;
		int			down = (int) (exact / total());
		int			has = owned(before, members[i].node);

		up -= down;
		kept += has;
		for (int k = i + 1; k >= 0; k--)
		{
			int			best = fewest[k] + (has > down ? has - down : 0);

			if (k > 0 && exact % total() != 0)
			{
				int			rounded_up = fewest[k - 1] + (has > down + 1 ? has - down - 1 : 0);

				best = Min(best, rounded_up);
			}
			fewest[k] = best;
		}
	}
	return fewest[up] + AS_SLOTS - kept;
}

/* ---- Changes ---- */

static int32
any_weight(void)
{
	switch (tap_random() % 4)
	{
		case 0:
			return 100;
		case 1:
			return 1 + (int32) (tap_random() % 10);
		case 2:
			return 1 + (int32) (tap_random() % AS_MAX_WEIGHT);
		default:
			return (int32) (tap_random() % 3) * 100;
	}
}

/* Change something, as long as somebody with a weight is left. */
static void
change(void)
{
	AsMember	before[NODES + 1];
	int			nbefore = nmembers;
	int			kind = (int) (tap_random() % 3);

	memcpy(before, members, sizeof(members));
	if (nmembers == 0 || (kind == 0 && nmembers < NODES))
	{
		members[nmembers].node = next_number;
		members[nmembers++].weight = any_weight();
		next_number = next_number % PG_INT16_MAX + 1;
	}
	else if (kind == 1)
		members[tap_random() % nmembers] = members[nmembers - 1], nmembers--;
	else
		members[tap_random() % nmembers].weight = any_weight();
	if (total() == 0)
	{
		memcpy(members, before, sizeof(members));
		nmembers = nbefore;
	}
}

static void
test_changes(void)
{
	int			times = (int) tap_times(5000);
	int			nobody = 0;
	int			inexact = 0;
	int			wasteful = 0;
	int			miscounted = 0;
	int			shared = 0;
	int			empty = 0;

	while (total() == 0)
		change();
	(void) as_slot_map_next(map, members, nmembers, map);
	for (int i = 0; i < times; i++)
	{
		int16		before[AS_SLOTS];
		int			moved;
		int			counted = 0;
		int			all = 0;

		change();
		memcpy(before, map, sizeof(map));
		moved = as_slot_map_next(map, members, nmembers, map);
		for (int slot = 0; slot < AS_SLOTS; slot++)
			counted += map[slot] != before[slot];
		miscounted += moved != counted;
		wasteful += moved != fewest_moves(before);
		for (int k = 0; k < nmembers; k++)
		{
			int64		has = owned(map, members[k].node);
			int64		exact = (int64) AS_SLOTS * members[k].weight;

			all += has;
			inexact += has * total() <= exact - total() || has * total() >= exact + total();
			empty += members[k].weight == 0 && has > 0;
		}
		nobody += all != AS_SLOTS;
		shared += nmembers;
	}
	ok(shared > 2 * times, "%d changes, %d members on average", times, shared / times);
	ok(nobody == 0, "each slot has an owner who is a member");
	ok(inexact == 0, "each member has its exact share, less than one slot more or less");
	ok(empty == 0, "nothing without weight");
	ok(wasteful == 0, "never more moves than the fewest possible");
	ok(miscounted == 0, "the number of moves is right");
}

/* ---- Simple cases ---- */

static void
test_simple(void)
{
	AsMember	three[] = {{1, 100}, {2, 100}, {3, 100}};
	int16		one[AS_SLOTS] = {0};
	int16		two[AS_SLOTS];

	ok(as_slot_map_next(one, three, 1, one) == AS_SLOTS, "the first node gets all slots");
	ok(as_slot_map_next(one, three, 1, two) == 0, "and keeps them");
	ok(as_slot_map_next(one, three, 2, two) == 2048, "the second one half");
	ok(owned(two, 1) == 2048 && owned(two, 2) == 2048, "exactly");
	ok(as_slot_map_next(two, three, 3, two) == 1365, "the third one a third");
	ok(as_slot_map_next(two, three, 2, two) == 1365, "which comes back when it goes");
	ok(as_slot_map_next(two, three + 1, 1, two) == 2048 && owned(two, 2) == AS_SLOTS,
	   "the last one has everything again");
}

/* ---- Order ---- */

static void
test_order(void)
{
	AsMember	five[] = {{1, 100}, {2, 200}, {3, 300}, {4, 400}, {5, 0}};
	int			first[6] = {0};
	int			wrong = 0;
	int			disturbed = 0;

	for (int slot = 0; slot < AS_SLOTS; slot++)
	{
		int16		order[5];
		int16		fewer[5];
		int			n = as_slot_map_order(slot, AS_NO_NODE, five, 5, order);
		int			seen = 0;
		int			at = 0;

		for (int i = 0; i < n; i++)
			seen |= 1 << order[i];
		wrong += n != 4 || seen != 0x1e;
		first[order[0]]++;

		/* the same order without node 3 */
		n = as_slot_map_order(slot, AS_NO_NODE,
							  (AsMember[]) {{4, 400}, {1, 100}, {2, 200}}, 3, fewer);
		for (int i = 0; i < 4; i++)
		{
			if (order[i] != 3)
				disturbed += order[i] != fewer[at++];
		}
		disturbed += at != n;

		/* the owner comes first, weighted or not */
		n = as_slot_map_order(slot, 5, five, 5, fewer);
		wrong += n != 5 || fewer[0] != 5 || memcmp(fewer + 1, order, 4 * sizeof(int16)) != 0;
		n = as_slot_map_order(slot, order[2], five, 5, fewer);
		wrong += n != 4 || fewer[0] != order[2] || fewer[1] != order[0] ||
			fewer[2] != order[1] || fewer[3] != order[3];
	}
	ok(wrong == 0, "the owner first, then all the others with a weight");
	ok(disturbed == 0, "in an order that nobody's leaving changes");
	/* 409.6 * weight / 100 expected; six standard deviations are at most 188 */
	for (int i = 1; i <= 4; i++)
		ok(abs(first[i] - i * 4096 / 10) < 190, "node %d is the first of %d", i, first[i]);
}

/* ---- Places that other programs may compute: docs/cluster.md ---- */

static void
test_vectors(void)
{
	AsMember	three[] = {{1, 100}, {2, 100}, {3, 100}};
	int16		order[3];
	int			wrong = 0;

	for (int i = 0; i < 5; i++)
	{
		static const char *const addresses[][2] = {
			{"cart", "a"}, {"cart", "c-42"}, {"airport", "ATL"}, {"ü", "€"},
			{"device", "0123456789012345678901234567890123456789"}
		};
		static const uint64 hashes[] = {
			UINT64CONST(0x5d6ce812bb599f44), UINT64CONST(0x7e69618e75b2f7bf),
			UINT64CONST(0xcc04d2694490a92b), UINT64CONST(0x192d4dddac64f0d0),
			UINT64CONST(0xe5f9ce6df8d54fa6)
		};
		static const int slots[] = {1494, 2022, 3264, 402, 3679};
		const char *type = addresses[i][0];
		const char *id = addresses[i][1];
		uint64		hash = as_key_hash(type, strlen(type), id, strlen(id));

		ok(hash == hashes[i] && as_slot_of(hash) == slots[i], "%s, %s: slot %d",
		   type, id, slots[i]);
	}
	ok(as_slot_of(0) == 0 && as_slot_of(PG_UINT64_MAX) == AS_SLOTS - 1, "the ends");
	for (int i = 0; i < 3; i++)
	{
		static const int slots[] = {0, 1494, 4095};
		static const int16 frozen[3][3] = {{3, 1, 2}, {1, 3, 2}, {2, 3, 1}};

		(void) as_slot_map_order(slots[i], AS_NO_NODE, three, 3, order);
		wrong += memcmp(order, frozen[i], sizeof(order)) != 0;
		printf("# slot %d: %d %d %d\n", slots[i], order[0], order[1], order[2]);
	}
	ok(wrong == 0, "the order is what it was when first written");
}

int
main(void)
{
	test_simple();
	test_changes();
	test_order();
	test_vectors();
	return done();
}

/*-------------------------------------------------------------------------
 *
 * slot_map.c
 *	  See slot_map.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/slot_map.h"

#include <math.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* What a map is made with. */
typedef struct Making
{
	const AsMember *members;
	int			nmembers;
	int			owned[AS_MAX_NODES];	/* by each member */
	int			quota[AS_MAX_NODES];	/* what it shall own */
	int16		index[AS_SLOTS];	/* the slot's owner in members, -1: none */
} Making;

/* A slot that may move, and who would take it. */
typedef struct Offer
{
	int			slot;
	int			taker;			/* in members */
	double		score;
} Offer;

static double
score_of(int slot, const AsMember *member)
{
	unsigned char input[4] = {
		(unsigned char) (slot & 0xff), (unsigned char) (slot >> 8),
		(unsigned char) (member->node & 0xff), (unsigned char) ((uint16) member->node >> 8)
	};
	double		u = ((double) (XXH64(input, sizeof(input), 0) >> 11) + 0.5) / 9007199254740992.0;

	return member->weight / -log(u);
}

static int
index_of(int16 node, const AsMember *members, int nmembers)
{
	for (int i = 0; i < nmembers; i++)
	{
		if (members[i].node == node)
			return i;
	}
	return -1;
}

/* ---- Shares ---- */

static int64
total_weight(const AsMember *members, int nmembers)
{
	int64		total = 0;

	for (int i = 0; i < nmembers; i++)
		total += members[i].weight;
	return total;
}

/*
 * Everybody gets the whole part of his share.  What is left goes, one each, to
 * those who own more than that and so need not give it away, then to those with
 * the largest fractions.
 */
static void
set_quotas(Making *making)
{
	const AsMember *members = making->members;
	int64		total = total_weight(members, making->nmembers);
	int64		rest[AS_MAX_NODES];
	int			left = AS_SLOTS;

	Assert(total > 0);
	for (int i = 0; i < making->nmembers; i++)
	{
		int64		exact = (int64) AS_SLOTS * members[i].weight;

		making->quota[i] = (int) (exact / total);
		rest[i] = exact % total;
		left -= making->quota[i];
	}
	while (left-- > 0)
	{
		int			best = -1;

		for (int i = 0; i < making->nmembers; i++)
		{
			bool		keeps = making->owned[i] > making->quota[i];

			if (rest[i] == 0)
				continue;
			if (best < 0 ||
				keeps > (making->owned[best] > making->quota[best]) ||
				(keeps == (making->owned[best] > making->quota[best]) &&
				 rest[i] > rest[best]))
				best = i;
		}
		making->quota[best]++;
		rest[best] = 0;
	}
}

/* ---- Moves ---- */

/* Has its owner, if any, more slots than it shall have? */
static bool
may_move(const Making *making, int slot)
{
	int			owner = making->index[slot];

	return owner < 0 || making->owned[owner] > making->quota[owner];
}

static bool
has_room(const Making *making, int member)
{
	return making->owned[member] < making->quota[member];
}

/* The member with the highest score for the slot among those with room. */
static void
find_taker(const Making *making, Offer *offer)
{
	offer->taker = -1;
	for (int i = 0; i < making->nmembers; i++)
	{
		double		score;

		if (!has_room(making, i))
			continue;
		score = score_of(offer->slot, &making->members[i]);
		if (offer->taker < 0 || score > offer->score)
		{
			offer->taker = i;
			offer->score = score;
		}
	}
}

static int
compare_offers(const void *a, const void *b)
{
	const Offer *x = a;
	const Offer *y = b;

	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	return x->slot - y->slot;
}

static int
collect_offers(const Making *making, Offer *offers)
{
	int			n = 0;

	for (int slot = 0; slot < AS_SLOTS; slot++)
	{
		if (!may_move(making, slot))
			continue;
		offers[n].slot = slot;
		find_taker(making, &offers[n]);
		if (offers[n].taker >= 0)
			n++;
	}
	return n;
}

static void
move(Making *making, const Offer *offer)
{
	int			owner = making->index[offer->slot];

	if (owner >= 0)
		making->owned[owner]--;
	making->owned[offer->taker]++;
	making->index[offer->slot] = (int16) offer->taker;
}

/*
 * The best offers first.  An offer whose taker is full meanwhile is made to
 * somebody else, in the next round: each round moves at least one slot.
 */
static void
move_slots(Making *making)
{
	Offer		offers[AS_SLOTS];
	int			n = collect_offers(making, offers);

	while (n > 0)
	{
		int			again = 0;

		qsort(offers, n, sizeof(Offer), compare_offers);
		for (int i = 0; i < n; i++)
		{
			Offer		offer = offers[i];

			if (!may_move(making, offer.slot))
				continue;
			if (has_room(making, offer.taker))
				move(making, &offer);
			else
			{
				find_taker(making, &offer);
				if (offer.taker >= 0)
					offers[again++] = offer;
			}
		}
		/* who was chosen in this round may be full by its end */
		n = 0;
		for (int i = 0; i < again; i++)
		{
			if (!has_room(making, offers[i].taker))
				find_taker(making, &offers[i]);
			if (offers[i].taker >= 0)
				offers[n++] = offers[i];
		}
	}
}

int
as_slot_map_next(const int16 *now, const AsMember *members, int nmembers,
				 int16 *next)
{
	Making		making = {.members = members, .nmembers = nmembers};
	int			moved = 0;

	Assert(nmembers > 0 && nmembers <= AS_MAX_NODES);
	for (int slot = 0; slot < AS_SLOTS; slot++)
	{
		making.index[slot] = (int16) index_of(now[slot], members, nmembers);
		if (making.index[slot] >= 0)
			making.owned[making.index[slot]]++;
	}
	set_quotas(&making);
	move_slots(&making);
	for (int slot = 0; slot < AS_SLOTS; slot++)
	{
		int16		owner = members[making.index[slot]].node;

		moved += owner != now[slot];
		next[slot] = owner;
	}
	return moved;
}

/* ---- Order ---- */

int
as_slot_map_order(int slot, int16 owner, const AsMember *members,
				  int nmembers, int16 *order)
{
	double		scores[AS_MAX_NODES];
	int			n = 0;

	Assert(nmembers <= AS_MAX_NODES);
	for (int i = 0; i < nmembers; i++)
	{
		double		score = members[i].node == owner ? HUGE_VAL :
			score_of(slot, &members[i]);
		int			at = n;

		if (score <= 0)
			continue;
		for (; at > 0 && scores[at - 1] < score; at--)
		{
			scores[at] = scores[at - 1];
			order[at] = order[at - 1];
		}
		scores[at] = score;
		order[at] = members[i].node;
		n++;
	}
	return n;
}

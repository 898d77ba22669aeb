/*-------------------------------------------------------------------------
 *
 * gossip.c
 *	  What each node thinks of the others: see gossip.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/gossip.h"

#include "common/hashfn.h"
#include "compat.h"
#include "port/pg_bitutils.h"

/* ---- Members ---- */

static int
place_of(const AsGossip *gossip, int16 node)
{
	int			low = 0;
	int			high = gossip->count;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (gossip->opinions[middle].node < node)
			low = middle + 1;
		else
			high = middle;
	}
	return low < gossip->count && gossip->opinions[low].node == node ? low : -1;
}

void
as_gossip_set_members(AsGossip *gossip, const int16 *members, int count)
{
	int			kept = 0;

	/* those who have left */
	for (int i = 0, j = 0; i < gossip->count; i++)
	{
		while (j < count && members[j] < gossip->opinions[i].node)
			j++;
		if (j == count || members[j] != gossip->opinions[i].node)
			continue;
		gossip->opinions[kept] = gossip->opinions[i];
		gossip->health[kept++] = gossip->health[i];
	}

	/* those who have come, from behind */
	for (int to = count - 1; to >= 0; to--)
	{
		if (kept > 0 && gossip->opinions[kept - 1].node == members[to])
		{
			gossip->opinions[to] = gossip->opinions[--kept];
			gossip->health[to] = gossip->health[kept];
			continue;
		}
		gossip->opinions[to] = (AsOpinion) {.node = members[to]};
		gossip->health[to] = AS_HEALTH_UNKNOWN;
	}
	gossip->count = count;
}

/* How many each node probes. */
static int
reach(int count)
{
	int			wanted = count < 2 ? 0 : pg_leftmost_one_pos32(count) + 2;

	return Min(Min(wanted, AS_GOSSIP_SUSPECTS), Max(count - 1, 0));
}

int
as_gossip_targets(const AsGossip *gossip, int16 self, int16 *targets)
{
	int			place = place_of(gossip, self);
	int			n = place < 0 ? 0 : reach(gossip->count);

	for (int i = 0; i < n; i++)
		targets[i] = gossip->opinions[(place + 1 + i) % gossip->count].node;
	return n;
}

/* ---- Opinions ---- */

void
as_gossip_suspect(AsGossip *gossip, int16 self, int64 first,
				  const int16 *suspects, int nsuspects)
{
	int			place = place_of(gossip, self);
	AsOpinion  *mine;

	if (place < 0)
		return;
	mine = &gossip->opinions[place];
	if (mine->counter > 0 && mine->nsuspects == nsuspects &&
		memcmp(mine->suspects, suspects, nsuspects * sizeof(int16)) == 0)
		return;
	mine->counter = Max(mine->counter + 1, first);
	mine->nsuspects = (int16) nsuspects;
	memcpy(mine->suspects, suspects, nsuspects * sizeof(int16));
}

bool
as_gossip_hear(AsGossip *gossip, int16 self, const AsOpinion *opinion)
{
	int			place = place_of(gossip, opinion->node);
	AsOpinion  *known;

	if (place < 0)
		return false;
	known = &gossip->opinions[place];
	if (opinion->counter <= known->counter)
		return false;
	if (opinion->node == self)
	{
		known->counter = opinion->counter + 1;
		return true;
	}
	*known = *opinion;
	return true;
}

AsVclock *
as_gossip_clock(const AsGossip *gossip)
{
	AsVclock   *clock = as_vclock_make(gossip->count);

	for (int i = 0; i < gossip->count; i++)
	{
		if (gossip->opinions[i].counter == 0)
			continue;
		clock->entries[clock->count].node = gossip->opinions[i].node;
		clock->entries[clock->count++].counter = gossip->opinions[i].counter;
	}
	SET_VARSIZE(clock, AS_VCLOCK_SIZE(clock->count));
	return clock;
}

int64
as_gossip_hash(const AsGossip *gossip)
{
	uint64		hash = 0;

	for (int i = 0; i < gossip->count; i++)
	{
		int64		entry[2] = {gossip->opinions[i].node, gossip->opinions[i].counter};

		if (entry[1] > 0)
			hash ^= hash_bytes_extended((unsigned char *) entry, sizeof(entry), 0);
	}
	return (int64) hash;
}

int
as_gossip_newer(const AsGossip *gossip, const AsVclock *than,
				const AsOpinion **newer)
{
	int			n = 0;
	int			j = 0;

	for (int i = 0; i < gossip->count; i++)
	{
		const AsOpinion *opinion = &gossip->opinions[i];
		int64		known;

		while (j < than->count && than->entries[j].node < opinion->node)
			j++;
		known = j < than->count && than->entries[j].node == opinion->node ?
			than->entries[j].counter : 0;
		if (opinion->counter > known)
			newer[n++] = opinion;
	}
	return n;
}

/* ---- Judgement ---- */

static bool
suspects(const AsOpinion *opinion, int16 node)
{
	for (int i = 0; i < opinion->nsuspects; i++)
	{
		if (opinion->suspects[i] == node)
			return true;
	}
	return false;
}

/*
 * Of those who probe a node: how many suspect it, is there another one who
 * would if it were down, and one who is surely up?  Who is down has no vote;
 * whom we suspect tells us nothing.
 */
static AsHealth
judge(const AsGossip *gossip, int place, int self)
{
	int16		node = gossip->opinions[place].node;
	const AsOpinion *mine = &gossip->opinions[self];
	int			votes = 0;
	bool		others = false;
	bool		surely = false;

	for (int i = 1; i <= reach(gossip->count); i++)
	{
		int			voter = (place + gossip->count - i) % gossip->count;
		const AsOpinion *opinion = &gossip->opinions[voter];

		if (voter != self && gossip->health[voter] == AS_HEALTH_DOWN)
			continue;
		surely = surely || voter == self || gossip->health[voter] == AS_HEALTH_UP;
		if (suspects(opinion, node))
			votes++;
		else
			others = others || !suspects(mine, opinion->node);
	}
	if (votes >= 2 || (votes == 1 && !others))
		return AS_HEALTH_DOWN;
	return votes == 0 && surely ? AS_HEALTH_UP : AS_HEALTH_SUSPECT;
}

int
as_gossip_judge(AsGossip *gossip, int16 self)
{
	int			self_place = place_of(gossip, self);
	int			changed = 0;

	if (self_place < 0)
		return 0;

	/* along the ring from here: what one is told soon tells of the next */
	for (int i = 0; i < gossip->count; i++)
	{
		int			place = (self_place + i) % gossip->count;
		uint8		judged = i == 0 ? AS_HEALTH_UP : judge(gossip, place, self_place);

		changed += judged != gossip->health[place];
		gossip->health[place] = judged;
	}
	return changed;
}

AsHealth
as_gossip_health(const AsGossip *gossip, int16 node)
{
	int			place = place_of(gossip, node);

	return place < 0 ? AS_HEALTH_UNKNOWN : (AsHealth) gossip->health[place];
}

/*-------------------------------------------------------------------------
 *
 * trail.c
 *	  See trail.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/trail.h"

#include "runtime/slot.h"
#include "utils/memutils.h"

/* Actors that a worker remembers, each in the one cell that its key chooses. */
#define NTRAILS			4096

/* Who reads so many at once has entries that fill pages of their own. */
#define MANY_MESSAGES	16

/* A dead row is worth so many looks; so many in vain are enough, for so many turns. */
#define WORTH			4
#define MANY_IN_VAIN	256
#define TURNS_WITHOUT	8192

typedef struct Trail
{
	uint64		key_hash;
	int			lane;
	uint64		last;			/* where the last turn began */
	uint64		before;			/* and the one before */
} Trail;

static Trail *trails = NULL;
static int	in_vain = 0;
static int	without = 0;

static Trail *
trail_of(uint64 key_hash)
{
	if (trails == NULL)
	{
		trails = MemoryContextAlloc(TopMemoryContext, NTRAILS * sizeof(Trail));
		for (int i = 0; i < NTRAILS; i++)
			trails[i].lane = -1;
	}
	/* the lowest bits choose the actor's slot; these are others */
	return &trails[(key_hash >> 32) % NTRAILS];
}

uint64
as_trail_start(uint64 key_hash, int lane, uint64 position)
{
	Trail	   *trail = trail_of(key_hash);

	if (without > 0)
	{
		without--;
		return position;
	}
	if (trail->lane != lane || trail->key_hash != key_hash)
		return position;
	return Min(position, trail->before);
}

void
as_trail_note(uint64 key_hash, int lane, uint64 position, int nread,
			  int ndead, int ngone)
{
	Trail	   *trail = trail_of(key_hash);
	bool		known = trail->lane == lane && trail->key_hash == key_hash;

	in_vain = Max(in_vain + ngone - WORTH * ndead, -MANY_IN_VAIN);
	if (in_vain > MANY_IN_VAIN)
	{
		in_vain = 0;
		without = TURNS_WITHOUT;
	}
	if (nread > MANY_MESSAGES)
	{
		trail->lane = -1;
		return;
	}
	trail->key_hash = key_hash;
	trail->lane = lane;
	trail->before = known ? trail->last : position;
	trail->last = position;
}

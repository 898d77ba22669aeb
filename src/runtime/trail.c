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

#include "access/transam.h"
#include "runtime/slot.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/*
 * Actors that a worker remembers, each in one cell of the set that its key
 * chooses; in a set, the one that was needed last comes first.
 */
#define NTRAILS			8192
#define SET_TRAILS		4

/* Who reads so many at once has entries that fill pages of their own. */
#define MANY_MESSAGES	16

/* What an actor has handled while we could not look is not read any more. */
#define MANY_BEHIND		256

/* A dead row is worth so many looks; so many in vain are enough for now. */
#define WORTH			4
#define MANY_IN_VAIN	256

/* Look so often, in turns, whether that is over. */
#define TURNS_PER_LOOK	64

typedef struct Trail
{
	uint64		key_hash;
	int			lane;
	int			behind;			/* messages read since "before" */
	uint64		last;			/* where the last turn began */
	uint64		before;			/* and the one before, or an earlier one */
} Trail;

static Trail *trails = NULL;
static int	in_vain = 0;

/* Somebody's snapshot is in the way, and was older than this transaction. */
static TransactionId newest = InvalidTransactionId;
static int	turns_held = 0;

static Trail *
set_of(uint64 key_hash)
{
	if (trails == NULL)
	{
		trails = MemoryContextAlloc(TopMemoryContext, NTRAILS * sizeof(Trail));
		for (int i = 0; i < NTRAILS; i++)
			trails[i].lane = -1;
	}
	/* the lowest bits choose the actor's slot; these are others */
	return &trails[(key_hash >> 32) % (NTRAILS / SET_TRAILS) * SET_TRAILS];
}

/* Where in its set is the actor's cell for a lane?  SET_TRAILS: nowhere. */
static int
place_in_set(const Trail *set, uint64 key_hash, int lane)
{
	int			i = 0;

	while (i < SET_TRAILS &&
		   (set[i].lane != lane || set[i].key_hash != key_hash))
		i++;
	return i;
}

/* Would we look in vain? */
static bool
is_held(Relation messages)
{
	if (!TransactionIdIsValid(newest))
		return false;
	if (++turns_held % TURNS_PER_LOOK != 0 ||
		!GlobalVisTestIsRemovableXid(GlobalVisTestFor(messages), newest))
		return true;
	newest = InvalidTransactionId;
	in_vain = 0;
	return false;
}

uint64
as_trail_start(Relation messages, uint64 key_hash, int lane, uint64 position)
{
	Trail	   *set = set_of(key_hash);
	int			i;

	if (is_held(messages))
		return position;
	i = place_in_set(set, key_hash, lane);
	return i < SET_TRAILS ? Min(position, set[i].before) : position;
}

/* Are we to look again where we have been? */
static bool
stays(Trail *trail, int ngone)
{
	return (ngone > 0 || TransactionIdIsValid(newest)) &&
		trail->behind < MANY_BEHIND;
}

void
as_trail_note(uint64 key_hash, int lane, uint64 position, int nread,
			  int ndead, int ngone)
{
	Trail	   *trail = set_of(key_hash);
	int			i = place_in_set(trail, key_hash, lane);
	bool		known = i < SET_TRAILS;

	in_vain = Max(in_vain + ngone - WORTH * ndead, -MANY_IN_VAIN);
	if (in_vain > MANY_IN_VAIN && !TransactionIdIsValid(newest))
	{
		newest = ReadNextTransactionId();
		TransactionIdRetreat(newest);
	}

	/* it comes first now; if it is new, in the place of the one least needed */
	i = Min(i, SET_TRAILS - 1);
	if (i > 0)
	{
		Trail		moved = trail[i];

		memmove(&trail[1], &trail[0], i * sizeof(Trail));
		trail[0] = moved;
	}
	if (nread > MANY_MESSAGES)
	{
		trail->lane = -1;
		return;
	}
	trail->key_hash = key_hash;
	trail->lane = lane;
	if (known && stays(trail, ngone))
		trail->behind += nread;
	else
	{
		trail->before = known ? trail->last : position;
		trail->behind = nread;
	}
	trail->last = position;
}

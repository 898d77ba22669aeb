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

/* Actors that a worker remembers, each in the one cell that its key chooses. */
#define NTRAILS			4096

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
	Trail	   *trail = trail_of(key_hash);

	if (is_held(messages) || trail->lane != lane || trail->key_hash != key_hash)
		return position;
	return Min(position, trail->before);
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
	Trail	   *trail = trail_of(key_hash);
	bool		known = trail->lane == lane && trail->key_hash == key_hash;

	in_vain = Max(in_vain + ngone - WORTH * ndead, -MANY_IN_VAIN);
	if (in_vain > MANY_IN_VAIN && !TransactionIdIsValid(newest))
	{
		newest = ReadNextTransactionId();
		TransactionIdRetreat(newest);
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

/*-------------------------------------------------------------------------
 *
 * gossip.h
 *	  What each node thinks of the others, as far as this one has heard.
 *
 * A node has an opinion: the list of those whom it suspects not to be there
 * any more.  Only the node itself changes it, and counts when it does; so of
 * two copies the one with the higher counter is the newer one, and the
 * counters of all opinions that a node has heard are a vector clock
 * (vclock.h).  Two nodes that meet compare their clocks, by a hash if they are
 * the same, and tell each other what the other one lacks.
 *
 *	- A node is suspected by those that probe it: the next ones before it by
 *	  their numbers, as in a ring (as_gossip_targets).
 *	- It is down if two suspect it who are not down themselves, or if one does
 *	  and nobody is left who could be the second: all others that probe it are
 *	  down, or suspected by us.  So a single node that cannot reach another,
 *	  which others can, holds nobody to be down.
 *	- It is up again when they suspect it no more, and suspect where nobody is
 *	  left who would know.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_GOSSIP_H
#define AS_GOSSIP_H

#include "actorstore.h"

#include "lib/slot_map.h"
#include "lib/vclock.h"

/* a node probes at most so many, so it suspects no more */
#define AS_GOSSIP_SUSPECTS	10

typedef struct AsOpinion
{
	int64		counter;		/* 0: nothing was heard */
	int16		node;			/* whose it is */
	int16		nsuspects;
	int16		suspects[AS_GOSSIP_SUSPECTS];
} AsOpinion;

typedef enum AsHealth
{
	AS_HEALTH_UNKNOWN,			/* not a node, or nobody looks */
	AS_HEALTH_UP,
	AS_HEALTH_SUSPECT,			/* somebody suspects it */
	AS_HEALTH_DOWN
} AsHealth;

/* Opinions of the members, ascending by node. */
typedef struct AsGossip
{
	int			count;
	AsOpinion	opinions[AS_MAX_NODES];
	uint8		health[AS_MAX_NODES];	/* of them, by as_gossip_judge() */
} AsGossip;

/*
 * The members, by ascending number: what was heard of those that stay is kept,
 * the others are forgotten.
 */
extern void as_gossip_set_members(AsGossip *gossip, const int16 *members,
								  int count);

/*
 * Whom a node probes: writes at most AS_GOSSIP_SUSPECTS numbers, and returns
 * how many.  More than log2 of the number of members, at least two where there
 * are as many others.
 */
extern int	as_gossip_targets(const AsGossip *gossip, int16 self, int16 *targets);

/*
 * The node's own opinion; counts if it is another one than before.  first is
 * where it begins to count: above all that it has counted in an earlier life.
 */
extern void as_gossip_suspect(AsGossip *gossip, int16 self, int64 first,
							  const int16 *suspects, int nsuspects);

/*
 * Somebody tells an opinion; true if it was news.  Our own, from an earlier
 * life, is not taken over, but we go on counting above it.
 */
extern bool as_gossip_hear(AsGossip *gossip, int16 self, const AsOpinion *opinion);

/* The clock of what was heard, in the current memory context, and its hash. */
extern AsVclock *as_gossip_clock(const AsGossip *gossip);
extern int64 as_gossip_hash(const AsGossip *gossip);

/* What is newer than a clock: opinions, at most AS_MAX_NODES; how many. */
extern int	as_gossip_newer(const AsGossip *gossip, const AsVclock *than,
							const AsOpinion **newer);

/*
 * Judge everybody anew.  Returns how many nodes have another health than
 * before.
 */
extern int	as_gossip_judge(AsGossip *gossip, int16 self);

/* What was judged last. */
extern AsHealth as_gossip_health(const AsGossip *gossip, int16 node);

#endif							/* AS_GOSSIP_H */

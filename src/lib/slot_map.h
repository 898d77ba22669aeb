/*-------------------------------------------------------------------------
 *
 * slot_map.h
 *	  Which node an actor lives on: a ring of 4,096 slots, and who owns them.
 *
 * An actor's slot is the upper 12 bits of its key hash (key_hash.h), so that
 * the keys of a slot are one range of hashes.  A map names the node that owns
 * each slot.  It is computed anew when a node comes, goes or gets another
 * weight, and kept: what is in it depends on the one before it.
 *
 *	- A node of weight w out of W owns the whole part of 4096 * w / W slots,
 *	  or one more.  Who has one more is chosen so that the fewest slots move.
 *	- A slot moves only from a node that owns more than its share to one that
 *	  owns fewer: no map with these shares is nearer to the one before.
 *	- Which slots move, and where to, is decided by weighted rendezvous: the
 *	  score of a node for a slot is w / -ln(u), with
 *
 *		h = XXH64, seed 0, over uint16 slot, uint16 node (little-endian)
 *		u = ((h >> 11) + 0.5) / 2^53
 *
 *	  A slot's next owners (as_slot_map_order) are the others by descending
 *	  score: they stay in this order whoever comes or goes, and each node is
 *	  the next owner as often as its weight says.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SLOT_MAP_H
#define AS_SLOT_MAP_H

#include "actorstore.h"

#define AS_SLOTS		4096

/* the largest weight, and the most nodes of a cluster */
#define AS_MAX_WEIGHT	1000000
#define AS_MAX_NODES	256

/* owner of a slot that has none */
#define AS_NO_NODE		0

typedef struct AsMember
{
	int16		node;			/* its number, above 0 */
	int32		weight;			/* 0: owns nothing */
} AsMember;

/* The slot of an actor. */
static inline int
as_slot_of(uint64 key_hash)
{
	return (int) (key_hash >> 52);
}

/*
 * The map that follows another one, for these members: at least one of them
 * with a weight above 0, none twice, at most AS_MAX_NODES.  now holds
 * AS_NO_NODE for slots without an owner; next may be the same array.  Returns
 * how many slots have another owner than before.
 */
extern int	as_slot_map_next(const int16 *now, const AsMember *members,
							 int nmembers, int16 *next);

/*
 * Who owns a slot, and who comes next: the owner, if it is a member, then the
 * other members of a weight above 0 by descending score.  order has room for
 * all members; returns how many there are.
 */
extern int	as_slot_map_order(int slot, int16 owner, const AsMember *members,
							  int nmembers, int16 *order);

#endif							/* AS_SLOT_MAP_H */

/*-------------------------------------------------------------------------
 *
 * handover.h
 *	  The rows of a slot's actors go from one node to another: step 4 of
 *	  transit.h.
 *
 * Nobody holds the slots.  Actors have been copied before, but for what has changed since
 * (haul.h).  For each other table, the giver deletes rows, some at a time, and sends them,
 * as texts of the table's row type, while it looks for the next ones; the taker inserts them.  Both are parts of one
 * transaction (global.h).
 *
 *	- Actors keep their values, versions and times.
 *	- Messages keep their ids, attempts and times.  Their positions are new ones of
 *	  the taker, in the order of the old ones.
 *	- Triggers of users do not fire: nothing happens to the actors.
 *
 * Turns that are checked out cannot move: their slots stay as long as there are any.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_HANDOVER_H
#define AS_HANDOVER_H

#include "actorstore.h"
#include "cluster/transit.h"

/* Why a slot of this node's cannot move */
typedef struct AsKept
{
	int			slot;
	char	   *reason;
} AsKept;

/* All such slots, and why. */
extern int	as_handover_kept(AsKept **kept);

/* 55006 if one of these holds what cannot move. */
extern void as_handover_check(const AsTransit *transit);

/*
 * Hand the slots over, as part of this transaction.  Returns how many actors they
 * had.  55006 if one of them holds what cannot move.
 */
extern int64 as_handover(const AsTransit *transit);

#endif							/* AS_HANDOVER_H */

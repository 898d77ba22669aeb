/*-------------------------------------------------------------------------
 *
 * force.h
 *	  A node that will never return is removed, with all that only it had.
 *
 * A slot changes its owner with the old one's consent only (ballot.h).  The one
 * exception is this: a superuser says that a node was stopped for ever, and
 * that what was in its slots is lost.  All else is as for any epoch: a majority
 * of the members, the dead one counted among them, accepts what is proposed,
 * and whoever proposes may die at any time.
 *
 *	asked	The node itself, and all that can be reached: does it answer?  Then it
 *			is not dead, and nothing is done.
 *	epoch	Without the node.  Its slots go to the others by their weights;
 *			theirs stay where they are, so nobody else's consent is needed.  It
 *			stands in the epoch's "lost", by its uuid, as it does in all later
 *			ones: with its number, its name, and the slots it had, a bit for
 *			each.
 *	moving	Slots on their way to it stay with their giver.  Slots on their way
 *			from it go to their taker: with all that was in them if the hand-over
 *			is committed there, else they are lost; while that is in doubt there
 *			nothing is done.
 *	learn	Every node, as it writes the epoch down: farewell.h.
 *	fence	A session that a node has opened says whose it is.  Who is lost is
 *			refused (fence.h), but may ask what is in force: so a node that
 *			comes back learns that it is none any more.
 *	doubt	Parts of transactions that the dead node coordinated stay prepared
 *			till somebody decides: verdict.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_FORCE_H
#define AS_FORCE_H

#include "actorstore.h"
#include "cluster/node.h"

/*
 * 42704 if there is no such node, 22023 if it is this one, 55006 if it answers
 * anybody, 55000 if its slots are not said to be lost, VA009 if no majority can
 * be reached.
 */
extern void as_force_remove(const char *name, bool slots_lost);

/* Does it answer this node? */
extern bool as_force_answers(const AsNode *node);

/* 55006 if it answers anybody who can be reached. */
extern void as_force_need_dead(const AsNode *node);

/* Does a proposal say that a node is lost? */
extern bool as_force_is_lost_by(text *proposal, const pg_uuid_t *uuid);

#endif							/* AS_FORCE_H */

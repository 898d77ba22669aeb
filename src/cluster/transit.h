/*-------------------------------------------------------------------------
 *
 * transit.h
 *	  Slots that move from node to node with all that is in them.
 *
 * The node that a slot leaves is its giver, the one that it comes to its taker.
 * The giver's mover (mover.h) takes some slots at a time, a batch, through
 * these steps; each is committed before the next one, so whoever comes after
 * a crash goes on where it was.  A node's row in actorstore.transit says how
 * a slot stands there.
 *
 *	1	announce	An epoch is decided (ballot.h) that says: these slots are
 *					moving, and where to.  Their owner is the giver still.  On
 *					learning it every node marks them PARKED: what is sent to
 *					an actor in them stays in the sender's outbox, as rows of
 *					node 0, which no forwarder takes.  Nobody is held up.  One batch
 *					moves at a time in the cluster.
 *	2	drain		Each node says when all has arrived that it had sent before to
 *					the batch's actors: those who looked where their messages
 *					go before the slots were marked have ended (they lock the
 *					slots: state/owner.h); no such row is left in its outbox; the
 *					giver has answered for every batch of messages that was made
 *					by then.  So nothing is on its way to the giver any more.
 *	3	freeze		The giver copies the slots' actors to the taker, which keeps them
 *					in a transaction that stays open (haul.h); nobody is held up.  It
 *					waits for those who hold the slots, a second at most.  Then
 *					it marks the slots FROZEN: from now on nobody holds them, for
 *					whatever purpose.  Whoever wants one waits; who holds another
 *					one of them does not, as he is waited for.  Then the giver waits
 *					for those who hold them, prepared transactions included; and
 *					until what their actors have sent to others has arrived there,
 *					so that what they send from the taker cannot overtake it.
 *	4	hand over	One transaction over both nodes (global.h), of which that open one
 *					is now a part: what the giver itself has kept for these slots
 *					comes into their mailboxes, behind what is there; all rows
 *					of the slots' actors are deleted at the giver; those that have
 *					changed since they were copied, and all that are not
 *					actors, are inserted at the taker; the slots are HANDED here,
 *					and TAKEN there.  All of it or nothing.  From then on the taker
 *					has them, and both of these nodes know it: as_node_holder().
 *					Who waits at the giver goes on there, before step 6; messages do not.
 *	5	settle		The taker says that it sees them TAKEN: its part is not in doubt.
 *	6	give		The next epoch makes the taker their owner.  The giver
 *					consents, as it has handed them to just that node; nobody can
 *					have them given to another one, or to nobody.  The same epoch
 *					may announce the next batch.  On learning it every node marks
 *					them OPEN.
 *	7	let go		At each node, slot by slot, in one transaction that locks the
 *					slot against all who send to it: what was kept is put into
 *					the mailboxes at the taker, and into the outbox for the taker
 *					elsewhere, and the row in actorstore.transit is deleted.  So
 *					whoever sends later sends behind it.
 *
 * ORDER.  One sender's messages to one actor are: those in the giver's mailbox by
 * step 2, which move before all others; those that were kept, by id; those
 * that are sent after step 7.  They take one way at a time, and the change from
 * one to the next is made when nothing is left on the one before, under a
 * lock that the sender shares.  If the sender moves, step 3 has all of its
 * messages arrive first, and there is none in what its old node keeps, but
 * for actors of the same batch, whose messages step 4 takes along.
 *
 * WHO USES THEM BETWEEN 4 AND 6.  What has been handed over can come to nobody but the
 * taker any more, whatever epochs are decided: even if the giver is declared lost
 * (force.h).  So the taker uses the actors, and lets the giver's sessions use them,
 * which ask by the map in force; the taker may see that it has them a moment later than the
 * giver sees them gone, and waits for that then.  Who is told by the giver that an actor
 * is not its own any more, and knows only the map, waits for the next one.
 *
 * READS without a lock look for rows that may have moved.  Whoever finds nothing
 * looks again whether the slot is frozen, or another node's by now, and reads once
 * more there (as_owner_has_moved).
 *
 * WHO IS DOWN.  All nodes are needed for step 2, giver and taker till step 6: if
 * one is out of reach before anything was handed over, an epoch takes the
 * announcement back, and the slots are OPEN where they are.  Once they are
 * handed over they wait for the taker.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_TRANSIT_H
#define AS_TRANSIT_H

#include "actorstore.h"
#include "cluster/node.h"

/* How a slot stands, as in actorstore.transit */
#define AS_TRANSIT_PARKED	'p'
#define AS_TRANSIT_FROZEN	'f'
#define AS_TRANSIT_HANDED	'h'
#define AS_TRANSIT_TAKEN	't'
#define AS_TRANSIT_OPEN		'o'

/* Slots of one state */
typedef struct AsTransit
{
	int			n;
	int			taker;			/* of all of them */
	int			slots[AS_SLOTS];
} AsTransit;

/* Those of this node's slots that are in a state. */
extern void as_transit_read(char state, AsTransit *transit);

/* As an array, for SQL. */
extern text *as_transit_array(const AsTransit *transit);

/* An epoch has been written down: step 1, or 6. */
extern void as_transit_learn(text *proposal);

/*
 * A proposal takes slots from this node: 55006 if one of them is in transit, and
 * was not handed over to just the node that the proposal gives it to.
 */
extern void as_transit_check(text *proposal);

/*
 * Step 2, at any node: has all that was sent to slots that are moving, by the
 * map of this epoch, arrived?  Waits a while.  55P03 if others hold the slots
 * for longer.
 */
extern bool as_transit_drained(int64 epoch);

/* Step 3, at the giver: has all arrived that these slots' actors have sent? */
extern bool as_transit_is_quiet(const AsTransit *transit);

/*
 * Has all that was sent from here to that node arrived, or all that was sent to
 * anybody, if it is this node?
 */
extern bool as_transit_has_sent(int node);

/*
 * Nodes have gone: what was on its way to them goes to whoever owns its actors
 * now, as what was kept does in step 7.
 */
extern void as_transit_reroute(void);

/* Change the state of slots; all must have been in the one given. */
extern void as_transit_set(const AsTransit *transit, char from, char to);

/* Step 4: what is kept here for the slots comes to where it goes by now. */
extern void as_transit_unpark(const AsTransit *transit);

/* Step 7, in a process with no transaction; true if more can be done at once. */
extern bool as_transit_let_go(void);

#endif							/* AS_TRANSIT_H */

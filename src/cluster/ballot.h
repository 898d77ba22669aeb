/*-------------------------------------------------------------------------
 *
 * ballot.h
 *	  What a node promises and accepts when the next epoch is decided.
 *
 * Each epoch is decided by single-decree Paxos among the members of the one
 * before it.  A member's row in actorstore.ballot is its acceptor: the highest
 * ballot it has promised to listen to, the highest one it has accepted, and
 * what that proposed.  Each of these functions is a step of a short transaction
 * of its own, flushed before it is answered: whoever proposes may die at any
 * time, and any other member may finish its round or supersede it.
 *
 *	promise		no ballot below this one will be accepted any more; tells what
 *				was accepted before, which the proposer must then propose.  No
 *				ballot is promised twice: two proposers of one node, or one
 *				before and after a crash, may have come to the same number.
 *	close, consent	asked of those who give slots away: see give.h
 *	accept		unless a higher ballot was promised.  A majority of accepted
 *				ones is the decision.
 *	learn		the decision is in force here
 *
 * A slot changes its owner only with the old one's consent (but for force.h): nobody is asked to
 * accept a proposal before all who give slots away have consented to it.  So
 * what any member has accepted can be decided even if they die, and what
 * they have only consented to binds nobody.
 *
 * A proposal is a whole epoch as JSON: epoch, last_number (the highest number
 * that a node ever had), members (the columns of actorstore.node), owners (of
 * the 4,096 slots), moving and rebalancing (transit.h, plan.h), lost (force.h).  So a node that missed some epochs needs only the last one.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_BALLOT_H
#define AS_BALLOT_H

#include "actorstore.h"

/* What a member says to a ballot. */
typedef struct AsVote
{
	int64		epoch;			/* the one in force there */
	bool		agreed;			/* it has done what it was asked */
	int64		promised;		/* 0: it is not at the epoch before */
	int64		accepted;		/* 0: nothing yet */
	text	   *proposal;		/* what; or NULL */
} AsVote;

/*
 * Promise or accept, if the epoch to be decided is the next one here.  If that
 * was not done, the promised ballot in the answer stands against it.
 */
extern void as_ballot_promise(int64 epoch, int64 ballot, AsVote *vote);
extern void as_ballot_accept(int64 epoch, int64 ballot, text *proposal,
							 AsVote *vote);

/*
 * One step after the other: till the end of the transaction nobody else votes
 * or learns here.  What is written survives a crash, and a failover.  It waits
 * for no lock longer than actorstore.peer_timeout (55P03).
 */
extern void as_ballot_lock(void);

/*
 * Put a decided epoch in force.  False if this one or a later one is in force
 * already; 55000 where this is no node and was not asked to become one.
 */
extern bool as_ballot_learn(text *proposal);

/*
 * Whose each slot is, as in a proposal: one string, as thousands of numbers in
 * JSON take their time wherever it is read.
 */
extern text *as_ballot_owners_text(const int16 *owners);

/* The epoch in force, as a proposal. */
extern text *as_ballot_in_force(void);

/* The number of the epoch that a proposal is for. */
extern int64 as_ballot_epoch_of(text *proposal);

/* The owners of the slots in a proposal. */
extern void as_ballot_owners(text *proposal, int16 *owners);

/* ---- For give.c ---- */

/*
 * Begin a step: is this the epoch that comes next here?  A node that was removed
 * still tells those who are behind which epoch that was.
 */
extern bool as_ballot_is_next(int64 epoch, AsVote *vote);

/* 22023 if the proposal is one for another epoch. */
extern void as_ballot_check_epoch(int64 epoch, text *proposal);

/* What stands in the row. */
extern void as_ballot_read(int64 epoch, AsVote *vote);

#endif							/* AS_BALLOT_H */

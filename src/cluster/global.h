/*-------------------------------------------------------------------------
 *
 * global.h
 *	  The transaction over several nodes.
 *
 * The node of the client is the coordinator.  Each node that the transaction
 * enlists is a member: one connection, one transaction there, at this one's
 * isolation level, with a savepoint for each subtransaction that has work
 * there.  When the local transaction is about to commit (XACT_EVENT_PRE_COMMIT):
 *
 *	- Members that did not write are sent COMMIT, and must answer: they let go
 *	  what they have locked when all that the transaction locks anywhere is held,
 *	  and have had it till then.  Where others are prepared, that comes first.
 *	- One member wrote and nobody else, here neither: COMMIT there decides.  If
 *	  its answer is lost: 08007.  It may go with the command, before the local
 *	  transaction comes to its end (global_last.c).
 *	- Otherwise, two phases:
 *
 *		K1	the global ids of its parts.  These carry the own full xid, the
 *			incarnation, and the number of the server's start: an xid that nobody
 *			here remembers after a crash is used again.
 *		K2	to each member that wrote, at once: PREPARE TRANSACTION.  The member
 *			inserts a receipt before it does (global_guard.c).  It may go with the
 *			command, before the local transaction comes to its end: below.
 *		K3	while they do: the decision row, of this transaction: xid,
 *			incarnation, members, their global ids
 *		K4	all are prepared, those that only read have ended.  The local commit,
 *			flushed and on the standbys, makes the decision row visible: that is
 *			the decision.
 *		K5	in XACT_EVENT_COMMIT, to each, at once: COMMIT PREPARED
 *		K6	...
 *		K7	all have answered, or actorstore.phase_two_timeout is over.  Nothing
 *			here can throw.
 *		Later, the session's next transaction deletes the row, if all members are
 *		its members, too (global_before.c), or the resolver does, once all have
 *		receipts; and the resolver tells them to delete the receipts.
 *
 * Where a statement is certainly all that the transaction does (global_last.c),
 * and nothing that it does here can come back to the members, K1 and K2 are
 * before the members have been sent anything, and PREPARE stands behind the
 * statement in the same flight: a member prepares at once when it has executed
 * it, which takes one round trip less, while this node still works, and answers
 * to both at once.  The wait for the statement has no end, that for PREPARE has: a
 * member that has been silent for as long as it may take to prepare is asked over
 * another connection which it is at.  What follows does not change: until K4 an
 * error rolls back, also what is prepared.  But a part may be prepared for long,
 * while this node waits for a lock or for another member: the resolver leaves it
 * alone as long as the transaction's backend is there, and a deadlock through it
 * is found by its global id (deadlock.h).
 *
 * Flushes of WAL in a row: PREPARE's on the members, the decision's here, COMMIT
 * PREPARED's on the members; the client's answer waits for the last only where
 * actorstore.wait_for_phase_two is on.  The decision row has no flush of its own:
 * the local commit record makes it count.  COMMIT PREPARED knows no asynchronous
 * commit (RecordTransactionCommitPrepared() flushes, whatever synchronous_commit
 * says), so that a receipt that can be seen has been flushed.
 *
 * What each death leads to:
 *
 *	- Coordinator, up to K4: its xid is aborted, no row is ever visible.  Members
 *	  whose connection ends roll back by themselves; the resolver finds those
 *	  that are prepared, sees neither a row nor a running transaction, and rolls
 *	  them back.  A PREPARE that arrives later is found by a later pass.
 *	- Coordinator, from K5 on: the row is visible; the resolver commits what is
 *	  still prepared.
 *	- Member before it is prepared: PREPARE fails, or its answer does not come:
 *	  the local transaction aborts; what was prepared is rolled back, at once or
 *	  by the resolver.
 *	- Member after that: it still has the prepared transaction when it is back,
 *	  and gets the decision from the resolver.
 *	- Member that lost it (a failover to a standby that was behind): neither
 *	  prepared nor a receipt: LOST, the row stays, doctor() and the log say so.
 *
 * "Does not exist" and "is busy" in answer to COMMIT PREPARED prove nothing; a
 * receipt does, because it became visible with the transaction.
 *
 * A member whose savepoint or transaction could not be brought where it should
 * be is doomed, and the transaction with it.  A connection in an unknown state
 * is closed.
 *
 * What cannot be prepared is refused as early as it is seen: NOTIFY and LISTEN,
 * temporary objects, cursors WITH HOLD, the user's own PREPARE TRANSACTION.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_GLOBAL_H
#define AS_GLOBAL_H

#include "actorstore.h"
#include "cluster/decision.h"
#include "cluster/peer.h"

typedef enum AsPartState
{
	AS_PART_ACTIVE,
	AS_PART_PREPARING,		/* PREPARE is, or may have been, sent */
	AS_PART_PREPARED,
	AS_PART_ENDED				/* COMMIT is sent, or nothing is left to do */
} AsPartState;

typedef struct AsPart
{
	AsPeer	   *peer;
	int			level;			/* of nesting there; 0: no transaction yet */
	bool		wrote;
	bool		locked;			/* something that it has told us */
	bool		doomed;
	bool		overdue;		/* when it was asked last, its PREPARE had not ended */
	AsPartState state;
	int			prepare;		/* PREPARE's number in its flight */
	char		gid[AS_GID_SIZE];
} AsPart;

/* settings, defined in global.c */
extern bool actorstore_wait_for_phase_two;
extern int	actorstore_phase_two_timeout;	/* ms */

/*
 * The connection to a node, inside this transaction: add commands, launch,
 * wait.  Commands of ours may stand in the flight already: as_peer_add() says
 * which number the caller's has.  0A000 where a transaction over several nodes
 * cannot be, 55000 if the node could not prepare it, 08006 if it is lost.
 */
extern AsPeer *as_global_enlist(const AsNode *node);

/*
 * Begin a transaction on a node ahead of the one here that it will be a part of: that
 * is the next one that enlists the node, as long as nothing else asks the node for
 * anything over this process's connection.  Until then it is nobody's: it is not
 * ended with a local transaction, but dropped, or rolled back when the
 * process ends.  For a process that runs transactions of its own.
 */
extern AsPeer *as_global_begin_ahead(const AsNode *node);
extern bool as_global_is_ahead(const AsNode *node);
extern void as_global_drop_ahead(void);

/* What the transaction does on that node is not only reading. */
extern void as_global_wrote(AsPeer *peer);

/* It has told us what it has locked. */
extern void as_global_locked(AsPeer *peer);

/* Does this transaction have members? */
extern bool as_global_is_used(void);

/*
 * Is the call of a function all that the transaction does, from now on, and has
 * it done nothing so far?  Then a command on as_global_enlist_once()'s
 * connection is run by as_global_run_last(), as a transaction of its own there;
 * its answer may be read, and as_global_end_last() says whether that was of
 * something written; if not, the transaction may go on here.
 */
extern bool as_global_is_last(FunctionCallInfo call);
extern AsPeer *as_global_enlist_once(const AsNode *node);
extern void as_global_run_last(AsPeer *peer);
extern void as_global_end_last(bool wrote);

/*
 * All members write with what is queued for them, and neither they nor others
 * are sent anything more but the end of the transaction: launch these flights,
 * each with PREPARE at its end, and wait for them.  08006 if one does not answer
 * to PREPARE in time.
 */
extern void as_global_launch_last(void);
extern void as_global_await_last(void);

/* Is the node one of them? */
extern bool as_global_is_member(const AsNode *node);

/* 0A000 in a session that another node has opened. */
extern void as_global_check_nesting(void);

extern void as_global_init(void);

/* ---- For global*.c ---- */

extern AsPart as_global_members[AS_MAX_PEERS];
extern int	as_global_nmembers;

#define AS_FOR_EACH_MEMBER(member) \
	for (AsPart *member = as_global_members; \
		 member < as_global_members + as_global_nmembers; member++)

extern AsNode as_global_self;	/* this node; its texts are not ours */

/* Before the local commit: throws if the transaction cannot commit. */
extern void as_global_prepare(void);

/*
 * The decision stands there; its members have been told to commit, and have
 * answered, or nobody waits for that; or they have not.
 */
extern void as_global_note_decision(const AsDecisionPlace *place);
extern void as_global_note_told(void);
extern void as_global_forget_before(void);

/* All that wrote are prepared: delete the decision that was noted before this one. */
extern void as_global_delete_before(void);

/* Has a member committed what decides?  The local transaction has ended. */
extern bool as_global_is_over(void);
extern void as_global_leave_last(void);

/* 08007 if the node says neither that it has committed nor why not. */
extern void as_global_check_answer(AsPeer *peer, int command);

/* There are none any more. */
extern void as_global_release_members(void);

/* After it: what the members are told.  Throws nothing. */
extern void as_global_finish(void);

/*
 * It, or the next one, has failed itself: drop the error, back in the memory context;
 * the resolver sees to what is left.
 */
extern void as_global_give_up(MemoryContext context);

/* After an abort.  Throws nothing. */
extern void as_global_undo(void);

/*
 * Wait for flights without being disturbed, members whose connection does not
 * answer are doomed; giving up what a member is doing first, if told so.
 */
extern void as_global_settle(bool cancel, TimestampTz deadline);

/* 0A000 if the local transaction has done what cannot be prepared. */
extern void as_global_check_local(void);
extern void as_global_guard_init(void);

#endif							/* AS_GLOBAL_H */

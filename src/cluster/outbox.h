/*-------------------------------------------------------------------------
 *
 * outbox.h
 *	  Messages for actors of other nodes, on their way.
 *
 *		Sender:     with its transaction, rows in actorstore.outbox
 *		Forwarder:  one transaction: deletes rows of one node, as many as it
 *					sees, in the order of their ids, and puts them, as one
 *					envelope (lib/envelope.h), into actorstore.outbox_batch under
 *					the next number.  Once that is on the standbys: sends it.
 *					Once it is flushed: sends what lets the receiver commit.
 *		Receiver:   one transaction: if the batch's number is the one after that
 *					in actorstore.inbox: the messages into the mailboxes, the
 *					number into actorstore.inbox.  Answers with the number that
 *					is there then, once that is flushed, while turns begin
 *					already (late_flush.h).
 *		Forwarder:  the next ones; and deletes batches that have been answered
 *					for some time (actorstore.outbox_retention).
 *
 * Numbers have no gaps, as they are given in the transaction that makes the
 * batch, by the only process that makes any.  A batch that comes twice (its
 * answer was lost) has a number that is in the inbox already, and is not stored
 * again: exactly once.  Batches are sent in the order of their numbers and the
 * receiver takes them in no other.
 *
 * ORDER.  What a sender sends later has the higher id, as ids are taken from one
 * counter (message_id.c), and is not committed before what it has sent earlier: by
 * then an actor's turn, or a session's transaction, has ended, be it by COMMIT
 * PREPARED.  Whatever of it a forwarder sees and has not yet taken, it takes in the
 * order of the ids, none before a lower one that it sees (lane.h says how it knows
 * of them all).  So a node's messages keep the order in which a sender sent them to
 * an actor.
 *
 * Messages for an actor whose slot is moving stay here, as rows of node 0, until it
 * is known where they go: see transit.h.
 *
 * What each death leads to:
 *
 *	- Sender before its commit: no rows.  After it: rows without a hint, found by
 *	  the forwarder's look at all.
 *	- Forwarder before its commit: the rows are still there.  After it, or
 *	  after it has sent: the batch is sent by the next one, which first asks what
 *	  the receiver has.  Its server before the flush: the rows are there again, and
 *	  the receiver does not have the batch, as the end of the flight, which lets it
 *	  commit, is only sent after that.
 *	- Receiver before its commit, or before that is flushed: it does not have the
 *	  number, nor the messages, nor what turns have made of them.  After it: it has.
 *	- A standby of the sender takes over: numbers count for an incarnation (node.h),
 *	  so the new one begins at 1.  What the old one had made and sent was on the
 *	  standby before.  Were it not (no synchronous standbys), the rows could be
 *	  there again, and be sent twice.
 *	- A standby of the receiver takes over, and was behind: the sender sees an
 *	  older number than was answered, also while it has nothing else to send, and
 *	  sends those batches again that it has kept.  Those that it has no more are
 *	  lost: the log says so.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_OUTBOX_H
#define AS_OUTBOX_H

#include "actorstore.h"

#include "cluster/node.h"
#include "lib/envelope.h"
#include "runtime/letters.h"
#include "runtime/mailbox.h"
#include "state/type.h"

/* What stands in the outbox */
#define AS_KIND_MESSAGE		0
#define AS_KIND_SET_TIMER	1	/* timer_wire.h */
#define AS_LAST_KIND		AS_KIND_SET_TIMER

/* settings, defined in outbox.c */
extern int	actorstore_outbox_limit;	/* messages on their way to a node */
extern int	actorstore_outbox_retention;	/* seconds */

/* batches that a forwarder sends at once, and the other node stores in one transaction */
#define AS_FLIGHT	8

extern void as_outbox_init(void);

/*
 * Put messages for actors that another node owns into the outbox: ids, keys
 * and all else are given.
 */
extern void as_outbox_put(const AsNode *node, int kind,
						  const AsMessage *messages, int n);

/*
 * The same for one that is sent here, if there is room; VA001, waits, or false,
 * as the type says, if there is none.  Timers are not dropped: VA001.
 */
extern bool as_outbox_send(const AsNode *node, const AsType *type, int kind,
						   AsMessage *message);

/*
 * Take back what has not left yet of a kind other than messages, for an actor,
 * by its dedup_key; how many there were.
 */
extern int	as_outbox_take_back(const AsNode *node, int kind, text *actor_type,
								text *actor_id, text *key);

/*
 * Where does a message for an actor go that is sent now?  NULL: it lives here;
 * else to a node; or, while its slot is in transit (transit.h), to nobody yet:
 * a node of number AS_NO_NODE.  Stays so till the transaction ends.
 */
extern const AsNode *as_outbox_way(const text *type, const text *id);

/* ---- For transit.c ---- */

/* Is a message put where it has come to, even if the slot is in transit? */
extern bool as_outbox_keeps_nothing;

/* Take what is kept of these slots, some of it, as an envelope; NULL: nothing. */
extern bytea *as_outbox_take_kept(const bool *slots);

/* What is kept of slots, an array for SQL, goes to a node. */
extern void as_outbox_let_go(text *slots, const AsNode *node);

/* Put what as_outbox_take_kept() gave where it goes now (deliver.c). */
extern void as_outbox_deliver(bytea *envelope);

/* Make dead letters here of what an envelope holds, whoever owns their actors. */
extern void as_outbox_bury(bytea *envelope, const AsReason *reason);

/* Write the rows. */
extern void as_outbox_insert(int16 node, int kind, const AsMessage *messages, int n);

/* ---- For the forwarder ---- */

typedef struct AsBatch
{
	int64		incarnation;
	int64		number;
	int			nmessages;
	bytea	   *envelope;
} AsBatch;

/*
 * In a transaction: move messages for a node, from an id on, as many as may go
 * together, into a batch of this number.  False if there are none; *next is the
 * id to go on from, or AS_NO_LOW.  A message that somebody is about to take back is
 * passed by none; who takes it back may wait for those that have left already
 * (timer_wire.h), so may_wait is for a forwarder that has none under way.
 */
extern bool as_outbox_dispatch(int16 node, uint64 from, bool may_wait,
							   AsBatch *batch, uint64 *next);

/* In a transaction: the batches behind this one that were made before, at most max; how many. */
extern int	as_outbox_stored(int16 node, int64 incarnation, int64 number, int max, AsBatch *batches);

/* In a transaction: delete those before this one that are older than actorstore.outbox_retention. */
extern void as_outbox_clean(int16 node, int64 incarnation, int64 number);

#endif							/* AS_OUTBOX_H */

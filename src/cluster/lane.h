/*-------------------------------------------------------------------------
 *
 * lane.h
 *	  The ways that messages take to other nodes, in shared memory.
 *
 * There is a lane for each (database, node): its rows stand in
 * actorstore.outbox (outbox.h), a process of its own, the forwarder
 * (forwarder.h), empties it.
 *
 * A sender puts rows into the outbox with its transaction.  When that has
 * committed, it lowers LOW to the least id among them, then wakes the forwarder,
 * which reads the rows from there on: so it walks over no dead rows of the past.
 * In between the rows may be visible, and LOW not tell of them yet, while others
 * lower it to an id that lies between those of the transaction; or its sender's
 * next message does.  So who is about to commit says so before, in a word of its
 * own, COMMITTING: the least id among its rows.
 *
 *		Sender:     COMMITTING := id;  commits, rows are visible;
 *					LOW := min(LOW, id);  latch;  COMMITTING := none
 *		Forwarder:  latch reset;  from := LOW, LOW := none;  snapshot;
 *					from := min(from, all COMMITTING);  from := min(from, LOW);
 *					reads from there on
 *
 * Take a row that the snapshot shows, and that was not read before.  Its sender
 * set COMMITTING before it committed.  Either that is set still when the forwarder
 * looks, or LOW was lowered by then: before the forwarder took it, or after, when
 * it is seen where it stays for the next time.  So from is never above the id of
 * such a row: all that is visible leaves in the order of ids, none is passed by,
 * in whatever order transactions commit.
 *
 * COMMIT PREPARED does as a sender does, for all lanes of the database, also if
 * it fails, or its process exits.  What PREPARE has noted of the transaction
 * (prepared.h) says the least id; if that is not known (since a restart, or a
 * promotion), it is 0, which lets the forwarder look at all.
 *
 * Shared memory is new after a crash, and so are the forwarders, which begin with
 * a look at all.  They also take one now and then, for what no rule above knows of.
 *
 * DEPTH counts the messages that are on their way: sent by a transaction,
 * committed or not, and not yet acknowledged by the other node.  It is what
 * senders are held back by.  It starts from 0 with the server, and what was prepared
 * is not counted after PREPARE, as nobody would tell how it ends.  So it may be too
 * low, by no more than those, while they are on their way: it never falls below 0.
 * Then some more are let in.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_LANE_H
#define AS_LANE_H

#include "actorstore.h"

#define AS_NO_LOW	PG_UINT64_MAX

typedef enum AsLaneCounter
{
	AS_LANE_FORWARDED,			/* messages acknowledged by the other node */
	AS_LANE_BATCHES,			/* of them */
	AS_LANE_REPEATED,			/* batches that an earlier process made, or that were on their way when a connection failed */
	AS_LANE_FAILURES,			/* connections that failed */
	AS_LANE_RECEIVED,			/* messages of theirs */
	AS_LANE_REFUSED,			/* batches of theirs, as bad (admission.h) */
	AS_LANE_LIMITED,			/* the same, as too many */
	AS_LANE_DUPLICATES,			/* of the bad ones, those that are here already */
	AS_LANE_NCOUNTERS
} AsLaneCounter;

extern Size as_lanes_shmem_size(void);
extern void as_lanes_shmem_init(void);

/* Is there shared memory, as the library is preloaded? */
extern bool as_lanes_active(void);

/* The lane to a node of this database; -1 if there is no room for it. */
extern int	as_lane_find(int16 node);

/*
 * A transaction with messages for other nodes, none below this id, is about to
 * commit; and it has told all their lanes, or has rolled back.
 */
extern void as_lane_begin_commit(uint64 low);
extern void as_lane_end_commit(void);

/* Messages from this id on have been committed. */
extern void as_lane_hint(int lane, uint64 low);

/* The same for COMMIT PREPARED, around it; to be ended whatever becomes of it. */
extern void as_lane_begin_commit_prepared(const char *gid);
extern void as_lane_end_commit_prepared(void);

/* ---- For the forwarder ---- */

/* The least id since the last call, or AS_NO_LOW. */
extern uint64 as_lane_take_low(int lane);

/*
 * The least id that the snapshot taken since may show and that call did not tell
 * of, or AS_NO_LOW.
 */
extern uint64 as_lane_low_since(int lane);

/* Messages on their way. */
extern void as_lane_add(int lane, int64 n);
extern int64 as_lane_depth(int lane);

extern void as_lane_count(int lane, AsLaneCounter counter, int64 n);

/*
 * What comes from the other node takes its time: so many microseconds more; and
 * how many of those that were taken are still to come.
 */
extern void as_lane_pay(int lane, int64 microseconds);
extern int64 as_lane_debt(int lane);

/* Is the other node being reached? */
extern void as_lane_set_connected(int lane, bool connected);

/* The other node has all batches up to this one. */
extern void as_lane_set_acked(int lane, int64 incarnation, int64 number);
extern bool as_lane_has_acked(int lane, int64 incarnation, int64 number);

/* Register as its forwarder; false if there is one.  Ends with the process. */
extern bool as_lane_register(int lane);

extern bool as_lane_has_forwarder(int lane);

/* Is there none, nor one about to start?  If so, this claims the start. */
extern bool as_lane_claim_start(int lane);

#endif							/* AS_LANE_H */

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
 * committed, it lowers LOW to the least id among them, then wakes the forwarder:
 *
 *		Sender:     rows visible;  LOW := min(LOW, id);  latch
 *		Forwarder:  latch reset;  from := LOW, LOW := none;  snapshot;  reads from
 *					there on
 *
 * Whatever lowered LOW before the forwarder took it was visible before its
 * snapshot; what comes later wakes it again.  So no row is passed by, in
 * whatever order transactions commit, and no dead rows of the past are walked
 * over.  A hint that is lost (COMMIT PREPARED, a restart) is found by a look at
 * all, which the forwarder takes whenever nobody has woken it for a while.
 *
 * DEPTH counts the messages that are on their way: sent by a transaction,
 * committed or not, and not yet acknowledged by the other node.  It is what
 * senders are held back by, starts from 0 with the server, and may be a few too
 * low afterwards: then some more are let in.
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
	AS_LANE_NCOUNTERS
} AsLaneCounter;

extern Size as_lanes_shmem_size(void);
extern void as_lanes_shmem_init(void);

/* The lane to a node of this database; -1 if there is no room for it. */
extern int	as_lane_find(int16 node);

/* Messages from this id on have been committed. */
extern void as_lane_hint(int lane, uint64 low);

/* The least id since the last call, or AS_NO_LOW. */
extern uint64 as_lane_take_low(int lane);

/* Not all from there on were read. */
extern void as_lane_lower(int lane, uint64 low);

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

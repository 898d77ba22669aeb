/*-------------------------------------------------------------------------
 *
 * haul.h
 *	  The rows of actors go from one node to another: the greater part of step 4
 *	  of transit.h, and nearly all of it before, in step 3.
 *
 * The giver reads each table of actors from end to end: which slot an actor is in
 * stands in no index.  It does so twice.
 *
 *	COPY	Before the slots are frozen, while whoever wants to writes their
 *			actors: by one snapshot, C, it reads all that is in the slots, and sends
 *			it (haul_load.h).  The taker puts it into its tables, in a transaction
 *			that stays open (as_global_begin_ahead()).  The giver remembers which
 *			rows these were (copied.h), and each page's LSN (page_slots.h).
 *	HAUL	The slots are frozen, and nobody holds them: a second snapshot, H,
 *			shows all that was ever written in them.  What is there as it was copied is
 *			deleted.  Whatever else is there is deleted, too, and sent.  What was
 *			copied, and is not there any more, the taker is told, and
 *			deletes, before it puts in the rest.  So the taker's transaction,
 *			from now on a part of the giver's, has put in what the giver's has
 *			deleted: all of it or nothing.
 *
 * WHO WRITES MEANWHILE.  Till the freeze the copy is a guess: HAUL looks at all that
 * there is, by H.  It takes a shortcut only where a page has not changed since the
 * copy, and was settled then.
 *	- A transaction that commits between C and the freeze: what it wrote is at
 *	  another place, what it wrote over, or deleted, is not visible to H.
 *	- One that is running, or prepared, at the freeze: it is waited for
 *	  (transit.h) before H is taken.
 *	- One that was running at C: its pages were not settled.
 *	- One that aborts: the row that was copied is still visible, at its place.
 *	- create_type() takes rows to another table, CLUSTER puts them into another file:
 *	  no row is where it was copied.
 * Nobody but them is concerned: at the giver nothing is locked, nor does anything change
 * before HAUL.  At the taker the tables are locked as by any insert.  Who changes types
 * locks tables on all nodes, and may wait for that: HAUL waits for nobody who does but
 * for a moment, COPY not for long (mover.c), and it does not begin while somebody does.
 *
 * WHO READS MEANWHILE.  Nobody sees the taker's rows before its transaction has
 * committed, which is when H's rows go at the giver: whoever reads both nodes, by whatever
 * snapshots, finds what he would find had nothing been copied.  So it is with
 * changes that are followed: nothing is told before the commit; but an actor that was
 * written between C and H is put in, deleted, and put in at the taker.
 *
 * WHO DIES.  The copy is an open transaction and this process's memory.  With the
 * process, either server, or the connection, it is gone, and nothing is left to be
 * undone.  Whoever goes on finds the slots parked, and copies anew; or frozen, and hauls
 * all, as nothing is copied.  The same where the batch is taken back, or
 * the slots thaw: as_haul_forget().  Only one batch moves at a time in the cluster; a copy
 * counts for just its slots and its taker.
 *
 * HOW FAST.  COPY goes no faster than actorstore.rebalance_rate says, from page to page.  HAUL
 * does not wait, as others wait for it: what it has sent more the next batch waits for.
 *
 * A page that has not changed is not looked at: its rows are deleted.  One that has
 * is looked at for rows of the slots (page_slots.h).
 *
 * Neither side goes through SQL, but for tables with more than their primary key at
 * the taker.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_HAUL_H
#define AS_HAUL_H

#include "actorstore.h"
#include "cluster/peer.h"
#include "cluster/transit.h"

/* setting, defined in mover.c: actors a second; 0: all there are */
extern int	actorstore_rebalance_rate;

/*
 * Rows that travel together, and what they take up before they go: what the
 * socket takes at once, so that the taker need not wait until we look there.
 */
#define AS_HAUL_ROWS	1000
#define AS_HAUL_BYTES	(96 * 1024)

/* Neither side keeps others from committing for long: wal_ahead.h. */

/* Actors, or pages, until others that wait for a processor are let through */
#define AS_HAUL_GIVE_WAY	8

/* For as_haul_give_way(): what has been done so far */
extern void as_haul_give_way(int n);

/*
 * Before these slots are frozen: COPY.  The taker has all of it then.  In a transaction
 * whose locks and snapshot are not needed afterwards.  55P03 if types are being changed.
 */
extern void as_haul_copy(const AsTransit *transit);

/* There is no copy, or it is of no use any more.  Throws nothing. */
extern void as_haul_forget(void);

/* The same, if it is not of just these slots; before a transaction over both nodes is begun. */
extern void as_haul_forget_others(const AsTransit *transit);

/*
 * HAUL, as part of this transaction; returns how many actors there were.  The last ones
 * may be on their way still.
 */
extern int64 as_haul_actors(AsPeer *peer, const AsTransit *transit);

/* Wait for what was sent last; throws what the taker says. */
extern void as_haul_await(AsPeer *peer);

#endif							/* AS_HAUL_H */

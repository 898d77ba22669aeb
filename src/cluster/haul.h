/*-------------------------------------------------------------------------
 *
 * haul.h
 *	  The rows of actors go from one node to another: the greater part of step 4
 *	  of transit.h.
 *
 * The giver reads each table of actors from end to end: which slot an actor is in
 * stands in no index.  It does so twice.  Before the slots are frozen it finds out
 * which slots the rows of each page are in (page_slots.h), and nobody waits for that.
 * Then only pages that have changed since are looked at as closely.  What is in the
 * slots it deletes, and sends some rows at a time, as row_wire.h says, each behind its
 * type:
 *
 *		int16	bytes in actor_type; 0: as in the row before
 *		...		actor_type
 *		...		the row, with its id
 *
 * The taker puts one lot into its tables while the giver looks for the next one.
 * Neither goes through SQL, but for tables with more than their primary key at
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

/*
 * Rows that travel together, and what they take up before they go: what the
 * socket takes at once, so that the taker need not wait until we look there.
 */
#define AS_HAUL_ROWS	1000
#define AS_HAUL_BYTES	(96 * 1024)

/* Before any slot is frozen: find out what as_haul_actors() will ask for. */
extern void as_haul_look(void);

/*
 * Delete the actors of these slots and send them, as part of this transaction;
 * returns how many there were.  The last ones may be on their way still.
 */
extern int64 as_haul_actors(AsPeer *peer, const AsTransit *transit);

/* Wait for what was sent last; throws what the taker says. */
extern void as_haul_await(AsPeer *peer);

#endif							/* AS_HAUL_H */

/*-------------------------------------------------------------------------
 *
 * forwarder.h
 *	  The process that takes messages to another node: see outbox.h.
 *
 * One for each (database, node), "actorstore forwarder".  Whoever sends starts
 * it if there is none; after a restart of the server the resolver does, if there
 * is anything to send.
 *
 * Batches that were made and not answered yet wait in its memory, up to
 * WINDOW of them; those that were made by an earlier process are read from the
 * table first.  While one flight of batches is on its way the next ones are
 * made.  Without a connection nothing is made: the rows stay in the outbox,
 * where they can be taken back.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_FORWARDER_H
#define AS_FORWARDER_H

#include "actorstore.h"
#include "cluster/peer.h"

/* Main function of a background worker */
extern PGDLLEXPORT void as_forwarder_main(Datum lane);

/* Start the one for a node, unless it runs or starts already. */
extern void as_forwarder_start(int16 node);

/* Start those that have something to send and do not run; in no transaction. */
extern void as_forwarders_look(void);

/* ---- For forwarder*.c ---- */

typedef struct AsBatchNumber
{
	int64		incarnation;
	int64		number;
} AsBatchNumber;

/*
 * After a connection was made: which batches has the other node?  All of an
 * earlier incarnation come before those of a later one.  *done is the last one
 * that it has, or that nobody has any more; *last the last one that was made in
 * this incarnation.  False if no batches are kept.
 */
extern bool as_forwarder_resume(AsPeer *peer, int16 node, const char *uuid,
								int64 incarnation, AsBatchNumber *done,
								int64 *last);

/*
 * Has the other node gone while there was nothing to do?  A standby that has less
 * than was acknowledged may take its place, and is to get that again.
 */
extern bool as_forwarder_is_gone(AsPeer *peer);

#endif							/* AS_FORWARDER_H */

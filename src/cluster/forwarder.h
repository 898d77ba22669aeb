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

/* Main function of a background worker */
extern PGDLLEXPORT void as_forwarder_main(Datum lane);

/* Start those that have something to send and do not run; in no transaction. */
extern void as_forwarders_look(void);

#endif							/* AS_FORWARDER_H */

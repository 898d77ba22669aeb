/*-------------------------------------------------------------------------
 *
 * trail.h
 *	  How far back a worker begins to read an actor's mail.
 *
 * A message that was handled leaves its entry in the index by key, until a
 * vacuum comes, or a scan that sees its row dead to all and marks the entry:
 * then the room is used again when the page is full.  But a turn begins with
 * the first message that waits, and would never see an entry of one that was
 * handled.  The index would grow by a page for every few hundred messages,
 * and each one would go into, and be read from, another cold page of its own.
 *
 * So a worker remembers where its last two turns of an actor began, and
 * begins the next one where the last but one did: what it handled then is
 * dead to all by now.  That is at most a few messages a turn, and each of
 * them is looked at once or twice.  (To read from a lower position than the
 * slot tells is always right.)
 *
 * As long as somebody's snapshot still shows rows there, they are not dead to
 * all, and it goes on to begin there.  That may last: after some looks in vain,
 * the worker reads from where mail waits, in all actors' turns, and only
 * remembers where it was, until all snapshots that were open then are gone.
 * So one that reads a view, or an exporter, leaves nothing behind.  An actor
 * that has handled many messages meanwhile is left to the next vacuum.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_TRAIL_H
#define AS_TRAIL_H

#include "actorstore.h"

#include "utils/relcache.h"

/*
 * Where to begin to read a lane of the table of messages, whose mail stands
 * at the position on.
 */
extern uint64 as_trail_start(Relation messages, uint64 key_hash, int lane,
							 uint64 position);

/*
 * So many messages were read there from the position on; on the way, so many
 * rows were found to be dead to all, and so many gone, but not for everybody.
 */
extern void as_trail_note(uint64 key_hash, int lane, uint64 position,
						  int nread, int ndead, int ngone);

#endif							/* AS_TRAIL_H */

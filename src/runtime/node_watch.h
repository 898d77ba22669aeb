/*-------------------------------------------------------------------------
 *
 * node_watch.h
 *	  Actors that are told when a node goes down, and when it is up again.
 *
 * A row of actorstore.monitor whose peer has no type, and the node's name for
 * an id: so it goes with the actor as its other monitors do.  It stays till
 * demonitor_node(); a message that arrives later than that is not handled.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_NODE_WATCH_H
#define AS_NODE_WATCH_H

#include "runtime/turn.h"

/* What a handler asks for; true if it did not yet. */
extern bool as_watch_node(AsTurn *turn, text *node_name);
extern void as_unwatch_node(AsTurn *turn, text *node_name);

/* Send $nodedown, or $nodeup, to one who watches, or to all. */
extern void as_tell_watcher(text *type, text *id, text *node_name, bool down);
extern void as_tell_watchers(text *node_name, bool down);

/* See as_life_handle(). */
extern bool as_watch_handle(AsTurn *turn, AsMessage *message);

#endif							/* AS_NODE_WATCH_H */

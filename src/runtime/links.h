/*-------------------------------------------------------------------------
 *
 * links.h
 *	  Links and monitors: who is told of an actor's exit.
 *
 * A MONITOR is a row of the watcher's, written and deleted in its turns only.
 * $monitor goes to the target, which answers $down (noproc) if it is not
 * there; if it is, the row is visible to whatever turn it exits in, and that
 * one sends $down.  The row's number travels with both; a watcher takes a
 * $down only while it has the row of that number, and deletes it: so it gets
 * one $down, and none after demonitor(), whatever is under way.
 *
 * A LINK is two rows, one of each actor's, of the same number: that of the
 * $link that makes the other's.  Whoever exits sends $exit along its own rows,
 * and the receiver takes it only while it has its own: none after unlink().
 * $exit and $unlink say the numbers, and so do not undo a link that the
 * receiver made anew meanwhile.  If both link each other at once there are
 * two; an $exit ends all that its receiver has with who has exited.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_LINKS_H
#define AS_LINKS_H

#include "runtime/turn.h"

/* What a handler asks for; without effect on the actor itself. */
extern void as_link(AsTurn *turn, text *type, text *id);
extern void as_unlink(AsTurn *turn, text *type, text *id);
extern void as_monitor(AsTurn *turn, text *type, text *id);
extern void as_demonitor(AsTurn *turn, text *type, text *id);

/* The actor has exited: tell those who want to know, and forget whom it watched. */
extern void as_links_announce(AsTurn *turn, const char *reason);

/* See as_life_handle(). */
extern bool as_links_handle_down(AsTurn *turn, AsMessage *message);
extern bool as_links_handle_exit(AsTurn *turn, AsMessage *message);
extern bool as_links_handle_monitor(AsTurn *turn, AsMessage *message);
extern bool as_links_handle_link(AsTurn *turn, AsMessage *message);
extern bool as_links_handle_unlink(AsTurn *turn, AsMessage *message);

/* See as_life_given_up(). */
extern void as_links_given_up(const AsMessage *message);

/* See as_life_nobody(). */
extern void as_links_nobody(const AsMessage *message);

/* The actors of the type go: to those who watch them they do not exist. */
extern void as_links_type_dropped(text *type);

#endif							/* AS_LINKS_H */

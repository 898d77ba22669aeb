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
 * ON SEVERAL NODES an actor's rows are where it lives, so who exits does not see
 * the rows of others.
 *
 *	- In a node a monitor is two rows, like a link: $monitor writes the target's,
 *	  in actorstore.watcher; its exit deletes it.  A watcher that wants to know no
 *	  more, or exits, says $demonitor, and the number.
 *
 *	- Messages between nodes are committed with the rows that they are about
 *	  (outbox.h), arrive exactly once, and those from one actor to another in
 *	  their order: $link before the $unlink or $exit that ends it.  All that is
 *	  between a crash and the next start is under way.
 *
 *	- What a $link has made is half a link if the other half is gone when it
 *	  is made, and what said so was heard of before: as an actor that moves may
 *	  be overtaken by what it sent before.  So a $link of another node's is
 *	  answered with $linked, and who has no such link any more says $unlink, or
 *	  $exit if it has exited.
 *
 *	- A node leaves the cluster only if none of these rows is there, so nobody is
 *	  linked to an actor that lives nowhere.
 *
 * A $monitor or $link that arrives for a type which is no more is answered as if
 * it had arrived before (as_links_nobody).
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
extern bool as_links_handle_demonitor(AsTurn *turn, AsMessage *message);
extern bool as_links_handle_link(AsTurn *turn, AsMessage *message);
extern bool as_links_handle_linked(AsTurn *turn, AsMessage *message);
extern bool as_links_handle_unlink(AsTurn *turn, AsMessage *message);

/* See as_life_given_up(). */
extern void as_links_given_up(const AsMessage *message);

/* See as_life_nobody(). */
extern void as_links_nobody(const AsMessage *message);

/* The actors of the type go: to those who watch them they do not exist. */
extern void as_links_type_dropped(text *type);

/*
 * The actors in slots, one character each, '1' for those, are lost with the node
 * that had them: to those who live elsewhere they have exited, "nodedown".
 */
extern void as_links_lost(text *slots);

/* The database becomes a node: the monitors that there are get their second rows. */
extern void as_links_become_node(void);

#endif							/* AS_LINKS_H */

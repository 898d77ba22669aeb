/*-------------------------------------------------------------------------
 *
 * seeds.h
 *	  Other nodes are found again, through a list of places where some of them
 *	  have always been: actorstore.seeds.
 *
 * A node knows how to reach the others: their conninfos are part of what is
 * decided with each epoch.  While it was down, all of them may have moved.  Then
 * a process of its own, "actorstore seeds", tries the addresses that the list
 * leads to, and what others have written down:
 *
 *	- who is met there shows who it is, as every peer must (peer.h).  A member's
 *	  uuid, with an incarnation that is not older than what is known: it is that
 *	  member.  Everybody else is refused, one that came while this node was down, too,
 *	  till a member that is known has told of it.  This node itself is known by its
 *	  uuid, whatever its address;
 *	- an epoch that one of them has in force, and that is newer, is put in force;
 *	- a member that is not met where its conninfo leads, but elsewhere, is reached
 *	  there from now on: node.detour, which is this node's own, changes no epoch,
 *	  and goes when another conninfo is decided or this one leads there again.
 *
 * The resolver has it started: after a start, when the list has changed, while
 * some member is out of reach (more and more rarely, at last once a minute), and
 * otherwise now and then.  What has come of each address stands in actorstore.seed.
 *
 * Names are looked up by that process alone (seed_address.h): libc may take its
 * time.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SEEDS_H
#define AS_SEEDS_H

#include "actorstore.h"

/* setting, defined in seeds.c */
extern char *actorstore_seeds;

extern void as_seeds_init(void);

/*
 * For the resolver, in no transaction: have the seeds tried if it is time to;
 * missing says that a member is out of reach.
 */
extern void as_seeds_look(bool missing);

/* Main function of a background worker */
extern PGDLLEXPORT void as_seeds_main(Datum database);

/* For it: one search; in a process with no transaction. */
extern void as_seeds_search(void);

#endif							/* AS_SEEDS_H */

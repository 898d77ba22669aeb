/*-------------------------------------------------------------------------
 *
 * mover.h
 *	  The process that gives slots away: "actorstore mover", at most one for each
 *	  node.
 *
 * It takes batch after batch through the steps of transit.h until this node has
 * nothing to give.  It keeps nothing in memory: what comes next follows from
 * actorstore.transit and the epoch in force.  So another one goes on for one that
 * has died; the resolver starts it.
 *
 * A step that fails is tried again, less and less often.  What was announced
 * and does not get on is taken back, for a while; at once if a slot of it cannot
 * move by now (handover.h): the next batch goes without that one.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_MOVER_H
#define AS_MOVER_H

#include "actorstore.h"

/* setting, defined in mover.c */
extern bool actorstore_may_give;

/* Main function of a background worker */
extern PGDLLEXPORT void as_mover_main(Datum arg);

/* For the resolver: start it if there is work; in no transaction. */
extern void as_mover_look(void);

extern void as_mover_init(void);

#endif							/* AS_MOVER_H */

/*-------------------------------------------------------------------------
 *
 * catch_up.h
 *	  A node that was down, or out of reach, while an epoch was decided.
 *
 * Who decides an epoch tells all members (round.h), but nobody waits for those
 * that do not hear.  So each node's resolver, in each of its passes, asks the
 * others for the number of their epoch, and takes over the highest one if it is
 * above its own.  An epoch is in force somewhere only if it is decided, and says
 * all that earlier ones do (ballot.h): whose it is, is all the same.
 *
 * Sessions that hear of a newer epoch, as they work with another node, do not wait
 * for that: they say so (as_resolver_want()), and the resolver begins its next pass
 * at once, with a look at who has it.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_CATCH_UP_H
#define AS_CATCH_UP_H

#include "actorstore.h"
#include "cluster/peer.h"

/*
 * Ask these peers (NULL ones are left out, and those that do not answer in time
 * are closed and set to NULL); in a process with no transaction.
 */
extern void as_catch_up(AsPeer **peers, int n);

/* The same, if a session of this database has heard of a newer epoch. */
extern void as_catch_up_wanted(void);

/* Put in force what another member has, which is newer; likewise. */
extern void as_catch_up_with(const char *in_force);

#endif							/* AS_CATCH_UP_H */

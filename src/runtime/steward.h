/*-------------------------------------------------------------------------
 *
 * steward.h
 *	  The process that fires a database's timers, and what the launcher does
 *	  about it.
 *
 * Each home has one, as long as its database is known to have the extension;
 * it leaves as the home's workers do.  It is no worker: it runs no actors and
 * does not count among actorstore.workers.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_STEWARD_H
#define AS_STEWARD_H

#include "actorstore.h"

/* Main function of a background worker */
extern PGDLLEXPORT void as_steward_main(Datum home);

/*
 * For the launcher: see to it that the home has a steward, or none.  Returns
 * false if it should have one and cannot for now.
 */
extern bool as_steward_care(uint32 home, bool wanted);

/* Has the home a steward, or one that starts? */
extern bool as_steward_exists(uint32 home);

/* How many stewards, starting ones included, has the database? */
extern int	as_stewards_in(Oid database);

/* Wake all stewards. */
extern void as_stewards_wake_all(void);

#endif							/* AS_STEWARD_H */

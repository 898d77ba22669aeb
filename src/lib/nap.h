/*-------------------------------------------------------------------------
 *
 * nap.h
 *	  What we sleep for, and the name under which pg_stat_activity shows it.
 *
 * From PostgreSQL 17 on extensions name their waits; before, all of them are
 * called Extension.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_NAP_H
#define AS_NAP_H

#include "actorstore.h"

typedef enum AsNap
{
	/* sessions */
	AS_NAP_ANSWER,				/* ask: for the actor's */
	AS_NAP_CHANGES,				/* fetch: for a commit */
	AS_NAP_CHECKOUT,			/* checkout: for mail */
	AS_NAP_EPOCH,				/* for an epoch that others know, or decide on */
	AS_NAP_LEAVE,				/* for a node that leaves to have nothing left */
	AS_NAP_MAILBOX,				/* send: for room in a mailbox */
	AS_NAP_MOVER_COPY,			/* mover: as it may copy no faster */
	AS_NAP_OUTBOX,				/* send: for room on the way to a node */
	AS_NAP_PEER,				/* for another node */
	AS_NAP_RATE,				/* another node sends more than it may */
	AS_NAP_RESOLVER,			/* for the resolver to look */
	AS_NAP_SETTLE,				/* to become a node: for older transactions */
	AS_NAP_SLOT,				/* for a slot that moves to another node */
	AS_NAP_TIMER,				/* for timers on their way to another node */
	AS_NAP_WAL,					/* for WAL to be written */
	AS_NAP_WORKERS,				/* for workers to leave a database */

	/* background processes: for something to do */
	AS_NAP_FORWARDER_MAIN,
	AS_NAP_KEEPER_MAIN,
	AS_NAP_LAUNCHER_MAIN,
	AS_NAP_MOVER_MAIN,
	AS_NAP_RESOLVER_MAIN,
	AS_NAP_STEWARD_MAIN,
	AS_NAP_WORKER_BUSY,			/* for an actor that somebody has locked */
	AS_NAP_WORKER_MAIN,
	AS_NNAPS
} AsNap;

/* What WaitLatch() and its like are to be told. */
extern uint32 as_wait_event(AsNap wait);

/*
 * Sleep till this process's latch is set, or for so many milliseconds: was it
 * set?  It is reset; interrupts are the caller's.
 */
extern bool as_nap(long ms, AsNap wait);

#endif							/* AS_NAP_H */

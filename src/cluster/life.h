/*-------------------------------------------------------------------------
 *
 * life.h
 *	  The lives of transactions over several nodes, for all to see, and the
 *	  resolvers that finish what others left.
 *
 * In shared memory each backend has a place that only it writes to: what has
 * become of its last transaction over several nodes, which sessions of other
 * nodes work for that, and for whom it works itself, if another node has opened
 * it.  A reader sees all of that as it was at one moment.  The resolver asks but
 * one question, which is answered by a single word: is somebody at this
 * transaction's second phase?
 *
 * What others know of the resolver of their database stands in resolver_board.c.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_LIFE_H
#define AS_LIFE_H

#include "actorstore.h"
#include "access/transam.h"
#include "storage/lock.h"

typedef enum AsLife
{
	AS_LIFE_NONE,
	AS_LIFE_BEGIN,				/* a peer is being enlisted */
	AS_LIFE_ACTIVE,
	AS_LIFE_PREPARING,
	AS_LIFE_PREPARED,			/* everywhere; the decision is being committed */
	AS_LIFE_COMMITTING,			/* decided; the participants are told */
	AS_LIFE_COMMITTED,
	AS_LIFE_ABORTING,
	AS_LIFE_ABORTED
} AsLife;

/* The process that has opened a session from another node */
typedef struct AsCoordinator
{
	uint64		boot;			/* of its server: see below */
	int			pid;			/* 0: none */
} AsCoordinator;

extern Size as_lives_shmem_size(void);
extern void as_lives_shmem_init(void);

/* This backend's transaction has come so far. */
extern void as_life_set(AsLife life);

/* It takes place there, too, in the session of that number. */
extern void as_life_add_node(int16 node, int pid);

/* What that session does is of no use to us any more. */
extern void as_life_lose_node(int16 node);

/* It is committed under this xid; its participants will be told. */
extern void as_life_set_xid(FullTransactionId xid);

/* Is its own backend about to tell the participants? */
extern bool as_life_is_attended(FullTransactionId xid);

/* This session works for somebody. */
extern void as_life_set_coordinator(const AsCoordinator *coordinator);

/*
 * Of a process by its number: does it work for somebody, and for whom?  May it
 * be part of a transaction over several nodes that is not prepared everywhere?
 * Is it the coordinator of one, in this local transaction?
 */
extern bool as_life_coordinator(int number, AsCoordinator *coordinator);
extern bool as_life_may_deadlock(int number);
extern bool as_life_is_transaction(int number, int backend, LocalTransactionId lxid);

/*
 * A number that no other start of a server has.  After a crash the server may
 * use a transaction's number again that nobody has heard of but another node:
 * with this beside it, it is another number.  The resolver writes it down
 * (actorstore.boot) before any transaction is prepared under it; as_boot_get()
 * waits for that, and throws 55000 if no resolver comes.  as_boot_peek() gives 0
 * where the library is not preloaded.
 */
extern uint64 as_boot_get(void);
extern uint64 as_boot_peek(void);
extern void as_boot_publish(void);

/* ---- The resolver of this database (resolver_board.c) ---- */

extern Size as_resolvers_shmem_size(void);
extern void as_resolvers_shmem_init(void);

/* Register as it; false if there is one.  It ceases to be with the process. */
extern bool as_resolver_register(void);

/* Does one run, or start, in this database?  If not, this claims the start. */
extern bool as_resolver_claim_start(void);

/* Wake it, to look at all nodes; returns the number of its next whole pass. */
extern uint64 as_resolver_poke(void);

/*
 * Somebody has heard of a newer epoch, from that node (0: it is not known who
 * has it): let the resolver fetch it.
 */
extern void as_resolver_want(int16 node, int64 epoch);

/* For the resolver: the newest one that is wanted; 0: none.  It is taken once. */
extern int64 as_resolver_take_wanted(int16 *node);

/* Was there ever one, since the server started? */
extern bool as_resolver_is_known(void);

/* It has ended a pass; the number counts those begun since the server did. */
extern uint64 as_resolver_begin_pass(void);
extern void as_resolver_end_pass(uint64 pass, uint64 nresolved);

/* For the resolver: was it woken since the last pass began? */
extern bool as_resolver_is_asked(void);

/* The last pass that was ended, and all that was resolved. */
extern bool as_resolver_state(uint64 *pass, uint64 *nresolved);

#endif							/* AS_LIFE_H */

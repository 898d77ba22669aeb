/*-------------------------------------------------------------------------
 *
 * deadlock.h
 *	  Deadlocks that go through several nodes.
 *
 * Each server finds the deadlocks among its own locks.  One that goes through
 * several nodes it cannot see: a transaction waits here for one that waits, in
 * another session, there.  The resolver looks for these (as_deadlock_look),
 * between its passes, whenever somebody who may be part of a transaction over
 * several nodes has waited here for a lock for deadlock_timeout.  In each node
 * of such a cycle somebody waits who is: so the resolvers of all of its nodes
 * look, and one of them is enough.
 *
 * A look asks all nodes at once:
 *
 *	- local_transactions: the transactions that the node coordinates and that
 *	  are not yet prepared everywhere, and the sessions elsewhere, by node and
 *	  process, that work for each.  A transaction is known by its server's start
 *	  (life.h), its process, and its virtual transaction there.
 *	- local_waits: who waits for whom, waiters ahead in a queue included, and
 *	  prepared transactions, by their global ids.  A session that another node
 *	  has opened says by which server and process that was done.
 *
 * A session that waits or is waited for stands for a transaction over several
 * nodes if it is the coordinator's, or if the coordinator counts it among
 * those that work for it and it says the same of itself.  A prepared one does
 * if its global id is that of a transaction which is still preparing.  (One
 * that is prepared everywhere waits for nobody, and ends.)  Every other session
 * stands for itself.  A transaction goes on only when all waits of all of its
 * sessions have ended, so that each cycle of waits is a deadlock, if all of its
 * waits are there at one moment.
 *
 * That they are is what the second look is for.  The nodes answer at different
 * moments; a cycle that was put together of what was never true at once must
 * not cost a victim.  The second look begins after the first has ended.  What
 * was seen in both has been there in between, and so at one moment, the one
 * between the looks:
 *
 *	- A wait is the same one if process and start are (waits.h).  It has not
 *	  ended meanwhile.
 *	- Whom it waits for is the same transaction.  It blocks the wait in both
 *	  looks.  Had it given the lock up meanwhile it could only have got behind
 *	  the one who waits, where it blocks nobody.
 *	- A session works for the same transaction: a coordinator's session has one
 *	  at a time, whose virtual transaction has no other, and what works for it
 *	  is only added to, or lost with its connection; then it is not counted any
 *	  more, and what it still waits for, till it finds out, is nobody's.
 *	- A session that works for a transaction and waits is in a command of that
 *	  transaction: it was sent only after the one before had been ended there.
 *
 * The victim is the youngest transaction over several nodes of the cycle of
 * which nothing is prepared: two resolvers that find the same cycle choose the
 * same one.  (Where all are preparing, which waits of triggers that were put
 * off can lead to, and statements that PREPARE goes with, it is the youngest of
 * all: what waits is not prepared, and nothing is decided.)  First its coordinator's node is told what to say, then
 * its wait in the cycle is ended, if it still goes on, by the node where it is.
 * Nothing else ends a wait: neither a lost message nor a late one, nor two that
 * say the same, hit anything but this wait of this process.
 *
 * A node that does not answer adds nothing to a look.  Cycles through others are
 * found without it, one through it is once it answers.  Where nobody looks,
 * lock_timeout ends a wait.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_DEADLOCK_H
#define AS_DEADLOCK_H

#include "actorstore.h"
#include "cluster/node.h"
#include "cluster/peer.h"
#include "lib/wait_graph.h"

/* Look, if it is time to; in a process with no transaction.  Throws nothing. */
extern void as_deadlock_look(void);

/* So often, in ms, one should look whether it is time to. */
extern int	as_deadlock_nap(void);

/* ---- For deadlock*.c ---- */

/* Of a transaction over several nodes, what its coordinator's node says */
typedef struct AsGlobal
{
	int16		node;
	int			pid;
	uint64		boot;
	char	   *transaction;	/* its virtual transaction */
	uint64		xid;			/* 0: none yet */
	int64		born;
	bool		preparing;
} AsGlobal;

/* A session that works for one */
typedef struct AsHelper
{
	int			global;
	int16		node;
	int			pid;
} AsHelper;

/* Who waits, or is waited for */
typedef struct AsWaitParty
{
	int			pid;			/* 0: prepared */
	char	   *transaction;
	char	   *coordinator;	/* "boot.pid", or NULL */
	char	   *gid;
	int			vertex;			/* -1: waits for nobody */
} AsWaitParty;

typedef struct AsWait
{
	int16		node;
	int			pid;			/* the process that sleeps */
	int64		start;
	char	   *what;
	AsWaitParty waiter;
	AsWaitParty blocker;
} AsWait;

typedef struct AsLook
{
	AsNode		self;
	AsNode	   *nodes;			/* all */
	int			nnodes;
	bool		whole;			/* all have answered */

	AsGlobal   *globals;
	int			nglobals;
	AsHelper   *helpers;
	int			nhelpers;
	AsWait	   *waits;
	int			nwaits;

	AsWaitVertex *vertices;
	char	  **names;			/* of vertices: the same in every look */
	int		   *global_of;		/* of vertices: in globals; -1: one session */
	int			nvertices;
	AsWaitEdge *edges;
	int			nedges;
} AsLook;

/*
 * Ask all nodes and put together what they say, in the current memory context.
 * May throw.
 */
extern AsLook *as_deadlock_collect(void);

/* The connection to another node, or NULL if it cannot be had now. */
extern AsPeer *as_deadlock_reach(const AsNode *node);

/* It has not answered: leave it alone for a while. */
extern void as_deadlock_give_up(AsPeer *peer, TimestampTz since);

#endif							/* AS_DEADLOCK_H */

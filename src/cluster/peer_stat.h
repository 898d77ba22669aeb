/*-------------------------------------------------------------------------
 *
 * peer_stat.h
 *	  What the backends of this server do with each peer, counted in shared
 *	  memory, and how many connections they have together.
 *
 * An entry belongs to a (database, node) for good; where none is left nothing
 * is counted.  The number of connections always is.  All are atomics that
 * everybody adds to.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_PEER_STAT_H
#define AS_PEER_STAT_H

#include "actorstore.h"

/* entries: nodes of all databases of this server */
#define AS_PEER_STATS	256

typedef enum AsPeerCounter
{
	AS_PEER_OPEN,				/* connections there are now */
	AS_PEER_OPENED,				/* since the server started */
	AS_PEER_REFUSED,			/* could not be opened */
	AS_PEER_LOST,				/* broke, or were closed in an unknown state */
	AS_PEER_FLIGHTS,			/* round trips */
	AS_PEER_ONE_PHASE,			/* transactions that wrote there only */
	AS_PEER_PREPARED,			/* transactions prepared there */
	AS_PEER_COMMITTED,			/* of these, committed by their backend */
	AS_PEER_ROLLED_BACK,		/* and undone by it */
	AS_PEER_RESOLVED,			/* by the resolver */
	AS_PEER_NCOUNTERS
} AsPeerCounter;

/* a setting: connections of the server */
extern int	actorstore_max_peer_connections;

extern Size as_peer_stat_shmem_size(void);
extern void as_peer_stat_shmem_init(void);

/* The entry of a node of this database; -1 if there is none. */
extern int	as_peer_stat_find(int16 node_number);

/* The node of an entry; false if it is of another database, or none's. */
extern bool as_peer_stat_node(int entry, int16 *node_number);

/* Add to a counter; entry -1 counts nothing. */
extern void as_peer_stat_count(int entry, AsPeerCounter counter, int64 n);

/* A counter's value; 0 for entry -1. */
extern int64 as_peer_stat_get(int entry, AsPeerCounter counter);

/*
 * The latest incarnation (node.h) of the node that any session has spoken to,
 * and that one has now been.  0 if there is none, and for entry -1.
 */
extern int64 as_peer_stat_incarnation(int entry);
extern void as_peer_stat_saw(int entry, int64 incarnation);

/*
 * Take a connection out of actorstore.max_peer_connections; false if all are
 * taken.  55000 where the library is not preloaded.
 */
extern bool as_peer_stat_take_connection(void);
extern void as_peer_stat_give_connection(void);

#endif							/* AS_PEER_STAT_H */

/*-------------------------------------------------------------------------
 *
 * map.h
 *	  What the tables say of nodes and slots, as one backend keeps it: for node.c.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_MAP_H
#define AS_MAP_H

#include "actorstore.h"
#include "cluster/node.h"
#include "utils/palloc.h"
#include "utils/snapshot.h"

typedef struct AsCluster
{
	MemoryContext context;		/* it is in here */
	int			count;
	int			self;			/* -1: none */
	bool		fenced;			/* a copy */
	uint32		timeline;		/* on which that was found */
	bool		gone;			/* was a node, is none any more */
	bool		arriving;		/* is about to become one (arrival.h) */
	int64		epoch;
	int			nlost;			/* nodes that were declared lost (force.h) */
	pg_uuid_t  *lost;
	AsNode		nodes[AS_MAX_NODES];
	int16		owners[AS_SLOTS];	/* in nodes, -1: none */
	bool		closed[AS_SLOTS];	/* about to be given away (give.h) */
	char		transit[AS_SLOTS];	/* AS_TRANSIT_...; 0: not in transit */
	int16		holders[AS_SLOTS];	/* in nodes: who has what is in the slot (transit.h) */
	bool		comes[AS_SLOTS];	/* on its way to this node, which has not taken it */
} AsCluster;

/* Read the tables; the result is in a memory context of its own. */
extern AsCluster *as_cluster_read(void);

/*
 * How this node is reached, as long as the tables do not say: till NULL is given.
 * The string must stay where it is.
 */
extern void as_cluster_suppose_conninfo(const char *conninfo);

/* The number of a slot's owner as a snapshot shows it, or AS_NO_NODE. */
extern int	as_cluster_owner_by(Snapshot snapshot, int slot);

/* Was it read from this table? */
extern bool as_cluster_concerns(Oid table);

/* Where in nodes is the one of that number?  -1: nowhere. */
extern int	as_cluster_find(const AsCluster *in, int number);

#endif							/* AS_MAP_H */

/*-------------------------------------------------------------------------
 *
 * wait_graph.h
 *	  Who waits for whom: cycles that go through several places, and whom to
 *	  end.
 *
 * A vertex is a transaction, which may wait in several places at once, and
 * goes on only when all of its waits have ended: then every cycle is a deadlock.
 * Cycles within one place are not for us: the server there finds them, and may
 * end them without a victim.  If a search meets one it leaves out one of its
 * edges, and with it whatever other cycles go through that.  They are found
 * when the edges are collected again, after the server there has acted.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_WAIT_GRAPH_H
#define AS_WAIT_GRAPH_H

#include "actorstore.h"

typedef struct AsWaitEdge
{
	int			from;			/* the vertex that waits; never to itself */
	int			to;				/* for this one */
	int			place;
	int			wait;			/* the caller's own number for it */
	bool		gone;			/* left out */
} AsWaitEdge;

/* Whom to end: the highest, then the youngest */
typedef enum AsWaitRank
{
	AS_WAIT_NEVER,
	AS_WAIT_UNWILLINGLY,
	AS_WAIT_GLADLY
} AsWaitRank;

typedef struct AsWaitVertex
{
	AsWaitRank	rank;
	int64		born;			/* when it began */
	uint64		tie;			/* of two born at once, the higher one counts as */
	int			tie2;			/* the younger, wherever they are compared */
} AsWaitVertex;

/* Put the edges in order, by the vertex that waits. */
extern void as_wait_graph_sort(AsWaitEdge *edges, int nedges);

/*
 * A cycle in more than one place, of edges in order.  cycle gets the indexes of
 * its edges; it and scratch have room for nvertices.  Returns how many edges
 * it has; 0 if there is none.
 */
extern int	as_wait_graph_cycle(AsWaitEdge *edges, int nedges, int nvertices,
								int *cycle, int *scratch);

/* Which edge of a cycle starts at the vertex to be ended; -1 if none may be. */
extern int	as_wait_graph_victim(const AsWaitEdge *edges,
								 const AsWaitVertex *vertices,
								 const int *cycle, int n);

/* It is ended: leave out its edges. */
extern void as_wait_graph_end(AsWaitEdge *edges, int nedges, int vertex);

#endif							/* AS_WAIT_GRAPH_H */

/*-------------------------------------------------------------------------
 *
 * wait_graph.c
 *	  See wait_graph.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/wait_graph.h"

/* What the search knows of a vertex, else: its next edge to be followed */
#define UNSEEN	(-1)
#define LEFT	(-2)

static int
compare_edges(const void *a, const void *b)
{
	const AsWaitEdge *one = a;
	const AsWaitEdge *other = b;

	if (one->from != other->from)
		return one->from < other->from ? -1 : 1;
	return (one->wait > other->wait) - (one->wait < other->wait);
}

void
as_wait_graph_sort(AsWaitEdge *edges, int nedges)
{
	qsort(edges, nedges, sizeof(AsWaitEdge), compare_edges);
}

/* The first edge of a vertex, or of one behind it. */
static int
first_edge(const AsWaitEdge *edges, int nedges, int vertex)
{
	int			low = 0;
	int			high = nedges;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (edges[middle].from < vertex)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * The path ends in a vertex that is on it already: drop what comes before that.
 */
static int
close_cycle(const AsWaitEdge *edges, int *path, int n)
{
	int			meeting = edges[path[n - 1]].to;
	int			start = 0;

	while (edges[path[start]].from != meeting)
		start++;
	memmove(path, path + start, sizeof(int) * (n - start));
	return n - start;
}

/* The same, but only looking. */
static bool
is_in_several_places(const AsWaitEdge *edges, const int *path, int n)
{
	int			meeting = edges[path[n - 1]].to;

	for (int i = n - 1; i >= 0; i--)
	{
		if (edges[path[i]].place != edges[path[n - 1]].place)
			return true;
		if (edges[path[i]].from == meeting)
			return false;
	}
	return false;
}

/*
 * Depth first from one vertex.  path has the edges that led to where we are,
 * next the edge of each vertex on it that comes next.
 */
static int
search(AsWaitEdge *edges, int nedges, int root, int *path, int *next)
{
	int			n = 0;
	int			vertex = root;

	next[root] = first_edge(edges, nedges, root);
	for (;;)
	{
		int			edge = next[vertex];

		if (edge == nedges || edges[edge].from != vertex)
		{
			next[vertex] = LEFT;
			if (n == 0)
				return 0;
			vertex = edges[path[--n]].from;
			continue;
		}
		next[vertex]++;
		if (edges[edge].gone || next[edges[edge].to] == LEFT)
			continue;
		path[n] = edge;
		if (next[edges[edge].to] == UNSEEN)
		{
			n++;
			vertex = edges[edge].to;
			next[vertex] = first_edge(edges, nedges, vertex);
		}
		else if (is_in_several_places(edges, path, n + 1))
			return close_cycle(edges, path, n + 1);
		else
			edges[edge].gone = true;
	}
}

int
as_wait_graph_cycle(AsWaitEdge *edges, int nedges, int nvertices, int *cycle,
					int *scratch)
{
	for (int i = 0; i < nvertices; i++)
		scratch[i] = UNSEEN;
	for (int i = 0; i < nvertices; i++)
	{
		int			n = scratch[i] != UNSEEN ? 0 : search(edges, nedges, i, cycle, scratch);

		if (n > 0)
			return n;
	}
	return 0;
}

static bool
is_rather(const AsWaitVertex *one, const AsWaitVertex *other)
{
	if (one->rank != other->rank)
		return one->rank > other->rank;
	if (one->born != other->born)
		return one->born > other->born;
	if (one->tie != other->tie)
		return one->tie > other->tie;
	return one->tie2 > other->tie2;
}

int
as_wait_graph_victim(const AsWaitEdge *edges, const AsWaitVertex *vertices,
					 const int *cycle, int n)
{
	int			best = 0;

	for (int i = 1; i < n; i++)
	{
		if (is_rather(&vertices[edges[cycle[i]].from], &vertices[edges[cycle[best]].from]))
			best = i;
	}
	return vertices[edges[cycle[best]].from].rank == AS_WAIT_NEVER ? -1 : best;
}

void
as_wait_graph_end(AsWaitEdge *edges, int nedges, int vertex)
{
	for (int i = 0; i < nedges; i++)
	{
		if (edges[i].from == vertex || edges[i].to == vertex)
			edges[i].gone = true;
	}
}

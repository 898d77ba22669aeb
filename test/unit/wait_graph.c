/*-------------------------------------------------------------------------
 *
 * wait_graph.c
 *	  Unit test of src/lib/wait_graph: cycles through several places, found in
 *	  random graphs and compared with all that there are; whom to end.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/wait_graph.h"

#include "tap.h"

#define VERTICES	9
#define EDGES		40
#define LONG		200000

static AsWaitEdge edges[EDGES];
static int	nedges = 0;
static int	cycle[VERTICES];
static int	scratch[VERTICES];

static void
edge(int from, int to, int place)
{
	edges[nedges] = (AsWaitEdge) {.from = from,.to = to,.place = place,.wait = nedges};
	nedges++;
}

static int
find(void)
{
	as_wait_graph_sort(edges, nedges);
	return as_wait_graph_cycle(edges, nedges, VERTICES, cycle, scratch);
}

/* Edges in order, no vertex twice, back to the first, in several places. */
static bool
is_good(int n)
{
	unsigned	seen = 0;
	bool		several = false;

	for (int i = 0; i < n; i++)
	{
		const AsWaitEdge *one = &edges[cycle[i]];

		if (one->gone || (seen & (1U << one->from)) != 0 ||
			one->to != edges[cycle[(i + 1) % n]].from)
			return false;
		seen |= 1U << one->from;
		several = several || one->place != edges[cycle[0]].place;
	}
	return several;
}

/* ---- All cycles, by trying all paths ---- */

/* Sets bit 0 if there is one in one place, bit 1 if in several. */
static int
try(int first, int vertex, unsigned seen, int place, bool several)
{
	int			found = 0;

	for (int i = 0; i < nedges; i++)
	{
		bool		more = several || (place != 0 && edges[i].place != place);

		if (edges[i].from != vertex || edges[i].gone)
			continue;
		if (edges[i].to == first)
			found |= more ? 2 : 1;
		else if (edges[i].to > first && (seen & (1U << edges[i].to)) == 0)
			found |= try(first, edges[i].to, seen | (1U << edges[i].to), edges[i].place, more);
	}
	return found;
}

static int
all_cycles(void)
{
	int			found = 0;

	for (int i = 0; i < VERTICES; i++)
		found |= try(i, i, 1U << i, 0, false);
	return found;
}

/* ---- Tests ---- */

static void
test_random(void)
{
	int			wrong = 0,
				missed = 0,
				left = 0,
				nfound = 0,
				nnone = 0;

	for (uint64 i = 0; i < tap_times(20000); i++)
	{
		int			density = 1 + (int) (tap_random() % 24);
		int			places = 1 + (int) (tap_random() % 3);
		int			there;
		int			n;

		nedges = 0;
		for (int j = 0; j < density; j++)
		{
			int			from = (int) (tap_random() % VERTICES);
			int			to = (int) (tap_random() % VERTICES);

			if (from != to)
				edge(from, to, 1 + (int) (tap_random() % places));
		}
		there = all_cycles();
		n = find();
		if (n > 0)
			nfound++;
		else
			nnone++;
		wrong += n > 0 && !is_good(n);
		missed += there == 2 && n == 0;

		/* what is left has no cycle, one edge of each was taken out */
		left += n == 0 && all_cycles() != 0;
	}
	ok(wrong == 0, "what is found is a cycle in several places");
	ok(missed == 0, "one is found where there is no cycle in one place");
	ok(left == 0, "where none is found, none is left");
	ok(nfound > 100 && nnone > 100, "both were tried: %d and %d times", nfound, nnone);
}

static void
test_shape(void)
{
	nedges = 0;
	ok(find() == 0, "no edges");
	edge(0, 1, 1);
	edge(1, 2, 2);
	edge(2, 3, 1);
	ok(find() == 0, "a chain");
	edge(3, 1, 1);
	ok(find() == 3 && is_good(3), "a cycle at the end of a chain");
	as_wait_graph_end(edges, nedges, 2);
	ok(find() == 0, "none without one of it");
	nedges = 0;
	edge(4, 5, 7);
	edge(5, 4, 7);
	ok(find() == 0, "a cycle in one place is not for us");
	nedges = 0;
	edge(4, 5, 7);
	edge(4, 5, 7);
	edge(5, 4, 8);
	edge(5, 4, 7);
	ok(find() == 2 && is_good(2), "one of two places behind one of one");
}

/* As deep as a path may be: a queue of many. */
static void
test_long(void)
{
	AsWaitEdge *many = calloc(LONG, sizeof(AsWaitEdge));
	int		   *path = calloc(LONG, sizeof(int));
	int		   *space = calloc(LONG, sizeof(int));

	for (int i = 0; i < LONG; i++)
		many[i] = (AsWaitEdge) {.from = i,.to = (i + 1) % LONG,.place = i == LONG / 2,.wait = i};
	ok(as_wait_graph_cycle(many, LONG, LONG, path, space) == LONG, "a cycle of all vertices");
	many[LONG - 1].gone = true;
	ok(as_wait_graph_cycle(many, LONG, LONG, path, space) == 0, "a queue of all");
	free(many);
	free(path);
	free(space);
}

static void
test_victim(void)
{
	AsWaitVertex vertices[3] = {
		{.rank = AS_WAIT_GLADLY,.born = 10,.tie = 1},
		{.rank = AS_WAIT_GLADLY,.born = 20,.tie = 1},
		{.rank = AS_WAIT_NEVER,.born = 30,.tie = 1}
	};
	int			victim;

	nedges = 0;
	edge(0, 1, 1);
	edge(1, 2, 2);
	edge(2, 0, 1);
	ok(find() == 3, "a cycle of three");
#define VICTIM() \
	(victim = as_wait_graph_victim(edges, vertices, cycle, 3), \
	 victim < 0 ? victim : edges[cycle[victim]].from)
	ok(VICTIM() == 1, "the youngest that may be ended");
	vertices[1].rank = AS_WAIT_UNWILLINGLY;
	ok(VICTIM() == 0, "an older one, if the youngest is prepared");
	vertices[0].rank = AS_WAIT_UNWILLINGLY;
	ok(VICTIM() == 1, "the youngest, if all are");
	vertices[0].born = 20;
	vertices[0].tie = 2;
	ok(VICTIM() == 0, "of two equally old ones always the same");
	vertices[1].tie = 2;
	vertices[1].tie2 = 5;
	ok(VICTIM() == 1, "even on one server");
	vertices[0].rank = vertices[1].rank = AS_WAIT_NEVER;
	ok(VICTIM() == -1, "nobody, if nobody may be");
}

int
main(void)
{
	test_shape();
	test_random();
	test_long();
	test_victim();
	return done();
}

/*-------------------------------------------------------------------------
 *
 * gossip.c
 *	  Unit test of src/lib/phi and src/lib/gossip: who is held to be down, how
 *	  soon, and what it costs, in clusters that are simulated on a clock of
 *	  their own.
 *
 * Each node has a detector for each of its targets, and opinions; once a
 * second it probes its targets, and both tell each other what they lack, as
 * src/cluster/health.c does it.  Probes are lost, late, or cut; processes
 * of nodes that are starved run when they should not, late.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/gossip.h"
#include "lib/phi.h"

#include <math.h>
#include <time.h>

#include "tap.h"

#define SECOND		INT64CONST(1000000)
#define PAUSE		(3 * SECOND)
#define THRESHOLD	8.0
#define MAX_NODES	200

/* bytes of a question and an answer with nothing new in them, as they leave the socket */
#define QUESTION	292
#define ANSWER		150

typedef struct Node
{
	bool		dead;
	int64		next_beat;
	AsGossip	gossip;
	int16		targets[AS_GOSSIP_SUSPECTS];
	int			ntargets;
	AsPhi		phi[AS_GOSSIP_SUSPECTS];
	int64		answers[AS_GOSSIP_SUSPECTS];	/* when one comes that is on its way; 0: none is */
	bool		starved;
	int64		late;			/* it runs so much later than it is to */
	int			stretch;
	int64		down_since[MAX_NODES + 1];	/* as this one judges; 0: is not */
} Node;

static Node nodes[MAX_NODES + 1];
static int	nnodes;
static int64 now;
static int64 beats;
static int64 bytes;
static int64 changes;			/* of judgements */
static bool (*cut) (int from, int to);
static int64 (*delay) (void);

static int64 (*hunger) (void);	/* by how much who is starved is late */

static int64
no_delay(void)
{
	return (int64) (tap_random() % 2000);
}

static bool
no_cut(int from, int to)
{
	return from == 0 && to == 0;
}

/* An opinion, as it travels: its numbers, 8 bytes each at most. */
static void
tell(Node *from, Node *to, const AsVclock *known)
{
	const AsOpinion *newer[AS_MAX_NODES];
	int			n = as_gossip_newer(&from->gossip, known, newer);

	for (int i = 0; i < n; i++)
	{
		bytes += 8 * (3 + newer[i]->nsuspects);
		(void) as_gossip_hear(&to->gossip, (int16) (to - nodes), newer[i]);
	}
}

static void
probe(Node *from, int target)
{
	int			number = from->targets[target];
	Node	   *to = &nodes[number];

	if (from->answers[target] != 0)
		return;
	beats++;
	bytes += QUESTION;
	if (to->dead || cut((int) (from - nodes), number))
		return;
	bytes += ANSWER;
	if (as_gossip_hash(&from->gossip) != as_gossip_hash(&to->gossip))
	{
		AsVclock   *ours = as_gossip_clock(&from->gossip);
		AsVclock   *theirs = as_gossip_clock(&to->gossip);

		bytes += 12 * (ours->count + theirs->count);
		tell(from, to, theirs);
		tell(to, from, ours);
		pfree(ours);
		pfree(theirs);
	}
	from->answers[target] = now + delay() + (to->starved ? hunger() : 0);
}

/* What has come since it last ran, and at what time: it hears of that when it runs. */
static void
hear(Node *node)
{
	for (int i = 0; i < node->ntargets; i++)
	{
		AsPhi	   *phi = &node->phi[i];

		if (node->answers[i] == 0 || node->answers[i] > now)
			continue;
		as_phi_beat(phi, node->starved ? now : node->answers[i], as_phi_value(phi, now, PAUSE, node->stretch) < THRESHOLD);
		node->answers[i] = 0;
	}
}

/* Once a second, or later. */
static void
wake(Node *node)
{
	int64		late = now - node->next_beat;

	for (int i = 0; i < node->ntargets; i++)
		as_phi_excuse(&node->phi[i], late, SECOND, now);
	node->stretch = as_phi_stretch(node->stretch, late, SECOND);
}

static void
judge(Node *node)
{
	int16		self = (int16) (node - nodes);
	int16		suspects[AS_GOSSIP_SUSPECTS];
	int			nsuspects = 0;

	for (int i = 0; i < node->ntargets; i++)
	{
		if (as_phi_value(&node->phi[i], now, PAUSE, node->stretch) >= THRESHOLD)
			suspects[nsuspects++] = node->targets[i];
	}
	as_gossip_suspect(&node->gossip, self, 1, suspects, nsuspects);
	changes += as_gossip_judge(&node->gossip, self);
	for (int i = 1; i <= nnodes; i++)
	{
		if (as_gossip_health(&node->gossip, (int16) i) != AS_HEALTH_DOWN)
			node->down_since[i] = 0;
		else if (node->down_since[i] == 0)
			node->down_since[i] = now;
	}
}

static void
start(int n)
{
	int16		members[MAX_NODES];

	nnodes = n;
	now = 1000 * SECOND;
	cut = no_cut;
	delay = no_delay;
	for (int i = 0; i < n; i++)
		members[i] = (int16) (i + 1);
	for (int i = 1; i <= n; i++)
	{
		Node	   *node = &nodes[i];

		memset(node, 0, sizeof(Node));
		as_gossip_set_members(&node->gossip, members, n);
		node->ntargets = as_gossip_targets(&node->gossip, (int16) i, node->targets);
		for (int j = 0; j < node->ntargets; j++)
			as_phi_begin(&node->phi[j], SECOND, now);
		node->next_beat = now + (int64) (tap_random() % SECOND);
		node->stretch = 1;
	}
}

/* Let time pass, a hundredth of a second after the other. */
static void
run(int64 duration)
{
	beats = bytes = changes = 0;
	for (int64 until = now + duration; now < until; now += SECOND / 100)
	{
		for (int i = 1; i <= nnodes; i++)
		{
			Node	   *node = &nodes[i];

			if (node->dead)
				continue;
			if (!node->starved)
				hear(node);
			if (node->next_beat + node->late > now)
				continue;
			wake(node);
			hear(node);
			for (int j = 0; j < node->ntargets; j++)
				probe(node, j);
			judge(node);
			node->next_beat = now + SECOND;
			node->late = node->starved ? hunger() : 0;
		}
	}
}

/* How many of those alive hold a node down, and since when the last one does. */
static int
holders(int number, int64 *last)
{
	int			n = 0;

	*last = 0;
	for (int i = 1; i <= nnodes; i++)
	{
		if (nodes[i].dead || nodes[i].down_since[number] == 0)
			continue;
		n++;
		*last = Max(*last, nodes[i].down_since[number]);
	}
	return n;
}

/* ---- The detector ---- */

static void
test_phi(void)
{
	AsPhi		phi;
	double		before = 0;
	bool		grows = true;
	int64		at = 5 * SECOND;

	as_phi_begin(&phi, SECOND, at);
	for (int i = 0; i < 1000; i++)
	{
		at += SECOND + (int64) (tap_random() % 20000) - 10000;
		as_phi_beat(&phi, at, true);
	}
	ok(as_phi_value(&phi, at, 0, 1) < 0.001, "just after an answer nothing is suspected");
	ok(!signbit(as_phi_value(&phi, at, 3600 * SECOND, 1)), "which is not less than nothing");
	ok(as_phi_value(&phi, at + SECOND, 0, 1) > 0.25 && as_phi_value(&phi, at + SECOND, 0, 1) < 0.35,
	   "half of the answers come later than the mean: phi is 0.3");
	for (int64 silence = 0; silence < 100 * SECOND; silence += SECOND / 20)
	{
		double		value = as_phi_value(&phi, at + silence, 0, 1);

		grows = grows && value >= before;
		before = value;
	}
	ok(grows && before == 1000, "it grows with the silence, up to a bound");
	ok(as_phi_value(&phi, at + SECOND + 3 * SECOND, PAUSE, 1) < 0.35, "a pause is waited for");

	/* sigma is 100 ms: 5.6 of them are a chance of 10^-8 */
	ok(as_phi_value(&phi, at + SECOND + 550000, 0, 1) < 8 && as_phi_value(&phi, at + SECOND + 590000, 0, 1) > 8,
	   "8 is reached 5.6 standard deviations after the mean");
	ok(as_phi_value(&phi, at + 4 * SECOND, 0, 4) < 0.35, "who is late himself stretches time");
	ok(as_phi_value(&phi, at - 3600 * SECOND, 0, 1) < 0.001, "a clock that went back suspects nobody");

	/* intervals that are forgotten take their part of the sums with them */
	for (int i = 0; i < 3 * AS_PHI_SAMPLES; i++)
		as_phi_beat(&phi, at += i % 2 == 0 ? 100 * SECOND * 3600 : SECOND, true);
	for (int i = 0; i < AS_PHI_SAMPLES; i++)
		as_phi_beat(&phi, at += 2 * SECOND, true);
	ok(phi.sum == 2 * SECOND * AS_PHI_SAMPLES && phi.squares == 4 * SECOND * SECOND * AS_PHI_SAMPLES, "what is forgotten leaves nothing behind");
}

/* ---- Opinions ---- */

static void
test_members(void)
{
	AsGossip	gossip = {0};
	AsOpinion	opinion = {.node = 7,.counter = 5,.nsuspects = 1,.suspects = {3}};
	int16		targets[AS_GOSSIP_SUSPECTS];

	ok(as_gossip_targets(&gossip, 1, targets) == 0, "without members nobody is probed");
	as_gossip_set_members(&gossip, (int16[]) {3, 5, 7}, 3);
	ok(as_gossip_targets(&gossip, 4, targets) == 0, "who is no member probes nobody");
	ok(as_gossip_targets(&gossip, 5, targets) == 2 && targets[0] == 7 && targets[1] == 3, "of three, each probes both others");
	ok(as_gossip_hear(&gossip, 5, &opinion) && !as_gossip_hear(&gossip, 5, &opinion), "an opinion is news once");
	opinion.counter = 4;
	ok(!as_gossip_hear(&gossip, 5, &opinion), "an older one is none");
	opinion.node = 8;
	opinion.counter = 100;
	ok(!as_gossip_hear(&gossip, 5, &opinion), "nor is a stranger's");
	as_gossip_set_members(&gossip, (int16[]) {1, 5, 6, 7, 9}, 5);
	ok(gossip.count == 5 && gossip.opinions[3].node == 7 && gossip.opinions[3].counter == 5 && gossip.opinions[0].counter == 0 && gossip.opinions[4].node == 9,
	   "members come and go, and what was heard of the others stays");
	as_gossip_set_members(&gossip, (int16[]) {7}, 1);
	ok(gossip.count == 1 && gossip.opinions[0].counter == 5, "one is left");
	as_gossip_set_members(&gossip, NULL, 0);
	ok(gossip.count == 0, "nobody is left");
	as_gossip_set_members(&gossip, (int16[]) {5, 7}, 2);
	as_gossip_suspect(&gossip, 5, 100, NULL, 0);
	as_gossip_suspect(&gossip, 5, 100, NULL, 0);
	ok(gossip.opinions[0].counter == 100, "to say the same again is no news");
	opinion.node = 5;
	opinion.counter = 200;
	ok(as_gossip_hear(&gossip, 5, &opinion) && gossip.opinions[0].counter == 201 && gossip.opinions[0].nsuspects == 0,
	   "a word of an earlier life of ours is outdone, not believed");
}

/* ---- Clusters ---- */

static bool
cut_one_way(int from, int to)
{
	return from == 1 && to == 2;
}

static bool
cut_off(int from, int to)
{
	return (from <= nnodes / 3) != (to <= nnodes / 3);
}

static int64
slow(void)
{
	return tap_random() % 20 == 0 ? 2 * SECOND : no_delay();
}

static void
test_cluster(int n)
{
	int64		last;
	int64		died;
	int			up = 0;
	int			wrong = 0;
	static double bytes_of_ten;
	clock_t		began;

	start(n);
	run(60 * SECOND);
	for (int i = 1; i <= n; i++)
	{
		for (int j = 1; j <= n; j++)
			up += as_gossip_health(&nodes[i].gossip, (int16) j) == AS_HEALTH_UP;
	}
	ok(up == n * n, "%d nodes: all hold all to be up", n);
	began = clock();
	run(60 * SECOND);
	ok(changes == 0, "%d nodes: and nothing changes", n);
	printf("# %d nodes: %.1f probes and %.0f bytes a second and node\n", n, (double) beats / n / 60, (double) bytes / n / 60);
	printf("# %d nodes: the detector and the opinions take %.4f %% of a core for each\n", n, 100.0 * (double) (clock() - began) / CLOCKS_PER_SEC / n / 60);
	ok(n <= 10 || bytes / n * log(10) <= bytes_of_ten * log(n) * 1.01, "%d nodes: no more than n log n of what ten send", n);
	if (n == 10)
		bytes_of_ten = (double) bytes / n;
	ok(bytes / n / 60 < 10000, "%d nodes: below 10 kB a second for each", n);
	delay = slow;
	run(600 * SECOND);
	ok(changes == 0, "%d nodes: an answer in twenty is two seconds late, for ten minutes: nobody is suspected", n);
	delay = no_delay;

	died = now;
	nodes[n].dead = true;
	run(30 * SECOND);
	ok(holders(n, &last) == n - 1, "%d nodes: one dies, and all know", n);
	printf("# %d nodes: the last one after %.1f s\n", n, (double) (last - died) / SECOND);
	ok(last - died > SECOND && last - died < 12 * SECOND, "%d nodes: soon", n);
	nodes[n].dead = false;
	nodes[n].next_beat = now;
	run(30 * SECOND);
	ok(holders(n, &last) == 0, "%d nodes: it is back, and all know", n);
	if (n < 3)
		return;

	cut = cut_one_way;
	run(60 * SECOND);
	ok(holders(2, &last) == 0 && as_gossip_health(&nodes[1].gossip, 2) == AS_HEALTH_SUSPECT,
	   "%d nodes: one that cannot reach another holds it to be suspect, and nobody holds it to be down", n);
	cut = cut_off;
	run(60 * SECOND);
	for (int i = 1; i <= n; i++)
	{
		for (int j = 1; j <= n; j++)
			wrong += as_gossip_health(&nodes[i].gossip, (int16) j) == (cut_off(i, j) ? AS_HEALTH_UP : AS_HEALTH_DOWN);
	}
	ok(wrong == 0, "%d nodes: cut into two parts, nobody of one holds any of the other to be up, nor any of his own to be down", n);
	ok(holders(1, &last) == n - n / 3 && holders(n / 3 + 1, &last) == n / 3, "%d nodes: and whom it has probed to be down", n);
	cut = no_cut;
	run(60 * SECOND);
	up = 0;
	for (int i = 1; i <= n; i++)
		up += holders(i, &last) == 0;
	ok(up == n, "%d nodes: together again, nobody holds anybody to be down", n);
}

/* ---- Who has no processor ---- */

/* By half a second on the average, and seldom by seven. */
static int64
starving(void)
{
	double		u = (double) (tap_random() % 1000000 + 1) / 1000001;

	return (int64) (-log(u) * SECOND / 2);
}

/* It is ten seconds late, one time in thirty. */
static int64
standing(void)
{
	return tap_random() % 30 == 0 ? 10 * SECOND : no_delay();
}

static void
test_starved(int n, int nstarved, int64 (*how) (void), const char *what, bool at_all)
{
	int			healthy = 0;
	int			starved = 0;
	int64		last;

	start(n);
	run(60 * SECOND);
	hunger = how;
	for (int i = 1; i <= nstarved; i++)
		nodes[i].starved = true;
	for (int second = 0; second < 1800; second++)
	{
		run(SECOND);
		for (int i = 1; i <= n; i++)
			*(i <= nstarved ? &starved : &healthy) += holders(i, &last) > 0;
	}
	printf("# %d of %d nodes are %s for 30 minutes: of the %d others somebody held one down in %d of their seconds, of them in %d\n",
		   nstarved, n, what, n - nstarved, healthy, starved);
	ok(healthy == 0, "%d of %d nodes are %s: nobody else is held to be down", nstarved, n, what);
	ok(at_all || starved == 0, "%d of %d nodes are %s: nor are they", nstarved, n, what);
}

int
main(void)
{
	test_phi();
	test_members();
	test_cluster(2);
	test_cluster(3);
	test_cluster(10);
	test_cluster(100);
	test_starved(10, 1, starving, "starved", false);
	test_starved(10, 3, starving, "starved", false);
	test_starved(3, 1, starving, "starved", false);
	test_starved(10, 1, standing, "standing still now and then", true);
	test_starved(10, 3, standing, "standing still now and then", true);
	return done();
}

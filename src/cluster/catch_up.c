/*-------------------------------------------------------------------------
 *
 * catch_up.c
 *	  See catch_up.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/catch_up.h"

#include "access/xact.h"
#include "cluster/ballot.h"
#include "cluster/life.h"
#include "cluster/node.h"
#include "cluster/resolver.h"
#include "state/own_transaction.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(actorstore_local_epoch);

Datum
actorstore_local_epoch(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(as_node_epoch());
}

/* In a transaction of its own: put an epoch in force; or none, but tell which one is. */
static int64
learn(text *epoch)
{
	MemoryContext context = CurrentMemoryContext;
	int64		in_force;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (epoch != NULL && as_ballot_learn(epoch))
		CommandCounterIncrement();
	in_force = as_node_epoch();
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return in_force;
}

static void
ask(AsPeer **peers, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (peers[i] == NULL)
			continue;
		(void) as_peer_add(peers[i], "SELECT actorstore.local_epoch()", 0, NULL, true);
		(void) as_peer_launch(peers[i]);
	}
	(void) as_peers_wait(peers, n, as_peer_deadline(actorstore_peer_timeout));
	for (int i = 0; i < n; i++)
	{
		if (peers[i] != NULL && (peers[i]->broken || peers[i]->state != AS_PEER_IDLE))
		{
			as_peer_close(peers[i]);
			peers[i] = NULL;
		}
	}
}

void
as_catch_up_with(const char *in_force)
{
	int64		epoch = learn(cstring_to_text(in_force));

	ereport(LOG,
			(errmsg("epoch %lld is in force: it was decided while this node was down or out of reach",
					(long long) epoch)));
}

void
as_catch_up(AsPeer **peers, int n)
{
	int64		highest = learn(NULL);
	AsPeer	   *ahead = NULL;
	PGresult   *result;

	ask(peers, n);
	for (int i = 0; i < n; i++)
	{
		int64		epoch;

		if (peers[i] == NULL || !as_peer_succeeded(peers[i], 0))
			continue;
		epoch = pg_strtoint64(PQgetvalue(as_peer_result(peers[i], 0), 0, 0));
		if (epoch > highest)
		{
			highest = epoch;
			ahead = peers[i];
		}
	}
	if (ahead == NULL)
		return;
	result = as_peer_execute(ahead, "SELECT actorstore.local_in_force()", 0, NULL, false);
	as_catch_up_with(PQgetvalue(result, 0, 0));
}

/*
 * The other nodes, or only the one of that number; none if the epoch is in force
 * here by now.
 */
static int
read_others(int16 number, int64 epoch, AsNode **nodes)
{
	const AsNode *self;
	int			count;
	int			n = 0;

	as_own_transaction_begin();
	self = as_node_self();
	count = self == NULL || as_node_epoch() >= epoch ? 0 : as_node_count();
	*nodes = palloc(sizeof(AsNode) * (count + 1));
	for (int i = 0; i < count; i++)
	{
		const AsNode *node = as_node_nth(i);

		if (node->number == self->number || (number != 0 && node->number != number))
			continue;
		(*nodes)[n] = *node;
		(*nodes)[n].name = pstrdup(node->name);
		(*nodes)[n++].conninfo = node->conninfo == NULL ? NULL : pstrdup(node->conninfo);
	}
	as_own_transaction_end();
	return n;
}

void
as_catch_up_wanted(void)
{
	int16		from;
	int64		epoch = as_resolver_take_wanted(&from);
	AsNode	   *nodes;
	int			n = epoch == 0 ? 0 : read_others(from, epoch, &nodes);

	for (int i = 0; i < n; i++)
	{
		AsPeer	   *peer = as_resolver_reach(&nodes[i]);

		as_catch_up(&peer, 1);
	}
}

/*-------------------------------------------------------------------------
 *
 * route.c
 *	  See route.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/route.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "cluster/global.h"
#include "compat.h"
#include "lib/key_hash.h"
#include "miscadmin.h"
#include "utils/inval.h"
#include "utils/timestamp.h"

/* Another epoch is in force somewhere: it comes here, too, in a moment. */
#define LEARN_MS	2000
#define LEARN_NAP_MS	5

static int64 told = 0;			/* the epoch that another node was told of last */

/* ---- Whose is it? ---- */

static uint64
hash_of(const text *type, const text *id)
{
	return as_key_hash(VARDATA_ANY(type), VARSIZE_ANY_EXHDR(type),
					   VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
}

const AsNode *
as_route_find(const text *type, const text *id)
{
	const AsNode *owner;

	if (likely(!as_node_has_others()))
		return NULL;
	owner = as_node_owner(hash_of(type, id));
	return owner == NULL || owner == as_node_self() ? NULL : owner;
}

/* Wait a while for an epoch from that one on. */
static void
wait_for_epoch(int64 epoch)
{
	TimestampTz deadline = as_peer_deadline(LEARN_MS);

	for (;;)
	{
		AcceptInvalidationMessages();
		if (as_node_epoch() >= epoch || GetCurrentTimestamp() >= deadline)
			return;
		as_peer_nap(LEARN_NAP_MS);
	}
}

bool
as_route_is_mine(const text *type, const text *id, int64 epoch)
{
	const AsNode *self = as_node_self();

	if (self != NULL && epoch > as_node_epoch())
	{
		wait_for_epoch(epoch);
		self = as_node_self();
	}
	return self != NULL && epoch <= as_node_epoch() &&
		as_node_owner(hash_of(type, id)) == self;
}

bool
as_route_knows(int64 epoch)
{
	if (epoch > as_node_epoch())
		AcceptInvalidationMessages();
	return as_node_self() != NULL && epoch == as_node_epoch();
}

void
as_route_learn(void)
{
	wait_for_epoch(told + 1);
}

void
as_route_refuse(void)
{
	ereport(ERROR,
			(errcode(AS_ERRCODE_NOT_THE_OWNER),
			 errmsg("an actor is not owned by the node that owns it by the map of this one"),
			 errdetail("Epoch %lld is in force here.", (long long) as_node_epoch()),
			 errhint("Try again.")));
}

char *
as_route_epoch_text(void)
{
	told = as_node_epoch();
	return psprintf(INT64_FORMAT, told);
}

/* ---- Commands ---- */

static AsPeer *
begin(const AsNode *node, bool alone)
{
	AsPeer	   *peer;

	/* a parallel worker knows nothing of what the transaction has done there */
	if (IsParallelWorker())
		PreventCommandIfParallelMode("a call of another node");
	if (alone)
	{
		as_global_check_nesting();
		peer = as_peer_get(node);
	}
	else
		peer = as_global_enlist(node);
	as_peer_add_settings(peer);
	return peer;
}

/* See route.h. */
static bool
stands_alone(const AsNode *node, bool is_read)
{
	return is_read && !IsolationUsesXactSnapshot() && !as_global_is_member(node);
}

AsPeer *
as_route_begin(const AsNode *node, bool is_read)
{
	return begin(node, stands_alone(node, is_read));
}

AsPeer *
as_route_begin_outside(const AsNode *node)
{
	return begin(node, !as_global_is_member(node));
}

AsPeer *
as_route_begin_last(const AsNode *node)
{
	AsPeer	   *peer = as_global_enlist_once(node);

	as_peer_add_settings(peer);
	return peer;
}

/*
 * What is part of the transaction is seen to by it (global.h).  Others are told
 * to stop by the end of their connection.
 */
void
as_route_abandon(AsPeer *const *peers, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (peers[i] != NULL && !peers[i]->in_transaction &&
			peers[i]->state != AS_PEER_IDLE)
			as_peer_close(peers[i]);
	}
}

static void
wait(AsPeer *const *peers, int n, TimestampTz deadline)
{
	PG_TRY();
	{
		(void) as_peers_wait(peers, n, deadline);
	}
	PG_CATCH();
	{
		as_route_abandon(peers, n);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

void
as_route_wait(AsPeer *const *peers, int n)
{
	wait(peers, n, 0);
}

void
as_route_wait_until(AsPeer *peer, TimestampTz deadline)
{
	wait(&peer, 1, deadline);
}

void
as_route_send_off(AsPeer *peer)
{
	PG_TRY();
	{
		as_peer_send_off(peer);
	}
	PG_CATCH();
	{
		as_route_abandon(&peer, 1);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* ---- Many actors ---- */

typedef struct Division
{
	int			nnodes;
	const AsNode *nodes[AS_MAX_NODES];	/* the owners met, by number */
	int			counts[AS_MAX_NODES];
} Division;

static void
count_owner(Division *division, const AsNode *owner)
{
	int			i = 0;

	while (i < division->nnodes && division->nodes[i]->number < owner->number)
		i++;
	if (i == division->nnodes || division->nodes[i]->number != owner->number)
	{
		memmove(&division->nodes[i + 1], &division->nodes[i],
				(division->nnodes - i) * sizeof(division->nodes[0]));
		memmove(&division->counts[i + 1], &division->counts[i],
				(division->nnodes - i) * sizeof(division->counts[0]));
		division->nodes[i] = owner;
		division->counts[i] = 0;
		division->nnodes++;
	}
	division->counts[i]++;
}

static AsRouteGroup *
make_groups(const Division *division, int n, const AsNode **owners)
{
	AsRouteGroup *groups = palloc0(sizeof(AsRouteGroup) * Max(division->nnodes, 1));

	for (int i = 0; i < division->nnodes; i++)
	{
		const AsNode *node = division->nodes[i];
		AsRouteGroup *group = &groups[i];

		group->node = node == as_node_self() ? NULL : node;
		group->places = palloc(sizeof(int) * division->counts[i]);
		for (int place = 0; place < n; place++)
		{
			if (owners[place] == node)
				group->places[group->n++] = place;
		}
	}
	return groups;
}

int
as_route_divide(const text *type, int n, text **ids, AsRouteGroup **groups)
{
	Division   *division = palloc0(sizeof(Division));
	const AsNode **owners = palloc(sizeof(AsNode *) * Max(n, 1));

	for (int i = 0; i < n; i++)
	{
		owners[i] = as_node_owner(hash_of(type, ids[i]));
		if (owners[i] == NULL)
			owners[i] = as_node_self();
		count_owner(division, owners[i]);
	}
	*groups = make_groups(division, n, owners);
	return division->nnodes;
}

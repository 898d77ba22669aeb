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
#include "cluster/fault.h"
#include "cluster/global.h"
#include "cluster/life.h"
#include "cluster/map.h"
#include "cluster/resolver.h"
#include "compat.h"
#include "lib/key_hash.h"
#include "miscadmin.h"
#include "state/owner.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* A slot is about to be another node's: that comes here, too, in a moment. */
#define LEARN_MS	2000
#define LEARN_NAP_MS	5
#define TAKEN_NAP_MS	1

static int64 looked = 0;		/* the epoch by which an owner was looked up last */

/* ---- Whose is it? ---- */

static uint64
hash_of(const text *type, const text *id)
{
	return as_key_hash(VARDATA_ANY(type), VARSIZE_ANY_EXHDR(type),
					   VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
}

void
as_route_look(void)
{
	looked = as_node_epoch();
}

const AsNode *
as_route_find(const text *type, const text *id)
{
	const AsNode *owner;

	if (likely(!as_node_has_others()))
		return NULL;
	owner = as_node_holder(hash_of(type, id));
	if (owner == NULL || owner == as_node_self())
		return NULL;
	as_route_look();
	return owner;
}

const AsNode *
as_route_find_held(const text *type, const text *id)
{
	const AsNode *owner = as_route_find(type, id);

	return owner != NULL || as_owner_try(type, id) ? owner : as_route_find(type, id);
}

/* Wait a while for an epoch from that one on. */
static void
wait_for_epoch(int64 epoch, int ms)
{
	TimestampTz deadline = as_peer_deadline(ms);

	for (;;)
	{
		AcceptInvalidationMessages();
		if (as_node_epoch() >= epoch || GetCurrentTimestamp() >= deadline)
			return;
		as_peer_nap(LEARN_NAP_MS, AS_NAP_EPOCH);
	}
}

/* Have an epoch that another node knows fetched from that node, or whoever has it (0). */
static void
fetch_epoch(int16 from, int64 epoch)
{
	AcceptInvalidationMessages();
	if (as_node_epoch() >= epoch)
		return;
	as_resolver_start();
	as_resolver_want(from, epoch);
	wait_for_epoch(epoch, actorstore_peer_timeout);
}

/*
 * Who asks for an actor that is on its way here, by the same map, knows that it was
 * handed over: COMMIT PREPARED is on its way, too.
 */
static void
wait_until_taken(uint64 key_hash)
{
	TimestampTz deadline = as_peer_deadline(LEARN_MS);

	while (as_node_comes(key_hash) && GetCurrentTimestamp() < deadline)
	{
		as_peer_nap(TAKEN_NAP_MS, AS_NAP_SLOT);
		AcceptInvalidationMessages();
	}
}

bool
as_route_is_mine(const text *type, const text *id, int64 epoch)
{
	const AsNode *self = as_node_self();
	uint64		key_hash = hash_of(type, id);

	if (self != NULL && epoch > as_node_epoch())
		fetch_epoch(0, epoch);
	else if (self != NULL && epoch == as_node_epoch())
		wait_until_taken(key_hash);
	self = as_node_self();
	return self != NULL && epoch <= as_node_epoch() && as_node_holder(key_hash) == self;
}

bool
as_route_knows(int64 epoch)
{
	if (epoch > as_node_epoch() && as_node_self() != NULL)
		fetch_epoch(0, epoch);
	return as_node_self() != NULL && epoch == as_node_epoch();
}

/* The number of the epoch in force on a node that answers. */
static int64
ask_for_epoch(const AsNode *node)
{
	AsPeer	   *peer = as_route_begin_outside(node);
	int			number = as_peer_add(peer, "SELECT actorstore.local_epoch()", 0, NULL, true);

	(void) as_peer_launch(peer);
	as_route_wait_until(peer, as_peer_deadline(actorstore_peer_timeout));
	if (peer->state != AS_PEER_IDLE && !peer->broken)
	{
		as_route_abandon(&peer, 1);
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("node \"%s\" does not answer", node->name)));
	}
	return pg_strtoint64(PQgetvalue(as_peer_result(peer, number), 0, 0));
}

void
as_route_learn(const AsNode *asked)
{
	int64		epoch;

	AcceptInvalidationMessages();
	if (as_node_epoch() > looked)
		return;
	epoch = ask_for_epoch(asked);
	if (epoch > looked)
		fetch_epoch(asked->number, epoch);
	else if (epoch == looked)
		wait_for_epoch(looked + 1, LEARN_MS);
	else
		ereport(ERROR,
				(errcode(AS_ERRCODE_NOT_THE_OWNER),
				 errmsg("node \"%s\" does not know whose the actor is", asked->name),
				 errdetail("Epoch %lld is in force there, epoch %lld here.",
						   (long long) epoch, (long long) looked),
				 errhint("Try again.")));
}

void
as_route_check_snapshot(const text *type, const text *id)
{
	if (IsolationUsesXactSnapshot() && as_node_has_others() &&
		as_cluster_owner_by(GetTransactionSnapshot(), as_slot_of(hash_of(type, id))) != as_node_self()->number)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to actors that have moved here"),
				 errdetail("The transaction began before the slot of actor (%s, %s) was this node's.",
						   text_to_cstring(type), text_to_cstring(id))));
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
	return psprintf(INT64_FORMAT, as_node_epoch());
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
	AS_FAULT("route");
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

	as_route_look();
	for (int i = 0; i < n; i++)
	{
		owners[i] = as_node_holder(hash_of(type, ids[i]));
		if (owners[i] == NULL)
			owners[i] = as_node_self();
		count_owner(division, owners[i]);
	}
	*groups = make_groups(division, n, owners);
	return division->nnodes;
}

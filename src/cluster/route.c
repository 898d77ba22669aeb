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

bool
as_route_is_mine(const text *type, const text *id, int64 epoch)
{
	const AsNode *self = as_node_self();

	if (self != NULL && epoch > as_node_epoch())
	{
		AcceptInvalidationMessages();
		self = as_node_self();
	}
	return self != NULL && epoch <= as_node_epoch() &&
		as_node_owner(hash_of(type, id)) == self;
}

void
as_route_learn(void)
{
	AcceptInvalidationMessages();
}

void
as_route_refuse(const AsNode *owner)
{
	ereport(ERROR,
			(errcode(AS_ERRCODE_NOT_THE_OWNER),
			 errmsg("node \"%s\" does not own the actor", owner->name),
			 errdetail("By epoch %lld, which this node knows, it does.",
					   (long long) as_node_epoch()),
			 errhint("Try again.")));
}

/* ---- Commands ---- */

/* See route.h. */
static bool
stands_alone(const AsNode *node, bool is_read)
{
	return is_read && !IsolationUsesXactSnapshot() && !as_global_is_member(node);
}

AsPeer *
as_route_begin(const AsNode *node, bool is_read)
{
	AsPeer	   *peer;

	/* a parallel worker knows nothing of what the transaction has done there */
	if (IsParallelWorker())
		PreventCommandIfParallelMode("a call of another node");
	if (stands_alone(node, is_read))
	{
		as_global_check_nesting();
		peer = as_peer_get(node);
	}
	else
		peer = as_global_enlist(node);
	as_peer_add_settings(peer);
	return peer;
}

void
as_route_launch(AsPeer *const *peers, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (peers[i] != NULL)
			(void) as_peer_launch(peers[i]);
	}
}

/*
 * What is part of the transaction is seen to by it (global.h).  Others are told
 * to stop by the end of their connection.
 */
void
as_route_wait(AsPeer *const *peers, int n)
{
	PG_TRY();
	{
		(void) as_peers_wait(peers, n, 0);
	}
	PG_CATCH();
	{
		for (int i = 0; i < n; i++)
		{
			if (peers[i] != NULL && !peers[i]->in_transaction &&
				peers[i]->state != AS_PEER_IDLE)
				as_peer_close(peers[i]);
		}
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/*-------------------------------------------------------------------------
 *
 * lane_prepared.c
 *	  Messages for other nodes that a prepared transaction has put down: see
 *	  lane.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/lane.h"

#include "access/xact.h"
#include "cluster/peer_stat.h"
#include "miscadmin.h"
#include "runtime/prepared.h"
#include "storage/ipc.h"

/* What this process commits */
typedef struct Current
{
	bool		active;
	bool		known;			/* by what PREPARE has noted */
	AsPrepared	prepared;
	char		gid[GIDSIZE];
} Current;

static Current current;

/*
 * Somebody else may have ended that transaction, and prepared another one under
 * its id, before we came to it: then we have committed what we know nothing of.
 * Our own is still noted afterwards: guard.c, whose hook is around that of
 * global_guard.c, takes the note away when all is over.
 */
static uint64
low_of(void)
{
	if (!current.known || !as_prepared_is(current.gid, current.prepared.xid))
		return 0;
	return current.prepared.sent_low;
}

void
as_lane_end_commit_prepared(void)
{
	uint64		low;
	int16		node;

	if (!current.active)
		return;
	low = low_of();
	for (int i = 0; low != AS_NO_LOW && i < AS_PEER_STATS; i++)
	{
		if (as_peer_stat_node(i, &node))
			as_lane_hint(i, low);
	}
	as_lane_end_commit();
	current.active = false;
}

static void
end_at_exit(int code, Datum arg)
{
	as_lane_end_commit_prepared();
}

void
as_lane_begin_commit_prepared(const char *gid)
{
	static bool registered = false;

	if (!as_lanes_active())
		return;
	if (!registered)
		before_shmem_exit(end_at_exit, (Datum) 0);
	registered = true;
	strlcpy(current.gid, gid, GIDSIZE);
	current.known = as_prepared_find(gid, &current.prepared);
	current.active = true;
	as_lane_begin_commit(low_of());
}

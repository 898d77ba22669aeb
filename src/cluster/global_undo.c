/*-------------------------------------------------------------------------
 *
 * global_undo.c
 *	  How a transaction over several nodes is rolled back: see global.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/global.h"

#include "cluster/life.h"
#include "cluster/peer_stat.h"
#include "compat.h"
#include "utils/memutils.h"

/* Some PREPARE whose answer is missing may yet succeed. */
static bool
undo(void)
{
	TimestampTz deadline = as_peer_deadline(actorstore_peer_timeout);
	char		command[AS_GID_SIZE + 32];
	bool		unknown = false;

	as_global_settle(true, deadline);
	AS_FOR_EACH_MEMBER(member)
	{
		as_peer_forget_settings(member->peer);
		if (member->doomed || member->peer->broken || member->level == 0)
			continue;
		if (member->state == AS_PART_PREPARING && as_peer_was_skipped(member->peer, member->prepare))
			member->state = AS_PART_ACTIVE;
		if (member->state == AS_PART_PREPARING || member->state == AS_PART_PREPARED)
		{
			/* an error if it never was: its connection has no transaction then */
			snprintf(command, sizeof(command), "ROLLBACK PREPARED '%s'", member->gid);
			if (member->state == AS_PART_PREPARING)
			{
				(void) as_peer_add(member->peer, "ROLLBACK", 0, NULL, false);
				(void) as_peer_launch(member->peer);
				(void) as_peers_wait_quietly(&member->peer, 1, deadline);
			}
		}
		else
			snprintf(command, sizeof(command), "ROLLBACK");
		(void) as_peer_add(member->peer, command, 0, NULL, false);
		(void) as_peer_launch(member->peer);
	}
	as_global_settle(false, deadline);
	AS_FOR_EACH_MEMBER(member)
	{
		bool		done = !member->doomed && as_peer_succeeded(member->peer, 0);

		if (member->state == AS_PART_PREPARED && done)
			as_peer_stat_count(member->peer->stat, AS_PEER_ROLLED_BACK, 1);
		unknown = unknown || (!done && (member->state == AS_PART_PREPARING ||
										member->state == AS_PART_PREPARED));
		if (member->state == AS_PART_ACTIVE && !done)
			member->doomed = true;
	}
	return !unknown;
}

void
as_global_give_up(MemoryContext context)
{
	MemoryContextSwitchTo(context);
	FlushErrorState();
	(void) as_resolver_poke();
	AS_FOR_EACH_MEMBER(member)
		member->doomed = true;
}

void
as_global_undo(void)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		if (!undo())
			(void) as_resolver_poke();
	}
	PG_CATCH();
	{
		as_global_give_up(context);
	}
	PG_END_TRY();
}

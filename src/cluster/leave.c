/*-------------------------------------------------------------------------
 *
 * leave.c
 *	  See leave.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/leave.h"

#include "cluster/member.h"
#include "cluster/node.h"
#include "cluster/panel.h"
#include "cluster/plan.h"
#include "lib/slot_map.h"
#include "utils/inval.h"
#include "utils/timestamp.h"

#define NAP_MS	50

/* After so many times actorstore.peer_timeout without a slot that moves */
#define STUCK_TIMEOUTS	3

static int
count_slots(const char *name)
{
	int16		owners[AS_SLOTS];
	int			number;
	int			n = 0;

	AcceptInvalidationMessages();
	number = as_node_need(name)->number;
	as_node_owners(owners);
	for (int slot = 0; slot < AS_SLOTS; slot++)
		n += owners[slot] == number;
	return n;
}

static TimestampTz
next_deadline(void)
{
	return as_peer_deadline(STUCK_TIMEOUTS * actorstore_peer_timeout);
}

static void
wait_until_empty(const char *name)
{
	int			before = count_slots(name);
	TimestampTz deadline = next_deadline();

	while (before > 0)
	{
		int			now;

		as_peer_nap(NAP_MS, AS_NAP_LEAVE);
		now = count_slots(name);
		if (now < before)
			deadline = next_deadline();
		else if (GetCurrentTimestamp() >= deadline)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("node \"%s\" still owns %d slots that are not empty", name, now),
					 errdetail("They do not move; it has no weight any more."),
					 errhint("See actorstore.stat_rebalance there.")));
		before = now;
	}
}

/* All that can be reached say that nothing is on its way to that node, or from it, and no transaction in doubt. */
static bool
is_quiet(int number)
{
	const char *values[1] = {psprintf("%d", number)};
	AsPanel    *panel = palloc0(sizeof(AsPanel));
	volatile bool quiet = true;

	PG_TRY();
	{
		as_panel_open(panel);
		as_panel_ask(panel, NULL, actorstore_peer_timeout,
					 "SELECT actorstore.local_has_sent($1::pg_catalog.int2)", 1, values);
		(void) as_panel_throw(panel);
		for (int i = 0; i < panel->n; i++)
		{
			PGresult   *result = as_panel_answer(panel, i);

			quiet = quiet && (result == NULL || PQgetvalue(result, 0, 0)[0] == 't');
		}
	}
	PG_FINALLY();
	{
		as_panel_close(panel);
	}
	PG_END_TRY();
	return quiet;
}

void
as_leave(const char *name)
{
	TimestampTz deadline;

	if (count_slots(name) > 0)
	{
		as_member_reweight(name, 0);
		if (count_slots(name) > 0)
			as_plan_switch(true);
		wait_until_empty(name);
	}
	deadline = next_deadline();
	while (!is_quiet(as_node_need(name)->number))
	{
		if (GetCurrentTimestamp() >= deadline)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("messages are still on their way to node \"%s\" or from it, or transactions in doubt", name)));
		as_peer_nap(NAP_MS, AS_NAP_LEAVE);
	}
	as_member_remove(name);
}

/*-------------------------------------------------------------------------
 *
 * forwarder_start.c
 *	  When a forwarder is started: see forwarder.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/forwarder.h"

#include "access/xact.h"
#include "cluster/lane.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "runtime/worker.h"
#include "state/text_query.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

void
as_forwarder_start(int16 node)
{
	BackgroundWorker registration;
	BackgroundWorkerHandle *handle;
	int			lane = as_lane_find(node);

	if (lane < 0 || !as_lane_claim_start(lane))
		return;
	as_worker_describe(&registration, "actorstore forwarder", "as_forwarder_main",
					   Int16GetDatum(node));
	memcpy(registration.bgw_extra, &MyDatabaseId, sizeof(Oid));
	if (!RegisterDynamicBackgroundWorker(&registration, &handle))
		ereport(LOG,
				(errmsg("no background worker is free to take messages to node number %d", node),
				 errhint("Consider increasing the configuration parameter \"max_worker_processes\".")));
}

/* Is there a node without one? */
static bool
any_missing(void)
{
	MemoryContext context = CurrentMemoryContext;
	bool		missing = false;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	for (int i = 0; i < as_node_count(); i++)
	{
		int			lane = as_node_nth(i) == as_node_self() ? -1 : as_lane_find(as_node_nth(i)->number);

		missing = missing || (lane >= 0 && !as_lane_has_forwarder(lane));
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return missing;
}

void
as_forwarders_look(void)
{
	AsRows		rows;

	if (!any_missing())
		return;
	(void) as_text_query_alone(&rows, SPI_OK_SELECT,
							   "SELECT node_number::text FROM actorstore.node AS n WHERE NOT is_self"
							   " AND (EXISTS (SELECT FROM actorstore.outbox AS o WHERE o.node_number = n.node_number)"
							   "  OR EXISTS (SELECT FROM actorstore.outbox_batch AS b WHERE b.node_number = n.node_number))",
							   0, NULL);
	for (int i = 0; i < rows.nrows; i++)
		as_forwarder_start((int16) as_cell_int(&rows, i, 0));
}

/*-------------------------------------------------------------------------
 *
 * farewell.c
 *	  See farewell.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/farewell.h"

#include "cluster/health.h"
#include "cluster/lane.h"
#include "cluster/outbox.h"
#include "cluster/transit.h"
#include "executor/spi.h"
#include "runtime/links.h"
#include "runtime/node_watch.h"
#include "runtime/supervise.h"
#include "utils/builtins.h"

/* Batches read at a time */
#define SOME	100

static bool
is_answered(int16 node, int64 incarnation, int64 batch)
{
	int			lane = as_lane_find(node);

	return lane >= 0 && as_lane_has_acked(lane, incarnation, batch);
}

static bytea *
bytes_of(text *encoded)
{
	return DatumGetByteaPP(DirectFunctionCall1(byteain, CStringGetDatum(text_to_cstring(encoded))));
}

static void
bury_batches(text *node_number, text *node_name)
{
	AsReason	reason = {
		.reason = "node removed", .sqlerrcode = ERRCODE_CONNECTION_FAILURE,
		.error = psprintf("node \"%s\" was removed before it said that it has the message", text_to_cstring(node_name)),
		.detail = "It may have been handled there."
	};
	text	   *args[2] = {node_number, as_int_text(SOME)};
	int16		number = (int16) pg_strtoint16(text_to_cstring(node_number));
	AsRows		rows;

	do
	{
		as_text_query(&rows, SPI_OK_SELECT,
					  "WITH gone AS (DELETE FROM actorstore.outbox_batch WHERE (node_number, incarnation, batch) IN"
					  " (SELECT node_number, incarnation, batch FROM actorstore.outbox_batch WHERE node_number = $1::text::smallint"
					  "  ORDER BY 2, 3 LIMIT $2::text::int) RETURNING incarnation, batch, envelope)"
					  " SELECT incarnation::text, batch::text, envelope::text FROM gone ORDER BY gone.incarnation, gone.batch",
					  2, args);
		for (int i = 0; i < rows.nrows; i++)
		{
			if (!is_answered(number, as_cell_int(&rows, i, 0), as_cell_int(&rows, i, 1)))
				as_outbox_bury(bytes_of(as_cell(&rows, i, 2)), &reason);
		}
	} while (rows.nrows == SOME);
}

/* The slots that are lost with it; NULL if it just left. */
static text *
lost_slots(text *proposal, text *uuid)
{
	text	   *args[2] = {proposal, uuid};
	AsRows		rows;

	as_text_query(&rows, SPI_OK_SELECT, "SELECT $1::jsonb -> 'lost' -> $2::text ->> 'slots'", 2, args);
	return as_cell(&rows, 0, 0);
}

void
as_farewell(const AsRows *gone, text *proposal)
{
	if (gone->nrows > 0)
		as_transit_reroute();
	for (int i = 0; i < gone->nrows; i++)
	{
		text	   *number = as_cell(gone, i, 0);
		text	   *name = as_cell(gone, i, 1);
		text	   *slots = lost_slots(proposal, as_cell(gone, i, 2));

		bury_batches(number, name);
		if (as_health_of((int16) as_cell_int(gone, i, 0)) != AS_HEALTH_DOWN)
			as_tell_watchers(name, true);
		if (slots == NULL)
			continue;
		as_links_lost(slots);
		as_supervise_lost(slots);
	}
}

/*-------------------------------------------------------------------------
 *
 * forwarder_resume.c
 *	  Where a forwarder goes on when it has connected: see forwarder.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/forwarder.h"

#include "executor/spi.h"
#include "state/text_query.h"
#include "utils/builtins.h"

static int64
number_at(const PGresult *result, int row, int column)
{
	return pg_strtoint64(PQgetvalue(result, row, column));
}

/* The last batch of an incarnation that the other node has. */
static int64
watermark_of(const PGresult *result, int64 incarnation)
{
	for (int i = 0; i < PQntuples(result); i++)
	{
		if (number_at(result, i, 0) == incarnation)
			return number_at(result, i, 1);
	}
	return 0;
}

/* What it has not, and we neither: nobody will ever bring it. */
static void
give_up_lost(AsPeer *peer, const char *uuid, int64 incarnation, int64 watermark, int64 first)
{
	const char *values[3] = {uuid, psprintf(INT64_FORMAT, incarnation), psprintf(INT64_FORMAT, first - 1)};

	ereport(LOG,
			(errmsg("batches " INT64_FORMAT " to " INT64_FORMAT " of messages to node \"%s\" are LOST: it had acknowledged them, and has them no more",
					watermark + 1, first - 1, peer->name),
			 errhint("Raise actorstore.outbox_retention, or let that node wait for its standbys.")));
	(void) as_peer_execute(peer, "SELECT actorstore.local_skip($1::pg_catalog.uuid, $2::pg_catalog.int8, $3::pg_catalog.int8)",
						   3, values, false);
}

bool
as_forwarder_resume(AsPeer *peer, int16 node, const char *uuid, int64 incarnation,
					AsBatchNumber *done, int64 *last)
{
	const char *values[1] = {uuid};
	text	   *args[1] = {as_int_text(node)};
	AsRows		kept;
	PGresult   *result;
	int64	   *watermarks;

	/* the latest incarnation first */
	(void) as_text_query_alone(&kept, SPI_OK_SELECT,
							   "SELECT incarnation::text, min(batch)::text, max(batch)::text FROM actorstore.outbox_batch"
							   " WHERE node_number = $1::text::smallint GROUP BY incarnation ORDER BY outbox_batch.incarnation DESC",
							   1, args);
	result = as_peer_execute(peer, "SELECT incarnation, batch FROM actorstore.local_watermarks($1::pg_catalog.uuid)",
							 1, values, false);
	watermarks = palloc(sizeof(int64) * (kept.nrows + 1));
	for (int i = 0; i < kept.nrows; i++)
		watermarks[i] = watermark_of(result, as_cell_int(&kept, i, 0));
	*last = 0;

	/* where none is kept, all of the past is there */
	*done = (AsBatchNumber) {
		.incarnation = incarnation
	};
	for (int i = 0; i < kept.nrows; i++)
	{
		AsBatchNumber here = {.incarnation = as_cell_int(&kept, i, 0)};
		int64		first = as_cell_int(&kept, i, 1);
		bool		has_all;

		if (here.incarnation == incarnation)
			*last = as_cell_int(&kept, i, 2);
		if (watermarks[i] < first - 1)
			give_up_lost(peer, uuid, here.incarnation, watermarks[i], first);
		here.number = Max(watermarks[i], first - 1);
		has_all = here.number >= as_cell_int(&kept, i, 2);

		/* go on in the one after it, if there is one, as far as that is there: what comes twice is refused */
		if (!has_all || i == 0)
			*done = here;

		/* who has all of one has all that is older, too */
		if (has_all)
			break;
	}
	return kept.nrows > 0;
}

bool
as_forwarder_is_gone(AsPeer *peer)
{
	return !PQconsumeInput(peer->conn) || PQstatus(peer->conn) != CONNECTION_OK;
}

/*-------------------------------------------------------------------------
 *
 * scan_there.c
 *	  All actors of a type, of all nodes: see sets_there.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "api/sets_there.h"

#include "api/errand.h"
#include "cluster/caller.h"
#include "cluster/route_stream.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#define SCAN_SQL "SELECT actorstore.local_scan($1, $2, $3, $4, $5, $6)"

/* so many actors of this node are read before others are looked at */
#define ROWS_IN_A_ROW	200

typedef struct Scanning
{
	AsActorScan *scan;			/* here; NULL: there are none */
	int			nstreams;
	AsStream   *streams;
	Tuplestorestate *store;
	TupleDesc	desc;
} Scanning;

/* Let all other nodes begin. */
static void
begin_scanning(Scanning *scanning, text *type, bool sorted, text *prefix,
			   text *after, int64 max_rows)
{
	const char *values[6] = {
		as_caller_name(), text_to_cstring(type), sorted ? "t" : "f",
		prefix == NULL ? NULL : text_to_cstring(prefix),
		after == NULL ? NULL : text_to_cstring(after),
		psprintf(INT64_FORMAT, max_rows)
	};
	AsPeerCommand command = {
		.sql = SCAN_SQL, .nvalues = lengthof(values), .values = values,
		.keep = true, .binary = true, .streamed = true
	};
	int			n = as_node_count();

	for (int i = 0; i < n; i++)
	{
		const AsNode *node = as_node_nth(i);

		if (node == as_node_self())
			continue;
		as_stream_begin(&scanning->streams[scanning->nstreams],
						as_route_begin(node, true), &command, type);
		scanning->nstreams++;
	}
}

/* Take rows as they come, from here and there. */
static void
take_any(Scanning *scanning)
{
	bool		here = (scanning->scan != NULL);
	AsStream   *stream;

	do
	{
		for (int i = 0; here && i < ROWS_IN_A_ROW; i++)
		{
			here = as_actor_scan_next(scanning->scan);
			if (here)
				tuplestore_puttupleslot(scanning->store, scanning->scan->partition->slot);
		}
		while ((stream = as_streams_any(scanning->streams, scanning->nstreams, !here)) != NULL)
		{
			CHECK_FOR_INTERRUPTS();
			as_stream_put(stream, scanning->store, scanning->desc);
		}
	} while (here);
}

static text *
id_here(AsActorScan *scan)
{
	bool		isnull;

	return DatumGetTextPP(slot_getattr(scan->partition->slot, Anum_actor_id, &isnull));
}

/* Take the row with the smallest id of all that are at hand. */
static void
take_sorted(Scanning *scanning, int64 max_rows)
{
	bool		here = (scanning->scan != NULL) && as_actor_scan_next(scanning->scan);

	for (; max_rows > 0; max_rows--)
	{
		text	   *least = here ? id_here(scanning->scan) : NULL;
		AsStream   *from = NULL;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < scanning->nstreams; i++)
		{
			Datum	   *columns = as_stream_row(&scanning->streams[i]);
			text	   *id = columns == NULL ? NULL : DatumGetTextPP(columns[Anum_actor_id - 1]);

			if (id == NULL || (least != NULL && as_compare_ids(least, id) <= 0))
				continue;
			least = id;
			from = &scanning->streams[i];
		}
		if (from != NULL)
			as_stream_put(from, scanning->store, scanning->desc);
		else if (here)
		{
			tuplestore_puttupleslot(scanning->store, scanning->scan->partition->slot);
			here = as_actor_scan_next(scanning->scan);
		}
		else
			break;
	}
}

static void
scan_everywhere(Scanning *scanning, text *type, bool sorted, text *prefix,
				text *after, int64 max_rows)
{
	as_errand_check_right(type, AS_PRIV_READ);
	scanning->streams = palloc0(sizeof(AsStream) * as_node_count());
	PG_TRY();
	{
		begin_scanning(scanning, type, sorted, prefix, after, max_rows);
		if (sorted)
			take_sorted(scanning, max_rows);
		else
			take_any(scanning);
		as_streams_end(scanning->streams, scanning->nstreams);
	}
	PG_CATCH();
	{
		as_streams_abandon(scanning->streams, scanning->nstreams);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

void
as_scan_everywhere(text *type, AsActorScan *scan, Tuplestorestate *store,
				   TupleDesc desc)
{
	Scanning	scanning = {.scan = scan, .store = store, .desc = desc};

	scan_everywhere(&scanning, type, false, NULL, NULL, PG_INT64_MAX);
}

void
as_list_everywhere(text *type, text *prefix, text *after, int64 max_rows,
				   AsActorScan *scan, Tuplestorestate *store, TupleDesc desc)
{
	Scanning	scanning = {.scan = scan, .store = store, .desc = desc};

	scan_everywhere(&scanning, type, true, prefix, after, max_rows);
}

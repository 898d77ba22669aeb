/*-------------------------------------------------------------------------
 *
 * read_there.c
 *	  Actors that are named, read wherever they live: see sets_there.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "api/sets_there.h"

#include "api/errand.h"
#include "catalog/pg_type.h"
#include "cluster/caller.h"
#include "cluster/global.h"
#include "cluster/route_stream.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define GET_MANY_SQL "SELECT actorstore.local_get_many($1, $2, $3, $4, $5)"

typedef struct Reading
{
	AsSet	   *set;
	int			ngroups;
	AsRouteGroup *groups;
	int			nstreams;
	AsStream   *streams;
	AsStream  **sources;		/* of each place; NULL: here */
	const AsNode *refuser;		/* a node that does not own what it is asked for */
} Reading;

static char *
ids_text(const AsSet *set, const AsRouteGroup *group)
{
	Datum	   *ids = palloc(sizeof(Datum) * group->n);
	ArrayType  *array;
	Oid			output;
	bool		is_varlena;

	for (int i = 0; i < group->n; i++)
		ids[i] = PointerGetDatum(set->ids[group->places[i]]);
	array = construct_array(ids, group->n, TEXTOID, -1, false, TYPALIGN_INT);
	getTypeOutputInfo(TEXTARRAYOID, &output, &is_varlena);
	return OidOutputFunctionCall(output, PointerGetDatum(array));
}

static void
begin_there(Reading *reading, const AsRouteGroup *group)
{
	const AsSet *set = reading->set;
	AsStream   *stream = &reading->streams[reading->nstreams];
	const char *values[5] = {
		as_caller_name(), as_route_epoch_text(), text_to_cstring(set->type),
		ids_text(set, group),
		!set->locked ? NULL : set->mode == LockTupleShare ? "share" : "update"
	};
	AsPeerCommand command = {
		.sql = GET_MANY_SQL, .nvalues = lengthof(values), .values = values,
		.keep = true, .binary = true, .streamed = true
	};

	as_stream_begin(stream, as_route_begin(group->node, !set->locked), &command, set->type);
	reading->nstreams++;
	for (int i = 0; i < group->n; i++)
		reading->sources[group->places[i]] = stream;

	/* its first chunk says that all are locked: then it is the next one's turn */
	if (set->locked)
	{
		(void) as_stream_row(stream);
		as_global_locked(stream->peer);
	}
}

static void
begin_here(AsSet *set, const AsRouteGroup *group)
{
	as_set_open(set);
	if (set->is_open && set->locked)
		as_set_lock(set, group->n, group->places);
}

static void
note_refusal(Reading *reading, const AsStream *stream)
{
	if (stream->refused)
		reading->refuser = as_node_by_number(stream->peer->number);
}

/* False: a node does not own what it is asked for. */
static bool
begin_reading(Reading *reading)
{
	AsSet	   *set = reading->set;

	for (int i = 0; i < reading->ngroups && reading->refuser == NULL; i++)
	{
		AsRouteGroup *group = &reading->groups[i];

		if (group->node != NULL)
		{
			begin_there(reading, group);
			if (set->locked)
				note_refusal(reading, &reading->streams[reading->nstreams - 1]);
		}
		else if (set->locked)
			begin_here(set, group);
	}
	for (int i = 0; i < reading->ngroups && !set->locked; i++)
	{
		if (reading->groups[i].node == NULL)
			begin_here(set, &reading->groups[i]);
	}
	for (int i = 0; i < reading->nstreams; i++)
	{
		(void) as_stream_row(&reading->streams[i]);
		note_refusal(reading, &reading->streams[i]);
	}
	return reading->refuser == NULL;
}

static void
return_in_order(Reading *reading, Tuplestorestate *store, TupleDesc desc)
{
	AsSet	   *set = reading->set;

	if (set->is_open)
		as_set_push_snapshot(set);
	for (int place = 0; place < set->n; place++)
	{
		AsStream   *source = reading->sources[place];
		HeapTuple	row;
		Datum	   *columns;

		if (source == NULL)
		{
			row = set->is_open ? as_set_row(set, place) : NULL;
			if (row != NULL)
				tuplestore_puttuple(store, row);
			continue;
		}
		columns = as_stream_row(source);
		if (columns == NULL ||
			as_compare_ids(DatumGetTextPP(columns[Anum_actor_id - 1]), set->ids[place]) != 0)
			continue;
		as_stream_put(source, store, desc);
	}
	for (int i = 0; i < reading->nstreams; i++)
	{
		if (as_stream_row(&reading->streams[i]) != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_PROTOCOL_VIOLATION),
					 errmsg("another node has sent an actor that it was not asked for")));
	}
	if (set->is_open)
		as_set_close(set);
}

static bool
read_groups(Reading *reading, Tuplestorestate *store, TupleDesc desc)
{
	volatile bool done = false;

	PG_TRY();
	{
		done = begin_reading(reading);
		if (done)
			return_in_order(reading, store, desc);
		else if (reading->set->is_open)
			as_partition_close(&reading->set->partition);
		as_streams_end(reading->streams, reading->nstreams);
	}
	PG_CATCH();
	{
		as_streams_abandon(reading->streams, reading->nstreams);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return done && !reading->set->moved;
}

void
as_set_read_anywhere(AsSet *set, Tuplestorestate *store, TupleDesc desc)
{
	as_errand_check_right(set->type, AS_PRIV_READ);
	if (set->locked && set->mode == LockTupleExclusive)
		as_errand_check_right(set->type, AS_PRIV_WRITE);
	for (int tries = 1;; tries++)
	{
		Reading		reading = {.set = set};

		set->is_open = false;
		reading.ngroups = as_route_divide(set->type, set->n, set->ids, &reading.groups);
		reading.streams = palloc0(sizeof(AsStream) * Max(reading.ngroups, 1));
		reading.sources = palloc0(sizeof(AsStream *) * Max(set->n, 1));
		if (read_groups(&reading, store, desc))
			return;
		if (tries == 2)
			as_route_refuse();
		if (!set->moved)
			as_route_learn(reading.refuser);
		set->moved = false;
		tuplestore_clear(store);
	}
}

/*-------------------------------------------------------------------------
 *
 * route_stream.c
 *	  See route_stream.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/route_stream.h"

#include "cluster/row_wire.h"
#include "libpq/pqformat.h"
#include "utils/memutils.h"

void
as_stream_begin(AsStream *stream, AsPeer *peer, const AsPeerCommand *command,
				text *type)
{
	memset(stream, 0, sizeof(AsStream));
	stream->peer = peer;
	stream->type = type;
	stream->context = AllocSetContextCreate(CurrentMemoryContext,
											"actorstore stream",
											ALLOCSET_DEFAULT_SIZES);
	stream->command = as_peer_add_command(peer, command);
	(void) as_peer_launch(peer);
}

/* Look into the chunk that has come, or see that none will. */
static void
take_chunk(AsStream *stream)
{
	StringInfo	wire = &stream->wire;

	PQclear(stream->chunk);
	stream->chunk = as_peer_take_row(stream->peer);
	memset(wire, 0, sizeof(StringInfoData));
	if (stream->chunk == NULL)
	{
		stream->ended = true;
		(void) as_peer_result(stream->peer, stream->command);
		return;
	}
	if (PQnfields(stream->chunk) == 1 && PQfformat(stream->chunk, 0) == 1)
	{
		wire->data = PQgetvalue(stream->chunk, 0, 0);
		wire->len = wire->maxlen = PQgetlength(stream->chunk, 0, 0);
	}
	if (pq_getmsgbyte(wire) == AS_CHUNK_NOT_MINE)
		stream->refused = true;
}

static void
read_row(AsStream *stream)
{
	MemoryContext caller;

	MemoryContextReset(stream->context);
	caller = MemoryContextSwitchTo(stream->context);
	stream->columns[Anum_actor_type - 1] = PointerGetDatum(stream->type);
	stream->columns[Anum_actor_id - 1] = (Datum) 0;
	as_wire_read(&stream->wire, stream->columns, (Datum) 0);
	if (stream->columns[Anum_actor_id - 1] == (Datum) 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("another node has sent an actor without its id")));
	MemoryContextSwitchTo(caller);
	stream->has_row = true;
}

Datum *
as_stream_row(AsStream *stream)
{
	while (!stream->has_row)
	{
		if (!as_wire_is_at_end(&stream->wire))
			read_row(stream);
		else if (stream->ended || stream->refused)
			return NULL;
		else
		{
			(void) as_peers_wait_for_row(&stream->peer, 1, true);
			take_chunk(stream);
		}
	}
	return stream->columns;
}

void
as_stream_put(AsStream *stream, Tuplestorestate *store, TupleDesc desc)
{
	bool		nulls[Natts_actor] = {false};

	tuplestore_putvalues(store, desc, stream->columns, nulls);
	stream->has_row = false;
}

/* Waits for none but those that are asked for. */
static bool
is_ready(AsStream *stream)
{
	return stream->has_row || !as_wire_is_at_end(&stream->wire);
}

AsStream *
as_streams_any(AsStream *streams, int n, bool wait)
{
	AsPeer	   *peers[AS_MAX_PEERS] = {NULL};

	for (;;)
	{
		bool		all_ended = true;
		int			ready;

		for (int i = 0; i < n; i++)
		{
			if (is_ready(&streams[i]))
				return as_stream_row(&streams[i]) == NULL ? NULL : &streams[i];
			peers[i] = streams[i].ended ? NULL : streams[i].peer;
			all_ended = all_ended && streams[i].ended;
		}
		if (all_ended)
			return NULL;
		ready = as_peers_wait_for_row(peers, n, wait);
		if (ready >= 0)
			take_chunk(&streams[ready]);
		else if (!wait)
			return NULL;
		else
		{
			for (int i = 0; i < n; i++)
			{
				if (peers[i] != NULL)
					take_chunk(&streams[i]);
			}
		}
	}
}

static void
give_back(AsStream *stream)
{
	PQclear(stream->chunk);
	stream->chunk = NULL;
	if (stream->context != NULL)
		MemoryContextDelete(stream->context);
	stream->context = NULL;
}

void
as_streams_end(AsStream *streams, int n)
{
	AsPeer	   *peers[AS_MAX_PEERS] = {NULL};

	for (int i = 0; i < n; i++)
		peers[i] = streams[i].ended ? NULL : streams[i].peer;
	as_route_wait(peers, n);
	for (int i = 0; i < n; i++)
	{
		(void) as_peer_result(streams[i].peer, streams[i].command);
		give_back(&streams[i]);
	}
}

void
as_streams_abandon(AsStream *streams, int n)
{
	for (int i = 0; i < n; i++)
	{
		give_back(&streams[i]);
		as_route_abandon(&streams[i].peer, 1);
	}
}

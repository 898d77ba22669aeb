/*-------------------------------------------------------------------------
 *
 * route_stream.h
 *	  Actors that another node sends, as many as there are.
 *
 * They come in chunks, each a value of type bytea: a byte that says whether the
 * node owns them all (AS_CHUNK_...), then rows (row_wire.h).  There is at least
 * one chunk.  Of each stream one chunk is in memory; who sends faster than is
 * read waits.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_ROUTE_STREAM_H
#define AS_ROUTE_STREAM_H

#include "actorstore.h"
#include "access/tupdesc.h"
#include "cluster/route.h"
#include "lib/stringinfo.h"
#include "state/partition.h"
#include "utils/tuplestore.h"

#define AS_CHUNK_ROWS		'+'
#define AS_CHUNK_NOT_MINE	'?'

/* a chunk ends with the row that makes it so large */
#define AS_CHUNK_BYTES		65536

typedef struct AsStream
{
	AsPeer	   *peer;
	int			command;
	text	   *type;
	PGresult   *chunk;
	StringInfoData wire;		/* what is in it */
	bool		refused;		/* the node does not own all of the actors */
	bool		ended;
	bool		has_row;
	Datum		columns[Natts_actor];	/* of the row at hand */
	MemoryContext context;		/* its texts */
} AsStream;

/* Let the peer send actors of a type; launches its flight. */
extern void as_stream_begin(AsStream *stream, AsPeer *peer,
							const AsPeerCommand *command, text *type);

/*
 * The row at hand; waits for it.  NULL at the end, or if the node does not own
 * the actors.  Throws what the peer has thrown.
 */
extern Datum *as_stream_row(AsStream *stream);

/* Put it there and go on to the next one. */
extern void as_stream_put(AsStream *stream, Tuplestorestate *store,
						  TupleDesc desc);

/*
 * A stream that has a row, or NULL: because all have ended, or, if not to wait,
 * none has come.
 */
extern AsStream *as_streams_any(AsStream *streams, int n, bool wait);

/*
 * The end of their use: drop what still comes, throw what the peers have
 * thrown.  Or, after an error, let nobody go on sending.
 */
extern void as_streams_end(AsStream *streams, int n);
extern void as_streams_abandon(AsStream *streams, int n);

#endif							/* AS_ROUTE_STREAM_H */

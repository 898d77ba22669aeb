/*-------------------------------------------------------------------------
 *
 * row_wire.h
 *	  Rows of actors as they travel between nodes.
 *
 * A row is, in network byte order:
 *
 *		int16	bytes in actor_id; 0: the reader knows it
 *		...		actor_id
 *		int64	version
 *		int64	created_at, updated_at: microseconds since 2000-01-01 UTC
 *		int32	bytes in value; -1: it is the one that was sent, and does not follow
 *		...		value, as JSON text, and a zero byte
 *
 * Texts are in the encoding that all nodes have (peer.c).  The type is known to
 * both.  Any number of rows, one behind the other, make a value of type bytea.
 * What is read comes from another server: nothing of it is believed before it
 * has been checked.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_ROW_WIRE_H
#define AS_ROW_WIRE_H

#include "actorstore.h"
#include "lib/stringinfo.h"
#include "utils/jsonb.h"

#define AS_WIRE_AS_SENT		(-1)

/* Begin a bytea. */
extern void as_wire_begin(StringInfo wire);

/*
 * Append a row: the columns of actorstore.actor; with_id: the id, too; sent: the
 * value that whoever reads it has sent, or NULL.
 */
extern void as_wire_write(StringInfo wire, const Datum *columns, bool with_id,
						  const Jsonb *sent);

/* The bytea that was begun. */
extern bytea *as_wire_end(StringInfo wire);

/*
 * Read the next row into its columns, whose texts are in the current memory
 * context, but for columns[0], the type, and columns[1], the id, if that was
 * left out: these are the caller's; and so is the value that was sent, or 0.
 * 08P01 or 22021 if it is none.
 */
extern void as_wire_read(StringInfo wire, Datum *columns, Datum sent);

/* Is nothing left? */
#define as_wire_is_at_end(wire) ((wire)->cursor >= (wire)->len)

#endif							/* AS_ROW_WIRE_H */

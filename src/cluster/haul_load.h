/*-------------------------------------------------------------------------
 *
 * haul_load.h
 *	  How the giver sends rows of actors to the taker (haul.h): a load at a time,
 *	  while it looks for the next ones.
 *
 * Each is behind its type:
 *
 *		int16	bytes in actor_type; 0: as in the one before; AS_LOAD_GONE: see below
 *		...		actor_type
 *		...		the row, with its id, as row_wire.h says
 *
 * or it is the key of a row that was sent before, in the same transaction, and is to go:
 *
 *		int16	AS_LOAD_GONE
 *		int16	bytes in actor_type; 0: as in the one before
 *		...		actor_type
 *		int16	bytes in actor_id
 *		...		actor_id
 *
 * In a load these come before all others, whatever their order.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_HAUL_LOAD_H
#define AS_HAUL_LOAD_H

#include "actorstore.h"

#include "cluster/peer.h"
#include "lib/stringinfo.h"

#define AS_LOAD_GONE	0xffff

typedef struct AsLoad
{
	AsPeer	   *peer;
	StringInfoData wire;
	text	   *type;			/* of the last row in it, or NULL */
	int			nrows;			/* in it */
	MemoryContext memory;		/* for the wire */
} AsLoad;

extern void as_load_begin(AsLoad *load, AsPeer *peer);

/* A row, by its columns; or the key of one that is gone.  A full load is sent. */
extern void as_load_add(AsLoad *load, const Datum *columns);
extern void as_load_add_gone(AsLoad *load, const text *type, const text *id);

/* Send what is left.  The last ones may be on their way still. */
extern void as_load_end(AsLoad *load);

#endif							/* AS_HAUL_LOAD_H */

/*-------------------------------------------------------------------------
 *
 * sets_there.h
 *	  Many actors that live here and on other nodes, read or written at once.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SETS_THERE_H
#define AS_SETS_THERE_H

#include "actorstore.h"

#include "access/tupdesc.h"
#include "api/sets.h"
#include "utils/tuplestore.h"

/* The actors of the set that exist, in its order. */
extern void as_set_read_anywhere(AsSet *set, Tuplestorestate *store,
								 TupleDesc desc);

/* All actors of a type; the scan, if not NULL, is of those here. */
extern void as_scan_everywhere(text *type, AsActorScan *scan,
							   Tuplestorestate *store, TupleDesc desc);

/* The same by their ids, see as_actor_scan_begin_sorted(). */
extern void as_list_everywhere(text *type, text *prefix, text *after,
							   int64 max_rows, AsActorScan *scan,
							   Tuplestorestate *store, TupleDesc desc);

/* All or none. */
extern void as_many_write_anywhere(AsManyKind kind, text *type, int n,
								   text **ids, Datum *values);

#endif							/* AS_SETS_THERE_H */

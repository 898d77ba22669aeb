/*-------------------------------------------------------------------------
 *
 * sets.h
 *	  Many actors read or written on the node that owns them: for its own
 *	  clients and for other nodes.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SETS_H
#define AS_SETS_H

#include "actorstore.h"

#include "nodes/lockoptions.h"
#include "state/actor.h"

/* Actors of one type that are named */
typedef struct AsSet
{
	text	   *type;
	int			n;
	text	  **ids;
	bool		locked;			/* they are, before they are read */
	LockTupleMode mode;

	/* for sets.c */
	AsPartition partition;
	bool		is_open;
	HeapTuple  *rows;			/* if locked, by their places */
	bool		moved;			/* one was not found that another node has by now:
								 * what was read is of no use */
} AsSet;

/* What the argument lock of get_many() says: 22023 if it is no lock. */
extern void as_set_parse_lock(AsSet *set, const char *word);

/*
 * Open the type's partition to read them, with the rights that this takes.  If
 * there is no such type, or is_open is not set afterwards, there are none.
 */
extern void as_set_open(AsSet *set);

/* Lock those at these places (NULL: all), in the order of their ids. */
extern void as_set_lock(AsSet *set, int n, const int *places);

/*
 * The row of the one at a place, or NULL: the one that was locked, or the one
 * that the active snapshot sees, good until the next call.
 */
extern HeapTuple as_set_row(AsSet *set, int place);

/* The snapshot to read with, if they are not locked; popped at the end. */
extern void as_set_push_snapshot(AsSet *set);
extern void as_set_close(AsSet *set);

/* Write actors in the order of their ids, all or none. */
typedef enum AsManyKind
{
	AS_MANY_INSERT = 'i',
	AS_MANY_PUT = 'p'
} AsManyKind;

extern void as_many_write(AsManyKind kind, text *type, int n, text **ids,
						  Datum *values);

/*
 * Can writing them here run code of users, who may call other nodes?  Opens
 * the type's partition, and declares the type if it is not.
 */
extern bool as_many_runs_code(text *type);

#endif							/* AS_SETS_H */

/*-------------------------------------------------------------------------
 *
 * lease_row.h
 *	  Turns that clients have checked out: the rows of actorstore.lease.
 *
 * A row says who may complete which turn till when, and which messages of the
 * mailbox are its own.  It is written when the turn is checked out, and deleted
 * by whoever ends it, in one transaction with what that means to the messages
 * and to the actor.  So after a crash a turn is open, with its token, or is not.
 *
 * Rows are read and written by the table and index access methods; nothing
 * but this file knows the table's columns.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_LEASE_ROW_H
#define AS_LEASE_ROW_H

#include "actorstore.h"

#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "state/index_set.h"
#include "storage/itemptr.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

/* A message of a turn; a request has no place */
typedef struct AsLeaseMessage
{
	int64		message_id;
	ItemPointerData place;
	uint16		unused;			/* 0 */
} AsLeaseMessage;

typedef struct AsLeaseRow
{
	int64		turn_id;
	int64		token;
	uint64		key_hash;
	TimestampTz until;
	TimestampTz taken_at;
	int64		version;		/* of the state checked out; -1: none */
	int			nrequests;		/* the first ones of the messages */
	int			nmessages;		/* all of them */
	Oid			role;
	text	   *actor_type;
	text	   *actor_id;
	text	   *worker;
	const AsLeaseMessage *messages;

	ItemPointerData place;		/* once it was read */
} AsLeaseRow;

typedef struct AsLeaseTable
{
	Relation	rel;
	AsIndexSet	indexes;		/* these, and maybe others */
	Relation	by_turn;
	TupleTableSlot *slot;
} AsLeaseTable;

extern void as_lease_table_open(AsLeaseTable *leases, LOCKMODE lockmode);
extern void as_lease_table_close(AsLeaseTable *leases);

extern void as_lease_rows_insert(AsLeaseTable *leases, AsLeaseRow *rows, int n);

/* Find a turn by what is committed by now; false if there is none. */
extern bool as_lease_row_find(AsLeaseTable *leases, int64 turn_id,
							  AsLeaseRow *row);

typedef enum AsRowChange
{
	AS_ROW_CHANGED,
	AS_ROW_CHANGED_BEFORE,		/* by somebody else, since it was found */
	AS_ROW_LOCKED				/* and not to be waited for */
} AsRowChange;

/*
 * Delete the row that was found; wait: for whoever else is at it.
 */
extern AsRowChange as_lease_row_delete(AsLeaseTable *leases,
									   const AsLeaseRow *row, bool wait);

/* Write the time of the row that was found. */
extern AsRowChange as_lease_row_extend(AsLeaseTable *leases,
									   const AsLeaseRow *row, TimestampTz until);

/* Call back for each row that the active snapshot sees. */
typedef void (*AsLeaseCallback) (const AsLeaseRow *row, void *arg);
extern void as_lease_rows_scan(AsLeaseTable *leases, AsLeaseCallback callback,
							   void *arg);

#endif							/* AS_LEASE_ROW_H */

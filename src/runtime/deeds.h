/*-------------------------------------------------------------------------
 *
 * deeds.h
 *	  What the current transaction has done with turns that are handled outside,
 *	  and what becomes of it when the transaction ends.
 *
 * At commit a turn that was checked out is open, one that was ended has its
 * slot given back, and its askers get their answers.  If the transaction, or
 * the subtransaction, rolls back, what was checked out goes back.  A transaction
 * with deeds cannot be prepared: nobody would tell us how it ends.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_DEEDS_H
#define AS_DEEDS_H

#include "actorstore.h"

#include "datatype/timestamp.h"
#include "runtime/lease.h"
#include "runtime/turn.h"

/* To be called once, when the library is loaded. */
extern void as_deeds_init(void);

/* A turn is being checked out; to be called before as_lease_take(). */
extern void as_deed_begin(int64 turn_id);

/* It was not taken after all. */
extern void as_deed_cancel(int64 turn_id);

/* It was taken; and its lease goes on till that time, once we have committed. */
extern void as_deed_taken(int64 turn_id, uint64 key_hash);
extern void as_deed_open(int64 turn_id, uint64 key_hash, TimestampTz until);

/*
 * A turn ends with the transaction.  end and what it points to, and the turn
 * with its messages, are in TopTransactionContext; turn is counted if it was
 * handled.
 */
extern void as_deed_end(AsLeaseEnd *end, AsTurn *turn);

/* At commit, compare all leases with their rows: some were deleted. */
extern void as_deeds_doubt(void);

/*
 * Around the checking out of turns: what it writes need not be on disk when the
 * transaction commits, if that is all that it writes.  A lease that is lost in a
 * crash is one that was never there.
 */
extern void as_deeds_begin_checkout(void);
extern void as_deeds_end_checkout(void);

#endif							/* AS_DEEDS_H */

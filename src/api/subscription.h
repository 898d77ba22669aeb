/*-------------------------------------------------------------------------
 *
 * subscription.h
 *	  A subscription's row, locked and taken apart.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_API_SUBSCRIPTION_H
#define AS_API_SUBSCRIPTION_H

#include "actorstore.h"

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "lib/sequence.h"
#include "utils/array.h"

typedef struct AsSubscription
{
	text	   *name;
	char	   *slot;
	Oid			owner;
	ArrayType  *types;			/* NULL: all */
	text	   *prefix;			/* NULL: any */
	XLogRecPtr	start_lsn;		/* the slot's first position */
	bool		has_since;
	TimestampTz since;

	/* present actors: are there more to read, and behind which one */
	bool		reading;
	text	   *read_type;
	text	   *read_id;
	int64		nread;
	bool		has_pages;		/* pages whose snapshots still matter */

	/* greatest sequences returned by fetch, and acknowledged */
	bool		has_fetched;
	AsSequence	fetched;
	bool		has_acked;
	AsSequence	acked;
	ArrayType  *gone_types;		/* NULL: none */
	bool		barred;
	bool		uncommitted;	/* the row was written by this transaction */
} AsSubscription;

/* The name in argument n: 22023 if it is NULL, empty or too long. */
extern text *as_arg_subscription(FunctionCallInfo fcinfo, int n);

/*
 * Lock a subscription until the end of the transaction and read it; 42704 if
 * there is none of that name, 42501 if the current role does not own it, 55006
 * if another session has it.
 */
extern AsSubscription *as_subscription_get(text *name);

/* Raise 42501 unless the current role owns the subscription. */
extern void as_subscription_check_owner(const AsSubscription *subscription);

/*
 * Raise 42501 unless the current role may read all that is subscribed to;
 * types NULL stands for all.  gone are those of the types that the owner could
 * read when they were dropped; barred says that a type was dropped that the
 * owner did not own.
 */
extern void as_subscription_check_types(ArrayType *types, ArrayType *gone,
										bool barred);

/* The types of a subscription, as texts. */
extern int	as_subscription_types(ArrayType *types, text ***names);

/* A sequence as text, and back: 22023 if it is none. */
extern text *as_sequence_text(AsSequence sequence);
extern AsSequence as_sequence_arg(const text *value, const char *what);

#endif							/* AS_API_SUBSCRIPTION_H */

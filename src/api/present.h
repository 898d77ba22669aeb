/*-------------------------------------------------------------------------
 *
 * present.h
 *	  The actors that are there when a subscription from the beginning
 *	  starts.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_API_PRESENT_H
#define AS_API_PRESENT_H

#include "actorstore.h"

#include "api/subscription.h"
#include "cdc/event.h"

/* An actor as it was when its page was read */
typedef struct AsPresentActor
{
	AsSequence	sequence;
	Datum		type;			/* text */
	Datum		id;				/* text */
	Datum		value;			/* jsonb */
	Datum		version;		/* bigint */
	Datum		updated_at;		/* timestamptz */
} AsPresentActor;

/*
 * Read and store the next page, of max actors or fewer.  Raises 25001 in a
 * transaction that has changed actors.
 */
extern void as_present_read(AsSubscription *subscription, int64 max);

/* Call back for each stored actor that is not acknowledged, up to max. */
extern void as_present_stored(AsSubscription *subscription, int64 max,
							  void (*callback) (void *arg, const AsPresentActor *actor),
							  void *arg);

typedef struct AsPages AsPages;

/* Which pages were read with which snapshots. */
extern AsPages *as_present_pages(AsSubscription *subscription);

/* Is the change of this transaction in what a page shows of its actor? */
extern bool as_present_has_seen(AsPages *pages, const AsEvent *event,
								TransactionId xid);

/* Forget the pages if the slot's position lies behind all of them. */
extern void as_present_forget(AsSubscription *subscription, AsPages *pages);

#endif							/* AS_API_PRESENT_H */

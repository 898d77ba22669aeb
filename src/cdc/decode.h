/*-------------------------------------------------------------------------
 *
 * decode.h
 *	  Decoded changes handed to a function of this process instead of a
 *	  client.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_CDC_DECODE_H
#define AS_CDC_DECODE_H

#include "actorstore.h"

#include "cdc/event.h"

/*
 * Takes an event of a transaction.  The event lives until the function
 * returns; catalogs look as they did at the change.
 */
typedef void (*AsEventSink) (void *arg, const AsEvent *event,
							 TransactionId xid, TimestampTz commit_time);

/*
 * Let the next decoding session that this process starts give its events to
 * sink.  NULL takes that back.
 */
extern void as_decode_into(AsEventSink sink, void *arg);

#endif							/* AS_CDC_DECODE_H */

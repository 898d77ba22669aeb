/*-------------------------------------------------------------------------
 *
 * event.h
 *	  The change of an actor as consumers see it.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_CDC_EVENT_H
#define AS_CDC_EVENT_H

#include "actorstore.h"

#include "cdc/options.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "utils/jsonb.h"

/* One side of a change: the actor before or after it. */
typedef struct AsEventSide
{
	bool		present;
	bool		has_value;		/* false: not in WAL (no REPLICA IDENTITY FULL) */
	Jsonb	   *value;
	int64		version;
} AsEventSide;

typedef struct AsEvent
{
	AsSequence	sequence;
	AsOperation operation;
	const char *actor_type;		/* neither is zero-terminated */
	int			actor_type_len;
	const char *actor_id;
	int			actor_id_len;
	AsEventSide previous;
	AsEventSide new;
} AsEvent;

/* What the events of a transaction have in common, ready to be copied. */
typedef struct AsEventFrame
{
	char		timestamp[64];	/* the JSON of an event's end */
	int			timestamp_len;
	TimestampTz commit_time;
} AsEventFrame;

/* "INSERT", "UPDATE" or "DELETE" */
extern const char *as_operation_name(AsOperation operation);

extern void as_event_frame(AsEventFrame *frame, TimestampTz commit_time);

/* Append an event in the one or the other format. */
extern void as_event_json(StringInfo out, const AsEvent *event,
						  const AsEventFrame *frame);
extern void as_event_binary(StringInfo out, const AsEvent *event,
							const AsEventFrame *frame);

/* Append the line that begins ("BEGIN") or ends ("COMMIT") a transaction. */
extern void as_transaction_json(StringInfo out, const char *what,
								TransactionId xid, AsSequence sequence,
								const AsEventFrame *frame);
extern void as_transaction_binary(StringInfo out, const char *what,
								  TransactionId xid, AsSequence sequence,
								  const AsEventFrame *frame);

/* Append the announcement that a type has become unlogged, or logged again. */
extern void as_persistence_json(StringInfo out, const char *type, int len,
								bool unlogged, AsSequence sequence,
								const AsEventFrame *frame);
extern void as_persistence_binary(StringInfo out, const char *type, int len,
								  bool unlogged, AsSequence sequence,
								  const AsEventFrame *frame);

#endif							/* AS_CDC_EVENT_H */

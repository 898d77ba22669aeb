/*-------------------------------------------------------------------------
 *
 * trace.h
 *	  What has happened to messages: the last entries, in shared memory.
 *
 * actorstore.trace_messages says which messages are followed: none, all, or a
 * fraction.  Which ones is decided by a hash of the message's id (for what is
 * asked and told, of its actor and time), so that of a message all is noted or
 * nothing.  While it is off, each hook is one look at a variable.
 *
 * What a transaction does to messages (sent, cancelled, dead) is noted when it
 * has committed; it is kept in its memory till then, in a bounded list, and a
 * subtransaction that is rolled back takes its part away.  Of what a prepared
 * transaction did nothing is noted.  Everything else is noted at once.
 *
 * An entry has no bodies and no texts of errors.  Names are cut to what fits.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_TRACE_H
#define AS_TRACE_H

#include "actorstore.h"

#include "datatype/timestamp.h"
#include "runtime/turn.h"

typedef enum AsTraceEvent
{
	AS_TRACE_SENT,
	AS_TRACE_CANCELLED,
	AS_TRACE_TAKEN,				/* read in a turn */
	AS_TRACE_HANDLED,			/* and the turn has committed */
	AS_TRACE_FAILED,			/* an attempt */
	AS_TRACE_RETRIED,			/* there will be another one */
	AS_TRACE_DEAD
} AsTraceEvent;

typedef enum AsTraceVerb
{
	AS_TRACE_SEND,
	AS_TRACE_TELL,
	AS_TRACE_ASK
} AsTraceVerb;

#define AS_TRACE_TYPE_BYTES		128
#define AS_TRACE_ID_BYTES		184
#define AS_TRACE_NAME_BYTES		128

typedef struct AsTraceEntry
{
	TimestampTz at;
	TimestampTz sent_at;
	int64		message_id;		/* 0: none, as it was asked or told */
	uint64		turn;			/* counted by its process; 0: none */
	Oid			database;
	Oid			owner;			/* of the type, then; 0: there was none */
	int32		pid;
	int32		sqlerrcode;		/* 0: none */
	int16		worker;			/* -1: none */
	int16		attempts;
	uint8		event;			/* AsTraceEvent */
	uint8		verb;			/* AsTraceVerb */
	bool		type_is_cut;
	uint16		type_len;
	uint16		id_len;
	uint16		name_len;
	char		type[AS_TRACE_TYPE_BYTES];
	char		id[AS_TRACE_ID_BYTES];
	char		name[AS_TRACE_NAME_BYTES];
} AsTraceEntry;

/* How many of 2^32 messages are followed; 0: off. */
extern uint64 as_trace_sampled;

static inline bool
as_trace_is_on(void)
{
#ifdef AS_WITHOUT_TRACE			/* bench/watch.sh compares with this */
	return false;
#else
	return unlikely(as_trace_sampled != 0);
#endif
}

extern Size as_trace_shmem_size(void);
extern void as_trace_shmem_init(void);

/* To be called once, when the library is loaded. */
extern void as_trace_init(void);

/* The setting: is it one, and now it is so. */
extern bool as_trace_parse(const char *value, uint64 *sampled);

/* ---- To be called where as_trace_is_on() ---- */

/* The current transaction has put messages into mailboxes. */
extern void as_trace_sent(const AsMessage *messages, int n);

/* It has taken one out that nobody has handled. */
extern void as_trace_cancelled(const AsMessage *message);

/* It has put one among the dead letters. */
extern void as_trace_dead(const AsMessage *message, int sqlerrcode);

/* A message was asked, or told. */
extern void as_trace_posted(const AsMessage *message, bool asks);

/* A turn has read its messages. */
extern void as_trace_taken(AsTurn *turn);

/* Its transaction has committed. */
extern void as_trace_handled(const AsTurn *turn);

/* Its only message has failed, which has been dealt with. */
extern void as_trace_failed(const AsTurn *turn, const ErrorData *error);

/* ---- Reading ---- */

/* Which entries there may be: from the first position to before the second. */
extern void as_trace_range(uint64 *begin, uint64 *end);

/* Copy one; false if it is not there. */
extern bool as_trace_read(uint64 position, AsTraceEntry *entry);

#endif							/* AS_TRACE_H */

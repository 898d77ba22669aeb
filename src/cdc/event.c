/*-------------------------------------------------------------------------
 *
 * event.c
 *	  See event.h.  The binary format is described in docs/cdc.md.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cdc/event.h"

#include "cdc/json_text.h"
#include "libpq/pqformat.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define append_literal(out, text) \
	appendBinaryStringInfo((out), (text), sizeof(text) - 1)

void
as_event_frame(AsEventFrame *frame, TimestampTz commit_time)
{
	struct pg_tm tm;
	fsec_t		fsec;

	if (timestamp2tm(commit_time, NULL, &tm, &fsec, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	frame->commit_time = commit_time;
	frame->timestamp_len =
		snprintf(frame->timestamp, sizeof(frame->timestamp),
				 ", \"timestamp\": \"%04d-%02d-%02dT%02d:%02d:%02d.%06dZ\"}",
				 tm.tm_year, tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min,
				 tm.tm_sec, (int) fsec);
}

/* What the fixed parts of an event take at most, between two values. */
#define MAX_FIXED	128

/* Put a literal at a place with room for it; returns the place behind it. */
#define put_literal(to, text) \
	((char *) memcpy((to), (text), sizeof(text) - 1) + sizeof(text) - 1)

static inline bool
has_value(const AsEventSide *side)
{
	return side->present && side->has_value;
}

static inline char *
put_version(char *to, const AsEventSide *side)
{
	if (has_value(side))
		return to + pg_lltoa(side->version, to);
	return put_literal(to, "null");
}

static inline char *
reserve_fixed(StringInfo out)
{
	enlargeStringInfo(out, MAX_FIXED);
	return out->data + out->len;
}

static inline void
put_to(StringInfo out, char *end)
{
	out->len = (int) (end - out->data);
	*end = '\0';
}

static void
append_side(StringInfo out, const AsEventSide *side)
{
	if (has_value(side))
		as_json_append(out, &side->value->root, VARSIZE(side->value));
	else
		append_literal(out, "null");
}

const char *
as_operation_name(AsOperation operation)
{
	switch (operation)
	{
		case AS_OP_INSERT:
			return "INSERT";
		case AS_OP_UPDATE:
			return "UPDATE";
		case AS_OP_DELETE:
			return "DELETE";
	}
	pg_unreachable();
}

void
as_event_json(StringInfo out, const AsEvent *event, const AsEventFrame *frame)
{
	char	   *to = reserve_fixed(out);

	to = put_literal(to, "{\"sequence\": \"");
	as_sequence_print(event->sequence, to);
	to = put_literal(to + AS_SEQUENCE_LEN, "\", \"operation\": \"");
	memcpy(to, as_operation_name(event->operation), 6);
	put_to(out, put_literal(to + 6, "\", \"actor_type\": "));
	as_json_append_string(out, event->actor_type, event->actor_type_len);
	append_literal(out, ", \"actor_id\": ");
	as_json_append_string(out, event->actor_id, event->actor_id_len);
	append_literal(out, ", \"previous_value\": ");
	append_side(out, &event->previous);

	to = put_literal(reserve_fixed(out), ", \"previous_version\": ");
	to = put_version(to, &event->previous);
	put_to(out, put_literal(to, ", \"new_value\": "));
	append_side(out, &event->new);

	to = put_literal(reserve_fixed(out), ", \"new_version\": ");
	to = put_version(to, &event->new);
	memcpy(to, frame->timestamp, frame->timestamp_len);
	put_to(out, to + frame->timestamp_len);
}

static void
append_text_binary(StringInfo out, const char *text, int len)
{
	pq_sendint16(out, (uint16) len);
	appendBinaryStringInfo(out, text, len);
}

static void
append_side_binary(StringInfo out, const AsEventSide *side)
{
	int			start;
	uint32		len;

	if (!has_value(side))
		return;
	pq_sendint64(out, side->version);
	pq_sendint32(out, 0);		/* length of the value, filled in below */
	start = out->len;
	as_json_append(out, &side->value->root, VARSIZE(side->value));
	len = pg_hton32((uint32) (out->len - start));
	memcpy(out->data + start - sizeof(len), &len, sizeof(len));
}

void
as_event_binary(StringInfo out, const AsEvent *event,
				const AsEventFrame *frame)
{
	uint8		sides = 0;

	if (has_value(&event->previous))
		sides |= 1;
	if (event->new.present)
		sides |= 2;

	pq_sendbyte(out, as_operation_name(event->operation)[0]);
	pq_sendbyte(out, sides);
	pq_sendint64(out, event->sequence.lsn);
	pq_sendint32(out, event->sequence.number);
	pq_sendint64(out, frame->commit_time);
	append_text_binary(out, event->actor_type, event->actor_type_len);
	append_text_binary(out, event->actor_id, event->actor_id_len);
	append_side_binary(out, &event->previous);
	append_side_binary(out, &event->new);
}

void
as_transaction_json(StringInfo out, const char *what, TransactionId xid,
					AsSequence sequence, const AsEventFrame *frame)
{
	char		lsn[AS_SEQUENCE_LEN];

	as_sequence_print(sequence, lsn);
	appendStringInfo(out, "{\"transaction\": \"%s\", \"lsn\": \"%.16s\", \"xid\": %u",
					 what, lsn, xid);
	appendBinaryStringInfo(out, frame->timestamp, frame->timestamp_len);
}

void
as_transaction_binary(StringInfo out, const char *what, TransactionId xid,
					  AsSequence sequence, const AsEventFrame *frame)
{
	pq_sendbyte(out, what[0]);
	pq_sendint64(out, sequence.lsn);
	pq_sendint32(out, xid);
	pq_sendint64(out, frame->commit_time);
}

void
as_persistence_json(StringInfo out, const char *type, int len, bool unlogged,
					AsSequence sequence, const AsEventFrame *frame)
{
	char		text[AS_SEQUENCE_LEN];

	as_sequence_print(sequence, text);
	appendStringInfo(out, "{\"sequence\": \"%.*s\", \"actor_type\": ",
					 AS_SEQUENCE_LEN, text);
	as_json_append_string(out, type, len);
	appendStringInfo(out, ", \"persistence\": \"%s\"",
					 unlogged ? "unlogged" : "logged");
	appendBinaryStringInfo(out, frame->timestamp, frame->timestamp_len);
}

void
as_persistence_binary(StringInfo out, const char *type, int len,
					  bool unlogged, AsSequence sequence,
					  const AsEventFrame *frame)
{
	pq_sendbyte(out, 'P');
	pq_sendbyte(out, unlogged ? 'u' : 'l');
	pq_sendint64(out, sequence.lsn);
	pq_sendint32(out, sequence.number);
	pq_sendint64(out, frame->commit_time);
	append_text_binary(out, type, len);
}

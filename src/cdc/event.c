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

static void
append_version(StringInfo out, int64 version)
{
	enlargeStringInfo(out, MAXINT8LEN + 1);
	out->len += pg_lltoa(version, out->data + out->len);
}

static void
append_side(StringInfo out, const AsEventSide *side)
{
	if (side->present && side->has_value)
		as_json_append(out, &side->value->root, VARSIZE(side->value));
	else
		append_literal(out, "null");
}

static void
append_side_version(StringInfo out, const AsEventSide *side)
{
	if (side->present && side->has_value)
		append_version(out, side->version);
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
	append_literal(out, "{\"sequence\": \"");
	enlargeStringInfo(out, AS_SEQUENCE_LEN);
	as_sequence_print(event->sequence, out->data + out->len);
	out->len += AS_SEQUENCE_LEN;
	append_literal(out, "\", \"operation\": \"");
	appendBinaryStringInfo(out, as_operation_name(event->operation), 6);
	append_literal(out, "\", \"actor_type\": ");
	as_json_append_string(out, event->actor_type, event->actor_type_len);
	append_literal(out, ", \"actor_id\": ");
	as_json_append_string(out, event->actor_id, event->actor_id_len);
	append_literal(out, ", \"previous_value\": ");
	append_side(out, &event->previous);
	append_literal(out, ", \"previous_version\": ");
	append_side_version(out, &event->previous);
	append_literal(out, ", \"new_value\": ");
	append_side(out, &event->new);
	append_literal(out, ", \"new_version\": ");
	append_side_version(out, &event->new);
	appendBinaryStringInfo(out, frame->timestamp, frame->timestamp_len);
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

	if (!side->present || !side->has_value)
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

	if (event->previous.present && event->previous.has_value)
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

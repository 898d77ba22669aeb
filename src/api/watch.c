/*-------------------------------------------------------------------------
 *
 * watch.c
 *	  The function behind the view of what has happened to messages.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "runtime/trace.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(actorstore_trace_now);

static const char *const events[] = {
	"sent", "cancelled", "taken", "handled", "failed", "retried", "dead"
};

static const char *const verbs[] = {"send", "tell", "ask"};

/*
 * Superusers see all; others what is of a type that they may read, if it is
 * not of another one which had that name before.
 */
static bool
is_shown(const AsTraceEntry *entry)
{
	AsType	   *type;

	if (entry->database != MyDatabaseId)
		return false;
	if (superuser())
		return true;
	if (entry->type_is_cut)
		return false;
	type = as_type_find(cstring_to_text_with_len(entry->type, entry->type_len));
	return type != NULL && type->exists && type->owner == entry->owner &&
		as_type_has(type, AS_PRIV_READ);
}

static Datum
text_of(const char *bytes, int len)
{
	return PointerGetDatum(cstring_to_text_with_len(bytes, len));
}

/* The entries that there are, oldest first. */
Datum
actorstore_trace_now(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	uint64		position;
	uint64		end;

	InitMaterializedSRF(fcinfo, 0);
	for (as_trace_range(&position, &end); position < end; position++)
	{
		AsTraceEntry entry;
		Datum		values[14];
		bool		nulls[14] = {false};
		int			n = 0;

		CHECK_FOR_INTERRUPTS();
		if (!as_trace_read(position, &entry) || !is_shown(&entry))
			continue;
		values[n++] = Int64GetDatum((int64) position);
		values[n++] = TimestampTzGetDatum(entry.at);
		values[n++] = CStringGetTextDatum(events[entry.event]);
		values[n++] = CStringGetTextDatum(verbs[entry.verb]);
		nulls[n] = (entry.message_id == 0);
		values[n++] = Int64GetDatum(entry.message_id);
		values[n++] = text_of(entry.type, entry.type_len);
		values[n++] = text_of(entry.id, entry.id_len);
		values[n++] = text_of(entry.name, entry.name_len);
		values[n++] = TimestampTzGetDatum(entry.sent_at);
		values[n++] = Int32GetDatum(entry.attempts);
		nulls[n] = (entry.worker < 0);
		values[n++] = Int32GetDatum(entry.worker);
		values[n++] = Int32GetDatum(entry.pid);
		nulls[n] = (entry.turn == 0);
		values[n++] = Int64GetDatum((int64) entry.turn);
		nulls[n] = (entry.sqlerrcode == 0);
		values[n++] = nulls[13] ? (Datum) 0 :
			CStringGetTextDatum(unpack_sql_state(entry.sqlerrcode));
		Assert(n == (int) lengthof(values));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*-------------------------------------------------------------------------
 *
 * watch.c
 *	  The functions behind the views of what has happened to messages, and of
 *	  what waits.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "runtime/mailbox.h"
#include "runtime/trace.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(actorstore_trace_now);
PG_FUNCTION_INFO_V1(actorstore_waiting_now);

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

/* ---- What waits ---- */

/* What waits for the actor at hand; its names are copies. */
typedef struct Waiting
{
	ReturnSetInfo *result;
	TimestampTz now;
	text	   *actor_type;		/* NULL: none yet */
	text	   *actor_id;
	bool		shows_type;		/* may the role see what waits for the type? */
	bool		shows_actor;	/* and for whom? */
	int64		depth;
	int64		delayed;
	TimestampTz oldest;			/* when the first one was sent */
	TimestampTz ready;			/* since when the first one may be handled */
	TimestampTz next_due;
	int			attempts;
} Waiting;

static void
put_waiting(Waiting *waiting)
{
	Datum		values[8];
	bool		nulls[8] = {false};
	int			n = 0;

	if (waiting->actor_type == NULL || !waiting->shows_type)
		return;
	values[n++] = PointerGetDatum(waiting->actor_type);
	nulls[n] = !waiting->shows_actor;
	values[n++] = PointerGetDatum(waiting->actor_id);
	values[n++] = Int64GetDatum(waiting->depth);
	values[n++] = Int64GetDatum(waiting->delayed);
	values[n++] = TimestampTzGetDatum(waiting->oldest);
	nulls[n] = (waiting->ready == DT_NOEND);
	values[n++] = TimestampTzGetDatum(waiting->ready);
	nulls[n] = (waiting->next_due == DT_NOEND);
	values[n++] = TimestampTzGetDatum(waiting->next_due);
	values[n++] = Int32GetDatum(waiting->attempts);
	Assert(n == (int) lengthof(values));
	tuplestore_putvalues(waiting->result->setResult,
						 waiting->result->setDesc, values, nulls);
}

static bool
is_same(const text *a, const text *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

static void
begin_actor(Waiting *waiting, const AsMessage *message)
{
	AsType	   *type;

	if (waiting->actor_type == NULL ||
		!is_same(waiting->actor_type, message->actor_type))
	{
		if (waiting->actor_type != NULL)
			pfree(waiting->actor_type);
		waiting->actor_type = (text *) DatumGetPointer(datumCopy(PointerGetDatum(message->actor_type), false, -1));
		type = as_type_find(message->actor_type);
		waiting->shows_actor = type != NULL ?
			as_type_has(type, AS_PRIV_READ) : superuser();
		waiting->shows_type = waiting->shows_actor ||
			has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
	}
	if (waiting->actor_id != NULL)
		pfree(waiting->actor_id);
	waiting->actor_id = (text *) DatumGetPointer(datumCopy(PointerGetDatum(message->actor_id), false, -1));
	waiting->depth = waiting->delayed = 0;
	waiting->oldest = waiting->ready = waiting->next_due = DT_NOEND;
	waiting->attempts = 0;
}

static bool
count_waiting(AsMessage *message, void *arg)
{
	Waiting    *waiting = arg;

	CHECK_FOR_INTERRUPTS();
	if (waiting->actor_id == NULL ||
		!is_same(waiting->actor_id, message->actor_id) ||
		!is_same(waiting->actor_type, message->actor_type))
	{
		put_waiting(waiting);
		begin_actor(waiting, message);
	}
	waiting->depth++;
	waiting->oldest = Min(waiting->oldest, message->sent_at);
	waiting->attempts = Max(waiting->attempts, message->attempts);
	if (message->due != 0)
		waiting->next_due = Min(waiting->next_due, message->due);
	if (message->due > waiting->now)
		waiting->delayed++;
	else
		waiting->ready = Min(waiting->ready,
							 Max(message->sent_at, message->due));
	return true;
}

/*
 * A row for each actor that has mail, or, now and then, two of them; without
 * its id to who may not read the type, but watches the server.
 */
Datum
actorstore_waiting_now(PG_FUNCTION_ARGS)
{
	Waiting		waiting = {.result = (ReturnSetInfo *) fcinfo->resultinfo,
	.now = GetCurrentTimestamp()};
	AsMailbox	mailbox;

	InitMaterializedSRF(fcinfo, 0);
	as_mailbox_open(&mailbox, AccessShareLock);
	as_mailbox_scan_all(&mailbox, count_waiting, &waiting);
	as_mailbox_close(&mailbox);
	put_waiting(&waiting);
	return (Datum) 0;
}

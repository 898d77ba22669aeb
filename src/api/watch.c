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
#include "lib/same_text.h"
#include "miscadmin.h"
#include "runtime/mailbox.h"
#include "runtime/trace.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(actorstore_trace_now);
PG_FUNCTION_INFO_V1(actorstore_waiting_now);
PG_FUNCTION_INFO_V1(actorstore_queues_now);

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
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext,
											  "actorstore trace row",
											  ALLOCSET_SMALL_SIZES);
	uint64		position;
	uint64		end;

	InitMaterializedSRF(fcinfo, 0);
	for (as_trace_range(&position, &end); position < end; position++)
	{
		AsTraceEntry entry;
		Datum		values[14];
		bool		nulls[14] = {false};
		int			n = 0;
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		if (!as_trace_read(position, &entry) || !is_shown(&entry))
			continue;
		old = MemoryContextSwitchTo(row);
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
		MemoryContextSwitchTo(old);
		MemoryContextReset(row);
	}
	MemoryContextDelete(row);
	return (Datum) 0;
}

/* ---- What waits ---- */

typedef struct Mail
{
	int64		depth;
	int64		delayed;
	TimestampTz oldest;			/* when the first one was sent */
	TimestampTz ready;			/* since when the first one may be handled */
	TimestampTz next_due;
	int			attempts;
} Mail;

static const Mail no_mail = {
	.oldest = DT_NOEND,.ready = DT_NOEND,.next_due = DT_NOEND
};

static void
count_message(Mail *mail, const AsMessage *message, TimestampTz now)
{
	mail->depth++;
	mail->oldest = Min(mail->oldest, message->sent_at);
	mail->attempts = Max(mail->attempts, message->attempts);
	if (message->due != 0)
		mail->next_due = Min(mail->next_due, message->due);
	if (message->due > now)
		mail->delayed++;
	else
		mail->ready = Min(mail->ready, Max(message->sent_at, message->due));
}

static text *
copy_text(const text *value)
{
	return (text *) DatumGetPointer(datumCopy(PointerGetDatum(value), false, -1));
}

static void
scan_mailboxes(AsMessageCallback callback, void *arg)
{
	AsMailbox	mailbox;

	as_mailbox_open(&mailbox, AccessShareLock);
	as_mailbox_scan_all(&mailbox, callback, arg);
	as_mailbox_close(&mailbox);
}

/* May the role see for whom messages of the type wait? */
static bool
shows_actors(const text *actor_type)
{
	AsType	   *type = as_type_find(actor_type);

	return type != NULL ? as_type_has(type, AS_PRIV_READ) : superuser();
}

/* What waits for the actor at hand; its names are copies. */
typedef struct Waiting
{
	ReturnSetInfo *result;
	TimestampTz now;
	text	   *actor_type;		/* NULL: none yet */
	text	   *actor_id;
	bool		shown;
	Mail		mail;
} Waiting;

static void
put_waiting(Waiting *waiting)
{
	Datum		values[6];
	bool		nulls[6] = {false};
	int			n = 0;

	if (waiting->actor_type == NULL || !waiting->shown)
		return;
	values[n++] = PointerGetDatum(waiting->actor_type);
	values[n++] = PointerGetDatum(waiting->actor_id);
	values[n++] = Int64GetDatum(waiting->mail.depth);
	values[n++] = TimestampTzGetDatum(waiting->mail.oldest);
	nulls[n] = (waiting->mail.next_due == DT_NOEND);
	values[n++] = TimestampTzGetDatum(waiting->mail.next_due);
	values[n++] = Int32GetDatum(waiting->mail.attempts);
	Assert(n == (int) lengthof(values));
	tuplestore_putvalues(waiting->result->setResult,
						 waiting->result->setDesc, values, nulls);
}

static void
begin_actor(Waiting *waiting, const AsMessage *message)
{
	if (waiting->actor_type == NULL ||
		!as_same_text(waiting->actor_type, message->actor_type))
	{
		if (waiting->actor_type != NULL)
			pfree(waiting->actor_type);
		waiting->actor_type = copy_text(message->actor_type);
		waiting->shown = shows_actors(message->actor_type);
	}
	if (waiting->actor_id != NULL)
		pfree(waiting->actor_id);
	waiting->actor_id = copy_text(message->actor_id);
	waiting->mail = no_mail;
}

static bool
count_for_actor(AsMessage *message, void *arg)
{
	Waiting    *waiting = arg;

	CHECK_FOR_INTERRUPTS();
	if (waiting->actor_id == NULL ||
		!as_same_text(waiting->actor_id, message->actor_id) ||
		!as_same_text(waiting->actor_type, message->actor_type))
	{
		put_waiting(waiting);
		begin_actor(waiting, message);
	}
	count_message(&waiting->mail, message, waiting->now);
	return true;
}

/*
 * A row for each actor that has mail, or, now and then, two of them, of types
 * that the role may read.
 */
Datum
actorstore_waiting_now(PG_FUNCTION_ARGS)
{
	Waiting		waiting = {.result = (ReturnSetInfo *) fcinfo->resultinfo,
	.now = GetCurrentTimestamp()};

	InitMaterializedSRF(fcinfo, 0);
	scan_mailboxes(count_for_actor, &waiting);
	put_waiting(&waiting);
	return (Datum) 0;
}

/* What waits for a type */
typedef struct Queue
{
	char		name[AS_MAX_NAME_BYTES + 1];
	text	   *actor_type;
	Mail		mail;
} Queue;

typedef struct Queues
{
	TimestampTz now;
	HTAB	   *by_name;
	Queue	   *last;			/* mostly it is the same again */
} Queues;

static bool
count_for_type(AsMessage *message, void *arg)
{
	Queues	   *queues = arg;

	CHECK_FOR_INTERRUPTS();
	if (queues->last == NULL ||
		!as_same_text(queues->last->actor_type, message->actor_type))
	{
		char	   *name = text_to_cstring(message->actor_type);
		bool		found;

		queues->last = hash_search(queues->by_name, name, HASH_ENTER, &found);
		if (!found)
		{
			queues->last->actor_type = copy_text(message->actor_type);
			queues->last->mail = no_mail;
		}
		pfree(name);
	}
	count_message(&queues->last->mail, message, queues->now);
	return true;
}

/* A row for each type that has mail, and that the role may read, or watch. */
Datum
actorstore_queues_now(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	HASHCTL		options = {.keysize = sizeof(((Queue *) 0)->name),
		.entrysize = sizeof(Queue),.hcxt = CurrentMemoryContext};
	Queues		queues = {.now = GetCurrentTimestamp()};
	HASH_SEQ_STATUS all;
	Queue	   *queue;
	bool		watches = has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);

	InitMaterializedSRF(fcinfo, 0);
	queues.by_name = hash_create("actorstore queues", 16, &options,
								 HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	scan_mailboxes(count_for_type, &queues);
	hash_seq_init(&all, queues.by_name);
	while ((queue = hash_seq_search(&all)) != NULL)
	{
		Datum		values[4];
		bool		nulls[4] = {false};

		if (!watches && !shows_actors(queue->actor_type))
			continue;
		values[0] = PointerGetDatum(queue->actor_type);
		values[1] = Int64GetDatum(queue->mail.depth);
		values[2] = Int64GetDatum(queue->mail.delayed);
		nulls[3] = (queue->mail.ready == DT_NOEND);
		values[3] = TimestampTzGetDatum(queue->mail.ready);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

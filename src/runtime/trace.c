/*-------------------------------------------------------------------------
 *
 * trace.c
 *	  See trace.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/trace.h"

#include "access/xact.h"
#include "lib/journal.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "runtime/sched.h"
#include "state/type.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define ENTRY_WORDS		(sizeof(AsTraceEntry) / sizeof(uint64))

/* Of one transaction no more is noted; what comes later is left out. */
#define MAX_PENDING		4096

typedef struct Pending
{
	SubTransactionId subid;
	AsTraceEntry entry;
} Pending;

uint64		as_trace_sampled = 0;

static AsJournalShared *journal = NULL;

/* what the current transaction has done; in its memory */
static Pending *pending = NULL;
static int	npending = 0;
static int	allocated = 0;

/* turns that this process has begun while tracing was on */
static uint64 nturns = 0;

static uint64
capacity(void)
{
	return pg_nextpower2_32(actorstore_trace_size);
}

Size
as_trace_shmem_size(void)
{
	return as_journal_size(capacity(), ENTRY_WORDS);
}

void
as_trace_shmem_init(void)
{
	bool		found;

	StaticAssertStmt(sizeof(AsTraceEntry) % sizeof(uint64) == 0,
					 "an entry is a number of words");
	journal = ShmemInitStruct("actorstore trace", as_trace_shmem_size(),
							  &found);
	if (!found)
		as_journal_init(journal, capacity(), ENTRY_WORDS);
}

bool
as_trace_parse(const char *value, uint64 *sampled)
{
	double		fraction;
	char	   *end;
	bool		on;

	if (parse_bool(value, &on))
		fraction = on ? 1.0 : 0.0;
	else
	{
		fraction = strtod(value, &end);
		if (end == value || *end != '\0' ||
			!(fraction >= 0.0 && fraction <= 1.0))
			return false;
	}

	/* what is not nothing follows at least one in 2^32 */
	*sampled = (uint64) (fraction * (UINT64CONST(1) << 32));
	if (fraction > 0.0)
		*sampled = Max(*sampled, 1);
	return true;
}

/* ---- Which messages ---- */

static bool
is_followed(uint64 key)
{
	key = (key ^ (key >> 30)) * UINT64CONST(0xBF58476D1CE4E5B9);
	key = (key ^ (key >> 27)) * UINT64CONST(0x94D049BB133111EB);
	return (key ^ (key >> 31)) >> 32 < as_trace_sampled && journal != NULL;
}

/* key_hash is the actor's: not every message has it. */
static bool
is_message_followed(const AsMessage *message, uint64 key_hash)
{
	return is_followed(message->message_id != 0 ? (uint64) message->message_id :
					   key_hash ^ (uint64) message->sent_at);
}

/* ---- Entries ---- */

static uint16
copy_text(char *to, const text *from, int max)
{
	int			len = pg_mbcliplen(VARDATA_ANY(from), VARSIZE_ANY_EXHDR(from),
								   max);

	memcpy(to, VARDATA_ANY(from), len);
	return len;
}

static void
make_entry(AsTraceEntry *entry, AsTraceEvent event, AsTraceVerb verb,
		   const AsMessage *message, const AsType *type)
{
	memset(entry, 0, sizeof(AsTraceEntry));
	entry->sent_at = message->sent_at;
	entry->message_id = message->message_id;
	entry->database = MyDatabaseId;
	entry->owner = type != NULL && type->exists ? type->owner : InvalidOid;
	entry->pid = MyProcPid;
	entry->worker = as_sched_self;
	entry->attempts = Min(message->attempts, PG_INT16_MAX);
	entry->event = event;
	entry->verb = verb;
	entry->type_len = copy_text(entry->type, message->actor_type,
								AS_TRACE_TYPE_BYTES);
	entry->type_is_cut = entry->type_len < VARSIZE_ANY_EXHDR(message->actor_type);
	entry->id_len = copy_text(entry->id, message->actor_id, AS_TRACE_ID_BYTES);
	entry->name_len = copy_text(entry->name, message->name,
								AS_TRACE_NAME_BYTES);
}

static AsTraceVerb
verb_of(const AsMessage *message)
{
	if (message->cell == 0)
		return AS_TRACE_SEND;
	return message->asked ? AS_TRACE_ASK : AS_TRACE_TELL;
}

static void
write_entry(AsTraceEntry *entry, TimestampTz at)
{
	entry->at = at;
	(void) as_journal_write(journal, (uint64 *) entry);
}

/* ---- What the transaction does ---- */

static void
note(AsTraceEvent event, const AsMessage *message, uint64 turn, int sqlerrcode)
{
	Pending    *new;

	if (npending == MAX_PENDING)
		return;
	if (npending == allocated)
	{
		allocated = Max(8, 2 * allocated);
		pending = pending == NULL ?
			MemoryContextAlloc(TopTransactionContext, allocated * sizeof(Pending)) :
			repalloc(pending, allocated * sizeof(Pending));
	}
	new = &pending[npending];
	new->subid = GetCurrentSubTransactionId();
	make_entry(&new->entry, event, AS_TRACE_SEND, message,
			   as_type_find(message->actor_type));
	new->entry.turn = turn;
	new->entry.sqlerrcode = sqlerrcode;
	npending++;
}

void
as_trace_sent(const AsMessage *messages, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (is_message_followed(&messages[i], messages[i].key_hash))
			note(AS_TRACE_SENT, &messages[i], 0, 0);
	}
}

void
as_trace_cancelled(const AsMessage *message)
{
	if (is_message_followed(message, message->key_hash))
		note(AS_TRACE_CANCELLED, message, 0, 0);
}

void
as_trace_dead(const AsMessage *message, int sqlerrcode)
{
	if (is_message_followed(message, message->key_hash))
		note(AS_TRACE_DEAD, message, as_sched_self >= 0 ? nturns : 0,
			 sqlerrcode);
}

/* Only plain stores here: the transaction has committed. */
static void
end_transaction(XactEvent event, void *arg)
{
	if (npending == 0)
		return;
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			{
				TimestampTz now = GetCurrentTimestamp();

				for (int i = 0; i < npending; i++)
					write_entry(&pending[i].entry, now);
			}
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			break;
		default:
			return;
	}

	/* the memory goes with the transaction */
	pending = NULL;
	npending = allocated = 0;
}

/* What a subtransaction has done came after all that was there before it. */
static void
end_subtransaction(SubXactEvent event, SubTransactionId subid,
				   SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (npending > 0 && pending[npending - 1].subid >= subid)
		npending--;
}

void
as_trace_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}

/* ---- What happens at once ---- */

void
as_trace_posted(const AsMessage *message, bool asks)
{
	AsTraceEntry entry;

	if (!is_message_followed(message, message->key_hash))
		return;
	make_entry(&entry, AS_TRACE_SENT, asks ? AS_TRACE_ASK : AS_TRACE_TELL,
			   message, as_type_find(message->actor_type));
	write_entry(&entry, message->sent_at);
}

static void
write_of_turn(AsTraceEvent event, const AsTurn *turn, const AsMessage *message,
			  const AsType *type, TimestampTz at, int sqlerrcode)
{
	AsTraceEntry entry;

	make_entry(&entry, event, verb_of(message), message, type);
	entry.turn = turn->number;
	entry.sqlerrcode = sqlerrcode;
	write_entry(&entry, at);
}

void
as_trace_taken(AsTurn *turn)
{
	turn->number = ++nturns;
	for (int i = 0; i < turn->nmessages; i++)
	{
		AsMessage  *message = &turn->messages[i];

		if (is_message_followed(message, turn->key_hash))
			write_of_turn(AS_TRACE_TAKEN, turn, message,
						  as_type_find(message->actor_type),
						  GetCurrentTimestamp(), 0);
	}
}

void
as_trace_handled(const AsTurn *turn)
{
	TimestampTz now = 0;

	for (int i = 0; i < turn->nhandled; i++)
	{
		AsMessage  *message = &turn->messages[i];

		/* of one that died or failed that was said */
		if (message->given_up ||
			!is_message_followed(message, turn->key_hash))
			continue;
		if (now == 0)
			now = GetCurrentTimestamp();
		write_of_turn(AS_TRACE_HANDLED, turn, message, turn->type, now, 0);
	}
}

void
as_trace_failed(const AsTurn *turn, const ErrorData *error)
{
	AsMessage  *message = &turn->messages[0];
	TimestampTz now;

	if (!is_message_followed(message, turn->key_hash))
		return;
	now = GetCurrentTimestamp();
	write_of_turn(AS_TRACE_FAILED, turn, message, turn->type, now,
				  error->sqlerrcode);
	if (turn->nhandled == 0)
		write_of_turn(AS_TRACE_RETRIED, turn, message, turn->type, now, 0);
}

/* ---- Reading ---- */

void
as_trace_range(uint64 *begin, uint64 *end)
{
	*begin = *end = 0;
	if (journal == NULL)
		return;
	*begin = as_journal_begin(journal);
	*end = as_journal_end(journal);
}

bool
as_trace_read(uint64 position, AsTraceEntry *entry)
{
	return as_journal_read(journal, position, (uint64 *) entry);
}

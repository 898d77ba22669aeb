/*-------------------------------------------------------------------------
 *
 * send.c
 *	  See send.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/send.h"

#include "access/detoast.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "lib/key_hash.h"
#include "lib/nap.h"
#include "miscadmin.h"
#include "runtime/checkout.h"
#include "runtime/letters.h"
#include "runtime/outgoing.h"
#include "runtime/sched.h"
#include "runtime/trace.h"
#include "runtime/waiting.h"
#include "state/catalog.h"
#include "state/owner.h"
#include "storage/condition_variable.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

bool		(*as_is_node) (void) = NULL;
bool		(*as_is_elsewhere) (uint64 key_hash) = NULL;
int			(*as_send_elsewhere) (const AsType *type, AsMessage *messages, int n) = NULL;
bool		(*as_cancel_elsewhere) (int64 message_id, void (*check) (AsMessage *message)) = NULL;

/* Look for room by ourselves so often, should nobody tell us. */
#define ROOM_NAP_MS		100

static const AsReason mailbox_full = {.reason = "mailbox full",
.sqlerrcode = AS_ERRCODE_MAILBOX_FULL};

static void
raise_full(const AsMessage *message, int limit, const char *detail)
{
	ereport(ERROR,
			(errcode(AS_ERRCODE_MAILBOX_FULL),
			 errmsg("mailbox of actor (%s, %s) is full",
					text_to_cstring(message->actor_type),
					text_to_cstring(message->actor_id)),
			 errdetail("It may hold %d messages.%s", limit, detail),
			 errhint("Send more slowly, or raise the type's mailbox_limit with actorstore.alter_type().")));
}

/* Sleep till somebody says that there is room, or for a while. */
static void
sleep_for_room(void)
{
	int			home = as_sched_home();

	if (home >= 0)
		(void) ConditionVariableTimedSleep(&as_home(home)->room, ROOM_NAP_MS,
										   as_wait_event(AS_NAP_MAILBOX));
	else
	{
		/* the database's turn to be served comes */
		(void) as_nap(ROOM_NAP_MS, AS_NAP_MAILBOX);
	}
	CHECK_FOR_INTERRUPTS();
}

/*
 * Wait until the mailbox has room, and those who came before have had theirs.
 * An error takes us off the list of those who sleep, as it ends any wait for a
 * condition variable.
 */
static void
wait_for_room(AsMailbox *mailbox, const AsMessage *message, int limit)
{
	int			home;
	int			mine;

	/* a worker that waits handles nothing, and may be what it waits for */
	if (as_sched_self >= 0)
		raise_full(message, limit, " A handler cannot wait for room.");

	as_waiting_begin(message->key_hash);
	PG_TRY();
	{
		while (!as_waiting_is_first() ||
			   !as_outgoing_reserve(mailbox, message->key_hash, limit, &mine))
		{
			if (as_outgoing_reserved(message->key_hash) >= limit)
				raise_full(message, limit,
						   " All of them were sent by this transaction.");
			sleep_for_room();
		}
	}
	PG_FINALLY();
	{
		as_waiting_end();
	}
	PG_END_TRY();
	ConditionVariableCancelSleep();

	/* there may be room for the next one */
	home = as_sched_home();
	if (home >= 0 && as_waiting_anyone(message->key_hash))
		ConditionVariableBroadcast(&as_home(home)->room);
}

/* Do others wait for this mailbox already, behind whom we have to wait? */
static bool
must_queue(const AsType *type, const AsMessage *message)
{
	return type->on_full == AS_FULL_WAIT && as_sched_self < 0 &&
		!as_is_system(message->name) && as_waiting_anyone(message->key_hash);
}

/*
 * Get room for a message; false if it is to be dropped.  For one that has come
 * from another node (crowded is not NULL) nobody is there to wait or to be told.
 */
static bool
find_room(AsMailbox *mailbox, const AsType *type, const AsMessage *message,
		  bool *crowded)
{
	int			limit = type->mailbox_limit > 0 ? type->mailbox_limit :
	actorstore_mailbox_limit;
	int			mine;

	/* what the system has to say is counted, and finds room always */
	if (as_is_system(message->name))
		limit = PG_INT32_MAX - 1;

	if (!as_sched_active() ||
		((crowded != NULL || !must_queue(type, message)) &&
		 as_outgoing_reserve(mailbox, message->key_hash, limit, &mine)))
		return true;
	if (crowded != NULL)
	{
		*crowded = type->on_full == AS_FULL_WAIT;
		return *crowded &&
			as_outgoing_reserve(mailbox, message->key_hash, PG_INT32_MAX - 1, &mine);
	}
	switch (type->on_full)
	{
		case AS_FULL_ERROR:
			raise_full(message, limit, "");
			break;
		case AS_FULL_WAIT:
			wait_for_room(mailbox, message, limit);
			return true;
		case AS_FULL_DROP:
			break;
	}
	return false;
}

void
as_message_check_size(const AsMessage *message)
{
	Size		size = 0;

	if (message->body != 0)
		size += toast_raw_datum_size(message->body) - VARHDRSZ;
	if (message->headers != 0)
		size += toast_raw_datum_size(message->headers) - VARHDRSZ;
	if (size > (Size) actorstore_max_message_size)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("message is too large"),
				 errdetail("Body and headers have %zu bytes; at most %d are allowed.",
						   size, actorstore_max_message_size),
				 errhint("See \"actorstore.max_message_size\".")));
}

/* Fill in what the message gets from here, but for its id. */
static void
complete(AsMessage *message, TimestampTz now)
{
	if (!as_is_system(message->name))
		as_message_check_size(message);
	message->key_hash = as_key_hash(VARDATA_ANY(message->actor_type),
									VARSIZE_ANY_EXHDR(message->actor_type),
									VARDATA_ANY(message->actor_id),
									VARSIZE_ANY_EXHDR(message->actor_id));
	message->attempts = 0;
	if (message->sent_at == 0)
		message->sent_at = now;
	if (message->due != 0 && message->due <= now)
		message->due = 0;
	message->lane = message->due != 0 ?
		AS_DELAYED_LANE + message->priority : message->priority;
}

void
as_warn_not_preloaded(const char *what)
{
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%s wait until actorstore is preloaded", what),
			 errhint("Put actorstore into shared_preload_libraries in postgresql.conf and restart.")));
}

/*
 * Does the message go into the mailbox?  If not, it is a duplicate, or has
 * been dropped.
 */
static bool
is_let_in(AsMailbox *mailbox, const AsType *type, AsMessage *message,
		  bool *crowded)
{
	int64		first;

	if (message->dedup_key != NULL && !as_dedup_claim(message, &first))
	{
		message->message_id = first;
		return false;
	}
	if (!find_room(mailbox, type, message, crowded))
	{
		as_letter_bury(message, &mailbox_full);
		return false;
	}
	return true;
}

/* Messages with room for them in the mailboxes. */
static void
insert(AsMailbox *mailbox, AsType *type, AsMessage *messages, int n)
{
	AsOutside	known;
	bool		outside;

	if (n > 0)
		as_mailbox_insert(mailbox, messages, n);
	outside = n > 0 && as_outside_find(type, &known);
	for (int i = 0; i < n; i++)
	{
		if (outside && messages[i].due == 0 && as_outside_takes(type, &messages[i]))
			as_outgoing_note_outside(messages[i].key_hash, &known);
		as_outgoing_note(messages[i].key_hash, messages[i].lane,
						 messages[i].position, messages[i].due);
		if (type->order_by_deadline && messages[i].due == 0)
			as_outgoing_note_deadline(messages[i].key_hash,
									  messages[i].expires_at);
	}
}

/* Does it go to another node?  If not, its actor's slot is ours till we have ended. */
static bool
is_elsewhere(const AsMessage *message)
{
	if (as_is_elsewhere != NULL && as_is_elsewhere(message->key_hash))
		return true;
	if (likely(as_owner_hold(message->key_hash)))
		return unlikely(as_owner_applies) && as_is_elsewhere != NULL &&
			as_is_elsewhere(message->key_hash);
	if (as_is_elsewhere != NULL && as_is_elsewhere(message->key_hash))
		return true;
	as_owner_need_slot(message->actor_type, message->actor_id);
	return false;
}

/* crowded is NULL for messages that are sent here. */
static int
put(AsType *type, AsMessage *messages, int n, bool *crowded)
{
	AsMailbox	mailbox;
	AsMessage  *let_in = palloc(n * sizeof(AsMessage));
	AsMessage  *away = NULL;
	TimestampTz now = GetCurrentTimestamp();
	int			nlet_in = 0;
	int			naway = 0;

	as_mailbox_open(&mailbox, RowExclusiveLock);
	for (int done = 0; done < n; done += AS_ID_BLOCK)
	{
		int			some = Min(n - done, AS_ID_BLOCK);
		int64		id = as_sched_ids(some);

		for (AsMessage *message = &messages[done];
			 message < &messages[done + some]; message++)
		{
			complete(message, now);
			message->position = id++;
			if (crowded == NULL)
				message->message_id = as_message_id(message->position);
			if (is_elsewhere(message))
			{
				if (away == NULL)
					away = palloc(n * sizeof(AsMessage));
				away[naway++] = *message;
			}
			else if (is_let_in(&mailbox, type, message, crowded))
				let_in[nlet_in++] = *message;
		}
	}
	insert(&mailbox, type, let_in, nlet_in);
	as_mailbox_close(&mailbox);
	if (naway > 0)
		nlet_in += as_send_elsewhere(type, away, naway);
	pfree(let_in);
	CommandCounterIncrement();
	return nlet_in;
}

int
as_send(AsType *type, AsMessage *messages, int n)
{
	if (!as_sched_active())
		as_warn_not_preloaded("messages");
	return put(type, messages, n, NULL);
}

void
as_send_arrived(AsType *type, AsMessage *messages, int n, bool *crowded)
{
	*crowded = false;
	(void) put(type, messages, n, crowded);
}

bool
as_cancel(int64 message_id, void (*check) (AsMessage *message))
{
	AsMailbox	mailbox;
	AsMessage	message;
	bool		found;

	as_mailbox_open(&mailbox, RowExclusiveLock);
	PushActiveSnapshot(GetTransactionSnapshot());
	found = as_mailbox_find(&mailbox, message_id, &message);
	if (found)
	{
		check(&message);
		found = as_mailbox_delete(&mailbox, &message);
	}
	PopActiveSnapshot();
	as_mailbox_close(&mailbox);
	if (!found)
		return as_cancel_elsewhere != NULL && as_cancel_elsewhere(message_id, check);
	if (message.dedup_key != NULL)
		as_dedup_release(&message);
	as_outgoing_note_cancelled(message.key_hash);
	if (as_trace_is_on())
		as_trace_cancelled(&message);
	CommandCounterIncrement();
	return true;
}

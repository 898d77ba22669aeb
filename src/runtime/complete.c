/*-------------------------------------------------------------------------
 *
 * complete.c
 *	  The end of a turn that is handled outside: it is completed, or has failed.
 *
 * Whoever ends a turn deletes its row first: that is the lock that others wait
 * for, and find nothing behind.  What follows may fail: then the row is there
 * again.
 *
 * One file of more than 500 lines: all that takes a turn by its token.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/checkout.h"

#include "access/xact.h"
#include "compat.h"
#include "lib/same_text.h"
#include "miscadmin.h"
#include "runtime/deeds.h"
#include "runtime/sched.h"
#include "runtime/send.h"
#include "runtime/stat.h"
#include "runtime/trace.h"
#include "state/actor.h"
#include "state/owner.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* What is open between as_complete_begin() and as_complete_end(). */
typedef struct Desk
{
	AsMailbox	mailbox;
	AsLeaseTable leases;
	List	   *partitions;		/* of AsPartition */
} Desk;

static Desk *desk = NULL;

void
as_complete_begin(void)
{
	desk = palloc0(sizeof(Desk));
	as_mailbox_open(&desk->mailbox, RowExclusiveLock);
	as_lease_table_open(&desk->leases, RowExclusiveLock);

	/* what was checked out by the same statement is older than its snapshot */
	PushActiveSnapshot(GetLatestSnapshot());
}

void
as_complete_end(void)
{
	ListCell   *cell;

	PopActiveSnapshot();
	foreach(cell, desk->partitions)
		as_partition_close(lfirst(cell));
	as_lease_table_close(&desk->leases);
	as_mailbox_close(&desk->mailbox);
	desk = NULL;
}

/* The partition of a type, locked; NULL if it has been dropped. */
static AsPartition *
open_partition(text *name)
{
	AsPartition *partition;
	ListCell   *cell;

	foreach(cell, desk->partitions)
	{
		partition = lfirst(cell);
		if (as_same_text(partition->type_name, name))
			return partition;
	}
	partition = palloc0(sizeof(AsPartition));
	if (!as_partition_open(partition, name, RowExclusiveLock))
		return NULL;
	desk->partitions = lappend(desk->partitions, partition);
	return partition;
}

/* ---- The row ---- */

static void
raise_lost(int64 turn_id)
{
	ereport(ERROR,
			(errcode(AS_ERRCODE_LEASE_LOST),
			 errmsg("turn %lld is not yours", (long long) turn_id),
			 errdetail("It was ended, its lease has run out, or the token is another turn's.")));
}

static bool
is_void(const AsLeaseRow *row)
{
	AsLeaseShared lease;

	return as_lease_get(row->key_hash, row->turn_id, &lease) &&
		lease.status == AS_LEASE_VOID;
}

/* Find the row of a turn that is still the caller's. */
static bool
find_row(int64 turn_id, int64 token, AsLeaseRow *row)
{
	AsType	   *type;

	if (!as_lease_row_find(&desk->leases, turn_id, row) ||
		row->token != token || row->until <= GetCurrentTimestamp() ||
		is_void(row))
		return false;
	type = as_type_find(row->actor_type);
	if (type == NULL)
		return false;
	as_type_check(type, AS_PRIV_SERVE);
	return true;
}

/*
 * The same, and delete it; whoever was faster has ended it, or extended it.  Who
 * drops a type locks it before he deletes its leases: so do we.
 */
static bool
take_row(int64 turn_id, int64 token, AsLeaseRow *row)
{
	do
	{
		if (!find_row(turn_id, token, row) ||
			open_partition(row->actor_type) == NULL)
			return false;
	} while (as_lease_row_delete(&desk->leases, row, true) != AS_ROW_CHANGED);
	CommandCounterIncrement();
	return true;
}

/* ---- Its messages ---- */

static void
copy_requests(const AsLeaseRow *row, AsTurn *turn)
{
	AsLeaseShared lease;

	if (row->nrequests == 0)
		return;
	if (as_lease_get(row->key_hash, row->turn_id, &lease) &&
		lease.ref != AS_NO_SLOT && as_lease_lock(row->key_hash, row->turn_id))
	{
		turn->ref = lease.ref;
		as_requests_copy(lease.ref, turn->messages, row->nrequests);
		as_lease_unlock();
		as_lease_note_runner(row->key_hash, row->turn_id, as_my_proc_number);
	}
}

bool
as_outside_messages(const AsLeaseRow *row, AsMailbox *mailbox, AsTurn *turn)
{
	memset(turn, 0, sizeof(AsTurn));
	turn->ref = AS_NO_SLOT;
	turn->lease = row->turn_id;
	turn->key_hash = row->key_hash;
	(void) as_owner_hold_old(turn->key_hash);
	turn->type = as_type_find(row->actor_type);
	turn->started_at = row->taken_at;
	turn->nrequests = row->nrequests;
	turn->messages = palloc0(Max(row->nmessages, 1) * sizeof(AsMessage));
	copy_requests(row, turn);
	for (int i = 0; i < row->nmessages; i++)
	{
		AsMessage  *message = &turn->messages[i];

		if (i < row->nrequests)
			message->message_id = row->messages[i].message_id;
		else if (!as_mailbox_fetch(mailbox, &row->messages[i].place,
								   row->messages[i].message_id, message))
			return false;
		turn->nmessages++;
	}
	return true;
}

static AsReply *
find_reply(AsCompletion *completion, int64 message_id)
{
	for (int i = 0; i < completion->nreplies; i++)
	{
		if (completion->replies[i].message_id == message_id)
			return &completion->replies[i];
	}
	return NULL;
}

static void
check_replies(AsCompletion *completion, const AsTurn *turn)
{
	for (int i = 0; i < completion->nreplies; i++)
	{
		bool		found = false;

		for (int j = 0; j < turn->nmessages && !found; j++)
			found = (turn->messages[j].message_id ==
					 completion->replies[i].message_id);
		if (!found)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("there is no message %lld in turn %lld to reply to",
							(long long) completion->replies[i].message_id,
							(long long) completion->turn_id)));
	}
}

/* ---- Completing ---- */

/* Is the actor's version the one that was checked out?  Writes nothing. */
static bool
is_version(AsPartition *partition, const AsLeaseRow *row)
{
	bool		found = as_partition_find_newest(partition, row->actor_id, NULL);
	int64		version = -1;

	if (found)
		version = as_row_version(partition,
								 ExecFetchSlotHeapTuple(partition->slot, false,
														NULL));
	ExecClearTuple(partition->slot);
	PopActiveSnapshot();
	return version == row->version;
}

static bool
write_state(const AsLeaseRow *row, AsTurn *turn, Datum state)
{
	AsPartition *partition = open_partition(row->actor_type);
	AsWrite		write = {.value = state, .versioned = true,
	.expected_version = row->version};

	if (row->version < 0)
	{
		turn->created = true;
		return as_actor_try_insert(partition, row->actor_id, state);
	}
	return as_actor_update(partition, row->actor_id, &write) == AS_DONE;
}

static bool
delete_messages(const AsTurn *turn)
{
	for (int i = turn->nrequests; i < turn->nmessages; i++)
	{
		if (!as_mailbox_delete(&desk->mailbox, &turn->messages[i]))
			return false;
	}
	CommandCounterIncrement();
	return true;
}

/* The actor's state by now, or 0. */
static Datum
current_state(const AsLeaseRow *row)
{
	AsPartition *partition = open_partition(row->actor_type);
	Datum		state = (Datum) 0;

	if (as_partition_find_newest(partition, row->actor_id, NULL))
		state = PointerGetDatum(PG_DETOAST_DATUM_COPY(as_row_value(partition,
																   ExecFetchSlotHeapTuple(partition->slot, false, NULL))));
	ExecClearTuple(partition->slot);
	PopActiveSnapshot();
	return state;
}

/* What a request is answered: its reply, or the state by now. */
static Datum
answer_of(AsCompletion *completion, const AsLeaseRow *row,
		  const AsMessage *request)
{
	AsReply    *reply = find_reply(completion, request->message_id);

	if (reply != NULL)
		return reply->value;
	return completion->state != (Datum) 0 ? completion->state :
		current_state(row);
}

/*
 * The keys of what was handled are taken from now on.  False if somebody else
 * has handled a request with the same one meanwhile.
 */
static bool
note_dedup_keys(AsCompletion *completion, const AsLeaseRow *row, AsTurn *turn)
{
	for (int i = 0; i < turn->nmessages; i++)
	{
		AsMessage  *message = &turn->messages[i];
		int64		id = message->message_id;
		AsReply    *reply = find_reply(completion, id);
		Datum		value = reply != NULL ? reply->value : (Datum) 0;
		Datum		earlier;

		if (message->dedup_key == NULL)
			continue;
		if (message->cell != 0)
		{
			value = answer_of(completion, row, message);
			if (!as_dedup_claim_request(message, &earlier))
				return false;
		}
		as_dedup_handled(message, value);
		message->message_id = id;
	}
	return true;
}

static void
make_answers(AsCompletion *completion, const AsLeaseRow *row, AsTurn *turn,
			 AsLeaseEnd *end)
{
	if (turn->nrequests == 0 || turn->ref == AS_NO_SLOT)
		return;
	end->answers = palloc0(turn->nrequests * sizeof(AsAnswer));
	end->nrequests = turn->nrequests;
	for (int i = 0; i < turn->nrequests; i++)
	{
		if (as_request_is_asked(&turn->messages[i]))
			as_answer_make(&end->answers[i],
						   answer_of(completion, row, &turn->messages[i]));
	}
}

static void
send_all(AsCompletion *completion, const AsLeaseRow *row)
{
	for (int i = 0; i < completion->nsends; i++)
	{
		AsMessage  *message = &completion->sends[i];
		AsType	   *type = as_type_get(message->actor_type);

		as_type_check(type, AS_PRIV_SEND);
		message->sender_type = row->actor_type;
		message->sender_id = row->actor_id;
		(void) as_send(type, message, 1);
	}
}

/*
 * The depth of a mailbox that was seen empty is known: see
 * as_turn_count_delayed().
 */
static void
count_delayed(AsTurn *turn)
{
	AsLeaseShared lease;

	if (!as_lease_get(turn->key_hash, turn->lease, &lease) || !lease.empty ||
		lease.ref == AS_NO_SLOT)
		return;
	turn->ref = lease.ref;
	turn->empty = true;
	as_turn_count_delayed(turn, &desk->mailbox);
}

/* All that a turn does, but for what can be seen to fail before; false if not. */
static bool
carry_out(AsCompletion *completion, const AsLeaseRow *row, AsTurn *turn,
		  AsLeaseEnd *end)
{
	if (!delete_messages(turn))
		return false;
	if (!note_dedup_keys(completion, row, turn))
		return false;
	if (completion->state != (Datum) 0 &&
		!write_state(row, turn, completion->state))
		return false;
	send_all(completion, row);
	turn->nhandled = turn->nmessages;
	turn->ended_at = GetCurrentTimestamp();
	make_answers(completion, row, turn, end);
	end->handled = true;
	end->nmail = turn->nmessages - turn->nrequests;
	if (as_sched_home() >= 0)
		end->lost = pg_atomic_read_u64(&as_home(as_sched_home())->lost);
	end->outside = as_outside_only(turn->type);
	(void) as_stat_of(turn->type);
	count_delayed(turn);
	return true;
}

static void
raise_conflict(const AsLeaseRow *row)
{
	/* our transaction ends with this: somebody else has to end the turn */
	as_lease_void(row->key_hash, row->turn_id);
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("actor (%s, %s) has changed since turn %lld was checked out",
					text_to_cstring(row->actor_type),
					text_to_cstring(row->actor_id), (long long) row->turn_id),
			 errdetail("The turn is offered again.")));
}

int
as_complete(AsCompletion *completion, bool raise)
{
	MemoryContext old;
	AsLeaseRow	row;
	AsLeaseEnd *end;
	AsTurn	   *turn;
	bool		ok;
	bool		changed;

	if (!take_row(completion->turn_id, completion->token, &row))
	{
		if (raise)
			raise_lost(completion->turn_id);
		return AS_ERRCODE_LEASE_LOST;
	}

	/* what is looked at when the transaction has ended */
	old = MemoryContextSwitchTo(TopTransactionContext);
	end = palloc0(sizeof(AsLeaseEnd));
	turn = palloc0(sizeof(AsTurn));
	end->key_hash = row.key_hash;
	end->turn_id = row.turn_id;
	ok = as_outside_messages(&row, &desk->mailbox, turn);
	MemoryContextSwitchTo(old);
	if (ok)
		check_replies(completion, turn);
	changed = ok && completion->state != (Datum) 0 &&
		!is_version(open_partition(row.actor_type), &row);
	ok = ok && !changed;
	if (!ok && raise)
		raise_conflict(&row);
	if (changed)
	{
		MemoryContextSwitchTo(TopTransactionContext);
		as_outside_conflicted(&row, turn, end);
		MemoryContextSwitchTo(old);
		CommandCounterIncrement();
	}
	if (ok)
	{
		MemoryContextSwitchTo(TopTransactionContext);
		ok = carry_out(completion, &row, turn, end);
		MemoryContextSwitchTo(old);
		if (!ok)
			raise_conflict(&row);
	}
	as_deed_end(end, ok || end->nmail > 0 ? turn : NULL);
	return ok ? 0 : ERRCODE_T_R_SERIALIZATION_FAILURE;
}

/* ---- Failing ---- */

/* The only message of the turn has failed. */
static void
fail_alone(AsTurn *turn, ErrorData *error, AsLeaseEnd *end)
{
	if (turn->nrequests == 0)
	{
		as_turn_failed(turn, error);
		end->handled = (turn->nhandled > 0);
		end->nmail = turn->nhandled;
	}
	else
	{
		end->handled = true;
		end->nrequests = turn->ref == AS_NO_SLOT ? 0 : 1;
		end->answers = palloc0(sizeof(AsAnswer));
		if (end->nrequests > 0 && as_request_is_asked(&turn->messages[0]))
			as_answer_make_error(&end->answers[0], error);
	}
	if (as_trace_is_on())
		as_trace_failed(turn, error);
	as_stat_count_failure(turn->type, !end->handled);
}

/* Let the first message of the mailbox, and those behind it, wait. */
static void
put_off(AsTurn *turn, ErrorData *error)
{
	if (turn->nrequests == turn->nmessages)
		return;
	turn->messages += turn->nrequests;
	turn->nmessages -= turn->nrequests;
	turn->nrequests = 0;
	turn->says.verdict = AS_VERDICT_RETRY;
	as_turn_failed(turn, error);
}

void
as_outside_failed(AsTurn *turn, ErrorData *error, AsLeaseEnd *end)
{
	if (turn->nmessages == 1 &&
		(turn->nrequests == 0 || turn->says.verdict == AS_VERDICT_NONE))
	{
		fail_alone(turn, error, end);
		return;
	}
	end->careful = turn->nmessages;
	if (turn->says.retry_after > 0)
		put_off(turn, error);
}

void
as_outside_conflicted(const AsLeaseRow *row, AsTurn *turn, AsLeaseEnd *end)
{
	ErrorData	error = {
		.sqlerrcode = ERRCODE_T_R_SERIALIZATION_FAILURE,
		.message = "the actor has changed during each of the last turns"
	};

	end->conflict = true;
	if (as_lease_conflicts(row->key_hash, row->turn_id) >= AS_MAX_CONFLICTS)
		as_outside_failed(turn, &error, end);
}

void
as_fail(int64 turn_id, int64 token, const char *error, int64 retry_after)
{
	ErrorData	data = {.sqlerrcode = ERRCODE_EXTERNAL_ROUTINE_EXCEPTION,
	.message = unconstify(char *, error != NULL ? error : "put off")};
	MemoryContext old;
	AsLeaseRow	row;
	AsLeaseEnd *end;
	AsTurn	   *turn;

	if (!take_row(turn_id, token, &row))
		raise_lost(turn_id);
	old = MemoryContextSwitchTo(TopTransactionContext);
	end = palloc0(sizeof(AsLeaseEnd));
	turn = palloc0(sizeof(AsTurn));
	end->key_hash = row.key_hash;
	end->turn_id = row.turn_id;
	if (as_outside_messages(&row, &desk->mailbox, turn))
	{
		turn->says.verdict = error == NULL ? AS_VERDICT_RETRY : AS_VERDICT_NONE;
		turn->says.retry_after = Max(retry_after, 0);
		as_outside_failed(turn, &data, end);
	}
	MemoryContextSwitchTo(old);
	CommandCounterIncrement();
	as_deed_end(end, end->nmail > 0 ? turn : NULL);
}

TimestampTz
as_extend_lease(int64 turn_id, int64 token, int64 lease)
{
	AsLeaseRow	row;
	TimestampTz until;

	do
	{
		if (!find_row(turn_id, token, &row))
			raise_lost(turn_id);
		until = GetCurrentTimestamp() + lease;
	} while (as_lease_row_extend(&desk->leases, &row, until) != AS_ROW_CHANGED);
	CommandCounterIncrement();
	as_deed_open(turn_id, row.key_hash, until);
	return until;
}

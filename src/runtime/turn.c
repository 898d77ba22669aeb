/*-------------------------------------------------------------------------
 *
 * turn.c
 *	  Turns of several actors in one transaction, and what comes after it.
 *
 * A worker takes more actors into its transaction as long as they are ready
 * at once and the transaction is young: with little to do each actor commits
 * alone, at once; with much to do they share the wait for the disk.
 *
 * If the transaction fails, everything in it is rolled back.  The actor that
 * was at work then gets its messages one a turn, alone; the others go on as
 * if nothing had happened.  A message that fails alone is to blame
 * (turn_fail.c), unless it was in somebody's way: serialization failures and
 * deadlocks are tried again.
 *
 * One file of more than 500 lines: what a transaction of turns may leave behind
 * is the same few variables, whichever way it ends.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/turn.h"

#include "access/xact.h"
#include "compat.h"
#include "lib/nap.h"
#include "miscadmin.h"
#include "runtime/checkout.h"
#include "runtime/flow.h"
#include "runtime/lease.h"
#include "runtime/outgoing.h"
#include "runtime/report.h"
#include "runtime/sched.h"
#include "runtime/session.h"
#include "runtime/stat.h"
#include "runtime/trace.h"
#include "runtime/urgent.h"
#include "state/catalog.h"
#include "storage/condition_variable.h"
#include "storage/proclist.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

/* Bounds of a transaction */
#define MAX_TURNS			256
#define MAX_MESSAGES		2048
#define MAX_AGE_US			2000

/* A worker keeps so much memory for what its turns read. */
#define KEPT_MEMORY			(512 * 1024)

/* Workers that may exit in a message's turns before it is to blame. */
#define MAX_DEATHS			16

static AsTurn turns[MAX_TURNS];
static int	nturns = 0;			/* those whose slots we run */
static bool committed = false;	/* what the turns say is so */
static uint32 my_home;
static MemoryContext turn_context = NULL;

/* ---- Slots ---- */

/* Take a slot and run it; false if there is none. */
static bool
take_turn(void)
{
	AsTurn	   *turn = &turns[nturns];
	AsSlotRef	ref;

	while ((ref = as_sched_take()) != AS_NO_SLOT ||
		   (ref = as_flow_take()) != AS_NO_SLOT)
	{
		memset(turn, 0, sizeof(AsTurn));
		if (!as_slot_run(ref, &turn->taken))
			continue;
		turn->ref = ref;
		turn->deadline = as_urgent_take(ref);
		turn->left_deadline = AS_DEADLINE_NEVER;
		turn->key_hash = pg_atomic_read_u64(&as_slot(ref)->key_hash);
		turn->started_at = GetCurrentTimestamp();
		turn->ended_at = turn->started_at;
		as_turn_unread(turn);
		nturns++;
		pg_atomic_write_u64(&as_worker(as_sched_self)->current, ref);
		return true;
	}
	return false;
}

static bool
is_careful(AsTurn *turn)
{
	AsSlotShared *slot = as_slot(turn->ref);

	return slot->careful > 0 || slot->deaths > 0;
}

/* How urgent is what is left to be done at once? */
static void
keep_deadline(AsTurn *turn)
{
	if (!turn->more)
		return;
	if (turn->nhandled == 0)
		as_urgent_note(turn->ref, turn->deadline);
	else if (turn->type != NULL && turn->type->order_by_deadline)
		as_urgent_note(turn->ref, turn->left_deadline);
}

/* The worker is done with the slot, for now. */
static void
finish(AsTurn *turn, bool last)
{
	AsSlotShared *slot = as_slot(turn->ref);

	if (turn->nhandled > 0)
	{
		if (turn->nrequests > 0)
			as_requests_answer(turn->ref, turn->answers,
							   Min(turn->nhandled, turn->nrequests));
		as_slot_add_depth(turn->ref, -as_turn_nmail(turn));
		slot->careful -= Min(slot->careful, (uint32) turn->nhandled);
		slot->conflicts = 0;
		slot->deaths = 0;
		as_stat_count_turn(turn);
		if (as_trace_is_on())
			as_trace_handled(turn);
		(void) pg_atomic_fetch_add_u64(&as_worker(as_sched_self)->nturns, 1);
		(void) pg_atomic_fetch_add_u64(&as_worker(as_sched_self)->nmessages,
									   turn->nhandled);
	}
	as_slot_put_back(turn->ref, &turn->left);
	keep_deadline(turn);
	if (as_outside_keep(my_home, turn))
		return;
	if (!as_slot_done(turn->ref, turn->more, turn->empty) ||
		(turn->parked && as_flow_park(my_home, turn->type, turn->ref)))
		return;
	if (last)
		as_sched_queue_last(my_home, turn->ref);
	else
		as_sched_queue(my_home, turn->ref);
}

static void
finish_all(void)
{
	AsHomeShared *home = as_home(my_home);

	/* each slot is ours until it is finished, and not after */
	while (nturns > 0)
	{
		AsTurn	   *turn = &turns[nturns - 1];

		nturns--;
		finish(turn, turn->nhandled == 0 && turn->more);
	}
	as_flow_leave(my_home);
	pg_atomic_write_u64(&as_worker(as_sched_self)->current, AS_NO_SLOT);
	pg_memory_barrier();
	if (!proclist_is_empty(&home->room.wakeup))
		ConditionVariableBroadcast(&home->room);
}

/* The turn of this transaction at whose work we are, or NULL. */
static AsTurn *
outermost_turn(void)
{
	AsTurn	   *turn = as_turn_current;

	while (turn != NULL && turn->caller != NULL)
		turn = turn->caller;
	return turn;
}

/* The process has to exit in the middle of a turn. */
static void
note_death(AsTurn *turn)
{
	AsSlotShared *slot = as_slot(turn->ref);

	if (turn->nmessages == 1 && turn->nrequests == 1)
	{
		/* whoever asked that may ask again */
		as_turn_refuse(turn, ERRCODE_ADMIN_SHUTDOWN,
					   "the worker had to end while it handled the request");
		turn->nhandled = 1;
		return;
	}
	slot->deaths = as_session_is_overdue() && turn->nmessages == 1 ?
		MAX_DEATHS : slot->deaths + 1;
	slot->careful = Max(slot->careful, (uint16) turn->nmessages);
}

void
as_turn_exit(void)
{
	AsTurn	   *culprit = outermost_turn();

	for (int i = 0; i < nturns; i++)
	{
		if (committed)
			continue;
		as_turn_unread(&turns[i]);
		if (&turns[i] == culprit)
			note_death(culprit);
	}
	as_turn_current = NULL;
	finish_all();
}

/* ---- The transaction ---- */

static void
begin(void)
{
	committed = false;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	MemoryContextSwitchTo(turn_context);
}

static void
end(void)
{
	as_turn_close();
	CommitTransactionCommand();
	committed = true;

	/* time that ran out during the commit is nothing to the next turn */
	as_session_end_turns();

	/* the rights of the turns' owner end with the transaction */
	SetUserIdAndSecContext(GetSessionUserId(), 0);
}

/*
 * Run the newest turn; returns whether more may join it, and in *busy
 * whether its actor was locked by somebody else.
 */
static bool
run_turn(AsMailbox *mailbox, Oid *owner, int *nmessages, bool *busy)
{
	AsTurn	   *turn = &turns[nturns - 1];
	bool		careful = is_careful(turn);
	AsTurnResult result = AS_TURN_RAN;

	if (careful && nturns > 1)
		return false;			/* it stays unread, and gets its turn alone */

	PushActiveSnapshot(GetTransactionSnapshot());
	if (as_lease_is_open(my_home, turn->key_hash))
		result = AS_TURN_LEASED;
	else
		as_turn_read(turn, mailbox, careful ? 1 : actorstore_batch_size);
	if (as_trace_is_on())
		as_trace_taken(turn);
	if (turn->nmessages > 0)
		result = as_turn_run(turn, mailbox, owner);
	else if (careful && result == AS_TURN_RAN)
		as_slot(turn->ref)->careful = as_slot(turn->ref)->deaths = 0;
	if (result == AS_TURN_RAN)
		as_turn_count_delayed(turn, mailbox);
	PopActiveSnapshot();
	turn->ended_at = GetCurrentTimestamp();
	*nmessages += turn->nhandled;
	if (result != AS_TURN_RAN)
	{
		as_requests_leave(turn->messages, turn->nrequests, turn->blocker_kind,
						  turn->blocker);
		as_turn_unread(turn);
		turn->nmessages = 0;	/* none of them can be to blame */
		turn->nrequests = 0;
		*busy = *busy || result == AS_TURN_BUSY;
		turn->parked = (result == AS_TURN_PARKED);
		turn->leased = (result == AS_TURN_LEASED);
		return result != AS_TURN_OTHER_OWNER;
	}
	return !careful;
}

static void
run_turns(bool *busy)
{
	AsMailbox	mailbox = {0};	/* opened when it is needed */
	Oid			owner = InvalidOid;
	int			nmessages = 0;

	while (run_turn(&mailbox, &owner, &nmessages, busy) &&
		   actorstore_enable_batching && nturns < MAX_TURNS &&
		   nmessages < MAX_MESSAGES &&
		   turns[nturns - 1].ended_at - turns[0].started_at < MAX_AGE_US &&
		   take_turn())
		;
	if (mailbox.rel != NULL)
		as_mailbox_close(&mailbox);
	end();
	if (OidIsValid(owner))
		as_session_clean();
}

/* ---- Failure ---- */

static bool
is_conflict(AsTurn *turn, ErrorData *error)
{
	return turn->redo ||
		error->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		(error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION && turn->inserting);
}

/* Clean up after an error, and return what it was. */
static ErrorData *
catch_error(void)
{
	MemoryContext old;
	ErrorData  *error;
	bool		late = as_session_is_late();

	HOLD_INTERRUPTS();
	as_session_end_turns();
	/* FreeErrorData() would not free all of it: it goes with the turn */
	old = MemoryContextSwitchTo(turn_context);
	error = CopyErrorData();

	/* in the commit: no message was at hand */
	if (late && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		error->message = pstrdup(AS_LATE_MESSAGE);
	MemoryContextSwitchTo(old);
	FlushErrorState();
	AbortCurrentTransaction();
	as_session_clean();
	RESUME_INTERRUPTS();
	return error;
}

/* The message, alone in its transaction, has failed. */
static void
blame(AsTurn *turn, ErrorData *error)
{
	ErrorData  *second;

	PG_TRY();
	{
		begin();
		as_turn_failed(turn, error);
		end();
		if (turn->type != NULL)
			as_stat_count_failure(turn->type, turn->nhandled == 0);
		if (as_trace_is_on())
			as_trace_failed(turn, error);
	}
	PG_CATCH();
	{
		/* it will be tried again */
		second = catch_error();
		ereport(LOG,
				(errmsg("could not note the failure of a message: %s",
						second->message)));
		as_turn_unread(turn);
		pg_usleep(10000L);
	}
	PG_END_TRY();
}

/* The request, alone in its transaction, has failed: that is the answer. */
static void
answer_failure(AsTurn *turn, const ErrorData *error)
{
	AsMessage  *request = &turn->messages[0];
	MemoryContext old = MemoryContextSwitchTo(turn_context);

	turn->answers = palloc0(sizeof(AsAnswer));
	if (as_request_is_asked(request))
		as_answer_make_error(&turn->answers[0], error);
	else
		as_report_told(request, error);
	MemoryContextSwitchTo(old);
	turn->nhandled = 1;
	request->given_up = true;
	if (turn->type != NULL)
		as_stat_count_failure(turn->type, false);
	if (as_trace_is_on())
		as_trace_failed(turn, error);
}

static void
recover(ErrorData *error, AsTurn *culprit)
{
	AsTurn	   *only = &turns[0];
	bool		alone = (nturns == 1 && only->nmessages == 1);
	AsSlotShared *slot = as_slot(only->ref);

	(void) pg_atomic_fetch_add_u64(&as_worker(as_sched_self)->nfailures, 1);
	if (alone && !(is_conflict(only, error) && ++slot->conflicts <= AS_MAX_CONFLICTS))
	{
		AsPositions left = only->left;

		as_turn_unread(only);
		only->left = left;
		if (only->nrequests == 1)
			answer_failure(only, error);
		else
			blame(only, error);
		return;
	}
	for (int i = 0; i < nturns; i++)
	{
		if (!alone && (culprit == NULL || culprit == &turns[i]))
			as_slot(turns[i].ref)->careful = Max(turns[i].nmessages, 1);
		as_turn_unread(&turns[i]);
	}
	ereport(DEBUG1,
			(errmsg_internal("a transaction of %d turns failed: %s", nturns,
							 error->message)));
}

/* Its workers have exited too often: the message is to blame. */
static bool
is_deadly(AsTurn *turn)
{
	return as_slot(turn->ref)->deaths >= MAX_DEATHS;
}

static void
bury_deadly(AsTurn *turn)
{
	ErrorData	error = {
		.sqlerrcode = ERRCODE_ADMIN_SHUTDOWN,
		.message = "the worker had to end, each time it handled this message"
	};
	AsMailbox	mailbox = {0};

	begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	as_turn_read(turn, &mailbox, 1);
	if (turn->nmessages == 1 && as_turn_is_down(turn))
		(void) as_turn_read_system(turn, &mailbox);
	PopActiveSnapshot();
	if (mailbox.rel != NULL)
		as_mailbox_close(&mailbox);
	end();
	if (turn->nrequests == 1)
		answer_failure(turn, &error);
	else if (turn->nmessages == 1)
	{
		turn->says.verdict = AS_VERDICT_REJECT;
		turn->says.reject_reason = NULL;
		blame(turn, &error);
	}
	else
		as_slot(turn->ref)->deaths = 0;
}

/* Run turns in a transaction; returns what went wrong, or NULL. */
static ErrorData *
try_turns(bool *busy)
{
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		begin();
		run_turns(busy);
	}
	PG_CATCH();
	{
		error = catch_error();
	}
	PG_END_TRY();
	return error;
}

bool
as_turn_transaction(void)
{
	ErrorData  *error;
	bool		busy = false;
	bool		fruitless;
	AsTurn	   *culprit;

	my_home = pg_atomic_read_u32(&as_worker(as_sched_self)->home);
	if (!take_turn())
		return false;

	/* messages outlive a transaction that fails: see blame() */
	if (turn_context == NULL)
		turn_context = AllocSetContextCreate(TopMemoryContext,
											 "actorstore turns",
											 KEPT_MEMORY, KEPT_MEMORY,
											 ALLOCSET_DEFAULT_MAXSIZE);
	MemoryContextReset(turn_context);
	if (is_deadly(&turns[0]))
	{
		bury_deadly(&turns[0]);
		finish_all();
		return true;
	}

	error = try_turns(&busy);
	culprit = outermost_turn();
	as_turn_current = NULL;
	if (error != NULL && !committed)
		recover(error, culprit);
	else
		(void) pg_atomic_fetch_add_u64(&as_worker(as_sched_self)->ncommits, 1);
	fruitless = busy;
	for (int i = 0; i < nturns; i++)
		fruitless = fruitless && turns[i].nhandled == 0;
	finish_all();

	/* who has locked the actors needs time more than we do */
	if (fruitless || (busy && !as_sched_has_others()))
		(void) as_nap(1, AS_NAP_WORKER_BUSY);
	return true;
}

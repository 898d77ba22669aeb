/*-------------------------------------------------------------------------
 *
 * ask.c
 *	  ask() and tell(): the side of those who make requests (request.h).
 *
 * WAITING.  Who asks looks for a moment whether the answer is there, as most
 * are in less time than it takes to fall asleep, unless so many do that no
 * processor would be left for the workers.  Then it sleeps on its latch.
 *
 * DEADLOCKS.  The worker may wait for a lock that this transaction holds.  A
 * lock on the actor itself is noticed by the worker, which does not wait for
 * it but says who holds it: if that is us, we would wait for ourselves.  For
 * all others PostgreSQL's deadlock detector must see whom we wait for.  So
 * after deadlock_timeout we wait, as for a lock, for the transaction of the
 * worker that handles the request, or for the one that has locked the actor,
 * or for the worker at whose turn the request arrived; and that for as long as
 * the detector needs.  Then we look again: all of them are guesses, and the
 * answer may be there long before they end.
 *
 * GOING AWAY.  A request that is given up, by an error, a cancel, a time-out
 * or the end of the process, is left to whoever finds it.
 *
 * One file of more than 500 lines: whose the request is by now shows only in
 * the whole way of an asker.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/ask.h"

#include "access/multixact.h"
#include "access/transam.h"
#include "access/xact.h"
#include "compat.h"
#include "lib/key_hash.h"
#include "lib/nap.h"
#include "miscadmin.h"
#include "runtime/request.h"
#include "runtime/sched.h"
#include "runtime/stat.h"
#include "runtime/trace.h"
#include "runtime/turn.h"
#include "state/owner.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

/* Looks at the status before we sleep. */
#define MAX_LOOKS		4000

/* For how long to wait for room, and for a worker in this database. */
#define ROOM_WAIT_MS	100
#define NAP_MS			1

/* How long the deadlock detector may take, once it is its turn. */
#define DETECTION_MS	100

/* The request whose answer this process waits for, or AS_POOL_NONE. */
static uint32 mine = AS_POOL_NONE;
static uint64 my_actor;			/* its key */
static bool asking = false;		/* and counted as such */

static TimeoutId ask_timeout = MAX_TIMEOUTS;	/* not registered yet */
static volatile sig_atomic_t timed_out = false;

/* ---- Going away ---- */

/*
 * Nobody may look at our actor's slot for long, if it is offered to clients that
 * do not come (offer.h): let a worker do so.
 */
static void
have_it_found(void)
{
	int			home = as_sched_home();
	AsSlotRef	ref = home < 0 ? AS_NO_SLOT : as_slot_find(home, my_actor);
	bool		gone;

	if (ref != AS_NO_SLOT && as_slot_schedule(ref, &gone))
		as_sched_queue(home, ref);
}

static void
give_up(void)
{
	uint32		number = mine;

	mine = AS_POOL_NONE;
	if (number != AS_POOL_NONE)
	{
		as_request_abandon(number);
		have_it_found();
	}
	if (asking)
		as_sched_count_asking(-1);
	asking = false;
}

static void
leave_at_exit(int code, Datum arg)
{
	give_up();
}

static void
note_timeout(void)
{
	if (QueryCancelPending)
		return;
	timed_out = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

/* Our time is measured no more, and if it is over, that is no cancel. */
static void
end_timeout(void)
{
	disable_timeout(ask_timeout, false);
	if (timed_out)
		QueryCancelPending = false;
}

static void
prepare_process(void)
{
	if (ask_timeout != MAX_TIMEOUTS)
		return;
	before_shmem_exit(leave_at_exit, (Datum) 0);
	ask_timeout = RegisterTimeout(USER_TIMEOUT, note_timeout);
}

/* ---- Checks ---- */

void
as_check_answers(AsType *type, const AsMessage *message)
{
	AsHalt		halt = as_actor_halt(type, message->actor_type,
									 message->actor_id);

	if (halt != AS_NOT_HALTED)
		ereport(ERROR,
				(errcode(AS_ERRCODE_HALTED),
				 errmsg("actor (%s, %s) is %s",
						text_to_cstring(message->actor_type),
						text_to_cstring(message->actor_id),
						halt == AS_PAUSED ? "paused" : "stopped")));
	as_check_handled(type, message);
}

void
as_check_handled(AsType *type, const AsMessage *message)
{
	if (as_handler_find(type, message->name) != NULL)
		return;

	/* one that has just been set may not be known here yet */
	type->has_handlers = false;
	if (as_handler_find(type, message->name) == NULL)
		ereport(ERROR,
				(errcode(AS_ERRCODE_NO_HANDLER),
				 errmsg("actor type \"%s\" has no handler for message \"%s\"",
						as_type_name(type), text_to_cstring(message->name)),
				 errhint("Use actorstore.set_handler().")));
}

void
as_ask_check_asker(void)
{
	/* what a handler has put off to the commit is not at work in a turn */
	if (as_turn_current != NULL || as_sched_self >= 0)
		ereport(ERROR,
				(errcode(AS_ERRCODE_WAITS_ON_ITSELF),
				 errmsg("a handler cannot ask an actor"),
				 errhint("Use actorstore.call(), or actorstore.send().")));
}

void
as_ask_raise_timed_out(AsType *type, const AsMessage *message)
{
	as_stat_count_timeout(type);
	ereport(ERROR,
			(errcode(AS_ERRCODE_TIMED_OUT),
			 errmsg("actor (%s, %s) has not answered in time",
					text_to_cstring(message->actor_type),
					text_to_cstring(message->actor_id)),
			 errdetail("The message may still be handled."),
			 message->dedup_key != NULL ?
			 errhint("Asking again with the same dedup_key waits for, or returns, the first answer.") :
			 errhint("With a dedup_key it is safe to ask again.")));
}

/* Returns if it has not done so: there is an answer. */
static void
raise_waits_on_itself(const AsMessage *message)
{
	char	   *name = psprintf("(%s, %s)", text_to_cstring(message->actor_type),
								text_to_cstring(message->actor_id));

	if (!as_request_withdraw(mine))
		return;
	mine = AS_POOL_NONE;
	have_it_found();
	ereport(ERROR,
			(errcode(AS_ERRCODE_WAITS_ON_ITSELF),
			 errmsg("this transaction would wait for itself"),
			 errdetail("this transaction -> %s -> this transaction, which has locked it",
					   name),
			 errhint("Use actorstore.call(), or commit before you ask.")));
}

static void
raise_no_room(const char *setting)
{
	ereport(ERROR,
			(errcode(AS_ERRCODE_MAILBOX_FULL),
			 errmsg("there is no room for another request"),
			 errhint("See \"%s\".", setting)));
}

/* ---- Posting ---- */

static void
nap(long ms)
{
	(void) as_nap(ms, AS_NAP_ANSWER);
	CHECK_FOR_INTERRUPTS();
}

/*
 * Make a request and hang it on its actor's slot.  Where there is no room, or
 * nobody to handle it, wait a moment: the workers are at it.
 */
static uint32
post(const AsMessage *message, bool asks, TimestampTz deadline)
{
	/* a worker that waits handles nothing, and may be what it waits for */
	TimestampTz patience = message->sent_at +
	(as_sched_self >= 0 ? 0 : ROOM_WAIT_MS * INT64CONST(1000));

	for (;;)
	{
		int			home = as_sched_home();
		const char *lacking = "actorstore.max_active_actors";

		/* what hangs there when its workers have left is lost: the next ones come soon, but not before we go, if we are one */
		if (home >= 0 && as_sched_self < 0 &&
			pg_atomic_read_u32(&as_home(home)->leave) != 0)
			home = -1;
		if (home >= 0)
		{
			bool		in_arena;
			uint32		number = as_request_make(message, asks, &in_arena);

			if (number == AS_POOL_NONE)
				lacking = in_arena ? "actorstore.arena_size" :
					"actorstore.message_pool_size";
			else if (as_request_post(home, message->key_hash, number))
			{
				if (as_trace_is_on())
					as_trace_posted(message, asks);
				return number;
			}
			else
				as_request_free(number);
		}
		else
			as_sched_tell_launcher();
		if (GetCurrentTimestamp() >= (home >= 0 ? Min(patience, deadline) : deadline))
		{
			if (home >= 0)
				raise_no_room(lacking);
			return AS_POOL_NONE;
		}
		nap(NAP_MS);
	}
}

/* ---- Waiting ---- */

/* Wait for a transaction as for a lock, so that deadlocks are found. */
static void
wait_for_xid(TransactionId xid, const AsMessage *message)
{
	if (!TransactionIdIsValid(xid))
		return;
	if (TransactionIdIsCurrentTransactionId(xid))
		raise_waits_on_itself(message);
	else if (TransactionIdIsInProgress(xid))
		XactLockTableWait(xid, NULL, NULL, XLTW_None);
}

static void
wait_for_key(uint64 key_hash)
{
	LOCKTAG		tag;

	as_turn_key_tag(key_hash, &tag);
	(void) LockAcquire(&tag, ShareLock, false, false);
	LockRelease(&tag, ShareLock, false);
}

static bool
i_hold_key(uint64 key_hash)
{
	LOCKTAG		tag;

	as_turn_key_tag(key_hash, &tag);
	return as_lock_held_by_me(&tag, ExclusiveLock);
}

static void
wait_for_process(int procno)
{
	PGPROC	   *proc = &ProcGlobal->allProcs[procno];
	VirtualTransactionId vxid;

	GET_VXID_FROM_PGPROC(vxid, *proc);
	if (VirtualTransactionIdIsValid(vxid))
		(void) VirtualXactLock(vxid, true);
}

/* Each member of a multixact, or the transaction itself. */
static void
for_each_blocker(AsBlockerKind kind, TransactionId blocker,
				 const AsMessage *message, bool wait)
{
	MultiXactMember *members;
	int			n;

	if (kind == AS_BLOCKED_BY_XID)
	{
		if (wait || TransactionIdIsCurrentTransactionId(blocker))
			wait_for_xid(blocker, message);
		return;
	}
	n = GetMultiXactIdMembers(blocker, &members, false, false);
	for (int i = 0; i < n; i++)
	{
		if (wait || TransactionIdIsCurrentTransactionId(members[i].xid))
			wait_for_xid(members[i].xid, message);
	}
}

/* The worker has found the actor locked: by us? */
static void
check_blocker(const AsMessage *message)
{
	TransactionId blocker;
	AsBlockerKind kind = as_request_blocker(mine, &blocker);

	if (kind == AS_BLOCKED_BY_KEY && i_hold_key(message->key_hash))
		raise_waits_on_itself(message);
	if (kind == AS_BLOCKED_BY_XID || kind == AS_BLOCKED_BY_MULTI)
		for_each_blocker(kind, blocker, message, false);
}

/* The worker that runs the actor now, for others, or -1. */
static int
runner_of_actor(uint64 key_hash)
{
	int			home = as_sched_home();
	AsSlotRef	ref = home < 0 ? AS_NO_SLOT : as_slot_find(home, key_hash);

	for (int i = 0; ref != AS_NO_SLOT && i < as_sched_max_workers(); i++)
	{
		AsWorkerShared *worker = as_worker(i);

		if (pg_atomic_read_u32(&worker->status) == AS_WORKER_READY &&
			pg_atomic_read_u64(&worker->current) == ref)
			return worker->procno;
	}
	return -1;
}

static void
wait_for_runner(const AsMessage *message, bool of_actor)
{
	int			runner = as_request_runner(mine);

	if (runner < 0 && of_actor)
		runner = runner_of_actor(message->key_hash);
	if (runner >= 0)
		wait_for_process(runner);
}

static void
wait_for_blocker(const AsMessage *message, AsBlockerKind kind,
				 TransactionId blocker)
{
	if (kind == AS_BLOCKED_BY_KEY)
		wait_for_key(message->key_hash);
	else if (kind != AS_BLOCKED_NOT)
		for_each_blocker(kind, blocker, message, true);
}

/*
 * We have waited for long: for whom?  A worker that tries in vain to lock the
 * actor is soon done with that, and who had locked it may be so, too: the one
 * whom we wait for first must not hide the other one.  (Not inlined: the
 * caller catches errors.)
 */
static pg_noinline void
wait_for_guess(const AsMessage *message, bool blocker_first)
{
	TransactionId blocker;
	AsBlockerKind kind = as_request_blocker(mine, &blocker);

	if (blocker_first)
		wait_for_blocker(message, kind, blocker);
	wait_for_runner(message, kind == AS_BLOCKED_NOT);
	if (!blocker_first)
		wait_for_blocker(message, kind, blocker);
}

/*
 * Wait for them for so long that a deadlock is found, if it is one; returns
 * whether it took all that time.
 */
static bool
wait_for_holder(const AsMessage *message, TimestampTz deadline,
				bool blocker_first)
{
	MemoryContext context = CurrentMemoryContext;
	TimestampTz end = GetCurrentTimestamp() +
	(DeadlockTimeout + DETECTION_MS) * INT64CONST(1000);

	timed_out = false;
	enable_timeout_at(ask_timeout, Min(deadline, end));
	PG_TRY();
	{
		wait_for_guess(message, blocker_first);
	}
	PG_CATCH();
	{
		/* a wait that is cancelled leaves nothing behind */
		end_timeout();
		if (!timed_out || geterrcode() != ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	end_timeout();
	return timed_out;
}

/* Does the answer come while we look?  Costs a processor. */
static bool
comes_at_once(void)
{
	for (int i = 0; i < MAX_LOOKS && as_sched_may_look(); i++)
	{
		if (as_request_status(mine) != AS_REQUEST_WAITING)
			return true;
		pg_spin_delay();
	}
	return false;
}

/* Wait until the request is ANSWERED or RETURNED. */
static AsRequestStatus
wait_for_answer(AsType *type, const AsMessage *message, TimestampTz deadline)
{
	TimestampTz next_check = message->sent_at + DeadlockTimeout * INT64CONST(1000);
	AsRequestStatus status;
	int			guesses = 0;

	if (comes_at_once())
		return as_request_status(mine);
	while ((status = as_request_status(mine)) == AS_REQUEST_WAITING)
	{
		TimestampTz now = GetCurrentTimestamp();

		if (now >= deadline)
			as_ask_raise_timed_out(type, message);
		check_blocker(message);
		if (now >= next_check)
		{
			/* who still waits must be seen to: the other one looks only once */
			if (!wait_for_holder(message, deadline, guesses++ % 2 != 0))
				next_check = GetCurrentTimestamp() + DeadlockTimeout * INT64CONST(1000);
			continue;
		}
		nap(Min(AS_LONGEST_NAP_MS,
				TimestampDifferenceMilliseconds(now, Min(deadline, next_check)) + 1));
	}
	return status;
}

static Datum
take_answer(AsType *type, const AsMessage *message)
{
	uint8		form;
	char	   *copy = as_request_copy_answer(mine, &form);
	uint32		number = mine;

	as_stat_count_answer(type, GetCurrentTimestamp() - message->sent_at);

	/* the cell goes, whatever the answer is */
	mine = AS_POOL_NONE;
	as_request_free(number);
	return as_answer_read(copy, form);
}

/*
 * Ask and wait, until somebody has handled the request; one that was returned
 * is made anew.  (Not inlined: as_ask() catches errors.)
 */
static pg_noinline Datum
ask(AsType *type, const AsMessage *message, TimestampTz deadline)
{
	for (;;)
	{
		uint32		number;

		my_actor = message->key_hash;
		mine = post(message, true, deadline);
		if (mine == AS_POOL_NONE ||
			wait_for_answer(type, message, deadline) == AS_REQUEST_ANSWERED)
			break;
		number = mine;
		mine = AS_POOL_NONE;
		as_request_free(number);
		nap(NAP_MS);
	}
	if (mine == AS_POOL_NONE)
		as_ask_raise_timed_out(type, message);
	return take_answer(type, message);
}

static void
complete(AsMessage *message)
{
	message->key_hash = as_key_hash(VARDATA_ANY(message->actor_type),
									VARSIZE_ANY_EXHDR(message->actor_type),
									VARDATA_ANY(message->actor_id),
									VARSIZE_ANY_EXHDR(message->actor_id));
	message->sent_at = GetCurrentTimestamp();
}

Datum
as_ask(AsType *type, AsMessage *message, int64 timeout)
{
	volatile Datum answer = (Datum) 0;

	as_ask_check_asker();
	as_owner_check(message->actor_type, message->actor_id);
	as_check_answers(type, message);
	prepare_process();
	complete(message);
	asking = true;
	as_sched_count_asking(1);
	PG_TRY();
	{
		answer = ask(type, message, message->sent_at + timeout);
	}
	PG_CATCH();
	{
		give_up();
		PG_RE_THROW();
	}
	PG_END_TRY();
	give_up();					/* nothing but the count */
	return answer;
}

void
as_tell(AsType *type, AsMessage *message)
{
	as_owner_check(message->actor_type, message->actor_id);
	as_check_answers(type, message);
	complete(message);
	if (post(message, false, message->sent_at +
			 ROOM_WAIT_MS * INT64CONST(10000)) == AS_POOL_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no worker serves this database"),
				 errhint("See actorstore.doctor().")));
}

/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  A process that runs the actors of a database.
 *
 * It takes turns from the queues as long as there are any, looks for work
 * that no hint led to (sweep.c), and sleeps.  It holds no locks while it
 * sleeps.  An error outside of a turn ends it; the launcher starts another.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/worker.h"

#include <sys/resource.h>

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "compat.h"
#include "lib/nap.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "runtime/checkout.h"
#include "runtime/fire.h"
#include "runtime/flow.h"
#include "runtime/letters.h"
#include "runtime/report.h"
#include "runtime/sched.h"
#include "runtime/sweep.h"
#include "runtime/turn.h"
#include "state/identity.h"
#include "storage/ipc.h"
#include "storage/pmsignal.h"
#include "storage/sinval.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/ps_status.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Look around so often even if nobody wakes us. */
#define MAX_SLEEP_MS		10000

/* The server is told no more often what was counted. */
#define COUNTS_MS			1000

/* Let a worker look through all mailboxes so often, whatever hints say. */
#define SAFETY_SWEEP_MS		600000

/*
 * Dedup keys whose time is over are deleted so often, or as often as that time
 * if it is shorter; at most so many transactions in a row.
 */
#define MAX_PURGE_MS		60000
#define MIN_PURGE_MS		1000
#define PURGES_AT_ONCE		50

/* Look for what no hint led to after so many transactions in a row. */
#define BUSY_TRANSACTIONS	32

#define SPINS_PER_LOOK		16

static AsWorkerShared *self = NULL;
static bool shows_busy = false;

static void
leave_worker(int code, Datum arg)
{
	uint32		home = pg_atomic_read_u32(&self->home);
	AsDequeShared *own = as_worker_deque(as_sched_self);
	uint32		timekeeper = as_sched_self + 1;
	AsSlotRef	ref;

	as_turn_exit();
	as_sweep_exit();
	as_fire_let_go(home);
	as_sched_cancel_sleep();
	(void) pg_atomic_compare_exchange_u32(&as_home(home)->timekeeper,
										  &timekeeper, 0);

	/* what is left goes to the others, then the number may be another's */
	as_sched_self = -1;
	while (as_deque_take(own, &ref))
		as_sched_queue_last(home, ref);
	pg_memory_barrier();
	pg_atomic_write_u32(&self->status, AS_WORKER_NONE);
	as_sched_wake(home);
	as_sched_tell_launcher();
}

static bool
must_leave(void)
{
	return pg_atomic_read_u32(&self->leave) != 0 ||
		pg_atomic_read_u32(&as_home(pg_atomic_read_u32(&self->home))->leave) != 0 ||
		as_sched_is_barred(MyDatabaseId);
}

/* ---- Before work ---- */

/* What the database's own settings say is for its users. */
static void
override(const char *name, const char *value)
{
	SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

static void
limit_memory(void)
{
	struct rlimit limit;

	if (actorstore_worker_memory_limit == 0)
		return;
	limit.rlim_cur = limit.rlim_max =
		(rlim_t) actorstore_worker_memory_limit * 1024;
	if (setrlimit(RLIMIT_DATA, &limit) != 0)
		ereport(LOG, (errmsg("could not limit a worker's memory: %m")));
}

void		(*as_worker_served) (bool first) = NULL;

AsFinding
as_worker_look_around(void)
{
	AsFinding	finding = AS_FOUND_SERVED;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (!OidIsValid(get_extension_oid("actorstore", true)))
		finding = AS_FOUND_NO_EXTENSION;
	else if (as_identity_is_copy())
		finding = AS_FOUND_FENCED;
	else
	{
		as_identity_note_promotion();
		if (as_worker_served != NULL)
			as_worker_served(true);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	return finding;
}

void
as_worker_describe(BackgroundWorker *worker, const char *kind, const char *function,
				   Datum argument)
{
	memset(worker, 0, sizeof(BackgroundWorker));
	strlcpy(worker->bgw_name, kind, BGW_MAXLEN);
	strlcpy(worker->bgw_type, kind, BGW_MAXLEN);
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker->bgw_library_name, "actorstore", sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, function, BGW_MAXLEN);
	worker->bgw_main_arg = argument;
}

void
as_worker_connect(Oid database)
{
	char		activity[NAMEDATALEN + 32];

	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	override("role", "none");
	override("default_transaction_isolation", "read committed");
	override("default_transaction_read_only", "off");
	override("default_transaction_deferrable", "off");
	override("session_replication_role", "origin");
	override("statement_timeout", "0");
	override("lock_timeout", "0");
	override("idle_in_transaction_session_timeout", "0");
	as_lift_transaction_timeout();
	StartTransactionCommand();
	snprintf(activity, sizeof(activity), "%s", get_database_name(MyDatabaseId));
	CommitTransactionCommand();
	set_ps_display(activity);
}

static void
start(uint32 number)
{
	AsFinding	finding;

	as_sched_self = number;
	self = as_worker(number);
	self->procno = as_my_proc_number;
	self->pid = MyProcPid;
	before_shmem_exit(leave_worker, (Datum) 0);
	pg_atomic_write_u64(&self->current, AS_NO_SLOT);
	pg_write_barrier();
	pg_atomic_write_u32(&self->status, AS_WORKER_READY);

	BackgroundWorkerUnblockSignals();
	as_worker_connect(pg_atomic_read_u32(&as_home(pg_atomic_read_u32(&self->home))->database));
	limit_memory();

	finding = as_worker_look_around();
	pg_atomic_write_u32(&self->finding, finding);
	if (finding != AS_FOUND_SERVED)
		proc_exit(0);
	as_leases_load(pg_atomic_read_u32(&self->home));
}

/* ---- Work ---- */

static void
show_activity(bool busy)
{
	if (busy == shows_busy)
		return;
	shows_busy = busy;
	if (busy)
		pgstat_report_activity(STATE_RUNNING, "handling messages");
	else
		pgstat_report_activity(STATE_IDLE, NULL);
}

/* Look for what no hint led to; true if there was something. */
static bool
look_for_work(void)
{
	uint32		home = pg_atomic_read_u32(&self->home);
	bool		found = false;

	if (as_due_is_wanted())
	{
		as_due();
		found = true;
	}
	if (as_flow_is_wanted(home))
	{
		as_flow_serve(home);
		found = true;
	}
	if (as_fire_is_wanted(home))
	{
		(void) as_fire(home);
		as_fire_let_go(home);
		found = true;
	}
	if (as_leases_are_due(home))
	{
		as_leases_serve(home);
		found = true;
	}
	if (as_sweep_is_wanted())
		found = as_sweep() || found;
	return found;
}

/* Has that time passed since this was true last, or was first asked? */
static bool
is_time_again(TimestampTz *last, TimestampTz now, int ms)
{
	if (*last == 0)
		*last = now;
	if (!TimestampDifferenceExceeds(*last, now, ms))
		return false;
	*last = now;
	return true;
}

static void
purge_dedup_keys(void)
{
	bool		more = true;

	for (int i = 0; more && i < PURGES_AT_ONCE; i++)
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		more = as_dedup_purge();
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
}

/* Now and then, whatever else there is to do. */
static void
keep_house(void)
{
	static TimestampTz last_sweep = 0;
	static TimestampTz last_purge = 0;
	TimestampTz now = GetCurrentTimestamp();
	uint32		home = pg_atomic_read_u32(&self->home);

	as_report_rest();
	if (is_time_again(&last_sweep, now, SAFETY_SWEEP_MS) &&
		as_sched_is_swept(home))
		as_sched_lose(home);
	if (is_time_again(&last_purge, now,
					  Max(Min(actorstore_dedup_window, MAX_PURGE_MS / 1000) * 1000,
						  MIN_PURGE_MS)))
		purge_dedup_keys();
}

static bool
nothing_to_do(void)
{
	uint32		home = pg_atomic_read_u32(&self->home);

	return !as_sched_has_work() && !as_sweep_is_wanted() &&
		!as_due_is_wanted() &&
		!as_fire_is_wanted(home) && !as_flow_is_wanted(home) &&
		!as_leases_are_due(home) && !must_leave();
}

static bool
spin(void)
{
	for (int i = 0; i < actorstore_max_spin_cycles; i++)
	{
		if (i % SPINS_PER_LOOK == 0 && as_sched_has_work())
			return true;
		pg_spin_delay();
	}
	return false;
}

/*
 * Sleep till there is something to do.  stuck: there is, but not for now, as
 * the table of slots is full.
 */
static void
sleep_on(bool stuck)
{
	AsHomeShared *home = as_home(pg_atomic_read_u32(&self->home));
	uint32		nobody = 0;
	bool		timekeeper;
	long		ms = stuck ? 10 : MAX_SLEEP_MS;

	show_activity(false);
	as_sched_prepare_sleep();
	timekeeper = pg_atomic_compare_exchange_u32(&home->timekeeper, &nobody,
												as_sched_self + 1);
	if (timekeeper)
		ms = as_due_sleep(ms);
	if (stuck || nothing_to_do())
	{
		(void) pg_atomic_fetch_add_u64(&self->nsleeps, 1);
		(void) as_worker_nap(ms, AS_NAP_WORKER_MAIN);
	}
	as_sched_cancel_sleep();
	if (timekeeper)
		pg_atomic_write_u32(&home->timekeeper, 0);
}

bool
as_worker_nap(long ms, AsNap wait)
{
	bool		pending = pgstat_report_stat(false) > 0;
	bool		roused = as_nap(ms, wait);

	/* by the server's clock, which is that of our transactions, it would still be too soon */
	if (pending && !roused && ms >= COUNTS_MS)
		(void) pgstat_report_stat(true);
	return roused;
}

void
as_worker_check_signals(void)
{
	QueryCancelPending = false; /* there is nothing to cancel */
	CHECK_FOR_INTERRUPTS();

	/* who always has something to do never waits, to be told */
	if (!PostmasterIsAlive())
		proc_exit(1);
	if (catchupInterruptPending)
		ProcessCatchupInterrupt();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

void
as_worker_main(Datum number)
{
	uint32		busy = 0;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	start(DatumGetUInt32(number));
	as_report_start(as_sched_self);

	while (!must_leave())
	{
		as_worker_check_signals();
		if (as_turn_transaction())
		{
			show_activity(true);
			if (++busy % BUSY_TRANSACTIONS != 0)
				continue;
			keep_house();
			(void) look_for_work();
			(void) pgstat_report_stat(false);
			continue;
		}
		keep_house();
		if (look_for_work() || spin())
			continue;
		sleep_on(as_sweep_is_wanted());
	}
	as_report_stop(as_sched_self);
	proc_exit(0);
}

/*-------------------------------------------------------------------------
 *
 * steward.c
 *	  See steward.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/steward.h"

#include "compat.h"
#include "lib/nap.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "runtime/fire.h"
#include "runtime/sched.h"
#include "runtime/timing.h"
#include "runtime/worker.h"
#include "storage/ipc.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/timestamp.h"

/* Look around so often even if nobody wakes us. */
#define MAX_SLEEP_MS	10000

/* Look at all timers so often, whatever hints say. */
#define SAFETY_LOOK_MS	600000

/* Whoever sleeps so much longer than he wanted to was not running. */
#define OVERSLEPT_MS	1000

/* One that ended so soon is not replaced for as long. */
#define RETRY_MS		1000

/* One that was asked for and did not come is given up. */
#define START_MS		30000

/* ---- The process ---- */

static uint32 home;
static AsTimingShared *timing = NULL;

static void
leave_steward(int code, Datum arg)
{
	uint64		next;

	as_fire_let_go(home);
	pg_atomic_exchange_u32(&timing->steward, AS_STEWARD_NONE);

	/* from here on the workers fire; they must know when */
	next = pg_atomic_read_u64(&timing->next);
	if (next != AS_NEVER)
		as_sched_lower_due(home, (TimestampTz) next);
	as_sched_tell_launcher();
}

static bool
must_leave(void)
{
	return pg_atomic_read_u32(&timing->leave) != 0 ||
		pg_atomic_read_u32(&as_home(home)->leave) != 0 ||
		as_sched_is_barred(MyDatabaseId);
}

static void
start(void)
{
	timing = as_timing(home);
	timing->procno = as_my_proc_number;
	timing->pid = MyProcPid;
	before_shmem_exit(leave_steward, (Datum) 0);

	BackgroundWorkerUnblockSignals();
	as_worker_connect(pg_atomic_read_u32(&as_home(home)->database));
	if (as_worker_look_around() != AS_FOUND_SERVED)
		proc_exit(0);
	pg_atomic_exchange_u32(&timing->steward, AS_STEWARD_READY);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* Till when? */
static long
time_to_sleep(void)
{
	uint64		next = pg_atomic_read_u64(&timing->next);

	if (next == AS_NEVER)
		return MAX_SLEEP_MS;
	return Min(MAX_SLEEP_MS,
			   TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
											   (TimestampTz) next));
}

static void
sleep_on(void)
{
	TimestampTz before = GetCurrentTimestamp();
	long		ms = time_to_sleep();

	if (ms <= 0)
		return;
	(void) as_worker_nap(ms, AS_NAP_STEWARD_MAIN);
	if (TimestampDifferenceExceeds(before, GetCurrentTimestamp(),
								   ms + OVERSLEPT_MS))
		pg_atomic_write_u64(&timing->since, (uint64) GetCurrentTimestamp());
}

static void
fire(void)
{
	bool		more;

	pgstat_report_activity(STATE_RUNNING, "firing timers");
	do
	{
		more = as_fire(home);
		as_worker_check_signals();
	} while (more && !must_leave());
	pgstat_report_activity(STATE_IDLE, NULL);
}

void
as_steward_main(Datum number)
{
	TimestampTz looked_at;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	home = DatumGetUInt32(number);
	start();
	looked_at = GetCurrentTimestamp();
	while (!must_leave())
	{
		as_worker_check_signals();
		if (as_worker_served != NULL)
			as_worker_served(false);
		if (TimestampDifferenceExceeds(looked_at, GetCurrentTimestamp(),
									   SAFETY_LOOK_MS))
		{
			as_timing_lower(home, 0);
			looked_at = GetCurrentTimestamp();
		}
		if (time_to_sleep() <= 0)
			fire();
		else
			sleep_on();
	}
	proc_exit(0);
}

/* ---- The launcher ---- */

static BackgroundWorkerHandle *handles[AS_MAX_WORKERS];
static TimestampTz not_before[AS_MAX_WORKERS];
static bool complained = false;

bool
as_steward_exists(uint32 number)
{
	return handles[number] != NULL ||
		pg_atomic_read_u32(&as_timing(number)->steward) != AS_STEWARD_NONE;
}

/* Is the process gone? */
static bool
has_ended(uint32 number)
{
	AsTimingShared *its = as_timing(number);
	pid_t		pid;

	if (handles[number] != NULL)
		return GetBackgroundWorkerPid(handles[number], &pid) == BGWH_STOPPED;

	/* somebody else started it: an earlier launcher */
	if (pg_atomic_read_u32(&its->steward) == AS_STEWARD_READY)
		return BackendPidGetProc(its->pid) == NULL;
	return TimestampDifferenceExceeds(pg_atomic_read_u64(&its->started_at),
									  GetCurrentTimestamp(), START_MS);
}

static void
reap(uint32 number)
{
	AsTimingShared *its = as_timing(number);
	TimestampTz now = GetCurrentTimestamp();

	if (handles[number] != NULL)
		pfree(handles[number]);
	handles[number] = NULL;
	pg_atomic_write_u32(&its->steward, AS_STEWARD_NONE);
	not_before[number] = 0;
	if (!TimestampDifferenceExceeds(pg_atomic_read_u64(&its->started_at), now,
									RETRY_MS))
		not_before[number] = TimestampTzPlusMilliseconds(now, RETRY_MS);
}

/* False if the server has no process to spare. */
static bool
start_steward(uint32 number)
{
	BackgroundWorker registration;
	AsTimingShared *its = as_timing(number);

	pg_atomic_write_u32(&its->leave, 0);
	pg_atomic_write_u64(&its->started_at, GetCurrentTimestamp());
	pg_atomic_write_u32(&its->steward, AS_STEWARD_STARTING);
	as_worker_describe(&registration, "actorstore steward", "as_steward_main",
					   UInt32GetDatum(number));
	registration.bgw_notify_pid = MyProcPid;
	if (RegisterDynamicBackgroundWorker(&registration, &handles[number]))
	{
		complained = false;
		return true;
	}
	pg_atomic_write_u32(&its->steward, AS_STEWARD_NONE);
	handles[number] = NULL;
	if (!complained)
		ereport(LOG,
				(errmsg("no background worker is free to fire timers: those that handle messages do it"),
				 errhint("Consider increasing the configuration parameter \"max_worker_processes\".")));
	complained = true;
	return false;
}

bool
as_steward_care(uint32 number, bool wanted)
{
	if (as_steward_exists(number) && has_ended(number))
		reap(number);
	if (as_steward_exists(number))
	{
		if (!wanted)
		{
			pg_atomic_write_u32(&as_timing(number)->leave, 1);
			as_timing_wake(number);
		}
		return true;
	}
	if (!wanted)
		return true;
	return not_before[number] <= GetCurrentTimestamp() &&
		start_steward(number);
}

/* ---- Everybody ---- */

int
as_stewards_in(Oid database)
{
	int			n = 0;

	for (int i = 0; i < as_sched_max_workers(); i++)
	{
		if (pg_atomic_read_u32(&as_timing(i)->steward) != AS_STEWARD_NONE &&
			pg_atomic_read_u32(&as_home(i)->database) == database)
			n++;
	}
	return n;
}

void
as_stewards_wake_all(void)
{
	for (int i = 0; i < as_sched_max_workers(); i++)
		as_timing_wake(i);
}

/*-------------------------------------------------------------------------
 *
 * timing.c
 *	  See timing.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/timing.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "runtime/sched.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

static AsTimingShared *timings = NULL;	/* by home */

/* Of the current transaction; see as_timing_note() */
static TimestampTz lowest_set = DT_NOEND;
static TimestampTz lowest_taken = DT_NOEND;
static bool has_committed = false;

Size
as_timing_shmem_size(void)
{
	return AS_MAX_WORKERS * sizeof(AsTimingShared);
}

void
as_timing_shmem_init(void)
{
	bool		found;

	timings = ShmemInitStruct("actorstore timing", as_timing_shmem_size(),
							  &found);
	if (found)
		return;
	memset(timings, 0, as_timing_shmem_size());
	for (int i = 0; i < AS_MAX_WORKERS; i++)
	{
		pg_atomic_init_u64(&timings[i].next, 0);
		pg_atomic_init_u64(&timings[i].since, 0);
		pg_atomic_init_u64(&timings[i].nfired, 0);
		pg_atomic_init_u32(&timings[i].steward, AS_STEWARD_NONE);
		pg_atomic_init_u32(&timings[i].leave, 0);
		pg_atomic_init_u64(&timings[i].started_at, 0);
	}
}

AsTimingShared *
as_timing(uint32 home)
{
	return &timings[home];
}

void
as_timing_forget(uint32 home)
{
	pg_atomic_write_u64(&timings[home].next, 0);
	pg_atomic_write_u64(&timings[home].since, 0);
}

void
as_timing_wake(uint32 home)
{
	AsTimingShared *timing = &timings[home];

	if (pg_atomic_read_u32(&timing->steward) == AS_STEWARD_READY)
		SetLatch(&ProcGlobal->allProcs[timing->procno].procLatch);
}

void
as_timing_lower(uint32 home, TimestampTz due)
{
	AsTimingShared *timing = &timings[home];
	uint64		old = pg_atomic_read_u64(&timing->next);

	while ((uint64) due < old)
	{
		if (!pg_atomic_compare_exchange_u64(&timing->next, &old, (uint64) due))
			continue;
		if (pg_atomic_read_u32(&timing->steward) == AS_STEWARD_READY)
			as_timing_wake(home);
		else
			as_sched_lower_due(home, due);
		return;
	}
}

uint64
as_timing_for_workers(uint32 home)
{
	AsTimingShared *timing = &timings[home];

	if (pg_atomic_read_u32(&timing->steward) == AS_STEWARD_READY)
		return AS_NEVER;
	return pg_atomic_read_u64(&timing->next);
}

/* ---- Transactions ---- */

void
as_timing_note(TimestampTz set, TimestampTz taken)
{
	lowest_set = Min(lowest_set, set);
	lowest_taken = Min(lowest_taken, taken);
}

bool
as_timing_is_silent(void)
{
	return lowest_set == DT_NOEND && lowest_taken == DT_NOEND;
}

void
as_timing_doubt(void)
{
	int			home = as_sched_home();

	if (home >= 0)
		as_timing_lower(home, 0);
}

static void
forget(void)
{
	lowest_set = DT_NOEND;
	lowest_taken = DT_NOEND;
	has_committed = false;
}

/*
 * What the transaction had taken is there again.  If it is not due yet, its
 * time is known: nobody has passed it by.
 */
static void
give_back(void)
{
	int			home;

	if (lowest_taken == DT_NOEND || lowest_taken > GetCurrentTimestamp())
		return;
	home = as_sched_home();
	if (home >= 0)
		as_timing_lower(home, lowest_taken);
}

static void
end_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			has_committed = true;
			break;
		case XACT_EVENT_ABORT:
			give_back();
			forget();
			break;
		case XACT_EVENT_PREPARE:
			forget();
			break;
		default:
			break;
	}
}

/* After others know of the types that the same transaction made. */
static void
release_resources(ResourceReleasePhase phase, bool is_commit,
				  bool is_top_level, void *arg)
{
	int			home;

	if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_commit ||
		!is_top_level || !has_committed)
		return;
	if (lowest_set != DT_NOEND)
	{
		home = as_sched_home();
		if (home >= 0)
			as_timing_lower(home, lowest_set);
	}
	forget();
}

/*
 * What the subtransaction alone had done is not told from the rest: to look
 * for nothing is all that costs.
 */
static void
end_subtransaction(SubXactEvent event, SubTransactionId subid,
				   SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		give_back();
}

void
as_timing_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterResourceReleaseCallback(release_resources, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}

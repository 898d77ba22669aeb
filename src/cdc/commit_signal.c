/*-------------------------------------------------------------------------
 *
 * commit_signal.c
 *	  Waiting for somebody to commit.
 *
 * Who reads changes in a session and has read them all sleeps until another
 * session commits.  PostgreSQL wakes walsenders when WAL reaches the disk, but
 * nobody else.  So every commit that wrote something looks whether anybody
 * sleeps, and wakes all who do.
 *
 * A waiter puts itself on the list and then looks at the WAL; a committer has
 * its WAL on disk and then looks at the list, each with a barrier in between:
 * either the waiter sees the WAL or the committer sees the waiter.
 *
 * Some commits wake nobody: those that do not wait for the disk
 * (synchronous_commit = off; the WAL writer flushes them later), COMMIT
 * PREPARED, and all of them where the library is not preloaded, as there is no
 * shared memory then.  So waiters look by themselves every MAX_SLEEP_MS.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cdc/commit_signal.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "lib/nap.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/proclist.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#define MAX_SLEEP_MS	100

typedef struct CommitSignalShared
{
	ConditionVariable committed;
} CommitSignalShared;

static CommitSignalShared *commits = NULL;

Size
as_commit_signal_shmem_size(void)
{
	return sizeof(CommitSignalShared);
}

void
as_commit_signal_shmem_init(void)
{
	bool		found;

	commits = ShmemInitStruct("actorstore commits",
							  as_commit_signal_shmem_size(), &found);
	if (!found)
		ConditionVariableInit(&commits->committed);
}

/* Runs in each commit of the server: nothing here may fail. */
static void
wake_waiters(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT || commits == NULL ||
		!TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return;
	pg_memory_barrier();
	if (!proclist_is_empty(&commits->committed.wakeup))
		ConditionVariableBroadcast(&commits->committed);
}

void
as_commit_signal_init(void)
{
	RegisterXactCallback(wake_waiters, NULL);
}

bool
as_commit_wait(XLogRecPtr seen, TimestampTz deadline)
{
	TimestampTz now = GetCurrentTimestamp();
	long		ms = TimestampDifferenceMilliseconds(now, deadline);

	if (now >= deadline)
		return false;
	ms = Max(Min(ms, MAX_SLEEP_MS), 1);
	if (commits == NULL)
	{
		(void) as_nap(ms, AS_NAP_CHANGES);
		CHECK_FOR_INTERRUPTS();
		return true;
	}

	ConditionVariablePrepareToSleep(&commits->committed);
	if (GetFlushRecPtr(NULL) <= seen)
		(void) ConditionVariableTimedSleep(&commits->committed, ms,
										   as_wait_event(AS_NAP_CHANGES));
	ConditionVariableCancelSleep();
	return true;
}

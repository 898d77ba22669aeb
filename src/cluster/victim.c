/*-------------------------------------------------------------------------
 *
 * victim.c
 *	  See waits.h: how a wait is ended, and what the victim says.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "access/xact.h"
#include "cluster/life.h"
#include "cluster/waits.h"
#include "compat.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(actorstore_local_deadlock_tell);
PG_FUNCTION_INFO_V1(actorstore_local_deadlock_end);

/* the longest detail, with its end */
#define DETAIL_SIZE		2048

/* told and not yet said, in the whole server; the oldest is forgotten */
#define MAX_VERDICTS	32

/* what is not said by then belongs to no error of this transaction */
#define VERDICT_MS		60000

typedef struct VerdictShared
{
	int			backend;		/* the transaction that it is about */
	LocalTransactionId lxid;	/* 0: none */
	TimestampTz told_at;
	char		detail[DETAIL_SIZE];
} VerdictShared;

typedef struct VerdictsShared
{
	slock_t		mutex;			/* of all that follows */
	uint32		next;
	VerdictShared verdicts[MAX_VERDICTS];
} VerdictsShared;

static VerdictsShared *shared = NULL;

Size
as_waits_shmem_size(void)
{
	return sizeof(VerdictsShared);
}

void
as_waits_shmem_init(void)
{
	bool		found;

	shared = ShmemInitStruct("actorstore deadlocks", sizeof(VerdictsShared), &found);
	if (found)
		return;
	memset(shared, 0, sizeof(VerdictsShared));
	SpinLockInit(&shared->mutex);
}

/* ---- What is said ---- */

/* With the mutex held; NULL if nothing was told. */
static VerdictShared *
find_verdict(int backend, LocalTransactionId lxid)
{
	for (int i = 0; i < MAX_VERDICTS; i++)
	{
		if (shared->verdicts[i].lxid == lxid && shared->verdicts[i].backend == backend)
			return &shared->verdicts[i];
	}
	return NULL;
}

static void
put_verdict(int backend, LocalTransactionId lxid, const char *detail)
{
	TimestampTz now = GetCurrentTimestamp();
	VerdictShared *verdict;

	SpinLockAcquire(&shared->mutex);
	verdict = find_verdict(backend, lxid);
	if (verdict == NULL)
		verdict = &shared->verdicts[shared->next++ % MAX_VERDICTS];
	verdict->backend = backend;
	verdict->lxid = lxid;
	verdict->told_at = now;
	strlcpy(verdict->detail, detail, DETAIL_SIZE);
	SpinLockRelease(&shared->mutex);
}

static bool
take_verdict(char *detail)
{
	TimestampTz now = GetCurrentTimestamp();
	VerdictShared *verdict;
	bool		fresh = false;

	if (shared == NULL || !LocalTransactionIdIsValid(as_my_lxid))
		return false;
	SpinLockAcquire(&shared->mutex);
	verdict = find_verdict(as_proc_backend(MyProc), as_my_lxid);
	if (verdict != NULL)
	{
		strlcpy(detail, verdict->detail, DETAIL_SIZE);
		verdict->lxid = InvalidLocalTransactionId;
		fresh = now - verdict->told_at < VERDICT_MS * INT64CONST(1000);
	}
	SpinLockRelease(&shared->mutex);
	return fresh;
}

static void
explain(void *arg)
{
	char		detail[DETAIL_SIZE];

	if (geterrcode() != ERRCODE_T_R_DEADLOCK_DETECTED || !take_verdict(detail))
		return;
	errdetail_internal("%s", detail);
	errdetail_log("%s", detail);
	errhint("Repeat the transaction.");
}

/*
 * Below whatever stands there, which is on the stack of its function and comes
 * down to us when that leaves.
 */
void
as_waits_explain_errors(void)
{
	static ErrorContextCallback callback = {.callback = explain};
	ErrorContextCallback **bottom = &error_context_stack;

	while (*bottom != NULL && *bottom != &callback)
		bottom = &(*bottom)->previous;
	*bottom = &callback;
}

/* ---- What other nodes may ask for ---- */

static bool
read_transaction(text *transaction, int *backend, LocalTransactionId *lxid)
{
	return sscanf(text_to_cstring(transaction), "%d/%u", backend, lxid) == 2 &&
		LocalTransactionIdIsValid(*lxid);
}

/* Has this session a transaction of that name, one over several nodes? */
Datum
actorstore_local_deadlock_tell(PG_FUNCTION_ARGS)
{
	PGPROC	   *proc = BackendPidGetProc(PG_GETARG_INT32(0));
	int			backend;
	LocalTransactionId lxid;

	if (shared == NULL || proc == NULL ||
		!read_transaction(PG_GETARG_TEXT_PP(1), &backend, &lxid) ||
		!as_life_is_transaction(as_proc_number(proc), backend, lxid))
		PG_RETURN_BOOL(false);
	put_verdict(backend, lxid, text_to_cstring(PG_GETARG_TEXT_PP(2)));
	PG_RETURN_BOOL(true);
}

/* With the partition of the lock that it waits for locked */
static bool
is_that_wait(PGPROC *proc, int pid, TimestampTz start)
{
	TimestampTz now;

	return proc->pid == pid && proc->waitLock != NULL &&
		as_waits_is_sleeping(proc, &now) && now == start;
}

static bool
end_wait(PGPROC *proc, int pid, TimestampTz start)
{
	LOCK	   *lock = *(LOCK *volatile *) &proc->waitLock;
	LOCKTAG		tag;
	uint32		hash;
	LWLock	   *partition;
	bool		ended = false;

	if (lock == NULL)
		return false;

	/*
	 * The lock may go, and another one take its place, till its partition is
	 * locked; the memory stays.  Then we look again.
	 */
	tag = *(volatile LOCKTAG *) &lock->tag;
	hash = LockTagHashCode(&tag);
	partition = LockHashPartitionLock(hash);
	LWLockAcquire(partition, LW_EXCLUSIVE);
	if (proc->waitLock == lock && memcmp(&lock->tag, &tag, sizeof(LOCKTAG)) == 0 &&
		is_that_wait(proc, pid, start))
	{
		RemoveFromWaitQueue(proc, hash);
		ended = true;
	}
	LWLockRelease(partition);
	if (ended)
		SetLatch(&proc->procLatch);
	return ended;
}

Datum
actorstore_local_deadlock_end(PG_FUNCTION_ARGS)
{
	int			pid = PG_GETARG_INT32(0);
	PGPROC	   *proc = BackendPidGetProc(pid);
	PGPROC	   *leader = proc == NULL ? NULL : *(PGPROC *volatile *) &proc->lockGroupLeader;

	if (proc == NULL ||
		!as_life_may_deadlock(as_proc_number(leader == NULL ? proc : leader)))
		PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(end_wait(proc, pid, (TimestampTz) PG_GETARG_INT64(1)));
}

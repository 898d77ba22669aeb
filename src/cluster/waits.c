/*-------------------------------------------------------------------------
 *
 * waits.c
 *	  See waits.h: what is seen here.
 *
 * Nothing of this holds all of the lock manager's partitions for longer than
 * it takes to copy what concerns one lock.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/waits.h"

#include "access/twophase.h"
#include "cluster/life.h"
#include "compat.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(actorstore_waits_now);

#define WAIT_EVENT_CLASS	0xFF000000U

bool
as_waits_is_sleeping(PGPROC *proc, TimestampTz *start)
{
	TimestampTz before = (TimestampTz) pg_atomic_read_u64(&proc->waitStart);
	uint32		event;

	pg_read_barrier();
	event = *(volatile uint32 *) &proc->wait_event_info;
	pg_read_barrier();
	*start = (TimestampTz) pg_atomic_read_u64(&proc->waitStart);
	return *start != 0 && *start == before && (event & WAIT_EVENT_CLASS) == PG_WAIT_LOCK &&
		*(LOCK *volatile *) &proc->waitLock != NULL;
}

static PGPROC *
leader_of(PGPROC *proc)
{
	PGPROC	   *leader = *(PGPROC *volatile *) &proc->lockGroupLeader;

	return leader == NULL ? proc : leader;
}

bool
as_waits_exist(TimestampTz after, TimestampTz until)
{
	for (int i = 0; i < MaxBackends; i++)
	{
		PGPROC	   *proc = &ProcGlobal->allProcs[i];
		TimestampTz start;

		if (as_waits_is_sleeping(proc, &start) && start > after && start <= until &&
			as_life_may_deadlock(as_proc_number(leader_of(proc))))
			return true;
	}
	return false;
}

/* ---- One wait ---- */

/* Who waits, or is waited for: a session, its parallel workers included */
typedef struct Party
{
	int			pid;			/* 0: prepared */
	int			backend;
	LocalTransactionId lxid;
	int			number;			/* of its process; -1: unknown */
} Party;

static void
find_party(Party *party, const LockInstanceData *instance)
{
	PGPROC	   *proc = instance->leaderPid == 0 ? NULL : BackendPidGetProc(instance->leaderPid);

	party->pid = instance->leaderPid;
	party->number = proc == NULL ? -1 : as_proc_number(proc);
	party->backend = as_lock_instance_backend(instance);
	party->lxid = as_lock_instance_lxid(instance);
	if (proc != NULL && instance->pid != instance->leaderPid)
	{
		party->backend = as_proc_backend(proc);
		party->lxid = as_proc_lxid(proc);
	}
}

/* The transaction that was prepared by that session, or 0. */
static TransactionId
prepared_xid(const Party *party)
{
	VirtualTransactionId vxid;
	bool		more = false;
	TransactionId xid;

	as_vxid_set_backend(&vxid, party->backend);
	vxid.localTransactionId = party->lxid;

	/* since before a restart of the server: it has none */
	if (!VirtualTransactionIdIsValid(vxid))
		return (TransactionId) party->lxid;
	xid = TwoPhaseGetXidByVirtualXID(vxid, &more);
	return more ? InvalidTransactionId : xid;
}

static Datum
party_transaction(const Party *party)
{
	return CStringGetTextDatum(psprintf("%d/%u", party->backend, party->lxid));
}

static Datum
party_coordinator(const Party *party, bool *null)
{
	AsCoordinator coordinator;

	*null = party->number < 0 || !as_life_coordinator(party->number, &coordinator);
	return *null ? (Datum) 0 :
		CStringGetTextDatum(psprintf(UINT64_FORMAT ".%d", coordinator.boot, coordinator.pid));
}

typedef struct Wait
{
	ReturnSetInfo *result;
	const BlockedProcsData *data;
	const BlockedProcData *blocked;
	const LockInstanceData *own;
	TimestampTz start;
	LOCKMASK	conflicts;
} Wait;

static void
put_edge(Wait *wait, const LockInstanceData *blocker)
{
	Party		waiter;
	Party		other;
	StringInfoData tag;
	Datum		values[10] = {0};
	bool		nulls[10] = {false};

	find_party(&waiter, wait->own);
	find_party(&other, blocker);
	initStringInfo(&tag);
	DescribeLockTag(&tag, &wait->own->locktag);
	values[0] = Int32GetDatum(wait->own->pid);
	values[1] = Int64GetDatum(wait->start);
	values[2] = CStringGetTextDatum(psprintf("%s on %s", GetLockmodeName(wait->own->locktag.locktag_lockmethodid, wait->own->waitLockMode), tag.data));
	values[3] = Int32GetDatum(waiter.pid);
	values[4] = party_transaction(&waiter);
	values[5] = party_coordinator(&waiter, &nulls[5]);
	values[6] = Int32GetDatum(other.pid);
	values[7] = party_transaction(&other);
	values[8] = party_coordinator(&other, &nulls[8]);
	nulls[9] = other.pid != 0;
	if (other.pid == 0)
		values[9] = TransactionIdGetDatum(prepared_xid(&other));
	tuplestore_putvalues(wait->result->setResult, wait->result->setDesc, values, nulls);
}

static const LockInstanceData *
find_instance(const Wait *wait, int pid)
{
	for (int i = 0; i < wait->blocked->num_locks; i++)
	{
		const LockInstanceData *instance = &wait->data->locks[wait->blocked->first_lock + i];

		if (instance->pid == pid && instance->waitLockMode != NoLock)
			return instance;
	}
	return NULL;
}

/*
 * Who is ahead in the queue and wants what conflicts, from the back.  Whoever
 * conflicts with all that we conflict with waits himself for those before him:
 * one edge leads to all of them, however long the queue is.
 */
static void
put_queue(Wait *wait, LockMethod method)
{
	for (int i = wait->blocked->num_waiters - 1; i >= 0; i--)
	{
		const LockInstanceData *ahead = find_instance(wait, wait->data->waiter_pids[wait->blocked->first_waiter + i]);

		if (ahead == NULL || ahead->leaderPid == wait->own->leaderPid ||
			(wait->conflicts & LOCKBIT_ON(ahead->waitLockMode)) == 0 ||
			(wait->conflicts & ahead->holdMask) != 0)	/* an edge already */
			continue;
		put_edge(wait, ahead);
		if ((wait->conflicts & ~method->conflictTab[ahead->waitLockMode]) == 0)
			break;
	}
}

static void
put_wait(Wait *wait)
{
	LockMethod	method;

	wait->own = find_instance(wait, wait->blocked->pid);
	if (wait->own == NULL)
		return;
	method = GetLockTagsMethodTable(&wait->own->locktag);
	wait->conflicts = method->conflictTab[wait->own->waitLockMode];
	for (int i = 0; i < wait->blocked->num_locks; i++)
	{
		const LockInstanceData *holder = &wait->data->locks[wait->blocked->first_lock + i];

		/* both 0: prepared, which we are not */
		if (holder->leaderPid != wait->own->leaderPid && (wait->conflicts & holder->holdMask) != 0)
			put_edge(wait, holder);
	}
	put_queue(wait, method);
}

/* ---- All ---- */

static void
put_waits_of(ReturnSetInfo *result, PGPROC *proc)
{
	Wait		wait = {.result = result};
	TimestampTz again;
	int			pid = proc->pid;

	if (!as_waits_is_sleeping(proc, &wait.start))
		return;
	wait.data = GetBlockerStatusData(pid);
	if (!as_waits_is_sleeping(proc, &again) || again != wait.start || proc->pid != pid)
		return;
	for (int i = 0; i < wait.data->nprocs; i++)
	{
		wait.blocked = &wait.data->procs[i];
		if (wait.blocked->pid == pid)
			put_wait(&wait);
	}
}

Datum
actorstore_waits_now(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext each;
	MemoryContext old;

	InitMaterializedSRF(fcinfo, 0);
	each = AllocSetContextCreate(CurrentMemoryContext, "actorstore waits", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(each);
	for (int i = 0; i < MaxBackends; i++)
	{
		CHECK_FOR_INTERRUPTS();
		put_waits_of(result, &ProcGlobal->allProcs[i]);
		MemoryContextReset(each);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(each);
	return (Datum) 0;
}

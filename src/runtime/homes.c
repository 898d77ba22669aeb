/*-------------------------------------------------------------------------
 *
 * homes.c
 *	  Which database has which home, and what the launcher is told.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/request.h"
#include "runtime/sched.h"

#include "runtime/flow.h"
#include "runtime/lease.h"
#include "runtime/offer.h"
#include "runtime/steward.h"
#include "runtime/timing.h"
#include "runtime/urgent.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#define MAX_BARRED			16

typedef struct NoticesShared
{
	/* written by anyone, by atomic operations */
	pg_atomic_uint32 notes[AS_MAX_NOTES];	/* databases, or 0 */
	pg_atomic_uint32 note_all;
	pg_atomic_uint32 barred[MAX_BARRED];	/* databases, or 0 */
} NoticesShared;

static NoticesShared *notices = NULL;

Size
as_homes_shmem_size(void)
{
	return sizeof(NoticesShared);
}

void
as_homes_shmem_init(void)
{
	bool		found;

	notices = ShmemInitStruct("actorstore notices", as_homes_shmem_size(),
							  &found);
	if (found)
		return;
	for (int i = 0; i < AS_MAX_NOTES; i++)
		pg_atomic_init_u32(&notices->notes[i], InvalidOid);
	pg_atomic_init_u32(&notices->note_all, 0);
	for (int i = 0; i < MAX_BARRED; i++)
		pg_atomic_init_u32(&notices->barred[i], InvalidOid);
}

void
as_home_give(uint32 number, Oid database)
{
	AsHomeShared *home = as_home(number);
	uint64		ref;

	/*
	 * A sender that found the home before it was taken back may have left
	 * something: a slot that is SCHEDULED and in no queue would stay so.
	 */
	while (as_ring_pop(as_home_queue(number), &ref))
		;
	as_urgent_forget(number);
	as_offers_forget(database);
	as_leases_forget(number, database);
	as_slots_forget(number, as_requests_return);

	pg_atomic_write_u64(&home->sleepers, 0);
	(void) pg_atomic_fetch_add_u64(&home->lost, 1);
	pg_atomic_write_u64(&home->next_due, 0);
	as_timing_forget(number);
	pg_atomic_write_u32(&home->sweeper, 0);
	pg_atomic_write_u32(&home->timekeeper, 0);
	home->sweep_begun = false;
	pg_atomic_write_u32(&home->leave, 0);

	/* nobody may put a block of another database in after this */
	LWLockAcquire(as_sched_ids_lock(), LW_EXCLUSIVE);
	(void) pg_atomic_fetch_add_u32(&home->epoch, 1);
	pg_atomic_exchange_u64(&home->id_limit, 0);
	pg_atomic_exchange_u64(&home->next_id, 0);
	LWLockRelease(as_sched_ids_lock());
	pg_atomic_write_u32(&home->database, database);
}

void
as_home_take_back(uint32 number)
{
	AsHomeShared *home = as_home(number);
	Oid			database = pg_atomic_read_u32(&home->database);

	pg_atomic_write_u32(&home->database, InvalidOid);
	pg_memory_barrier();
	as_flow_forget(number, database);
	as_offers_forget(database);
	as_leases_forget(number, database);
	as_slots_forget(number, as_requests_return);
}

void
as_sched_note_database(Oid database)
{
	if (notices == NULL)
		return;
	for (int i = 0; i < AS_MAX_NOTES; i++)
	{
		uint32		empty = InvalidOid;

		if (pg_atomic_compare_exchange_u32(&notices->notes[i], &empty, database) ||
			empty == database)
		{
			as_sched_tell_launcher();
			return;
		}
	}
	pg_atomic_write_u32(&notices->note_all, 1);
	as_sched_tell_launcher();
}

bool
as_sched_read_notes(Oid *databases, int *n)
{
	*n = 0;
	for (int i = 0; i < AS_MAX_NOTES; i++)
	{
		Oid			database = pg_atomic_exchange_u32(&notices->notes[i], InvalidOid);

		if (OidIsValid(database))
			databases[(*n)++] = database;
	}
	return pg_atomic_exchange_u32(&notices->note_all, 0) != 0;
}

bool
as_sched_bar(Oid database)
{
	for (int i = 0; i < MAX_BARRED; i++)
	{
		uint32		empty = InvalidOid;

		if (!pg_atomic_compare_exchange_u32(&notices->barred[i], &empty, database))
			continue;
		pg_memory_barrier();
		for (int worker = 0; worker < as_sched_max_workers(); worker++)
			as_sched_wake_worker(worker);
		as_stewards_wake_all();
		as_sched_tell_launcher();
		return true;
	}
	return false;
}

void
as_sched_unbar(Oid database)
{
	for (int i = 0; i < MAX_BARRED; i++)
	{
		uint32		barred = database;

		if (pg_atomic_compare_exchange_u32(&notices->barred[i], &barred, InvalidOid))
			break;
	}
	as_sched_tell_launcher();
}

bool
as_sched_is_barred(Oid database)
{
	for (int i = 0; i < MAX_BARRED; i++)
	{
		if (pg_atomic_read_u32(&notices->barred[i]) == database)
			return true;
	}
	return false;
}

int
as_sched_workers_in(Oid database)
{
	int			n = as_stewards_in(database);

	for (int i = 0; i < as_sched_max_workers(); i++)
	{
		AsWorkerShared *worker = as_worker(i);

		if (pg_atomic_read_u32(&worker->status) != AS_WORKER_NONE &&
			pg_atomic_read_u32(&as_home(pg_atomic_read_u32(&worker->home))->database) == database)
			n++;
	}
	return n;
}

/*-------------------------------------------------------------------------
 *
 * sched.c
 *	  See sched.h.
 *
 * One file of more than 500 lines: hints, wake-ups and queues are one protocol.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/sched.h"

#include <unistd.h>

#include "compat.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "runtime/lease.h"
#include "runtime/offer.h"
#include "runtime/request.h"
#include "runtime/timing.h"
#include "runtime/urgent.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"

/* Look into the global queue before one's own so often, for fairness. */
#define GLOBAL_FIRST_EVERY	8

typedef struct SchedShared
{
	LWLock	   *ids_lock;		/* for taking a block of ids */
	int			nworkers;		/* and homes; immutable */
	int			nprocessors;	/* immutable */
	pg_atomic_uint32 launcher;	/* its pgprocno + 1 */
	pg_atomic_uint32 starved;	/* 1: it could not start a worker; written by it */
	pg_atomic_uint32 asking;	/* see as_sched_count_asking() */

	AsWorkerShared workers[AS_MAX_WORKERS];
	AsHomeShared homes[AS_MAX_WORKERS];
} SchedShared;

/*
 * What is being committed, by pgprocno: the home in the upper bits of the
 * lowest position, which has 48; AS_NO_POSITION for nothing.  Each is written
 * by its process.
 */
#define HOME_SHIFT	56
static pg_atomic_uint64 *committing = NULL;

static SchedShared *sched = NULL;
static char *queues;			/* of the homes, one after another */
static char *deques;			/* of the workers */
static Size queue_size;
static Size deque_size;

int			as_sched_self = -1;

/* what as_sched_home() found last */
static int	my_home = -1;

int
as_sched_workers_wanted(void)
{
	if (actorstore_workers > 0)
		return actorstore_workers;
	return Max(1, Min((int) sysconf(_SC_NPROCESSORS_ONLN), AS_MAX_WORKERS));
}

Size
as_sched_shmem_size(void)
{
	Size		size = MAXALIGN(sizeof(SchedShared));

	queue_size = CACHELINEALIGN(as_ring_size(pg_nextpower2_32(actorstore_global_queue_capacity)));
	deque_size = CACHELINEALIGN(as_deque_size(pg_nextpower2_32(actorstore_worker_queue_capacity)));
	size = add_size(size, CACHELINEALIGN(mul_size(MaxBackends, sizeof(pg_atomic_uint64))));
	size = add_size(size, mul_size(as_sched_workers_wanted(), queue_size));
	size = add_size(size, mul_size(as_sched_workers_wanted(), deque_size));
	return add_size(size, 2 * PG_CACHE_LINE_SIZE);
}

static void
init_home(AsHomeShared *home)
{
	pg_atomic_init_u32(&home->database, InvalidOid);
	pg_atomic_init_u32(&home->epoch, 0);
	pg_atomic_init_u32(&home->leave, 0);
	pg_atomic_init_u64(&home->sleepers, 0);
	pg_atomic_init_u64(&home->next_id, 0);
	pg_atomic_init_u64(&home->id_limit, 0);
	pg_atomic_init_u32(&home->id_sequence, InvalidOid);
	pg_atomic_init_u64(&home->lost, 1);
	pg_atomic_init_u64(&home->swept, 0);
	pg_atomic_init_u64(&home->next_due, 0);
	pg_atomic_init_u32(&home->offers_gone, 0);
	pg_atomic_init_u32(&home->sweeper, 0);
	pg_atomic_init_u32(&home->timekeeper, 0);
	ConditionVariableInit(&home->room);
	pg_atomic_init_u64(&home->noverflows, 0);
	pg_atomic_init_u64(&home->nsweeps, 0);
}

static void
init_worker(AsWorkerShared *worker)
{
	pg_atomic_init_u32(&worker->status, AS_WORKER_NONE);
	pg_atomic_init_u32(&worker->home, 0);
	pg_atomic_init_u32(&worker->leave, 0);
	pg_atomic_init_u32(&worker->finding, AS_FOUND_NOTHING);
	pg_atomic_init_u64(&worker->nturns, 0);
	pg_atomic_init_u64(&worker->nmessages, 0);
	pg_atomic_init_u64(&worker->ncommits, 0);
	pg_atomic_init_u64(&worker->nfailures, 0);
	pg_atomic_init_u64(&worker->nsteals, 0);
	pg_atomic_init_u64(&worker->nsleeps, 0);
	pg_atomic_init_u64(&worker->current, AS_NO_SLOT);
	pg_atomic_init_u64(&worker->started_at, 0);
}

void
as_sched_shmem_init(void)
{
	bool		found;
	Size		size = as_sched_shmem_size();

	sched = ShmemInitStruct("actorstore scheduler", size, &found);
	queues = (char *) CACHELINEALIGN((char *) sched + sizeof(SchedShared));
	deques = queues + as_sched_workers_wanted() * queue_size;
	committing = (pg_atomic_uint64 *) (deques + as_sched_workers_wanted() * deque_size);
	if (found)
		return;
	memset(sched, 0, sizeof(SchedShared));
	for (int i = 0; i < MaxBackends; i++)
		pg_atomic_init_u64(&committing[i], AS_NO_POSITION);
	sched->ids_lock = &GetNamedLWLockTranche("actorstore")->lock;
	sched->nworkers = as_sched_workers_wanted();
	pg_atomic_init_u32(&sched->launcher, 0);
	pg_atomic_init_u32(&sched->starved, 0);
	sched->nprocessors = Max((int) sysconf(_SC_NPROCESSORS_ONLN), 1);
	pg_atomic_init_u32(&sched->asking, 0);
	for (int i = 0; i < AS_MAX_WORKERS; i++)
	{
		init_home(&sched->homes[i]);
		init_worker(&sched->workers[i]);
	}
	for (int i = 0; i < sched->nworkers; i++)
	{
		as_ring_init(as_home_queue(i),
					 pg_nextpower2_32(actorstore_global_queue_capacity));
		as_deque_init(as_worker_deque(i),
					  pg_nextpower2_32(actorstore_worker_queue_capacity));
	}
}

LWLock *
as_sched_ids_lock(void)
{
	return sched->ids_lock;
}

bool
as_sched_active(void)
{
	return sched != NULL;
}

int
as_sched_max_workers(void)
{
	return sched->nworkers;
}

AsHomeShared *
as_home(uint32 home)
{
	return &sched->homes[home];
}

AsWorkerShared *
as_worker(uint32 worker)
{
	return &sched->workers[worker];
}

AsRingShared *
as_home_queue(uint32 home)
{
	return (AsRingShared *) (queues + home * queue_size);
}

AsDequeShared *
as_worker_deque(uint32 worker)
{
	return (AsDequeShared *) (deques + worker * deque_size);
}

int
as_sched_home(void)
{
	if (sched == NULL)
		return -1;
	if (my_home >= 0 &&
		pg_atomic_read_u32(&sched->homes[my_home].database) == MyDatabaseId)
		return my_home;
	for (my_home = sched->nworkers - 1; my_home >= 0; my_home--)
	{
		if (pg_atomic_read_u32(&sched->homes[my_home].database) == MyDatabaseId)
			break;
	}
	return my_home;
}

/* ---- Hints ---- */

bool
as_sched_is_swept(uint32 number)
{
	AsHomeShared *home = as_home(number);

	return pg_atomic_read_u64(&home->lost) == pg_atomic_read_u64(&home->swept);
}

void
as_sched_lose(uint32 number)
{
	(void) pg_atomic_fetch_add_u64(&as_home(number)->lost, 1);
	as_sched_wake(number);
}

void
as_sched_begin_commit(uint32 home, uint64 position)
{
	pg_atomic_exchange_u64(&committing[as_my_proc_number],
						   (uint64) home << HOME_SHIFT | position);
}

void
as_sched_end_commit(void)
{
	pg_atomic_exchange_u64(&committing[as_my_proc_number], AS_NO_POSITION);
}

uint64
as_sched_commit_floor(uint32 home)
{
	uint64		floor = AS_NO_POSITION;

	pg_memory_barrier();
	for (int i = 0; i < MaxBackends; i++)
	{
		uint64		word = pg_atomic_read_u64(&committing[i]);

		if (word != AS_NO_POSITION && word >> HOME_SHIFT == home)
			floor = Min(floor, word & ((UINT64CONST(1) << HOME_SHIFT) - 1));
	}
	pg_memory_barrier();
	return floor;
}

static void
wake_process(uint32 procno)
{
	SetLatch(&ProcGlobal->allProcs[procno].procLatch);
}

void
as_sched_wake_worker(uint32 number)
{
	if (pg_atomic_read_u32(&as_worker(number)->status) == AS_WORKER_READY)
		wake_process(as_worker(number)->procno);
}

void
as_sched_wake(uint32 number)
{
	AsHomeShared *home = as_home(number);
	uint64		sleepers;

	pg_memory_barrier();
	sleepers = pg_atomic_read_u64(&home->sleepers);
	while (sleepers != 0)
	{
		uint32		timekeeper = pg_atomic_read_u32(&home->timekeeper);
		uint64		others = timekeeper == 0 ? sleepers :
		sleepers & ~(UINT64CONST(1) << (timekeeper - 1));
		int			worker = pg_rightmost_one_pos64(others != 0 ? others : sleepers);
		uint64		bit = UINT64CONST(1) << worker;

		if (pg_atomic_fetch_and_u64(&home->sleepers, ~bit) & bit)
		{
			wake_process(as_worker(worker)->procno);
			return;
		}
		sleepers = pg_atomic_read_u64(&home->sleepers);
	}
}

void
as_sched_wake_timekeeper(uint32 number)
{
	uint32		timekeeper = pg_atomic_read_u32(&as_home(number)->timekeeper);

	if (timekeeper > 0)
		wake_process(as_worker(timekeeper - 1)->procno);
	else
		as_sched_wake(number);
}

void
as_sched_wake_all(uint32 number)
{
	for (int i = 0; i < sched->nworkers; i++)
	{
		AsWorkerShared *worker = as_worker(i);

		if (pg_atomic_read_u32(&worker->status) == AS_WORKER_READY &&
			pg_atomic_read_u32(&worker->home) == number)
			wake_process(worker->procno);
	}
	as_timing_wake(number);
}

static bool
push(uint32 home, AsSlotRef ref)
{
	if (as_urgent_push(home, ref))
		return true;
	if (as_sched_self >= 0 &&
		as_deque_push(as_worker_deque(as_sched_self), ref))
		return true;
	return as_ring_push(as_home_queue(home), ref);
}

/*
 * No queue has room.  The sweep finds the actor, if it still has mail by then;
 * its slot is given up meanwhile.  Nobody takes it for a slot that knows, as
 * "lost" is raised before it is.
 */
static void
drop(uint32 home, AsSlotRef ref)
{
	bool		held = as_slot_hold(ref);

	(void) pg_atomic_fetch_add_u64(&as_home(home)->noverflows, 1);
	as_sched_lose(home);
	if (held)
	{
		as_requests_return(as_slot(ref));
		as_slot_let_go(ref);
	}
}

void
as_sched_queue(uint32 home, AsSlotRef ref)
{
	if (!push(home, ref))
		drop(home, ref);

	/* what stands alone in its own queue, a worker takes next itself */
	else if (as_sched_self < 0 ||
			 as_deque_count(as_worker_deque(as_sched_self)) != 1)
		as_sched_wake(home);
}

void
as_sched_queue_last(uint32 home, AsSlotRef ref)
{
	if (as_ring_push(as_home_queue(home), ref))
		as_sched_wake(home);
	else
		as_sched_queue(home, ref);
}

AsSlotRef
as_sched_hint(uint32 home, AsSlotRef ref, uint64 key_hash, int lane,
			  uint64 position, uint64 deadline, uint64 outside)
{
	bool		gone;

	for (;;)
	{
		if (ref == AS_NO_SLOT || !as_slot_is_current(ref))
			ref = as_slot_claim(home, key_hash, !as_sched_is_swept(home));
		if (ref == AS_NO_SLOT)
		{
			(void) pg_atomic_fetch_add_u64(&as_home(home)->noverflows, 1);
			as_sched_lose(home);
			return AS_NO_SLOT;
		}
		if (lane < 0)
			as_slot_lower_all(ref);
		else
			as_slot_lower(ref, lane, position);
		if (deadline != AS_NO_DEADLINE)
			as_urgent_note(ref, deadline);
		else if (as_offer_covers(ref, lane))
			return ref;
		if (outside != 0 && as_lease_offer(home, ref, outside))
			return ref;
		if (as_slot_schedule(ref, &gone))
			as_sched_queue(home, ref);
		else if (deadline != AS_NO_DEADLINE && !gone)
			as_urgent_raise(home, ref);
		if (!gone)
			return ref;
		ref = AS_NO_SLOT;
	}
}

void
as_sched_lower_due(uint32 number, TimestampTz due)
{
	AsHomeShared *home = as_home(number);
	uint64		old = pg_atomic_read_u64(&home->next_due);

	while ((uint64) due < old)
	{
		if (!pg_atomic_compare_exchange_u64(&home->next_due, &old,
											(uint64) due))
			continue;

		/* it sleeps till what was the next time before */
		as_sched_wake_timekeeper(number);
		return;
	}
}

void
as_sched_count_asking(int n)
{
	(void) pg_atomic_fetch_add_u32(&sched->asking, n);
}

bool
as_sched_may_look(void)
{
	return (int) pg_atomic_read_u32(&sched->asking) <= sched->nprocessors / 2;
}

/* ---- Workers ---- */

static bool
take_stolen(AsSlotRef *ref)
{
	uint32		home = pg_atomic_read_u32(&as_worker(as_sched_self)->home);

	if (!actorstore_enable_work_stealing)
		return false;
	for (int i = 1; i < sched->nworkers; i++)
	{
		int			victim = (as_sched_self + i) % sched->nworkers;

		if (pg_atomic_read_u32(&as_worker(victim)->status) != AS_WORKER_READY ||
			pg_atomic_read_u32(&as_worker(victim)->home) != home ||
			!as_deque_steal(as_worker_deque(victim), ref))
			continue;
		(void) pg_atomic_fetch_add_u64(&as_worker(as_sched_self)->nsteals, 1);
		return true;
	}
	return false;
}

static bool
take_any(AsSlotRef *ref)
{
	static uint32 nth = 0;
	uint32		home = pg_atomic_read_u32(&as_worker(as_sched_self)->home);
	AsRingShared *global = as_home_queue(home);

	if (++nth % GLOBAL_FIRST_EVERY == 0 && as_ring_pop(global, ref))
		return true;

	/* what has a deadline comes first, but not always */
	if (nth % GLOBAL_FIRST_EVERY != GLOBAL_FIRST_EVERY / 2 &&
		as_urgent_pop(home, ref))
		return true;

	/* from the end where thieves take: oldest first */
	return as_deque_steal(as_worker_deque(as_sched_self), ref) ||
		as_ring_pop(global, ref) || as_urgent_pop(home, ref) ||
		take_stolen(ref);
}

AsSlotRef
as_sched_take(void)
{
	AsSlotRef	ref;

	if (!take_any(&ref))
		return AS_NO_SLOT;

	/* this may take long: let others have what waits behind it */
	if (as_deque_count(as_worker_deque(as_sched_self)) > 0)
		as_sched_wake(pg_atomic_read_u32(&as_worker(as_sched_self)->home));
	return ref;
}

bool
as_sched_has_work(void)
{
	uint32		home = pg_atomic_read_u32(&as_worker(as_sched_self)->home);

	if (as_deque_count(as_worker_deque(as_sched_self)) > 0 ||
		as_ring_count(as_home_queue(home)) > 0 || as_urgent_count(home) > 0)
		return true;
	if (!actorstore_enable_work_stealing)
		return false;
	for (int i = 0; i < sched->nworkers; i++)
	{
		if (pg_atomic_read_u32(&as_worker(i)->status) == AS_WORKER_READY &&
			pg_atomic_read_u32(&as_worker(i)->home) == home &&
			as_deque_count(as_worker_deque(i)) > 0)
			return true;
	}
	return false;
}

bool
as_sched_has_others(void)
{
	uint32		home = pg_atomic_read_u32(&as_worker(as_sched_self)->home);

	return as_deque_count(as_worker_deque(as_sched_self)) +
		as_ring_count(as_home_queue(home)) + as_urgent_count(home) > 1;
}

void
as_sched_prepare_sleep(void)
{
	AsHomeShared *home = as_home(pg_atomic_read_u32(&as_worker(as_sched_self)->home));

	(void) pg_atomic_fetch_or_u64(&home->sleepers,
								  UINT64CONST(1) << as_sched_self);
	pg_memory_barrier();
}

void
as_sched_cancel_sleep(void)
{
	AsHomeShared *home = as_home(pg_atomic_read_u32(&as_worker(as_sched_self)->home));

	(void) pg_atomic_fetch_and_u64(&home->sleepers,
								   ~(UINT64CONST(1) << as_sched_self));
}

/* ---- The launcher ---- */

void
as_sched_set_launcher(void)
{
	pg_atomic_write_u32(&sched->launcher, as_my_proc_number + 1);
}

void
as_sched_set_starved(bool starved)
{
	pg_atomic_write_u32(&sched->starved, starved ? 1 : 0);
}

bool
as_sched_is_starved(void)
{
	return pg_atomic_read_u32(&sched->starved) != 0;
}

void
as_sched_tell_launcher(void)
{
	uint32		launcher;

	if (sched == NULL)
		return;
	launcher = pg_atomic_read_u32(&sched->launcher);
	if (launcher > 0)
		wake_process(launcher - 1);
}

/*-------------------------------------------------------------------------
 *
 * sched.c
 *	  See sched.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/sched.h"

#include <unistd.h>

#include "commands/sequence.h"
#include "compat.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "state/catalog.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"

/* Look into the global queue before one's own so often, for fairness. */
#define GLOBAL_FIRST_EVERY	8

#define MAX_BARRED			16

typedef struct SchedShared
{
	LWLock	   *ids_lock;		/* for taking a block of ids */
	int			nworkers;		/* and homes; immutable */
	pg_atomic_uint32 launcher;	/* its pgprocno + 1 */

	/* written by anyone */
	pg_atomic_uint32 notes[AS_MAX_NOTES];	/* databases, or 0 */
	pg_atomic_uint32 note_all;
	pg_atomic_uint32 barred[MAX_BARRED];	/* databases, or 0 */

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

static int
workers_wanted(void)
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
	size = add_size(size, mul_size(workers_wanted(), queue_size));
	size = add_size(size, mul_size(workers_wanted(), deque_size));
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
	pg_atomic_init_u32(&home->sweeper, 0);
	pg_atomic_init_u32(&home->timekeeper, 0);
	pg_atomic_init_u32(&home->senders_waiting, 0);
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
	deques = queues + workers_wanted() * queue_size;
	committing = (pg_atomic_uint64 *) (deques + workers_wanted() * deque_size);
	if (found)
		return;
	memset(sched, 0, sizeof(SchedShared));
	for (int i = 0; i < MaxBackends; i++)
		pg_atomic_init_u64(&committing[i], AS_NO_POSITION);
	sched->ids_lock = &GetNamedLWLockTranche("actorstore")->lock;
	sched->nworkers = workers_wanted();
	pg_atomic_init_u32(&sched->launcher, 0);
	for (int i = 0; i < AS_MAX_NOTES; i++)
		pg_atomic_init_u32(&sched->notes[i], 0);
	pg_atomic_init_u32(&sched->note_all, 0);
	for (int i = 0; i < MAX_BARRED; i++)
		pg_atomic_init_u32(&sched->barred[i], 0);
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

/* ---- Message ids ---- */

/*
 * The sequence is advanced by a block at a time; its WAL record comes before
 * that of any message with such an id, so that a block is never used twice.
 */
static int64
next_block(void)
{
	return nextval_internal(as_catalog()->message_number, false);
}

/* Where ids come from, as this transaction sees it */
typedef struct IdSource
{
	AsHomeShared *home;
	uint32		epoch;			/* the home's, while it is this database's */
	Oid			sequence;		/* another one after CREATE EXTENSION */
} IdSource;

static bool
is_current(IdSource *source)
{
	pg_read_barrier();
	return pg_atomic_read_u32(&source->home->epoch) == source->epoch &&
		pg_atomic_read_u32(&source->home->id_sequence) == source->sequence;
}

/* Take ids of the block at hand, if it is this source's. */
static bool
ids_from_block(IdSource *source, int n, int64 *first)
{
	AsHomeShared *home = source->home;
	uint64		next = pg_atomic_read_u64(&home->next_id);

	while (is_current(source))
	{
		uint64		limit = pg_atomic_read_u64(&home->id_limit);

		if (next + n > limit)
			return false;
		if (pg_atomic_compare_exchange_u64(&home->next_id, &next, next + n))
		{
			*first = (int64) next;
			return is_current(source);
		}
	}
	return false;
}

/*
 * The sequence is asked without the lock: somebody may be dropping it.  So
 * others may have put a later block in by then; a block that comes too late
 * is left unused, as its ids would be lower than some that were given before.
 */
static bool
ids_from_new_block(IdSource *source, int n, int64 *first)
{
	AsHomeShared *home = source->home;
	int64		block = next_block();
	bool		found;

	LWLockAcquire(sched->ids_lock, LW_EXCLUSIVE);
	found = ids_from_block(source, n, first);
	if (!found && pg_atomic_read_u32(&home->epoch) == source->epoch &&
		(!is_current(source) ||
		 (uint64) block >= pg_atomic_read_u64(&home->id_limit)))
	{
		/* in this order: nobody may see a limit with another block's next */
		pg_atomic_exchange_u64(&home->id_limit, 0);
		pg_atomic_exchange_u32(&home->id_sequence, source->sequence);
		pg_atomic_exchange_u64(&home->next_id, block);
		pg_atomic_exchange_u64(&home->id_limit, block + AS_ID_BLOCK);
		found = ids_from_block(source, n, first);
	}
	LWLockRelease(sched->ids_lock);
	return found;
}

int64
as_sched_ids(int n)
{
	Assert(n > 0 && n <= AS_ID_BLOCK);
	for (;;)
	{
		int			number = as_sched_home();
		IdSource	source;
		int64		first;

		if (number < 0)
			return next_block();
		source.home = as_home(number);
		source.sequence = as_catalog()->message_number;
		source.epoch = pg_atomic_read_u32(&source.home->epoch);
		pg_read_barrier();
		if (pg_atomic_read_u32(&source.home->database) != MyDatabaseId)
			continue;
		if (ids_from_block(&source, n, &first) ||
			ids_from_new_block(&source, n, &first))
			return first;
		CHECK_FOR_INTERRUPTS();
	}
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
as_sched_wake_all(uint32 number)
{
	for (int i = 0; i < sched->nworkers; i++)
	{
		AsWorkerShared *worker = as_worker(i);

		if (pg_atomic_read_u32(&worker->status) == AS_WORKER_READY &&
			pg_atomic_read_u32(&worker->home) == number)
			wake_process(worker->procno);
	}
}

static bool
push(uint32 home, AsSlotRef ref)
{
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
		as_slot_let_go(ref);
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
			  uint64 position)
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
		if (as_slot_schedule(ref, &gone))
			as_sched_queue(home, ref);
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
	uint32		timekeeper;

	while ((uint64) due < old)
	{
		if (!pg_atomic_compare_exchange_u64(&home->next_due, &old,
											(uint64) due))
			continue;

		/* it sleeps till what was the next time before */
		timekeeper = pg_atomic_read_u32(&home->timekeeper);
		if (timekeeper > 0)
			wake_process(as_worker(timekeeper - 1)->procno);
		else
			as_sched_wake(number);
		return;
	}
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
	AsRingShared *global = as_home_queue(pg_atomic_read_u32(&as_worker(as_sched_self)->home));

	if (++nth % GLOBAL_FIRST_EVERY == 0 && as_ring_pop(global, ref))
		return true;

	/* from the end where thieves take: oldest first */
	return as_deque_steal(as_worker_deque(as_sched_self), ref) ||
		as_ring_pop(global, ref) || take_stolen(ref);
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
		as_ring_count(as_home_queue(home)) > 0)
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
		as_ring_count(as_home_queue(home)) > 1;
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
as_sched_tell_launcher(void)
{
	uint32		launcher;

	if (sched == NULL)
		return;
	launcher = pg_atomic_read_u32(&sched->launcher);
	if (launcher > 0)
		wake_process(launcher - 1);
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
	as_slots_forget(number);

	pg_atomic_write_u64(&home->sleepers, 0);
	(void) pg_atomic_fetch_add_u64(&home->lost, 1);
	pg_atomic_write_u64(&home->next_due, 0);
	pg_atomic_write_u32(&home->sweeper, 0);
	pg_atomic_write_u32(&home->timekeeper, 0);
	home->sweep_begun = false;
	pg_atomic_write_u32(&home->leave, 0);

	/* nobody may put a block of another database in after this */
	LWLockAcquire(sched->ids_lock, LW_EXCLUSIVE);
	(void) pg_atomic_fetch_add_u32(&home->epoch, 1);
	pg_atomic_exchange_u64(&home->id_limit, 0);
	pg_atomic_exchange_u64(&home->next_id, 0);
	LWLockRelease(sched->ids_lock);
	pg_atomic_write_u32(&home->database, database);
}

void
as_home_take_back(uint32 number)
{
	AsHomeShared *home = as_home(number);

	pg_atomic_write_u32(&home->database, InvalidOid);
	pg_memory_barrier();
	as_slots_forget(number);
}

void
as_sched_note_database(Oid database)
{
	if (sched == NULL)
		return;
	for (int i = 0; i < AS_MAX_NOTES; i++)
	{
		uint32		empty = InvalidOid;

		if (pg_atomic_compare_exchange_u32(&sched->notes[i], &empty, database) ||
			empty == database)
		{
			as_sched_tell_launcher();
			return;
		}
	}
	pg_atomic_write_u32(&sched->note_all, 1);
	as_sched_tell_launcher();
}

bool
as_sched_read_notes(Oid *databases, int *n)
{
	*n = 0;
	for (int i = 0; i < AS_MAX_NOTES; i++)
	{
		Oid			database = pg_atomic_exchange_u32(&sched->notes[i], InvalidOid);

		if (OidIsValid(database))
			databases[(*n)++] = database;
	}
	return pg_atomic_exchange_u32(&sched->note_all, 0) != 0;
}

bool
as_sched_bar(Oid database)
{
	for (int i = 0; i < MAX_BARRED; i++)
	{
		uint32		empty = InvalidOid;

		if (!pg_atomic_compare_exchange_u32(&sched->barred[i], &empty, database))
			continue;
		pg_memory_barrier();
		for (int worker = 0; worker < sched->nworkers; worker++)
		{
			if (pg_atomic_read_u32(&as_worker(worker)->status) == AS_WORKER_READY)
				wake_process(as_worker(worker)->procno);
		}
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

		if (pg_atomic_compare_exchange_u32(&sched->barred[i], &barred, InvalidOid))
			break;
	}
	as_sched_tell_launcher();
}

bool
as_sched_is_barred(Oid database)
{
	for (int i = 0; i < MAX_BARRED; i++)
	{
		if (pg_atomic_read_u32(&sched->barred[i]) == database)
			return true;
	}
	return false;
}

int
as_sched_workers_in(Oid database)
{
	int			n = 0;

	for (int i = 0; i < sched->nworkers; i++)
	{
		AsWorkerShared *worker = as_worker(i);

		if (pg_atomic_read_u32(&worker->status) != AS_WORKER_NONE &&
			pg_atomic_read_u32(&as_home(pg_atomic_read_u32(&worker->home))->database) == database)
			n++;
	}
	return n;
}

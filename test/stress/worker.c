/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  What the background workers of stress.h do.
 *
 * Each step begins and ends between two interrupt checks: an item that has
 * left ring or deque is recorded, or in the next deque, before anything can
 * end the process.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "stress.h"

#include <sched.h>
#include <signal.h>

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/resowner.h"

PGDLLEXPORT void stress_worker_main(Datum arg);

static Stress stress;
static StressSeatShared *seat;
static int	seat_number;

static void
add(StressCount which)
{
	/* nobody else writes it */
	pg_atomic_write_u64(&seat->counts[which], pg_atomic_read_u64(&seat->counts[which]) + 1);
}

static uint32
random_below(uint32 limit)
{
	seat->random = seat->random * UINT64CONST(6364136223846793005) + UINT64CONST(1442695040888963407);
	return (uint32) (seat->random >> 33) % limit;
}

static void
record(uint64 item)
{
	uint64		bit = UINT64CONST(1) << (item % 64);

	if (item >= stress.shared->producers * stress.shared->quota)
		add(STRESS_STRANGERS);
	else if (pg_atomic_fetch_or_u64(&stress.seen[item / 64], bit) & bit)
		add(STRESS_DUPLICATES);
	else
		add(STRESS_RECORDED);
}

static bool
is_to_stop(StressStop where)
{
	return pg_atomic_read_u64(&seat->stop_at) == where;
}

static bool
pop(uint64 *item)
{
	bool		popped;
	uint64		producer;

	if (is_to_stop(STRESS_IN_POP))
		popped = stopped_pop(stress.ring, item, &seat->stop_at);
	else
		popped = as_ring_pop(stress.ring, item);
	if (!popped)
	{
		add(STRESS_EMPTY);
		return false;
	}
	add(STRESS_POPPED);
	producer = *item / stress.shared->quota;
	if (producer < STRESS_SEATS)
	{
		if (*item < seat->next_popped[producer])
			add(STRESS_OUT_OF_ORDER);
		seat->next_popped[producer] = *item + 1;
	}
	return true;
}

static bool
produce(void)
{
	uint64		n = pg_atomic_read_u64(&seat->counts[STRESS_PUSHED]);
	uint64		item = seat_number * stress.shared->quota + n;
	bool		pushed;

	if (is_to_stop(STRESS_IN_PUSH))
		pushed = stopped_push(stress.ring, item, &seat->stop_at);
	else
		pushed = as_ring_push(stress.ring, item);
	add(pushed ? STRESS_PUSHED : STRESS_FULL);
	return pushed;
}

static bool
consume(void)
{
	uint64		item;

	if (!pop(&item))
		return false;
	record(item);
	return true;
}

/* The deque of this owner: owners sit in the seats behind the producers. */
static AsDequeShared *
own_deque(void)
{
	return stress.deques[(seat_number - stress.shared->producers) % stress.shared->deques];
}

static void
keep(uint64 item)
{
	uint64		number = pg_atomic_read_u64(&seat->counts[STRESS_KEPT]);

	if (as_deque_push(own_deque(), number << 32 | item))
		add(STRESS_KEPT);
	else
	{
		add(STRESS_FULL);
		record(item);
	}
}

static bool
steal_from(int number)
{
	AsDequeShared *deque = stress.deques[number];
	uint64		entry;
	bool		stolen;

	if (is_to_stop(STRESS_IN_STEAL))
		stolen = stopped_steal(deque, &entry, &seat->stop_at);
	else
		stolen = as_deque_steal(deque, &entry);
	if (!stolen)
	{
		add(STRESS_EMPTY);
		return false;
	}
	add(STRESS_STOLEN);
	if (entry >> 32 < seat->next_stolen[number])
		add(STRESS_OUT_OF_ORDER);
	seat->next_stolen[number] = (entry >> 32) + 1;
	record(entry & 0xFFFFFFFF);
	return true;
}

static bool
take(void)
{
	uint64		entry;
	bool		taken;

	if (is_to_stop(STRESS_IN_TAKE))
		taken = stopped_take(own_deque(), &entry, &seat->stop_at);
	else
		taken = as_deque_take(own_deque(), &entry);
	if (!taken)
	{
		add(STRESS_EMPTY);
		return false;
	}
	add(STRESS_TAKEN);
	record(entry & 0xFFFFFFFF);
	return true;
}

/* Most of the time fetch more, so that there is something to be stolen. */
static bool
own(void)
{
	uint64		item;

	switch (random_below(8))
	{
		case 0:
			return steal_from((seat_number - stress.shared->producers) % stress.shared->deques);
		case 1:
		case 2:
			return take();
		default:
			if (!pop(&item))
				return take();
			keep(item);
			return true;
	}
}

static bool
thieve(void)
{
	return steal_from(random_below(stress.shared->deques));
}

static bool
may_leave(StressRole role)
{
	uint64		state = pg_atomic_read_u64(&stress.shared->state);

	if (role == STRESS_PRODUCER)
		return state != STRESS_RUNNING ||
			pg_atomic_read_u64(&seat->counts[STRESS_PUSHED]) == stress.shared->quota;
	return state == STRESS_DRAINING &&
		stress_sum(&stress, STRESS_RECORDED) >= stress_sum(&stress, STRESS_PUSHED);
}

static void
leave_seat(int code, Datum arg)
{
	pg_atomic_write_u64(&seat->pid, 0);
}

static void
sit_down(StressJob *job)
{
	stress_attach(&stress, job->handle);
	dsm_pin_mapping(stress.segment);
	seat_number = job->seat;
	seat = &stress.shared->seats[seat_number];
	seat->random += MyProcPid;
	pg_atomic_write_u64(&seat->pid, MyProcPid);
	before_shmem_exit(leave_seat, (Datum) 0);
	pg_atomic_fetch_add_u64(&seat->arrivals, 1);
}

void
stress_worker_main(Datum arg)
{
	StressJob	job;
	int			idle = 0;
	bool		(*const steps[]) (void) = {produce, consume, own, thieve};

	/* not bgworker_die(), which does not wait for an interrupt check */
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	/* in no database; only to be known to pg_terminate_backend() */
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	CurrentResourceOwner = ResourceOwnerCreate(NULL, "stress");
	memcpy(&job, MyBgworkerEntry->bgw_extra, sizeof(job));
	sit_down(&job);

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (is_to_stop(STRESS_ANYWHERE))
		{
			pg_atomic_write_u64(&seat->stop_at, STRESS_NOWHERE);
			raise(SIGSTOP);
		}
		/* whoever is a producer with nothing left to push must not push */
		if ((job.role == STRESS_PRODUCER || idle > 0) && may_leave(job.role))
			break;
		if (steps[job.role] ())
			idle = 0;
		else if (++idle < 20)
			sched_yield();
		else
			pg_usleep(100);
	}
	proc_exit(0);
}

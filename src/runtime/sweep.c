/*-------------------------------------------------------------------------
 *
 * sweep.c
 *	  See sweep.h.
 *
 * THE SWEEP goes through the keys of all mailboxes in the order of their
 * hashes and schedules each, as unknown, and then the slots that are idle.
 * Where all of an actor's messages are delayed, it only sees to it that they
 * are counted when the next one comes.  It stops where the queues are well
 * filled, or the table of slots is full, and goes on there later.  It begins
 * anew while hints have been dropped since it began (sched.h).  One worker at
 * a time sweeps.
 *
 * WHAT IS DUE is found in the index by time, from the time on that next_due
 * told: a delayed message takes its place in the lane of its priority, and
 * the actor of one that has failed gets another turn.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/sweep.h"

#include "access/xact.h"
#include "runtime/flow.h"
#include "runtime/lease.h"
#include "runtime/mailbox.h"
#include "runtime/outgoing.h"
#include "runtime/sched.h"
#include "runtime/timing.h"
#include "runtime/urgent.h"
#include "state/type.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define KEYS_AT_ONCE	4096
#define DUE_AT_ONCE		1000

/* what as_due() has taken out of next_due and not put back yet */
static uint64 due_from = AS_NEVER;
static bool sweeping = false;

static uint32
my_home(void)
{
	return pg_atomic_read_u32(&as_worker(as_sched_self)->home);
}

/* ---- The sweep ---- */

bool
as_sweep_is_wanted(void)
{
	uint32		home = my_home();

	return !as_sched_is_swept(home) &&
		pg_atomic_read_u32(&as_home(home)->sweeper) == 0;
}

/* Are the queues filled enough for now? */
static bool
enough_queued(AsHomeShared *home)
{
	return as_ring_count(as_home_queue(my_home())) >
		(uint64) actorstore_global_queue_capacity / 2 ||
		as_deque_count(as_worker_deque(as_sched_self)) >
		(uint64) actorstore_worker_queue_capacity / 2;
}

/* Does the message's type want the nearest deadline first? */
static bool
wants_deadline(const AsMessage *message)
{
	AsType	   *type = as_type_find(message->actor_type);

	return type != NULL && type->order_by_deadline;
}

/*
 * Schedule an actor by its first message; false if there is no room now.  Nothing is said to be
 * lost by that: the sweep has not passed it.
 */
static bool
schedule(uint32 home, const AsMessage *first)
{
	AsSlotRef	ref = as_slot_claim(home, first->key_hash, true);
	bool		gone;

	if (ref == AS_NO_SLOT)
		return false;
	as_slot_lower_all(ref);
	if (wants_deadline(first))
		as_urgent_note(ref, as_deadline_of(first->expires_at));
	if (as_slot_schedule(ref, &gone))
		as_sched_queue(home, ref);
	return !gone;
}

/*
 * Slots that are idle may be kept for mail that was handled by way of another
 * slot of the actor: a turn that finds nothing gives them up.
 */
static void
visit_idle(AsHomeShared *home)
{
	uint32		by_status[AS_AGAIN + 1];
	uint32		nslots = as_slots_count(by_status);
	bool		gone;

	for (uint32 n = 0; n < nslots && !enough_queued(home); n++)
	{
		AsSlotRef	ref = as_slot_idle(n, my_home());

		if (ref != AS_NO_SLOT && as_slot_schedule(ref, &gone))
			as_sched_queue(my_home(), ref);
	}
}

static bool
sweep_some(AsHomeShared *home)
{
	AsMailbox	mailbox;
	AsMessage	first;
	bool		end = false;
	int			n = 0;

	as_mailbox_open(&mailbox, AccessShareLock);
	PushActiveSnapshot(GetTransactionSnapshot());
	while (n < KEYS_AT_ONCE && !enough_queued(home))
	{
		end = !as_mailbox_next_key(&mailbox, home->sweep_hash, &first);
		if (end)
			break;
		if (first.lane >= AS_DELAYED_LANE)
			as_slot_doubt_depth(my_home(), first.key_hash);
		else if (!schedule(my_home(), &first))
			break;
		n++;
		end = (first.key_hash == (uint64) PG_INT64_MAX);
		if (end)
			break;
		home->sweep_hash = first.key_hash + 1;
	}
	as_mailbox_end_keys(&mailbox);
	PopActiveSnapshot();
	as_mailbox_close(&mailbox);
	if (end)
	{
		pg_atomic_write_u64(&home->swept, home->sweep_lost);
		(void) pg_atomic_fetch_add_u64(&home->nsweeps, 1);
		home->sweep_begun = false;
		visit_idle(home);
	}
	return n > 0;
}

bool
as_sweep(void)
{
	AsHomeShared *home = as_home(my_home());
	uint32		nobody = 0;
	bool		found;

	if (!pg_atomic_compare_exchange_u32(&home->sweeper, &nobody,
										as_sched_self + 1))
		return false;
	sweeping = true;
	if (!home->sweep_begun)
	{
		home->sweep_lost = pg_atomic_read_u64(&home->lost);
		home->sweep_hash = (uint64) PG_INT64_MIN;
		home->sweep_begun = true;
	}
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	found = sweep_some(home);
	CommitTransactionCommand();
	sweeping = false;
	pg_memory_barrier();
	pg_atomic_write_u32(&home->sweeper, 0);
	return found;
}

/* ---- What is due ---- */

bool
as_due_is_wanted(void)
{
	uint64		next = pg_atomic_read_u64(&as_home(my_home())->next_due);

	return next != AS_NEVER && (TimestampTz) next <= GetCurrentTimestamp();
}

long
as_due_sleep(long max)
{
	uint64		next = Min(pg_atomic_read_u64(&as_home(my_home())->next_due),
						   Min(as_timing_for_workers(my_home()), as_leases_next(my_home())));

	max = as_flow_sleep(my_home(), max);
	if (next == AS_NEVER)
		return max;
	return Min(max, TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
													(TimestampTz) next) + 1);
}

typedef struct Due
{
	AsMailbox  *mailbox;
	TimestampTz now;
	TimestampTz last;			/* of those that were served */
	uint64		next;			/* the first one that is not */
	int			n;
} Due;

/* A delayed message takes its place: behind those sent by now. */
static void
enter_lane(AsMailbox *mailbox, AsMessage *message)
{
	message->lane = message->priority;
	message->position = as_sched_ids(1);
	(void) as_mailbox_replace(mailbox, message);
}

/*
 * All of one moment are served together, however many: they keep their place in the
 * index till they are handled, and the next one to look begins at that moment.
 */
static bool
serve_due(AsMessage *message, void *arg)
{
	Due		   *due = arg;

	if (message->due > due->now ||
		(due->n >= DUE_AT_ONCE && message->due != due->last))
	{
		due->next = (uint64) message->due;
		return false;
	}
	if (message->lane >= AS_DELAYED_LANE)
		enter_lane(due->mailbox, message);
	as_outgoing_note(message->key_hash, message->lane, message->position, 0);
	if (wants_deadline(message))
		as_outgoing_note_deadline(message->key_hash, message->expires_at);
	due->last = message->due;
	due->n++;
	return true;
}

void
as_due(void)
{
	AsHomeShared *home = as_home(my_home());
	AsMailbox	mailbox;
	Due			due = {.mailbox = &mailbox, .next = AS_NEVER};

	due_from = pg_atomic_exchange_u64(&home->next_due, AS_NEVER);
	if (due_from == AS_NEVER)
		return;					/* somebody else has just taken it */
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	due.now = GetCurrentTimestamp();
	as_mailbox_open(&mailbox, RowExclusiveLock);
	PushActiveSnapshot(GetTransactionSnapshot());
	as_mailbox_scan_due(&mailbox, (TimestampTz) due_from == 0 ? DT_NOBEGIN :
						(TimestampTz) due_from, serve_due, &due);
	PopActiveSnapshot();
	as_mailbox_close(&mailbox);
	CommitTransactionCommand();
	due_from = AS_NEVER;
	if (due.next != AS_NEVER)
		as_sched_lower_due(my_home(), (TimestampTz) due.next);
}

void
as_sweep_exit(void)
{
	AsHomeShared *home = as_home(my_home());

	if (sweeping)
		pg_atomic_write_u32(&home->sweeper, 0);
	if (due_from != AS_NEVER)
		as_sched_lower_due(my_home(), (TimestampTz) due_from);
	sweeping = false;
	due_from = AS_NEVER;
}

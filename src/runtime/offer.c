/*-------------------------------------------------------------------------
 *
 * offer.c
 *	  See offer.h.
 *
 * One file of more than 500 lines: all that is done under the lock.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/offer.h"

#include "compat.h"
#include "lib/key_hash.h"
#include "lib/nap.h"
#include "miscadmin.h"
#include "runtime/sched.h"
#include "runtime/urgent.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

/* Types with offers, or with clients that wait, in all databases. */
#define MAX_QUEUES		1024

/* So many slots one with a nearer deadline may pass by. */
#define MAX_STEPS		1000

#define NONE			PG_UINT32_MAX

typedef struct QueueShared
{
	Oid			database;		/* InvalidOid: not in use */
	uint64		type;
	uint32		n;				/* slots in it */
	uint32		first;
	uint32		last;
	uint32		nwaiting;		/* clients that want them */
} QueueShared;

/* A client that waits; of each process one, by its pgprocno */
typedef struct WaiterShared
{
	bool		waiting;
	bool		woken;
	int			room;			/* what it was not woken for yet */
	uint32		before;			/* on the list */
	uint32		behind;
	int			nqueues;
	uint16		queues[AS_MAX_WISHES];
} WaiterShared;

typedef struct OffersShared
{
	LWLock	   *lock;			/* for all of it but the words */
	uint32		nqueues;		/* that are, or were, in use */
	uint32		first;			/* the one that has waited longest */
	uint32		last;
	QueueShared queues[MAX_QUEUES];
} OffersShared;

/* Where a slot stands, by its number */
typedef struct PlaceShared
{
	pg_atomic_uint64 word;		/* generation, lane + 1; 0: not offered */
	uint32		before;
	uint32		behind;
	uint16		queue;			/* + 1; 0: in none */
	uint64		deadline;		/* that it stands there with */
} PlaceShared;

#define WORD(ref, lane) \
	((uint64) as_ref_generation(ref) << 32 | (uint32) ((lane) + 1))

static OffersShared *offers = NULL;
static PlaceShared *places;
static WaiterShared *waiters;

/* What this process is after, from its first look to its last. */
static AsWishes mine;
static bool looking = false;
static int	turn_of_type = 0;	/* whose queue to look at first */

Size
as_offers_shmem_size(void)
{
	Size		size = MAXALIGN(sizeof(OffersShared));

	size = add_size(size, mul_size(as_slots_number(), sizeof(PlaceShared)));
	return add_size(size, mul_size(MaxBackends, sizeof(WaiterShared)));
}

void
as_offers_shmem_init(void)
{
	bool		found;

	offers = ShmemInitStruct("actorstore offers", as_offers_shmem_size(),
							 &found);
	places = (PlaceShared *) ((char *) offers + MAXALIGN(sizeof(OffersShared)));
	waiters = (WaiterShared *) (places + as_slots_number());
	if (found)
		return;
	memset(offers, 0, as_offers_shmem_size());
	offers->lock = &(GetNamedLWLockTranche("actorstore") + 4)->lock;
	offers->first = offers->last = NONE;
	for (uint32 i = 0; i < as_slots_number(); i++)
		pg_atomic_init_u64(&places[i].word, 0);
}

uint64
as_offer_type(const text *name)
{
	return as_key_hash(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), "", 0);
}

/* ---- Queues; the caller holds the lock ---- */

static int
find_queue(uint64 type)
{
	for (uint32 i = 0; i < offers->nqueues; i++)
	{
		if (offers->queues[i].type == type &&
			offers->queues[i].database == MyDatabaseId)
			return i;
	}
	return -1;
}

/* The queue of a type, made if need be; -1 if there is no room for it. */
static int
need_queue(uint64 type)
{
	int			number = find_queue(type);
	QueueShared *queue;

	for (uint32 i = 0; i < offers->nqueues && number < 0; i++)
	{
		queue = &offers->queues[i];
		if (queue->n == 0 && queue->nwaiting == 0)
			number = i;
	}
	if (number < 0 && offers->nqueues < MAX_QUEUES)
		number = offers->nqueues++;
	if (number < 0)
		return -1;
	queue = &offers->queues[number];
	if (queue->type != type || queue->database != MyDatabaseId)
	{
		memset(queue, 0, sizeof(QueueShared));
		queue->database = MyDatabaseId;
		queue->type = type;
		queue->first = queue->last = NONE;
	}
	return number;
}

/* The slot that one with a deadline comes behind. */
static uint32
find_place(QueueShared *queue, uint64 deadline)
{
	uint32		before = queue->last;

	for (int i = 0; i < MAX_STEPS && before != NONE; i++)
	{
		if (places[before].deadline <= deadline)
			break;
		before = places[before].before;
	}
	return before;
}

static void
insert_slot(int number, uint32 slot, uint64 deadline)
{
	QueueShared *queue = &offers->queues[number];
	PlaceShared *place = &places[slot];

	place->queue = number + 1;
	place->deadline = deadline;
	place->before = find_place(queue, deadline);
	place->behind = place->before == NONE ? queue->first :
		places[place->before].behind;
	if (place->before == NONE)
		queue->first = slot;
	else
		places[place->before].behind = slot;
	if (place->behind == NONE)
		queue->last = slot;
	else
		places[place->behind].before = slot;
	queue->n++;
}

static void
unlink_slot(uint32 slot)
{
	PlaceShared *place = &places[slot];
	QueueShared *queue = &offers->queues[place->queue - 1];

	if (place->before == NONE)
		queue->first = place->behind;
	else
		places[place->before].behind = place->behind;
	if (place->behind == NONE)
		queue->last = place->before;
	else
		places[place->behind].before = place->before;
	queue->n--;
	place->queue = 0;
}

/* ---- Those who wait; the caller holds the lock ---- */

static bool
wants(const WaiterShared *waiter, int queue)
{
	for (int i = 0; i < waiter->nqueues; i++)
	{
		if (waiter->queues[i] == queue)
			return true;
	}
	return false;
}

/* Have somebody look at what is in the queue; false if there is nobody. */
static bool
wake_for(int queue)
{
	if (offers->queues[queue].nwaiting == 0)
		return false;
	for (uint32 i = offers->first; i != NONE; i = waiters[i].behind)
	{
		WaiterShared *waiter = &waiters[i];

		if (waiter->room <= 0 || !wants(waiter, queue))
			continue;
		waiter->room--;
		if (!waiter->woken)
		{
			waiter->woken = true;
			SetLatch(&ProcGlobal->allProcs[i].procLatch);
		}
		return true;
	}
	return false;
}

static void
get_on_list(void)
{
	uint32		self = as_my_proc_number;
	WaiterShared *waiter = &waiters[self];

	waiter->waiting = true;
	waiter->woken = false;
	waiter->room = mine.room;
	waiter->nqueues = 0;
	for (int i = 0; i < mine.ntypes; i++)
	{
		int			queue = need_queue(mine.types[i]);

		if (queue < 0)
			continue;
		offers->queues[queue].nwaiting++;
		waiter->queues[waiter->nqueues++] = queue;
	}
	waiter->before = offers->last;
	waiter->behind = NONE;
	if (offers->last == NONE)
		offers->first = self;
	else
		waiters[offers->last].behind = self;
	offers->last = self;
}

static void
get_off_list(void)
{
	WaiterShared *waiter = &waiters[as_my_proc_number];

	if (!waiter->waiting)
		return;
	waiter->waiting = false;
	for (int i = 0; i < waiter->nqueues; i++)
		offers->queues[waiter->queues[i]].nwaiting--;
	if (waiter->before == NONE)
		offers->first = waiter->behind;
	else
		waiters[waiter->before].behind = waiter->behind;
	if (waiter->behind == NONE)
		offers->last = waiter->before;
	else
		waiters[waiter->behind].before = waiter->before;
}

static bool
is_anything_there(void)
{
	for (int i = 0; i < mine.ntypes; i++)
	{
		int			queue = find_queue(mine.types[i]);

		if (queue >= 0 && offers->queues[queue].n > 0)
			return true;
	}
	return false;
}

/* ---- Offers ---- */

/* The offer in the slot's place goes: it may be that of an actor that had the slot before. */
static void
note_gone(uint32 home, AsSlotRef ref)
{
	if (pg_atomic_read_u64(&places[as_ref_number(ref)].word) >> 32 !=
		as_ref_generation(ref))
		pg_atomic_write_u32(&as_home(home)->offers_gone, 1);
}

/* Has one gone since a client has looked? */
static bool
are_any_gone(void)
{
	int			home = as_sched_home();

	return home >= 0 && pg_atomic_read_u32(&as_home(home)->offers_gone) != 0;
}

bool
as_offer_put(uint32 home, uint64 type, AsSlotRef ref, int lane)
{
	uint32		slot = as_ref_number(ref);
	PlaceShared *place = &places[slot];
	uint64		deadline = as_urgent_deadline(ref);
	int			queue;

	LWLockAcquire(offers->lock, LW_EXCLUSIVE);
	queue = need_queue(type);
	if (place->queue > 0 && (queue < 0 || place->queue != queue + 1 ||
							 place->deadline > deadline ||
							 pg_atomic_read_u64(&place->word) >> 32 !=
							 as_ref_generation(ref)))
	{
		note_gone(home, ref);
		unlink_slot(slot);
	}
	pg_atomic_write_u64(&place->word, queue < 0 ? 0 : WORD(ref, lane));
	if (queue >= 0 && place->queue == 0)
	{
		insert_slot(queue, slot, deadline);
		(void) wake_for(queue);
	}
	LWLockRelease(offers->lock);
	return queue >= 0;
}

bool
as_offer_withdraw(AsSlotRef ref)
{
	uint32		slot = as_ref_number(ref);

	/* only who runs the slot offers it, so it is not about to be */
	if (pg_atomic_read_u64(&places[slot].word) == 0)
		return false;
	LWLockAcquire(offers->lock, LW_EXCLUSIVE);
	if (places[slot].queue > 0)
	{
		if (as_sched_home() >= 0)
			note_gone(as_sched_home(), ref);
		unlink_slot(slot);
	}
	pg_atomic_exchange_u64(&places[slot].word, 0);
	LWLockRelease(offers->lock);
	return true;
}

bool
as_offer_covers(AsSlotRef ref, int lane)
{
	uint64		word;

	if (lane <= 0)
		return false;
	pg_memory_barrier();
	word = pg_atomic_read_u64(&places[as_ref_number(ref)].word);
	return word != 0 && word >> 32 == as_ref_generation(ref) &&
		lane >= (int) (uint32) word - 1;
}

/* The first slot of a queue is ours. */
static AsSlotRef
take_first(QueueShared *queue)
{
	uint32		slot = queue->first;
	uint64		word;

	unlink_slot(slot);
	word = pg_atomic_exchange_u64(&places[slot].word, 0);
	return as_slot_ref(slot, (uint32) (word >> 32));
}

static AsSlotRef
take_any(void)
{
	for (int i = 0; i < mine.ntypes; i++)
	{
		int			at = (turn_of_type + i) % mine.ntypes;
		int			queue = find_queue(mine.types[at]);

		if (queue >= 0 && offers->queues[queue].n > 0)
		{
			turn_of_type = at + 1;
			return take_first(&offers->queues[queue]);
		}
	}
	return AS_NO_SLOT;
}

static void
leave_at_exit(int code, Datum arg)
{
	as_offer_leave();
}

bool
as_offer_look(const AsWishes *wishes)
{
	static bool registered = false;
	bool		found;
	bool		gone;

	if (!registered)
		before_shmem_exit(leave_at_exit, (Datum) 0);
	registered = true;
	if (!looking)
		mine = *wishes;
	looking = true;
	LWLockAcquire(offers->lock, LW_EXCLUSIVE);
	get_off_list();
	found = is_anything_there();
	gone = are_any_gone();
	if (gone)
		pg_atomic_write_u32(&as_home(as_sched_home())->offers_gone, 0);
	LWLockRelease(offers->lock);
	if (gone)
		as_sched_lose(as_sched_home());
	return found;
}

AsSlotRef
as_offer_take(void)
{
	AsSlotRef	ref;

	Assert(looking);
	LWLockAcquire(offers->lock, LW_EXCLUSIVE);
	ref = take_any();
	LWLockRelease(offers->lock);
	return ref;
}

void
as_offer_wait(TimestampTz deadline)
{
	bool		waits;

	Assert(looking);
	LWLockAcquire(offers->lock, LW_EXCLUSIVE);
	get_off_list();
	waits = !is_anything_there() && !are_any_gone();
	if (waits)
		get_on_list();
	LWLockRelease(offers->lock);
	if (!waits)
		return;
	(void) as_nap(Min(AS_LONGEST_NAP_MS,
					  TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline)),
				  AS_NAP_CHECKOUT);
}

void
as_offer_leave(void)
{
	if (!looking)
		return;
	looking = false;
	LWLockAcquire(offers->lock, LW_EXCLUSIVE);
	get_off_list();
	for (int i = 0; i < mine.ntypes; i++)
	{
		int			queue = find_queue(mine.types[i]);

		for (uint32 n = queue < 0 ? 0 : offers->queues[queue].n;
			 n > 0 && wake_for(queue); n--)
			;
	}
	LWLockRelease(offers->lock);
}

void
as_offers_forget(Oid database)
{
	LWLockAcquire(offers->lock, LW_EXCLUSIVE);
	for (uint32 i = 0; i < offers->nqueues; i++)
	{
		QueueShared *queue = &offers->queues[i];

		while (queue->database == database && queue->n > 0)
			(void) take_first(queue);
	}
	LWLockRelease(offers->lock);
}

int
as_offers_count(void)
{
	int			n = 0;

	LWLockAcquire(offers->lock, LW_SHARED);
	for (uint32 i = 0; i < offers->nqueues; i++)
	{
		if (offers->queues[i].database == MyDatabaseId)
			n += offers->queues[i].n;
	}
	LWLockRelease(offers->lock);
	return n;
}

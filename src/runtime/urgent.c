/*-------------------------------------------------------------------------
 *
 * urgent.c
 *	  See urgent.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/urgent.h"

#include "port/atomics.h"
#include "runtime/sched.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

typedef struct EntryShared
{
	uint64		deadline;
	AsSlotRef	ref;
} EntryShared;

typedef struct UrgentShared
{
	LWLock	   *lock;			/* for heaps and places */
	uint32		capacity;		/* of a heap; immutable */
	pg_atomic_uint32 n[AS_MAX_WORKERS]; /* by home; read without lock */
} UrgentShared;

static UrgentShared *urgent = NULL;
static pg_atomic_uint64 *deadlines; /* by slot */
static uint32 *places;			/* by slot: where in the heap + 1, or 0 */
static EntryShared *heaps;		/* of the homes, one after another */

static Size
size_of_deadlines(void)
{
	return MAXALIGN(mul_size(as_slots_number(), sizeof(pg_atomic_uint64)));
}

static Size
size_of_places(void)
{
	return MAXALIGN(mul_size(as_slots_number(), sizeof(uint32)));
}

Size
as_urgent_shmem_size(void)
{
	Size		size = add_size(MAXALIGN(sizeof(UrgentShared)),
								add_size(size_of_deadlines(), size_of_places()));

	return add_size(size, mul_size(mul_size(as_sched_workers_wanted(),
											actorstore_global_queue_capacity),
								   sizeof(EntryShared)));
}

void
as_urgent_shmem_init(void)
{
	bool		found;
	char	   *memory = ShmemInitStruct("actorstore urgent slots",
										 as_urgent_shmem_size(), &found);

	urgent = (UrgentShared *) memory;
	memory += MAXALIGN(sizeof(UrgentShared));
	deadlines = (pg_atomic_uint64 *) memory;
	memory += size_of_deadlines();
	places = (uint32 *) memory;
	heaps = (EntryShared *) (memory + size_of_places());
	if (found)
		return;
	urgent->lock = &(GetNamedLWLockTranche("actorstore") + 3)->lock;
	urgent->capacity = actorstore_global_queue_capacity;
	for (int i = 0; i < AS_MAX_WORKERS; i++)
		pg_atomic_init_u32(&urgent->n[i], 0);
	for (uint32 i = 0; i < as_slots_number(); i++)
		pg_atomic_init_u64(&deadlines[i], AS_NO_DEADLINE);
	memset(places, 0, size_of_places());
}

/* ---- Deadlines ---- */

void
as_urgent_note(AsSlotRef ref, uint64 deadline)
{
	pg_atomic_uint64 *word = &deadlines[as_ref_number(ref)];
	uint64		old = pg_atomic_read_u64(word);

	while (deadline < old &&
		   !pg_atomic_compare_exchange_u64(word, &old, deadline))
		;
}

uint64
as_urgent_take(AsSlotRef ref)
{
	pg_atomic_uint64 *word = &deadlines[as_ref_number(ref)];

	if (pg_atomic_read_u64(word) == AS_NO_DEADLINE)
		return AS_NO_DEADLINE;
	return pg_atomic_exchange_u64(word, AS_NO_DEADLINE);
}

uint64
as_urgent_deadline(AsSlotRef ref)
{
	return pg_atomic_read_u64(&deadlines[as_ref_number(ref)]);
}

/* ---- The heap; the caller holds the lock ---- */

static void
place(EntryShared *heap, uint32 at, EntryShared entry)
{
	heap[at] = entry;
	places[as_ref_number(entry.ref)] = at + 1;
}

static void
move_up(EntryShared *heap, uint32 at)
{
	EntryShared entry = heap[at];

	while (at > 0 && heap[(at - 1) / 2].deadline > entry.deadline)
	{
		place(heap, at, heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	place(heap, at, entry);
}

static void
move_down(EntryShared *heap, uint32 n, uint32 at)
{
	EntryShared entry = heap[at];

	for (;;)
	{
		uint32		child = 2 * at + 1;

		if (child >= n)
			break;
		if (child + 1 < n && heap[child + 1].deadline < heap[child].deadline)
			child++;
		if (heap[child].deadline >= entry.deadline)
			break;
		place(heap, at, heap[child]);
		at = child;
	}
	place(heap, at, entry);
}

/* ---- For others ---- */

bool
as_urgent_push(uint32 home, AsSlotRef ref)
{
	EntryShared *heap = heaps + (Size) home * urgent->capacity;
	EntryShared entry = {pg_atomic_read_u64(&deadlines[as_ref_number(ref)]), ref};
	uint32		n;
	bool		fits;

	if (entry.deadline == AS_NO_DEADLINE)
		return false;
	LWLockAcquire(urgent->lock, LW_EXCLUSIVE);
	n = pg_atomic_read_u32(&urgent->n[home]);
	fits = n < urgent->capacity;
	if (fits)
	{
		heap[n] = entry;
		move_up(heap, n);
		pg_atomic_write_u32(&urgent->n[home], n + 1);
	}
	LWLockRelease(urgent->lock);
	return fits;
}

void
as_urgent_raise(uint32 home, AsSlotRef ref)
{
	EntryShared *heap = heaps + (Size) home * urgent->capacity;
	uint64		deadline = pg_atomic_read_u64(&deadlines[as_ref_number(ref)]);
	uint32		at;

	if (deadline == AS_NO_DEADLINE)
		return;
	LWLockAcquire(urgent->lock, LW_EXCLUSIVE);
	at = places[as_ref_number(ref)];
	if (at > 0 && at <= pg_atomic_read_u32(&urgent->n[home]) &&
		heap[at - 1].ref == ref && heap[at - 1].deadline > deadline)
	{
		heap[at - 1].deadline = deadline;
		move_up(heap, at - 1);
	}
	LWLockRelease(urgent->lock);
}

bool
as_urgent_pop(uint32 home, AsSlotRef *ref)
{
	EntryShared *heap = heaps + (Size) home * urgent->capacity;
	uint32		n;

	if (as_urgent_count(home) == 0)
		return false;
	LWLockAcquire(urgent->lock, LW_EXCLUSIVE);
	n = pg_atomic_read_u32(&urgent->n[home]);
	if (n > 0)
	{
		*ref = heap[0].ref;
		places[as_ref_number(*ref)] = 0;
		heap[0] = heap[n - 1];
		if (--n > 0)
			move_down(heap, n, 0);
		pg_atomic_write_u32(&urgent->n[home], n);
		LWLockRelease(urgent->lock);
		return true;
	}
	LWLockRelease(urgent->lock);
	return false;
}

uint32
as_urgent_count(uint32 home)
{
	return pg_atomic_read_u32(&urgent->n[home]);
}

void
as_urgent_forget(uint32 home)
{
	LWLockAcquire(urgent->lock, LW_EXCLUSIVE);
	pg_atomic_write_u32(&urgent->n[home], 0);
	LWLockRelease(urgent->lock);
}

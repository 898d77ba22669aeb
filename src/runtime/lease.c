/*-------------------------------------------------------------------------
 *
 * lease.c
 *	  See lease.h.
 *
 * One file of more than 500 lines: all that is done under the lock.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/lease.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "runtime/flow.h"
#include "runtime/offer.h"
#include "runtime/request.h"
#include "runtime/sched.h"
#include "runtime/urgent.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

typedef struct HomeLeasesShared
{
	pg_atomic_uint32 n;
	pg_atomic_uint32 known;
	pg_atomic_uint32 doubted;	/* to be compared with the rows */
	pg_atomic_uint64 next;		/* see as_leases_next() */
} HomeLeasesShared;

typedef struct LeasesShared
{
	LWLock	   *lock;			/* for the table, and who runs its slots */
	HomeLeasesShared homes[AS_MAX_WORKERS];
} LeasesShared;

static LeasesShared *leases = NULL;
static HTAB *table = NULL;

Size
as_leases_shmem_size(void)
{
	return add_size(MAXALIGN(sizeof(LeasesShared)),
					hash_estimate_size(actorstore_max_open_turns,
									   sizeof(AsLeaseShared)));
}

void
as_leases_shmem_init(void)
{
	HASHCTL		control = {
		.keysize = sizeof(AsLeaseKey),
		.entrysize = sizeof(AsLeaseShared)
	};
	bool		found;

	leases = ShmemInitStruct("actorstore leases", sizeof(LeasesShared), &found);
	table = ShmemInitHash("actorstore open turns", actorstore_max_open_turns,
						  actorstore_max_open_turns, &control,
						  HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
	if (found)
		return;
	leases->lock = &(GetNamedLWLockTranche("actorstore") + 5)->lock;
	for (int i = 0; i < AS_MAX_WORKERS; i++)
	{
		pg_atomic_init_u32(&leases->homes[i].n, 0);
		pg_atomic_init_u32(&leases->homes[i].known, 0);
		pg_atomic_init_u32(&leases->homes[i].doubted, 0);
		pg_atomic_init_u64(&leases->homes[i].next, AS_NEVER);
	}
}

bool
as_leases_known(uint32 home)
{
	return pg_atomic_read_u32(&leases->homes[home].known) != 0;
}

void
as_leases_set_known(uint32 home)
{
	pg_atomic_exchange_u32(&leases->homes[home].known, 1);
}

uint32
as_leases_count(uint32 home)
{
	return pg_atomic_read_u32(&leases->homes[home].n);
}

uint64
as_leases_next(uint32 home)
{
	return pg_atomic_read_u64(&leases->homes[home].next);
}

void
as_leases_lower_next(uint32 home, uint64 when)
{
	pg_atomic_uint64 *next = &leases->homes[home].next;
	uint64		old = pg_atomic_read_u64(next);

	while (when < old)
	{
		if (!pg_atomic_compare_exchange_u64(next, &old, when))
			continue;
		as_sched_wake_timekeeper(home);
		return;
	}
}

void
as_leases_doubt(uint32 home)
{
	pg_atomic_exchange_u32(&leases->homes[home].doubted, 1);
	as_leases_lower_next(home, 0);
}

/* ---- The table; the caller holds the lock ---- */

static AsLeaseShared *
find(uint64 key_hash)
{
	AsLeaseKey	key = {key_hash, MyDatabaseId};

	return hash_search(table, &key, HASH_FIND, NULL);
}

static AsLeaseShared *
find_turn(uint64 key_hash, int64 turn_id)
{
	AsLeaseShared *lease = find(key_hash);

	return lease != NULL && lease->turn_id == turn_id ? lease : NULL;
}

/* NULL if there is no room, or one already. */
static AsLeaseShared *
enter(uint32 home, uint64 key_hash, int64 turn_id, bool *found)
{
	AsLeaseKey	key = {key_hash, MyDatabaseId};
	AsLeaseShared *lease = hash_search(table, &key, HASH_ENTER_NULL, found);

	if (lease == NULL || *found)
		return NULL;
	memset((char *) lease + sizeof(AsLeaseKey), 0,
		   sizeof(AsLeaseShared) - sizeof(AsLeaseKey));
	lease->turn_id = turn_id;
	lease->status = AS_LEASE_OPEN;
	lease->ref = AS_NO_SLOT;
	(void) pg_atomic_fetch_add_u32(&leases->homes[home].n, 1);
	return lease;
}

static void
leave(uint32 home, AsLeaseShared *lease)
{
	(void) hash_search(table, &lease->key, HASH_REMOVE, NULL);
	(void) pg_atomic_fetch_sub_u32(&leases->homes[home].n, 1);
}

bool
as_lease_is_open(uint32 home, uint64 key_hash)
{
	AsLeaseShared *lease;

	if (as_leases_count(home) == 0)
		return false;
	LWLockAcquire(leases->lock, LW_SHARED);
	lease = find(key_hash);
	LWLockRelease(leases->lock);
	if (lease == NULL)
		return false;
	LWLockAcquire(leases->lock, LW_EXCLUSIVE);
	lease = find(key_hash);
	if (lease != NULL)
		lease->others = true;
	LWLockRelease(leases->lock);
	return lease != NULL;
}

bool
as_lease_get(uint64 key_hash, int64 turn_id, AsLeaseShared *copy)
{
	AsLeaseShared *lease;

	LWLockAcquire(leases->lock, LW_SHARED);
	lease = find_turn(key_hash, turn_id);
	if (lease != NULL)
		*copy = *lease;
	LWLockRelease(leases->lock);
	return lease != NULL;
}

/* ---- Those who check out ---- */

/* Nobody has taken it: what it holds is somebody else's. */
static void
give_slot_back(uint32 home, AsSlotRef ref, const AsPositions *positions,
			   bool more, bool empty)
{
	as_slot_put_back(ref, positions);
	if (as_slot_done(ref, more, empty))
		as_sched_queue(home, ref);
}

AsTaking
as_lease_take(uint32 home, AsSlotRef ref, int64 turn_id, uint64 *key_hash,
			  AsPositions *taken)
{
	AsTaking	result = AS_TAKEN_NOT;
	AsLeaseShared *lease;
	bool		found = false;

	LWLockAcquire(leases->lock, LW_EXCLUSIVE);
	if (as_sched_home() == (int) home && as_slot_take(ref, taken))
	{
		*key_hash = pg_atomic_read_u64(&as_slot(ref)->key_hash);
		lease = enter(home, *key_hash, turn_id, &found);
		if (lease != NULL)
		{
			lease->status = AS_LEASE_TAKING;
			lease->ref = ref;
			lease->taken = lease->left = *taken;
			lease->more = true;
			lease->deadline = as_urgent_take(ref);
			lease->left_deadline = AS_NO_DEADLINE;
			result = AS_TAKEN;
		}
		else if (found)
		{
			/* its other slot was checked out: who ends that looks around */
			find(*key_hash)->others = true;
			give_slot_back(home, ref, taken, false, false);
		}
		else
		{
			give_slot_back(home, ref, taken, true, false);
			result = AS_TAKEN_FULL;
		}
	}
	LWLockRelease(leases->lock);
	return result;
}

bool
as_lease_lock(uint64 key_hash, int64 turn_id)
{
	LWLockAcquire(leases->lock, LW_EXCLUSIVE);
	if (find_turn(key_hash, turn_id) != NULL)
		return true;
	LWLockRelease(leases->lock);
	return false;
}

void
as_lease_unlock(void)
{
	LWLockRelease(leases->lock);
}

void
as_lease_fill(uint64 key_hash, int64 turn_id, const AsLeaseContent *content)
{
	AsLeaseShared *lease;

	LWLockAcquire(leases->lock, LW_EXCLUSIVE);
	lease = find_turn(key_hash, turn_id);
	if (lease != NULL)
	{
		lease->left = *content->left;
		lease->more = content->more;
		lease->empty = content->empty;
		lease->nrequests = content->nrequests;
		lease->flow = content->flow;
		lease->left_deadline = content->left_deadline;
	}
	LWLockRelease(leases->lock);
}

void
as_lease_note_runner(uint64 key_hash, int64 turn_id, int procno)
{
	AsLeaseShared *lease;

	LWLockAcquire(leases->lock, LW_EXCLUSIVE);
	lease = find_turn(key_hash, turn_id);
	if (lease != NULL && lease->ref != AS_NO_SLOT)
		as_requests_note_runner(lease->ref, lease->nrequests, procno);
	LWLockRelease(leases->lock);
}

void
as_lease_set(uint64 key_hash, int64 turn_id, TimestampTz until)
{
	int			home = as_sched_home();
	AsLeaseShared *lease;
	bool		found;

	LWLockAcquire(leases->lock, LW_EXCLUSIVE);
	lease = find_turn(key_hash, turn_id);

	/* the home was another database's for a moment */
	if (lease == NULL && home >= 0)
		lease = enter(home, key_hash, turn_id, &found);
	if (lease != NULL)
	{
		lease->until = until;
		if (lease->status == AS_LEASE_TAKING)
			lease->status = AS_LEASE_OPEN;
	}
	LWLockRelease(leases->lock);
	if (home >= 0)
		as_leases_lower_next(home, (uint64) until);
}

int
as_lease_conflicts(uint64 key_hash, int64 turn_id)
{
	AsLeaseShared lease;

	/* nobody else runs the slot of an open turn */
	if (!as_lease_get(key_hash, turn_id, &lease) || lease.ref == AS_NO_SLOT)
		return 0;
	return as_slot(lease.ref)->conflicts;
}

void
as_lease_void(uint64 key_hash, int64 turn_id)
{
	int			home = as_sched_home();
	AsLeaseShared *lease;

	LWLockAcquire(leases->lock, LW_EXCLUSIVE);
	lease = find_turn(key_hash, turn_id);
	if (lease != NULL && lease->status == AS_LEASE_OPEN)
		lease->status = AS_LEASE_VOID;
	LWLockRelease(leases->lock);
	if (home >= 0)
		as_leases_lower_next(home, 0);
}

/* ---- The end ---- */

/* The lane of the first message that is known to wait, or -1. */
static int
first_lane(AsSlotRef ref)
{
	uint32		lanes = pg_atomic_read_u32(&as_slot(ref)->lanes);

	return lanes == 0 ? -1 : pg_rightmost_one_pos32(lanes);
}

/*
 * All of the type's mail is handled outside: so no worker needs to look what is
 * next, unless it may be the system's.
 */
static bool
offer_again(uint32 home, AsSlotRef ref, uint64 type, bool *more)
{
	if (!*more && !as_slot_is_called(ref))
		return false;

	/* as_slot_rest() forgets that somebody has called */
	*more = true;
	for (;;)
	{
		int			lane = first_lane(ref);

		if (lane <= AS_SYSTEM_PRIORITY || !as_offer_put(home, type, ref, lane))
			return false;
		if (as_slot_rest(ref))
			return true;
	}
}

bool
as_lease_offer(uint32 home, AsSlotRef ref, uint64 type)
{
	bool		seized = false;

	if (!as_slot_is_resting(ref))
		return false;
	LWLockAcquire(leases->lock, LW_EXCLUSIVE);
	if (as_sched_home() == (int) home && as_leases_known(home) &&
		find(pg_atomic_read_u64(&as_slot(ref)->key_hash)) == NULL &&
		as_slot_seize(ref))
	{
		int			lane = first_lane(ref);

		seized = true;
		if (lane <= AS_SYSTEM_PRIORITY || as_slot_has_requests(ref) ||
			!as_offer_put(home, type, ref, lane) || !as_slot_rest(ref))
		{
			if (as_slot_done(ref, true, false))
				as_sched_queue(home, ref);
		}
	}
	LWLockRelease(leases->lock);
	return seized;
}

/*
 * Whoever changes handlers has all mailboxes looked through when he has
 * committed: if that is over, what we know of them may be old.
 */
static uint64
lost_hints(uint32 home)
{
	return pg_atomic_read_u64(&as_home(home)->lost);
}

/* What was in the slot has been handled, or not. */
static void
settle_slot(AsLeaseShared *lease, AsLeaseEnd *end)
{
	AsSlotShared *slot = as_slot(lease->ref);
	int			nhandled = end->nmail + end->nrequests;

	if (!end->handled)
	{
		slot->careful = Max(slot->careful, end->careful);
		if (end->conflict && slot->conflicts < PG_UINT8_MAX)
			slot->conflicts++;
		lease->left = lease->taken;
		lease->left_deadline = lease->deadline;
		lease->more = true;
		lease->empty = false;
	}
	else
	{
		if (lease->nrequests > 0)
			as_requests_answer(lease->ref, end->answers, lease->nrequests);
		as_slot_add_depth(lease->ref, -end->nmail);
		slot->careful -= Min(slot->careful, (uint32) nhandled);
		if (nhandled > 0)
			slot->conflicts = slot->deaths = 0;
	}
	as_slot_put_back(lease->ref, &lease->left);
	if (lease->left_deadline != AS_NO_DEADLINE)
		as_urgent_note(lease->ref, lease->left_deadline);
}

static void
release_slot(uint32 home, AsLeaseShared *lease, AsLeaseEnd *end)
{
	settle_slot(lease, end);
	if (end->outside != 0 && end->lost == lost_hints(home) &&
		offer_again(home, lease->ref, end->outside, &lease->more))
		return;
	if (!as_slot_done(lease->ref, lease->more, lease->empty) ||
		(end->park != NULL && as_flow_park(home, end->park, lease->ref)))
		return;
	as_sched_queue(home, lease->ref);
}

static void
discard_answers(AsLeaseEnd *end)
{
	for (int i = 0; end->answers != NULL && i < end->nrequests; i++)
		as_answer_discard(&end->answers[i]);
}

void
as_lease_end(AsLeaseEnd *end)
{
	int			home = as_sched_home();
	AsLeaseShared *lease;
	bool		has_slot = false;
	bool		others = false;
	uint64		flow = 0;

	LWLockAcquire(leases->lock, LW_EXCLUSIVE);
	lease = find_turn(end->key_hash, end->turn_id);
	if (lease != NULL && home >= 0)
	{
		has_slot = (lease->ref != AS_NO_SLOT);
		others = lease->others;
		flow = lease->flow;
		if (has_slot)
			release_slot(home, lease, end);
		leave(home, lease);
	}
	LWLockRelease(leases->lock);
	if (end->answers != NULL && (!has_slot || !end->handled))
		discard_answers(end);
	if (home < 0)
		return;
	if (flow != 0)
		as_flow_leave_outside(home, flow);

	/* a worker may be reading the rows at this moment */
	if (lease == NULL && !as_leases_known(home))
		as_leases_doubt(home);
	if (!has_slot)
		(void) as_sched_hint(home, AS_NO_SLOT, end->key_hash, -1, 0,
							 PG_UINT64_MAX, 0);
	if (others)
		as_sched_lose(home);
}

/* ---- Workers ---- */

bool
as_lease_remember(uint32 home, uint64 key_hash, int64 turn_id,
				  TimestampTz until, uint64 flow)
{
	AsLeaseShared *lease;
	bool		found = false;

	LWLockAcquire(leases->lock, LW_EXCLUSIVE);
	lease = enter(home, key_hash, turn_id, &found);
	if (lease != NULL)
	{
		lease->until = until;
		lease->flow = flow;
	}
	LWLockRelease(leases->lock);
	as_leases_lower_next(home, (uint64) until);
	return lease != NULL || found;
}

int
as_leases_due(uint32 home, TimestampTz now, AsLeaseDue *due, int max)
{
	HomeLeasesShared *here = &leases->homes[home];
	bool		all = pg_atomic_exchange_u32(&here->doubted, 0) != 0;
	uint64		next = AS_NEVER;
	HASH_SEQ_STATUS scan;
	AsLeaseShared *lease;
	int			n = 0;

	(void) pg_atomic_exchange_u64(&here->next, AS_NEVER);
	LWLockAcquire(leases->lock, LW_SHARED);
	hash_seq_init(&scan, table);
	while ((lease = hash_seq_search(&scan)) != NULL)
	{
		if (lease->key.database != MyDatabaseId ||
			lease->status == AS_LEASE_TAKING)
			continue;
		if (!all && lease->status != AS_LEASE_VOID && lease->until > now)
			next = Min(next, (uint64) lease->until);
		else if (n == max)
			next = 0;
		else
		{
			due[n].key_hash = lease->key.key_hash;
			due[n].turn_id = lease->turn_id;
			due[n++].is_void = (lease->status == AS_LEASE_VOID);
		}
	}
	LWLockRelease(leases->lock);
	if (all && next == 0)
		pg_atomic_exchange_u32(&here->doubted, 1);
	if (next != AS_NEVER)
		as_leases_lower_next(home, next);
	return n;
}

/* The askers of what clients were at cannot know what comes of it. */
static void
fail_requests(AsLeaseShared *lease)
{
	if (lease->ref != AS_NO_SLOT && lease->nrequests > 0)
		as_requests_fail(as_slot(lease->ref), lease->nrequests);
}

void
as_leases_forget(uint32 home, Oid database)
{
	HASH_SEQ_STATUS scan;
	AsLeaseShared *lease;

	LWLockAcquire(leases->lock, LW_EXCLUSIVE);
	hash_seq_init(&scan, table);
	while ((lease = hash_seq_search(&scan)) != NULL)
	{
		if (!OidIsValid(database) || lease->key.database != database)
			continue;
		fail_requests(lease);
		(void) hash_search(table, &lease->key, HASH_REMOVE, NULL);
	}
	LWLockRelease(leases->lock);
	pg_atomic_exchange_u32(&leases->homes[home].n, 0);
	pg_atomic_exchange_u32(&leases->homes[home].known, 0);
	pg_atomic_exchange_u32(&leases->homes[home].doubted, 0);
	pg_atomic_exchange_u64(&leases->homes[home].next, AS_NEVER);
}

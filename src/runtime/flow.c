/*-------------------------------------------------------------------------
 *
 * flow.c
 *	  See flow.h.
 *
 * One file of more than 500 lines: all that its lock protects stands together.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/flow.h"

#include "access/xact.h"
#include "lib/key_hash.h"
#include "lib/steady_clock.h"
#include "miscadmin.h"
#include "runtime/sched.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/resowner.h"

/* Types with limits that are in use at once, in all databases. */
#define MAX_FLOWS			1024

/* Places that a transaction may hold: one for each type. */
#define MAX_HELD			256

/* Slots put back at a time */
#define SLOTS_AT_ONCE		256

/* The bucket holds what comes in so much time, and at least one token. */
#define BURST_S				0.1

/* Who waits for tokens waits till there are as many as come in so much time. */
#define ROUND_S				0.01

/* Slots that were admitted should be at work by then. */
#define ADMITTED_US			20000

#define NO_SLOT				PG_UINT32_MAX

typedef struct FlowShared
{
	Oid			database;		/* InvalidOid: not in use */
	uint64		type;			/* hash of its name */

	/* the limits, as the last one knew them; 0: none */
	double		rate;
	int			max;

	double		tokens;
	int64		filled_at;
	int			running;		/* places that are taken */

	/* slots that are parked, by number */
	uint32		nparked;
	uint32		first;
	uint32		last;
	uint64		next;			/* AS_NEVER: when somebody gives a place back */
} FlowShared;

typedef struct FlowsShared
{
	LWLock	   *lock;			/* for all of it */
	uint32		n;				/* flows that are, or were, in use */
	FlowShared	flows[MAX_FLOWS];
	pg_atomic_uint64 next[AS_MAX_WORKERS];	/* by home; read without lock */
} FlowsShared;

static FlowsShared *shared = NULL;
static uint32 *behind;			/* by slot: the next one that is parked */
static bool *admitted;			/* by slot */

/* What this process holds a place of. */
static FlowShared *held[MAX_HELD];
static int	nheld = 0;

static bool has_changed = false;
static bool has_committed = false;

Size
as_flow_shmem_size(void)
{
	return add_size(MAXALIGN(sizeof(FlowsShared)),
					mul_size(as_slots_number(), sizeof(uint32) + sizeof(bool)));
}

void
as_flow_shmem_init(void)
{
	bool		found;

	shared = ShmemInitStruct("actorstore flows", as_flow_shmem_size(), &found);
	behind = (uint32 *) ((char *) shared + MAXALIGN(sizeof(FlowsShared)));
	admitted = (bool *) (behind + as_slots_number());
	if (found)
		return;
	memset(shared, 0, as_flow_shmem_size());
	shared->lock = &(GetNamedLWLockTranche("actorstore") + 2)->lock;
	for (int i = 0; i < AS_MAX_WORKERS; i++)
		pg_atomic_init_u64(&shared->next[i], AS_NEVER);
}

/* ---- Flows; the caller holds the lock ---- */

static double
bucket_size(const FlowShared *flow)
{
	return Max(1.0, flow->rate * BURST_S);
}

static void
refill(FlowShared *flow, int64 now)
{
	if (now > flow->filled_at)
		flow->tokens += (double) (now - flow->filled_at) * flow->rate / USECS_PER_SEC;
	flow->tokens = Min(flow->tokens, bucket_size(flow));
	flow->filled_at = now;
}

static bool
has_tokens(const FlowShared *flow)
{
	return flow->rate == 0 || flow->tokens >= 1;
}

static bool
has_place(const FlowShared *flow)
{
	return flow->max == 0 || flow->running < flow->max;
}

/* Nothing would be lost with it. */
static bool
is_idle(FlowShared *flow, int64 now)
{
	if (flow->running > 0 || flow->nparked > 0)
		return false;
	refill(flow, now);
	return flow->rate == 0 || flow->tokens >= bucket_size(flow);
}

static uint64
hash_of(const AsType *type)
{
	return as_key_hash(type->name, type->name_len, "", 0);
}

static bool
is_of(const FlowShared *flow, const AsType *type)
{
	return flow->database == MyDatabaseId && flow->type == hash_of(type);
}

static FlowShared *
find(const AsType *type)
{
	for (uint32 i = 0; i < shared->n; i++)
	{
		if (is_of(&shared->flows[i], type))
			return &shared->flows[i];
	}
	return NULL;
}

/* Where a flow can be made, or NULL. */
static FlowShared *
unused_flow(int64 now)
{
	for (uint32 i = 0; i < shared->n; i++)
	{
		if (!OidIsValid(shared->flows[i].database) ||
			is_idle(&shared->flows[i], now))
			return &shared->flows[i];
	}
	return shared->n < MAX_FLOWS ? &shared->flows[shared->n++] : NULL;
}

/* The flow of the type, with its limits as they are; NULL if there is no room. */
static FlowShared *
flow_of(const AsType *type, int64 now)
{
	FlowShared *flow = find(type);

	if (flow == NULL)
	{
		flow = unused_flow(now);
		if (flow == NULL)
			return NULL;
		memset(flow, 0, sizeof(FlowShared));
		flow->database = MyDatabaseId;
		flow->type = hash_of(type);
		flow->tokens = PG_INT32_MAX;
		flow->next = AS_NEVER;
	}
	flow->rate = type->rate_limit;
	flow->max = type->max_concurrency;
	refill(flow, now);
	return flow;
}

static bool
is_held(const FlowShared *flow)
{
	for (int i = 0; i < nheld; i++)
	{
		if (held[i] == flow)
			return true;
	}
	return false;
}

/* ---- Slots that are parked; the caller holds the lock ---- */

static void
append(FlowShared *flow, uint32 slot)
{
	behind[slot] = NO_SLOT;
	if (flow->nparked++ == 0)
		flow->first = slot;
	else
		behind[flow->last] = slot;
	flow->last = slot;
}

static void
put_first(FlowShared *flow, uint32 slot)
{
	behind[slot] = flow->nparked == 0 ? NO_SLOT : flow->first;
	if (flow->nparked++ == 0)
		flow->last = slot;
	flow->first = slot;
}

static AsSlotRef
admit_first(FlowShared *flow)
{
	uint32		slot = flow->first;

	flow->first = behind[slot];
	flow->nparked--;
	admitted[slot] = true;
	return as_slot_by_number(slot);
}

/* When will there be something to do about those that are parked? */
static void
set_next(FlowShared *flow, int64 now)
{
	double		missing = Min(bucket_size(flow), Max(1.0, flow->rate * ROUND_S)) -
	flow->tokens;

	if (flow->nparked == 0 || !has_place(flow))
		flow->next = AS_NEVER;
	else if (flow->rate > 0 && missing > 0)
		flow->next = (uint64) (now + (int64) Min(missing / flow->rate * USECS_PER_SEC, (double) AS_LONGEST) + 1);
	else
		flow->next = (uint64) (now + ADMITTED_US);
}

static void
set_next_of_home(uint32 home)
{
	uint64		next = AS_NEVER;

	for (uint32 i = 0; i < shared->n; i++)
	{
		if (shared->flows[i].database == MyDatabaseId)
			next = Min(next, shared->flows[i].next);
	}
	pg_atomic_write_u64(&shared->next[home], next);
}

/* When is there room for slots that are parked?  AS_NEVER: nobody knows. */
static uint64
next_of(uint32 home)
{
	return pg_atomic_read_u64(&shared->next[home]);
}

/* Let as many in as there is room for. */
static int
admit(FlowShared *flow, AsSlotRef *refs, int max, int64 now)
{
	int			n = 0;

	refill(flow, now);
	if (flow->max > 0)
		max = Min(max, flow->max - flow->running);
	if (flow->rate > 0)
		max = Min(max, (int) Min(flow->tokens, SLOTS_AT_ONCE));
	while (n < max && flow->nparked > 0)
		refs[n++] = admit_first(flow);
	set_next(flow, now);
	return n;
}

/* ---- Workers ---- */

int
as_flow_enter(AsType *type, AsSlotRef ref, int n)
{
	int64		now;
	FlowShared *flow;
	bool		was_admitted;

	if (type->rate_limit == 0 && type->max_concurrency == 0)
		return n;
	now = as_steady_now();
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	flow = flow_of(type, now);
	if (flow != NULL)
	{
		bool		has_mine = is_held(flow);

		was_admitted = admitted[as_ref_number(ref)];
		if ((flow->nparked > 0 && !was_admitted &&
			 (!has_mine || flow->rate > 0)) ||
			!has_tokens(flow) ||
			(!has_mine && (!has_place(flow) || nheld == MAX_HELD)))
			n = 0;
		else
		{
			admitted[as_ref_number(ref)] = false;

			/* who is parked is to have some, too */
			if (flow->rate > 0)
			{
				n = Min(n, flow->nparked > 0 ? 1 : (int) flow->tokens);
				flow->tokens -= n;
			}
			if (flow->max > 0 && !has_mine)
			{
				flow->running++;
				held[nheld++] = flow;
			}
		}
	}
	LWLockRelease(shared->lock);
	return n;
}

int
as_flow_enter_outside(AsType *type, AsSlotRef ref, int n, uint64 *place)
{
	int64		now;
	FlowShared *flow;

	*place = 0;
	if (type->rate_limit == 0 && type->max_concurrency == 0)
		return n;
	now = as_steady_now();
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	flow = flow_of(type, now);
	if (flow != NULL)
	{
		bool	   *was_admitted = &admitted[as_ref_number(ref)];

		if ((flow->nparked > 0 && !*was_admitted) || !has_tokens(flow) ||
			!has_place(flow))
			n = 0;
		else
		{
			*was_admitted = false;
			if (flow->rate > 0)
			{
				n = Min(n, flow->nparked > 0 ? 1 : (int) Min(flow->tokens, n));
				flow->tokens -= n;
			}
			flow->running++;
			*place = hash_of(type);
		}
	}
	LWLockRelease(shared->lock);
	return n;
}

void
as_flow_leave_outside(uint32 home, uint64 place)
{
	int64		now = as_steady_now();
	AsSlotRef	ref;
	int			n = 0;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (uint32 i = 0; i < shared->n; i++)
	{
		FlowShared *flow = &shared->flows[i];

		if (flow->database != MyDatabaseId || flow->type != place)
			continue;
		flow->running = Max(flow->running - 1, 0);
		n = admit(flow, &ref, 1, now);
		break;
	}
	set_next_of_home(home);
	LWLockRelease(shared->lock);
	if (n > 0)
		as_sched_queue(home, ref);
}

uint64
as_flow_keep_outside(AsType *type)
{
	FlowShared *flow;
	uint64		place = 0;

	if (type->rate_limit == 0 && type->max_concurrency == 0)
		return 0;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	flow = flow_of(type, as_steady_now());
	if (flow != NULL)
	{
		flow->running++;
		place = hash_of(type);
	}
	LWLockRelease(shared->lock);
	return place;
}

void
as_flow_undo(AsType *type, int n)
{
	FlowShared *flow;

	if (type->rate_limit == 0)
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	flow = find(type);
	if (flow != NULL)
		flow->tokens += n;
	LWLockRelease(shared->lock);
}

bool
as_flow_park(uint32 home, const AsType *type, AsSlotRef ref)
{
	int64		now = as_steady_now();
	FlowShared *flow;
	bool		parked = false;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	flow = find(type);
	if (flow != NULL)
	{
		refill(flow, now);
		parked = flow->nparked > 0 || !has_tokens(flow) || !has_place(flow);
	}
	if (parked)
	{
		if (admitted[as_ref_number(ref)])
			put_first(flow, as_ref_number(ref));
		else
			append(flow, as_ref_number(ref));
		admitted[as_ref_number(ref)] = false;
		set_next(flow, now);
		set_next_of_home(home);
	}
	LWLockRelease(shared->lock);
	if (parked && next_of(home) != AS_NEVER)
		as_sched_wake_timekeeper(home);
	return parked;
}

AsSlotRef
as_flow_take(void)
{
	AsSlotRef	ref = AS_NO_SLOT;

	if (nheld == 0)
		return AS_NO_SLOT;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < nheld && ref == AS_NO_SLOT; i++)
	{
		if (held[i]->nparked > 0 && has_tokens(held[i]))
			ref = admit_first(held[i]);
	}
	LWLockRelease(shared->lock);
	return ref;
}

void
as_flow_leave(uint32 home)
{
	AsSlotRef	refs[MAX_HELD];
	int64		now;
	int			n = 0;

	if (nheld == 0)
		return;
	now = as_steady_now();
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	while (nheld > 0)
	{
		FlowShared *flow = held[--nheld];

		flow->running--;
		n += admit(flow, refs + n, 1, now);
	}
	set_next_of_home(home);
	LWLockRelease(shared->lock);
	for (int i = 0; i < n; i++)
		as_sched_queue(home, refs[i]);
}

long
as_flow_sleep(uint32 home, long max)
{
	uint64		next = next_of(home);
	int64		left;

	if (next == AS_NEVER)
		return max;
	left = (int64) next - as_steady_now();
	return left <= 0 ? 0 : (long) Min(max, left / 1000 + 1);
}

bool
as_flow_is_wanted(uint32 home)
{
	uint64		next = next_of(home);

	return next != AS_NEVER && (int64) next <= as_steady_now();
}

void
as_flow_serve(uint32 home)
{
	AsSlotRef	refs[SLOTS_AT_ONCE];
	int64		now = as_steady_now();
	int			n = 0;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (uint32 i = 0; i < shared->n; i++)
	{
		FlowShared *flow = &shared->flows[i];

		if (flow->database == MyDatabaseId && flow->next != AS_NEVER &&
			(int64) flow->next <= now)
			n += admit(flow, refs + n, SLOTS_AT_ONCE - n, now);
	}
	set_next_of_home(home);
	LWLockRelease(shared->lock);
	for (int i = 0; i < n; i++)
		as_sched_queue(home, refs[i]);
}

/* ---- Others ---- */

/* Let all in: they see for themselves what their types say by now. */
void
as_flow_doubt(uint32 home)
{
	AsSlotRef	refs[SLOTS_AT_ONCE];
	int			n;

	do
	{
		n = 0;
		LWLockAcquire(shared->lock, LW_EXCLUSIVE);
		for (uint32 i = 0; i < shared->n; i++)
		{
			FlowShared *flow = &shared->flows[i];

			while (flow->database == MyDatabaseId && flow->nparked > 0 &&
				   n < SLOTS_AT_ONCE)
				refs[n++] = admit_first(flow);
		}
		LWLockRelease(shared->lock);
		for (int i = 0; i < n; i++)
			as_sched_queue(home, refs[i]);
	} while (n > 0);
}

void
as_flow_forget(uint32 home, Oid database)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (uint32 i = 0; i < shared->n; i++)
	{
		if (shared->flows[i].database == database)
			shared->flows[i].nparked = shared->flows[i].running = 0;
	}
	pg_atomic_write_u64(&shared->next[home], AS_NEVER);
	LWLockRelease(shared->lock);
}

void
as_flow_note_change(void)
{
	has_changed = true;
}

bool
as_flow_is_silent(void)
{
	return !has_changed;
}

static void
end_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT)
		has_committed = true;
	else if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		has_changed = has_committed = false;
}

/* After others know of the change. */
static void
release_resources(ResourceReleasePhase phase, bool is_commit,
				  bool is_top_level, void *arg)
{
	int			home;

	if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_commit ||
		!is_top_level || !has_committed)
		return;
	if (has_changed && shared != NULL)
	{
		home = as_sched_home();
		if (home >= 0)
			as_flow_doubt(home);
	}
	has_changed = has_committed = false;
}

void
as_flow_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterResourceReleaseCallback(release_resources, NULL);
}

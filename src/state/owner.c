/*-------------------------------------------------------------------------
 *
 * owner.c
 *	  See owner.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/owner.h"

#include "access/xact.h"
#include "compat.h"
#include "lib/key_hash.h"
#include "lib/nap.h"
#include "lib/slot_map.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/inval.h"
#include "utils/timestamp.h"

/* Tells our locks on slots from the advisory locks of users */
#define SLOT_LOCK_CLASS	6

/* Slots that a transaction locks one by one */
#define MAX_LOCKED		64

/* Locked instead of any further ones */
#define ALL_SLOTS		AS_SLOTS

/* A slot is closed for a moment: wait so long for what becomes of it. */
#define CLOSED_WAIT_MS	1000
#define CLOSED_NAP_MS	5

/* What is in it moves: the same. */
#define FROZEN_WAIT_MS	10000

const AsOwnerSource *as_owner_source = NULL;
bool		as_owner_applies = true;
bool		as_owner_moves = false;

/* What the current transaction holds. */
static LocalTransactionId held_lxid = InvalidLocalTransactionId;
static int16 held[AS_SLOTS + 1];	/* slots, and maybe ALL_SLOTS, as they came */
static int	nheld = 0;
static int	level[AS_SLOTS + 1];	/* of nesting at which it is held; 0: not */
static bool locked[AS_SLOTS + 1];	/* by a lock of its own */
static bool ours[AS_SLOTS + 1]; /* looked at under the lock: it was ours */
static int	nlocked = 0;

/* ---- What is held ---- */

static void
forget(int n)
{
	while (nheld > n)
	{
		int			slot = held[--nheld];

		nlocked -= locked[slot];
		level[slot] = 0;
		locked[slot] = false;
		ours[slot] = false;
	}
}

static void
start_anew(void)
{
	if (held_lxid == as_my_lxid)
		return;
	forget(0);
	held_lxid = as_my_lxid;
}

/*
 * What a subtransaction has locked goes with it, or to the one around it.  So
 * the levels never fall from one that came earlier to one that came later.
 */
static void
subtransaction_ends(SubXactEvent event, SubTransactionId mine,
					SubTransactionId parent, void *arg)
{
	int			nesting = GetCurrentTransactionNestLevel();
	int			n = nheld;

	if (held_lxid != as_my_lxid)
		return;
	while (n > 0 && level[held[n - 1]] >= nesting)
		n--;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		forget(n);
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (int i = n; i < nheld; i++)
			level[held[i]] = nesting - 1;
	}
}

static void
remember(int slot, bool by_itself)
{
	static bool registered = false;

	if (!registered)
		RegisterSubXactCallback(subtransaction_ends, NULL);
	registered = true;
	held[nheld++] = (int16) slot;
	level[slot] = GetCurrentTransactionNestLevel();
	locked[slot] = by_itself;
	nlocked += by_itself;
}

/* ---- Locks ---- */

static void
tag_of(int slot, LOCKTAG *tag)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, slot, 0, SLOT_LOCK_CLASS);
}

static void
lock(int slot)
{
	LOCKTAG		tag;

	tag_of(slot, &tag);
	(void) LockAcquire(&tag, ShareLock, false, false);
}

static void
unlock(int slot)
{
	LOCKTAG		tag;

	tag_of(slot, &tag);
	(void) LockRelease(&tag, ShareLock, false);
}

/* By itself, or with all others; true if it is locked only now. */
static bool
lock_for_now(int slot)
{
	bool		by_itself = nlocked < MAX_LOCKED;

	if (level[slot] > 0)
		return false;
	if (!by_itself && level[ALL_SLOTS] == 0)
	{
		lock(ALL_SLOTS);
		remember(ALL_SLOTS, false);
	}
	if (by_itself)
		lock(slot);
	remember(slot, by_itself);
	return true;
}

/* Look at it under a lock, which stays if it may. */
static AsSlotState
try_hold(int slot, AsSlotState worst)
{
	bool		is_new = lock_for_now(slot);
	AsSlotState state;

	AcceptInvalidationMessages();
	state = as_owner_source->applies() ? as_owner_source->look(slot) : AS_SLOT_OURS;
	if (state == AS_SLOT_FROZEN && as_owner_moves)
		state = AS_SLOT_OURS;
	if (state <= worst)
		ours[slot] = true;
	else if (is_new)
	{
		if (locked[slot])
			unlock(slot);
		forget(nheld - 1);
	}
	return state;
}

/* As anybody who waits: it shows in pg_stat_activity, and can be cancelled at once. */
static void
nap(void)
{
	CHECK_FOR_INTERRUPTS();
	(void) as_nap(CLOSED_NAP_MS, AS_NAP_SLOT);
	CHECK_FOR_INTERRUPTS();
}

/*
 * Who holds other slots must not wait for a closed one: whoever has closed it
 * may wait for him.  So it is with frozen ones; but these are few, and known.
 */
static bool
may_wait_for(AsSlotState state)
{
	if (state != AS_SLOT_FROZEN)
		return state == AS_SLOT_CLOSED && nheld == 0;
	for (int i = 0; i < nheld; i++)
	{
		if (held[i] == ALL_SLOTS || as_owner_source->look(held[i]) == AS_SLOT_FROZEN)
			return false;
	}
	return true;
}

static int
longest_wait(AsSlotState state)
{
	return state == AS_SLOT_FROZEN ? FROZEN_WAIT_MS : CLOSED_WAIT_MS;
}

/*
 * Until it is no more what it is.  Not even for a moment it is locked meanwhile:
 * whoever waits for those who hold it must not wait for us.
 */
static void
wait_while(int slot, AsSlotState state, TimestampTz since)
{
	do
	{
		nap();
		AcceptInvalidationMessages();
	} while (as_owner_source->applies() && as_owner_source->look(slot) == state &&
			 !TimestampDifferenceExceeds(since, GetCurrentTimestamp(), longest_wait(state)));
}

static AsSlotState
hold(int slot, AsSlotState worst)
{
	TimestampTz since = 0;
	AsSlotState state;

	if (!as_owner_source->applies())
		return AS_SLOT_OURS;
	start_anew();
	if (ours[slot])
		return AS_SLOT_OURS;
	while ((state = try_hold(slot, worst)) > worst && worst == AS_SLOT_OURS &&
		   may_wait_for(state))
	{
		if (since == 0)
			since = GetCurrentTimestamp();
		if (TimestampDifferenceExceeds(since, GetCurrentTimestamp(), longest_wait(state)))
			break;
		wait_while(slot, state, since);
	}
	return state <= worst ? AS_SLOT_OURS : state;
}

bool
as_owner_hold_slot(uint64 key_hash)
{
	return hold(as_slot_of(key_hash), AS_SLOT_OURS) == AS_SLOT_OURS;
}

bool
as_owner_hold_old_slot(uint64 key_hash)
{
	return hold(as_slot_of(key_hash), AS_SLOT_CLOSED) == AS_SLOT_OURS;
}

static int
slot_of(const text *type, const text *id)
{
	return as_slot_of(as_key_hash(VARDATA_ANY(type), VARSIZE_ANY_EXHDR(type),
								  VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id)));
}

void
as_owner_keep_slot(const text *type, const text *id)
{
	(void) hold(slot_of(type, id), AS_SLOT_CLOSED);
}

void
as_owner_need_slot(const text *type, const text *id)
{
	int			slot = slot_of(type, id);

	if (hold(slot, AS_SLOT_OURS) != AS_SLOT_OURS)
		as_owner_source->refuse(slot, type, id);
}

bool
as_owner_try_slot(const text *type, const text *id)
{
	return hold(slot_of(type, id), AS_SLOT_OURS) == AS_SLOT_OURS;
}

void
as_owner_check_slot(const text *type, const text *id)
{
	int			slot = slot_of(type, id);

	AcceptInvalidationMessages();
	if (as_owner_source->applies() &&
		as_owner_source->look(slot) == AS_SLOT_FOREIGN)
		as_owner_source->refuse(slot, type, id);
}

void
as_owner_lock_to_send(uint64 key_hash)
{
	start_anew();
	if (lock_for_now(as_slot_of(key_hash)))
		AcceptInvalidationMessages();
}

bool
as_owner_has_moved_slot(const text *type, const text *id)
{
	int			slot = slot_of(type, id);
	TimestampTz since = GetCurrentTimestamp();
	AsSlotState state;

	for (;;)
	{
		AcceptInvalidationMessages();
		if (!as_owner_source->applies())
			return false;
		state = as_owner_source->look(slot);
		if (state != AS_SLOT_FROZEN || !may_wait_for(state) ||
			TimestampDifferenceExceeds(since, GetCurrentTimestamp(), FROZEN_WAIT_MS))
			break;
		nap();
	}
	if (state == AS_SLOT_FROZEN)
		as_owner_source->refuse(slot, type, id);
	return state == AS_SLOT_FOREIGN;
}

void
as_owner_check_outside(void)
{
	if (as_owner_source->applies() && as_owner_source->is_outside())
		as_owner_source->refuse(0, NULL, NULL);
}

/* ---- Waiting for those who hold ---- */

static bool
lock_alone(int slot, bool wait)
{
	LOCKTAG		tag;

	tag_of(slot, &tag);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

bool
as_owner_lock_alone(int slot, bool wait)
{
	return lock_alone(ALL_SLOTS, wait) && lock_alone(slot, wait);
}

void
as_owner_wait(int slot)
{
	LOCKTAG		tag;

	tag_of(slot, &tag);
	WaitForLockers(tag, ExclusiveLock, false);
}

bool
as_owner_is_free(int slot)
{
	LOCKTAG		tag;

	if (!lock_alone(slot, false))
		return false;
	tag_of(slot, &tag);
	(void) LockRelease(&tag, ExclusiveLock, false);
	return true;
}

void
as_owner_wait_for_many(void)
{
	as_owner_wait(ALL_SLOTS);
}

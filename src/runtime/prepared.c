/*-------------------------------------------------------------------------
 *
 * prepared.c
 *	  See prepared.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/prepared.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "runtime/flow.h"
#include "runtime/outgoing.h"
#include "runtime/sched.h"
#include "runtime/timing.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"

typedef struct Entry
{
	char		gid[GIDSIZE];
	AsPrepared	prepared;
} Entry;

static HTAB *entries = NULL;	/* in shared memory */
static LWLock *lock;

/* what PREPARE TRANSACTION is at work for; empty: nothing */
static char preparing[GIDSIZE];

uint64		(*as_prepared_sent_low) (void) = NULL;

Size
as_prepared_shmem_size(void)
{
	return hash_estimate_size(Max(max_prepared_xacts, 1), sizeof(Entry));
}

void
as_prepared_shmem_init(void)
{
	int			n = Max(max_prepared_xacts, 1);
	HASHCTL		control = {.keysize = GIDSIZE, .entrysize = sizeof(Entry)};

	entries = ShmemInitHash("actorstore prepared transactions", n, n, &control,
							HASH_ELEM | HASH_STRINGS | HASH_FIXED_SIZE);
	lock = &(GetNamedLWLockTranche("actorstore") + 6)->lock;
}

/*
 * PREPARE and COMMIT PREPARED each look for the same id several times, and are
 * often the same process's: its hash value is made once.
 */
static Entry *
search(const char *gid, HASHACTION action)
{
	static char last[GIDSIZE] = "";
	static uint32 hash;

	if (last[0] == '\0' || strcmp(last, gid) != 0)
	{
		hash = get_hash_value(entries, gid);
		memcpy(last, gid, strlen(gid) + 1);
	}
	return hash_search_with_hash_value(entries, gid, hash, action, NULL);
}

static bool
can_be(const char *gid)
{
	return entries != NULL && gid != NULL && gid[0] != '\0' && strlen(gid) < GIDSIZE;
}

void
as_prepared_begin(const char *gid)
{
	preparing[0] = '\0';
	if (!can_be(gid) || as_sched_home() < 0)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	(void) search(gid, HASH_REMOVE);
	LWLockRelease(lock);
	memcpy(preparing, gid, strlen(gid) + 1);
}

/* Those that ended without our hearing of it; the caller holds the lock. */
static void
make_room(void)
{
	HASH_SEQ_STATUS status;
	Entry	   *entry;

	hash_seq_init(&status, entries);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (!TransactionIdIsInProgress(entry->prepared.xid))
			(void) hash_search(entries, entry->gid, HASH_REMOVE, NULL);
	}
}

static void
put_down(const AsPrepared *prepared)
{
	Entry	   *entry;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (hash_get_num_entries(entries) >= Max(max_prepared_xacts, 1))
		make_room();
	entry = search(preparing, HASH_ENTER_NULL);
	if (entry != NULL)
		entry->prepared = *prepared;
	LWLockRelease(lock);
}

static void
end_transaction(XactEvent event, void *arg)
{
	if (preparing[0] == '\0')
		return;
	if (event == XACT_EVENT_PREPARE)
	{
		AsPrepared	prepared = {
			.xid = GetTopTransactionIdIfAny(),
			.silent = as_outgoing_is_silent() && as_timing_is_silent() && as_flow_is_silent(),
			.sent_low = as_prepared_sent_low == NULL ? PG_UINT64_MAX : as_prepared_sent_low()
		};

		put_down(&prepared);
	}
	if (event == XACT_EVENT_PREPARE || event == XACT_EVENT_ABORT || event == XACT_EVENT_COMMIT)
		preparing[0] = '\0';
}

bool
as_prepared_find(const char *gid, AsPrepared *prepared)
{
	Entry	   *entry;

	if (!can_be(gid))
		return false;
	LWLockAcquire(lock, LW_SHARED);
	entry = search(gid, HASH_FIND);
	if (entry != NULL)
		*prepared = entry->prepared;
	LWLockRelease(lock);
	return entry != NULL && TransactionIdIsInProgress(prepared->xid);
}

/* The caller holds the lock. */
static bool
is_still(const char *gid, TransactionId xid)
{
	Entry	   *entry = search(gid, HASH_FIND);

	return entry != NULL && entry->prepared.xid == xid;
}

bool
as_prepared_is(const char *gid, TransactionId xid)
{
	bool		is;

	LWLockAcquire(lock, LW_SHARED);
	is = is_still(gid, xid);
	LWLockRelease(lock);
	return is;
}

bool
as_prepared_end(const char *gid, TransactionId xid)
{
	bool		is;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	is = is_still(gid, xid);
	if (is)
		(void) search(gid, HASH_REMOVE);
	LWLockRelease(lock);
	return is;
}

void
as_prepared_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
}

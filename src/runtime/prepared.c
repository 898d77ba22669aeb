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

#define GID_SIZE	200			/* the server's, with the end */

typedef struct Silent
{
	char		gid[GID_SIZE];
	TransactionId xid;
} Silent;

static HTAB *silents = NULL;	/* in shared memory */
static LWLock *lock;

/* what PREPARE TRANSACTION is at work for; empty: nothing */
static char preparing[GID_SIZE];

Size
as_prepared_shmem_size(void)
{
	return hash_estimate_size(Max(max_prepared_xacts, 1), sizeof(Silent));
}

void
as_prepared_shmem_init(void)
{
	int			n = Max(max_prepared_xacts, 1);
	HASHCTL		control = {.keysize = GID_SIZE, .entrysize = sizeof(Silent)};

	silents = ShmemInitHash("actorstore silent prepared transactions", n, n, &control,
							HASH_ELEM | HASH_STRINGS | HASH_FIXED_SIZE);
	lock = &(GetNamedLWLockTranche("actorstore") + 6)->lock;
}

static bool
can_be(const char *gid)
{
	return silents != NULL && gid != NULL && gid[0] != '\0' && strlen(gid) < GID_SIZE;
}

void
as_prepared_begin(const char *gid)
{
	preparing[0] = '\0';
	if (!can_be(gid) || as_sched_home() < 0)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	(void) hash_search(silents, gid, HASH_REMOVE, NULL);
	LWLockRelease(lock);
	strlcpy(preparing, gid, GID_SIZE);
}

/* Those that ended without our hearing of it; the caller holds the lock. */
static void
make_room(void)
{
	HASH_SEQ_STATUS status;
	Silent	   *silent;

	hash_seq_init(&status, silents);
	while ((silent = hash_seq_search(&status)) != NULL)
	{
		if (!TransactionIdIsInProgress(silent->xid))
			(void) hash_search(silents, silent->gid, HASH_REMOVE, NULL);
	}
}

static void
put_down(TransactionId xid)
{
	Silent	   *silent;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (hash_get_num_entries(silents) >= Max(max_prepared_xacts, 1))
		make_room();
	silent = hash_search(silents, preparing, HASH_ENTER_NULL, NULL);
	if (silent != NULL)
		silent->xid = xid;
	LWLockRelease(lock);
}

static void
end_transaction(XactEvent event, void *arg)
{
	if (preparing[0] == '\0')
		return;
	if (event == XACT_EVENT_PREPARE && as_outgoing_is_silent() &&
		as_timing_is_silent() && as_flow_is_silent())
		put_down(GetTopTransactionIdIfAny());
	if (event == XACT_EVENT_PREPARE || event == XACT_EVENT_ABORT || event == XACT_EVENT_COMMIT)
		preparing[0] = '\0';
}

TransactionId
as_prepared_silent(const char *gid)
{
	TransactionId xid = InvalidTransactionId;
	Silent	   *silent;

	if (!can_be(gid))
		return InvalidTransactionId;
	LWLockAcquire(lock, LW_SHARED);
	silent = hash_search(silents, gid, HASH_FIND, NULL);
	if (silent != NULL)
		xid = silent->xid;
	LWLockRelease(lock);
	return TransactionIdIsValid(xid) && TransactionIdIsInProgress(xid) ? xid : InvalidTransactionId;
}

bool
as_prepared_end(const char *gid, TransactionId xid)
{
	bool		was_silent = false;
	Silent	   *silent;

	if (!TransactionIdIsValid(xid))
		return false;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	silent = hash_search(silents, gid, HASH_FIND, NULL);
	if (silent != NULL && silent->xid == xid)
	{
		(void) hash_search(silents, gid, HASH_REMOVE, NULL);
		was_silent = true;
	}
	LWLockRelease(lock);
	return was_silent;
}

void
as_prepared_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
}

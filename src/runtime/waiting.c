/*-------------------------------------------------------------------------
 *
 * waiting.c
 *	  See waiting.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/waiting.h"

#include "compat.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

typedef struct WaiterShared
{
	pg_atomic_uint64 mailbox;	/* see mailbox_of() */
	pg_atomic_uint64 ticket;	/* 0: does not wait */
} WaiterShared;

typedef struct WaitersShared
{
	pg_atomic_uint64 last_ticket;
	pg_atomic_uint32 n;			/* who wait */
	WaiterShared waiters[FLEXIBLE_ARRAY_MEMBER];	/* by process number */
} WaitersShared;

static WaitersShared *waiters = NULL;
static bool is_waiting = false;

Size
as_waiting_shmem_size(void)
{
	return add_size(offsetof(WaitersShared, waiters),
					mul_size(MaxBackends, sizeof(WaiterShared)));
}

void
as_waiting_shmem_init(void)
{
	bool		found;

	waiters = ShmemInitStruct("actorstore waiting senders",
							  as_waiting_shmem_size(), &found);
	if (found)
		return;
	pg_atomic_init_u64(&waiters->last_ticket, 0);
	pg_atomic_init_u32(&waiters->n, 0);
	for (int i = 0; i < MaxBackends; i++)
	{
		pg_atomic_init_u64(&waiters->waiters[i].mailbox, 0);
		pg_atomic_init_u64(&waiters->waiters[i].ticket, 0);
	}
}

/* Mailboxes of several databases may have the same key. */
static uint64
mailbox_of(uint64 key_hash)
{
	return key_hash ^ (MyDatabaseId * UINT64CONST(0x9E3779B97F4A7C15));
}

/* Does anybody wait for the mailbox with a ticket below that one? */
static bool
anyone_before(uint64 mailbox, uint64 ticket)
{
	for (int i = 0; i < MaxBackends; i++)
	{
		WaiterShared *waiter = &waiters->waiters[i];
		uint64		theirs = pg_atomic_read_u64(&waiter->ticket);

		if (theirs == 0 || theirs >= ticket)
			continue;
		pg_read_barrier();
		if (pg_atomic_read_u64(&waiter->mailbox) == mailbox)
			return true;
	}
	return false;
}

bool
as_waiting_anyone(uint64 key_hash)
{
	return waiters != NULL && pg_atomic_read_u32(&waiters->n) > 0 &&
		anyone_before(mailbox_of(key_hash), PG_UINT64_MAX);
}

static void
leave(int code, Datum arg)
{
	as_waiting_end();
}

void
as_waiting_begin(uint64 key_hash)
{
	static bool registered = false;
	WaiterShared *mine;

	if (waiters == NULL)
		return;
	if (!registered)
		before_shmem_exit(leave, (Datum) 0);
	registered = true;
	mine = &waiters->waiters[as_my_proc_number];
	is_waiting = true;
	(void) pg_atomic_fetch_add_u32(&waiters->n, 1);
	pg_atomic_write_u64(&mine->mailbox, mailbox_of(key_hash));
	pg_atomic_exchange_u64(&mine->ticket,
						   pg_atomic_fetch_add_u64(&waiters->last_ticket, 1) + 1);
}

void
as_waiting_end(void)
{
	if (!is_waiting)
		return;
	is_waiting = false;
	pg_atomic_exchange_u64(&waiters->waiters[as_my_proc_number].ticket, 0);
	(void) pg_atomic_fetch_sub_u32(&waiters->n, 1);
}

bool
as_waiting_is_first(void)
{
	WaiterShared *mine;

	if (!is_waiting)
		return true;
	mine = &waiters->waiters[as_my_proc_number];
	return !anyone_before(pg_atomic_read_u64(&mine->mailbox),
						  pg_atomic_read_u64(&mine->ticket));
}

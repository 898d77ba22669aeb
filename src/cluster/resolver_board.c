/*-------------------------------------------------------------------------
 *
 * resolver_board.c
 *	  What others know of the resolver of their database, and want of it: see
 *	  life.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/life.h"

#include "compat.h"
#include "lib/nap.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#define MAX_RESOLVERS	64

#define WANTED_FROM		UINT64CONST(65536)

/* one that was started and did not come is given up */
#define START_MS		15000

typedef struct ResolverShared
{
	pg_atomic_uint32 database;	/* InvalidOid: free */
	pg_atomic_uint32 procno;	/* of the process; 0: none (1 more) */
	pg_atomic_uint64 started_at;
	/*
	 * Passes are counted.  Who wants one to begin reads BEGUN, raises ASKED to one
	 * more, and sets the latch; the resolver does not sleep while BEGUN is less
	 * than ASKED.  The latch alone would not do: what waits in a pass resets it.
	 */
	pg_atomic_uint64 begun;
	pg_atomic_uint64 asked;
	pg_atomic_uint64 ended;
	pg_atomic_uint64 nresolved;
	pg_atomic_uint32 published; /* the boot, in this database */
	pg_atomic_uint64 wanted;	/* an epoch, times WANTED_FROM, and a node */
} ResolverShared;

typedef struct ResolversShared
{
	uint64		boot;			/* never changes */
	ResolverShared resolvers[MAX_RESOLVERS];
} ResolversShared;

static ResolversShared *shared = NULL;
static ResolverShared *own = NULL;	/* in the resolver */

Size
as_resolvers_shmem_size(void)
{
	return MAXALIGN(sizeof(ResolversShared));
}

void
as_resolvers_shmem_init(void)
{
	bool		found;

	shared = ShmemInitStruct("actorstore resolvers", as_resolvers_shmem_size(), &found);
	if (found)
		return;
	memset(shared, 0, sizeof(ResolversShared));
	if (!pg_strong_random(&shared->boot, sizeof(shared->boot)))
		ereport(FATAL,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random number")));
	shared->boot >>= 1;			/* fits into bigint */
	for (int i = 0; i < MAX_RESOLVERS; i++)
	{
		pg_atomic_init_u32(&shared->resolvers[i].database, InvalidOid);
		pg_atomic_init_u32(&shared->resolvers[i].procno, 0);
		pg_atomic_init_u64(&shared->resolvers[i].started_at, 0);
		pg_atomic_init_u64(&shared->resolvers[i].begun, 0);
		pg_atomic_init_u64(&shared->resolvers[i].asked, 0);
		pg_atomic_init_u64(&shared->resolvers[i].ended, 0);
		pg_atomic_init_u64(&shared->resolvers[i].nresolved, 0);
		pg_atomic_init_u32(&shared->resolvers[i].published, 0);
		pg_atomic_init_u64(&shared->resolvers[i].wanted, 0);
	}
}

static ResolverShared *
find_resolver(bool make)
{
	for (int i = 0; shared != NULL && i < MAX_RESOLVERS; i++)
	{
		ResolverShared *resolver = &shared->resolvers[i];
		uint32		database = InvalidOid;

		if (pg_atomic_read_u32(&resolver->database) == MyDatabaseId)
			return resolver;
		if (make &&
			(pg_atomic_compare_exchange_u32(&resolver->database, &database, MyDatabaseId) ||
			 database == MyDatabaseId))
			return resolver;
	}
	return NULL;
}

void
as_boot_publish(void)
{
	pg_atomic_write_u32(&own->published, 1);
}

uint64
as_boot_peek(void)
{
	return shared == NULL ? 0 : shared->boot;
}

uint64
as_boot_get(void)
{
	ResolverShared *resolver = find_resolver(true);
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), START_MS);

	while (resolver == NULL || pg_atomic_read_u32(&resolver->published) == 0)
	{
		if (resolver == NULL || GetCurrentTimestamp() >= deadline)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the resolver does not run"),
					 errhint("Raise max_worker_processes and restart, or look into the server log.")));
		(void) as_nap(10, AS_NAP_RESOLVER);
		CHECK_FOR_INTERRUPTS();
	}
	return shared->boot;
}

static void
resolver_leaves(int code, Datum arg)
{
	pg_atomic_write_u64(&own->started_at, 0);
	pg_atomic_write_u32(&own->procno, 0);
}

bool
as_resolver_register(void)
{
	uint32		none = 0;

	own = find_resolver(true);
	if (own == NULL ||
		!pg_atomic_compare_exchange_u32(&own->procno, &none, as_my_proc_number + 1))
		return false;
	before_shmem_exit(resolver_leaves, (Datum) 0);
	return true;
}

bool
as_resolver_claim_start(void)
{
	ResolverShared *resolver = find_resolver(true);
	TimestampTz now = GetCurrentTimestamp();
	uint64		started_at;

	if (resolver == NULL || pg_atomic_read_u32(&resolver->procno) != 0)
		return false;
	started_at = pg_atomic_read_u64(&resolver->started_at);
	return (started_at == 0 ||
			TimestampDifferenceExceeds((TimestampTz) started_at, now, START_MS)) &&
		pg_atomic_compare_exchange_u64(&resolver->started_at, &started_at, (uint64) now);
}

uint64
as_resolver_poke(void)
{
	ResolverShared *resolver = find_resolver(false);
	uint32		procno = resolver == NULL ? 0 : pg_atomic_read_u32(&resolver->procno);
	uint64		pass;
	uint64		asked;

	if (procno == 0)
		return 0;
	pass = pg_atomic_read_u64(&resolver->begun) + 1;
	asked = pg_atomic_read_u64(&resolver->asked);
	while (asked < pass &&
		   !pg_atomic_compare_exchange_u64(&resolver->asked, &asked, pass))
		;
	SetLatch(&ProcGlobal->allProcs[procno - 1].procLatch);
	return pass;
}

void
as_resolver_want(int16 node, int64 epoch)
{
	ResolverShared *resolver = find_resolver(false);
	uint64		want = (uint64) epoch * WANTED_FROM + (uint16) node;
	uint64		now;

	if (resolver == NULL)
		return;
	now = pg_atomic_read_u64(&resolver->wanted);
	while (now / WANTED_FROM < (uint64) epoch &&
		   !pg_atomic_compare_exchange_u64(&resolver->wanted, &now, want))
		;
	(void) as_resolver_poke();
}

int64
as_resolver_take_wanted(int16 *node)
{
	uint64		wanted = pg_atomic_exchange_u64(&own->wanted, 0);

	*node = (int16) (wanted % WANTED_FROM);
	return (int64) (wanted / WANTED_FROM);
}

bool
as_resolver_is_known(void)
{
	return find_resolver(false) != NULL;
}

uint64
as_resolver_begin_pass(void)
{
	return pg_atomic_add_fetch_u64(&own->begun, 1);
}

bool
as_resolver_is_asked(void)
{
	return pg_atomic_read_u64(&own->begun) < pg_atomic_read_u64(&own->asked);
}

void
as_resolver_end_pass(uint64 pass, uint64 nresolved)
{
	pg_atomic_fetch_add_u64(&own->nresolved, nresolved);
	pg_atomic_write_u64(&own->ended, pass);
}

bool
as_resolver_state(uint64 *pass, uint64 *nresolved)
{
	ResolverShared *resolver = find_resolver(false);

	if (resolver == NULL || pg_atomic_read_u32(&resolver->procno) == 0)
		return false;
	*pass = pg_atomic_read_u64(&resolver->ended);
	*nresolved = pg_atomic_read_u64(&resolver->nresolved);
	return true;
}

/*-------------------------------------------------------------------------
 *
 * life.c
 *	  See life.h, and the function behind the view global_transaction.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/life.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/xid8.h"

PG_FUNCTION_INFO_V1(actorstore_global_transactions_now);

/* as many nodes of a transaction are shown, and looked at for deadlocks */
#define MAX_NODES		64

#define MAX_RESOLVERS	64

/* one that was started and did not come is given up */
#define START_MS		15000

/* Only its own process writes to it. */
typedef struct LifeShared
{
	pg_atomic_uint32 changes;	/* odd while what stands below "told" changes */
	pg_atomic_uint32 life;
	pg_atomic_uint64 attended;	/* the xid, while it is */

	/* told */
	AsCoordinator coordinator;	/* for whom this session works */
	int			pid;
	Oid			database;
	int			backend;		/* its virtual transaction */
	LocalTransactionId lxid;
	uint64		xid;
	TimestampTz began_at;
	TimestampTz since;
	int			nnodes;
	int16		nodes[MAX_NODES];
	int			pids[MAX_NODES];	/* of the sessions there; 0: lost */
} LifeShared;

typedef struct ResolverShared
{
	pg_atomic_uint32 database;	/* InvalidOid: free */
	pg_atomic_uint32 procno;	/* of the process; 0: none (1 more) */
	pg_atomic_uint64 started_at;
	pg_atomic_uint64 begun;		/* passes */
	pg_atomic_uint64 ended;
	pg_atomic_uint64 nresolved;
	pg_atomic_uint32 published; /* the boot, in this database */
} ResolverShared;

typedef struct LivesShared
{
	uint64		boot;			/* never changes */
	ResolverShared resolvers[MAX_RESOLVERS];
	LifeShared	lives[FLEXIBLE_ARRAY_MEMBER];	/* by process number */
} LivesShared;

static const char *const names[] = {
	NULL, "begin", "active", "preparing", "prepared", "committing", "committed",
	"aborting", "aborted"
};

static LivesShared *shared = NULL;
static ResolverShared *own = NULL;	/* in the resolver */

/* MaxBackends counts all that may have a transaction. */
static int
max_lives(void)
{
	return MaxBackends + NUM_AUXILIARY_PROCS;
}

Size
as_lives_shmem_size(void)
{
	return offsetof(LivesShared, lives) + sizeof(LifeShared) * max_lives();
}

void
as_lives_shmem_init(void)
{
	bool		found;

	shared = ShmemInitStruct("actorstore global transactions",
							 as_lives_shmem_size(), &found);
	if (found)
		return;
	memset(shared, 0, as_lives_shmem_size());
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
		pg_atomic_init_u64(&shared->resolvers[i].ended, 0);
		pg_atomic_init_u64(&shared->resolvers[i].nresolved, 0);
		pg_atomic_init_u32(&shared->resolvers[i].published, 0);
	}
	for (int i = 0; i < max_lives(); i++)
	{
		pg_atomic_init_u32(&shared->lives[i].changes, 0);
		pg_atomic_init_u32(&shared->lives[i].life, AS_LIFE_NONE);
		pg_atomic_init_u64(&shared->lives[i].attended, 0);
	}
}

/* ---- Lives ---- */

static LifeShared *
own_life(void)
{
	return &shared->lives[as_my_proc_number];
}

/* What stands between these is seen whole, or not at all. */
static LifeShared *
begin_change(void)
{
	LifeShared *mine = own_life();

	(void) pg_atomic_fetch_add_u32(&mine->changes, 1);	/* a full barrier */
	return mine;
}

static void
end_change(LifeShared *mine)
{
	(void) pg_atomic_fetch_add_u32(&mine->changes, 1);
}

static void
read_life(int number, LifeShared *copy, uint32 *life)
{
	LifeShared *one = &shared->lives[number];
	uint32		before;

	for (;;)
	{
		before = pg_atomic_read_u32(&one->changes);
		pg_read_barrier();
		memcpy(copy, one, sizeof(LifeShared));
		*life = pg_atomic_read_u32(&one->life);
		pg_read_barrier();
		if ((before & 1) == 0 && pg_atomic_read_u32(&one->changes) == before)
			return;
		CHECK_FOR_INTERRUPTS();
	}
}

/* Who comes after us in this place has not begun yet. */
static void
leave(int code, Datum arg)
{
	LifeShared *mine = begin_change();

	mine->coordinator.pid = 0;
	mine->nnodes = 0;
	pg_atomic_write_u32(&mine->life, AS_LIFE_NONE);
	end_change(mine);
	pg_atomic_write_u64(&mine->attended, 0);
}

static void
leave_at_exit(void)
{
	static bool registered = false;

	if (!registered)
		on_shmem_exit(leave, (Datum) 0);
	registered = true;
}

void
as_life_set(AsLife life)
{
	LifeShared *mine;

	leave_at_exit();
	mine = begin_change();
	mine->since = GetCurrentTimestamp();
	if (life == AS_LIFE_BEGIN)
	{
		mine->pid = MyProcPid;
		mine->database = MyDatabaseId;
		mine->backend = as_proc_backend(MyProc);
		mine->lxid = as_my_lxid;
		mine->xid = 0;
		mine->nnodes = 0;
		mine->began_at = mine->since;
	}
	pg_atomic_write_u32(&mine->life, life);
	end_change(mine);
	if (life >= AS_LIFE_COMMITTED)
		pg_atomic_write_u64(&mine->attended, 0);
}

void
as_life_add_node(int16 node, int pid)
{
	LifeShared *mine = begin_change();

	if (mine->nnodes < MAX_NODES)
	{
		mine->nodes[mine->nnodes] = node;
		mine->pids[mine->nnodes++] = pid;
	}
	end_change(mine);
}

void
as_life_lose_node(int16 node)
{
	LifeShared *mine = begin_change();

	for (int i = 0; i < mine->nnodes; i++)
	{
		if (mine->nodes[i] == node)
			mine->pids[i] = 0;
	}
	end_change(mine);
}

void
as_life_set_xid(FullTransactionId xid)
{
	LifeShared *mine = begin_change();

	mine->xid = U64FromFullTransactionId(xid);
	end_change(mine);
	pg_atomic_write_u64(&mine->attended, mine->xid);
}

void
as_life_set_coordinator(const AsCoordinator *coordinator)
{
	LifeShared *mine;

	if (shared == NULL)
		return;
	leave_at_exit();
	mine = begin_change();
	mine->coordinator = *coordinator;
	end_change(mine);
}

bool
as_life_coordinator(int number, AsCoordinator *coordinator)
{
	LifeShared	one;
	uint32		life;

	if (shared == NULL || number < 0 || number >= max_lives())
		return false;
	read_life(number, &one, &life);
	*coordinator = one.coordinator;
	return coordinator->pid != 0;
}

bool
as_life_may_deadlock(int number)
{
	uint32		life;

	if (shared == NULL || number < 0 || number >= max_lives())
		return false;
	life = pg_atomic_read_u32(&shared->lives[number].life);
	return shared->lives[number].coordinator.pid != 0 ||
		(life >= AS_LIFE_BEGIN && life <= AS_LIFE_PREPARING);
}

bool
as_life_is_transaction(int number, int backend, LocalTransactionId lxid)
{
	LifeShared	one;
	uint32		life;

	if (shared == NULL || number < 0 || number >= max_lives())
		return false;
	read_life(number, &one, &life);
	return life >= AS_LIFE_BEGIN && life <= AS_LIFE_PREPARING &&
		one.backend == backend && one.lxid == lxid;
}

bool
as_life_is_attended(FullTransactionId xid)
{
	for (int i = 0; i < max_lives(); i++)
	{
		if (pg_atomic_read_u64(&shared->lives[i].attended) == U64FromFullTransactionId(xid))
			return true;
	}
	return false;
}

/* The last transaction over several nodes of each session of this database. */
Datum
actorstore_global_transactions_now(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; shared != NULL && i < max_lives(); i++)
	{
		LifeShared	one;
		uint32		life;
		Datum		numbers[MAX_NODES];
		Datum		pids[MAX_NODES];
		Datum		values[9] = {0};
		bool		nulls[9] = {false};

		read_life(i, &one, &life);
		if (life == AS_LIFE_NONE || one.database != MyDatabaseId)
			continue;
		for (int j = 0; j < one.nnodes; j++)
		{
			numbers[j] = Int16GetDatum(one.nodes[j]);
			pids[j] = Int32GetDatum(one.pids[j]);
		}
		values[0] = Int32GetDatum(one.pid);
		values[1] = FullTransactionIdGetDatum(FullTransactionIdFromU64(one.xid));
		nulls[1] = (one.xid == 0);
		values[2] = CStringGetTextDatum(names[life]);
		values[3] = TimestampTzGetDatum(one.began_at);
		values[4] = TimestampTzGetDatum(one.since);
		values[5] = PointerGetDatum(construct_array(numbers, one.nnodes, INT2OID, 2, true, TYPALIGN_SHORT));
		values[6] = PointerGetDatum(construct_array(pids, one.nnodes, INT4OID, 4, true, TYPALIGN_INT));
		values[7] = CStringGetTextDatum(psprintf("%d/%u", one.backend, one.lxid));
		values[8] = Int64GetDatum((int64) shared->boot);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* ---- Resolvers ---- */

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
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 10, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
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

	if (procno == 0)
		return 0;
	SetLatch(&ProcGlobal->allProcs[procno - 1].procLatch);
	return pg_atomic_read_u64(&resolver->begun) + 1;
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

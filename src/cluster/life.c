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

static const char *const names[] = {
	NULL, "begin", "active", "preparing", "prepared", "committing", "committed",
	"aborting", "aborted"
};

static LifeShared *lives = NULL;	/* in shared memory, by process number */

/* MaxBackends counts all that may have a transaction. */
static int
max_lives(void)
{
	return MaxBackends + NUM_AUXILIARY_PROCS;
}

Size
as_lives_shmem_size(void)
{
	return as_resolvers_shmem_size() +
		MAXALIGN(sizeof(LifeShared) * max_lives());
}

void
as_lives_shmem_init(void)
{
	Size		size = sizeof(LifeShared) * max_lives();
	bool		found;

	as_resolvers_shmem_init();
	lives = ShmemInitStruct("actorstore global transactions", size, &found);
	if (found)
		return;
	memset(lives, 0, size);
	for (int i = 0; i < max_lives(); i++)
	{
		pg_atomic_init_u32(&lives[i].changes, 0);
		pg_atomic_init_u32(&lives[i].life, AS_LIFE_NONE);
		pg_atomic_init_u64(&lives[i].attended, 0);
	}
}

/* ---- Lives ---- */

static LifeShared *
own_life(void)
{
	return &lives[as_my_proc_number];
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
	LifeShared *one = &lives[number];
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

	if (lives == NULL)
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

	if (lives == NULL || number < 0 || number >= max_lives())
		return false;
	read_life(number, &one, &life);
	*coordinator = one.coordinator;
	return coordinator->pid != 0;
}

bool
as_life_may_deadlock(int number)
{
	uint32		life;

	if (lives == NULL || number < 0 || number >= max_lives())
		return false;
	life = pg_atomic_read_u32(&lives[number].life);
	return lives[number].coordinator.pid != 0 ||
		(life >= AS_LIFE_BEGIN && life <= AS_LIFE_PREPARING);
}

bool
as_life_is_transaction(int number, int backend, LocalTransactionId lxid)
{
	LifeShared	one;
	uint32		life;

	if (lives == NULL || number < 0 || number >= max_lives())
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
		if (pg_atomic_read_u64(&lives[i].attended) == U64FromFullTransactionId(xid))
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
	for (int i = 0; lives != NULL && i < max_lives(); i++)
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
		values[8] = Int64GetDatum((int64) as_boot_peek());
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*-------------------------------------------------------------------------
 *
 * stat.c
 *	  See stat.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/stat.h"

#include "miscadmin.h"
#include "runtime/conflict.h"
#include "state/after_commit.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#define MAX_STATS	512

typedef struct StatsShared
{
	LWLock	   *lock;			/* for new entries */
	pg_atomic_uint32 n;			/* entries in use, but for the last one */
	AsStatShared stats[MAX_STATS];
} StatsShared;

static StatsShared *stats = NULL;

Size
as_stat_shmem_size(void)
{
	return sizeof(StatsShared);
}

/* Nothing has been counted. */
static void
start(AsStatShared *stat)
{
	pg_atomic_uint64 *counters[] = {&stat->handled, &stat->turns, &stat->created,
		&stat->failed, &stat->retried, &stat->dead, &stat->conflicts,
	&stat->waiting_us, &stat->handling_us, &stat->timed_out};
	AsHistogramShared *histograms[] = {&stat->waiting, &stat->handling,
	&stat->ask_waiting, &stat->ask_handling, &stat->round_trip};

	for (int i = 0; i < (int) lengthof(counters); i++)
		pg_atomic_init_u64(counters[i], 0);
	for (int i = 0; i < (int) lengthof(histograms); i++)
		as_histogram_init(histograms[i]);
}

void
as_stat_shmem_init(void)
{
	bool		found;

	stats = ShmemInitStruct("actorstore statistics", as_stat_shmem_size(),
							&found);
	if (found)
		return;
	stats->lock = &(GetNamedLWLockTranche("actorstore") + 1)->lock;
	pg_atomic_init_u32(&stats->n, 0);
	for (int i = 0; i < MAX_STATS; i++)
	{
		AsStatShared *stat = &stats->stats[i];

		stat->database = InvalidOid;
		stat->name_len = 0;
		start(stat);
	}
}

int
as_stat_count(void)
{
	return stats == NULL ? 0 : MAX_STATS;
}

bool
as_stat_get(int n, AsStatShared **stat)
{
	uint32		used = pg_atomic_read_u32(&stats->n);

	*stat = &stats->stats[n];
	pg_read_barrier();
	if (n == MAX_STATS - 1)
		return pg_atomic_read_u64(&(*stat)->turns) > 0;
	return (uint32) n < used;
}

static int
find(const char *name, int name_len, uint32 used)
{
	for (uint32 i = 0; i < used; i++)
	{
		AsStatShared *stat = &stats->stats[i];

		if (stat->database == MyDatabaseId &&
			stat->name_len == name_len &&
			memcmp(stat->name, name, name_len) == 0)
			return i;
	}
	return -1;
}

AsStatShared *
as_stat_of(AsType *type)
{
	uint32		used;
	int			n;

	if (type->stat > 0)
		return &stats->stats[type->stat - 1];
	used = pg_atomic_read_u32(&stats->n);
	pg_read_barrier();
	n = find(type->name, type->name_len, used);
	if (n < 0)
	{
		LWLockAcquire(stats->lock, LW_EXCLUSIVE);
		used = pg_atomic_read_u32(&stats->n);
		n = find(type->name, type->name_len, used);
		if (n < 0 && used == MAX_STATS - 1)
			n = MAX_STATS - 1;
		else if (n < 0)
		{
			AsStatShared *stat = &stats->stats[used];

			stat->database = MyDatabaseId;
			stat->name_len = type->name_len;
			memcpy(stat->name, type->name, type->name_len);
			pg_write_barrier();
			pg_atomic_write_u32(&stats->n, used + 1);
			n = used;
		}
		LWLockRelease(stats->lock);
	}
	type->stat = n + 1;
	return &stats->stats[n];
}

/* From when it was sent, or due, to its turn. */
static uint64
has_waited(const AsTurn *turn, const AsMessage *message)
{
	return Max(turn->started_at - Max(message->sent_at, message->due), 0);
}

void
as_stat_count_turn(const AsTurn *turn)
{
	AsStatShared *stat;
	int			nhandled = turn->nhandled - turn->nburied;
	int			nasked = 0;
	uint64		all_waited = 0;
	uint64		took;
	uint64		each;

	if (turn->type == NULL || !turn->type->exists)
		return;
	stat = as_stat_of(turn->type);
	(void) pg_atomic_fetch_add_u64(&stat->turns, 1);
	(void) pg_atomic_fetch_add_u64(&stat->handled, nhandled);
	if (turn->nburied > 0)
		(void) pg_atomic_fetch_add_u64(&stat->dead, turn->nburied);
	if (turn->created)
		(void) pg_atomic_fetch_add_u64(&stat->created, 1);
	for (int i = 0; i < turn->nhandled; i++)
	{
		uint64		waited = has_waited(turn, &turn->messages[i]);

		all_waited += waited;
		as_histogram_add(&stat->waiting, waited);
		if (!turn->messages[i].asked)
			continue;
		as_histogram_add(&stat->ask_waiting, waited);
		nasked++;
	}
	(void) pg_atomic_fetch_add_u64(&stat->waiting_us, (int64) all_waited);
	took = Max(turn->ended_at - turn->started_at, 0);
	(void) pg_atomic_fetch_add_u64(&stat->handling_us, (int64) took);
	each = took / turn->nhandled;
	as_histogram_add_many(&stat->handling, each, turn->nhandled);
	if (nasked > 0)
		as_histogram_add_many(&stat->ask_handling, each, nasked);
}

void
as_stat_count_answer(AsType *type, int64 us)
{
	as_histogram_add(&as_stat_of(type)->round_trip, Max(us, 0));
}

void
as_stat_count_timeout(AsType *type)
{
	(void) pg_atomic_fetch_add_u64(&as_stat_of(type)->timed_out, 1);
}

void
as_stat_count_conflict(AsType *type)
{
	(void) pg_atomic_fetch_add_u64(&as_stat_of(type)->conflicts, 1);
}

void
as_stat_count_failure(AsType *type, bool again)
{
	AsStatShared *stat = as_stat_of(type);

	(void) pg_atomic_fetch_add_u64(&stat->failed, 1);
	if (again)
		(void) pg_atomic_fetch_add_u64(&stat->retried, 1);
}

/* ---- Types that are dropped ---- */

/* Whoever makes a type of that name anew waits for the lock that is still held. */
static void
start_anew(const text *name)
{
	uint32		used;
	int			n;

	if (stats == NULL)
		return;
	used = pg_atomic_read_u32(&stats->n);
	pg_read_barrier();
	n = find(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), used);
	if (n >= 0)
		start(&stats->stats[n]);
	as_conflicts_forget(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
}

void
as_stat_type_dropped(const text *type)
{
	as_after_commit(start_anew, type);
}

/*-------------------------------------------------------------------------
 *
 * health_board.c
 *	  What is known of the nodes' health, in shared memory: see health.h.
 *
 * A board belongs to the process that registered for its database, and is
 * given back when that ends.  The words beside it belong to a (database, node)
 * for good, as in peer_stat.h; that of its health holds the time, so that it is
 * worth nothing once nobody writes it any more.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/health.h"

#include "catalog/pg_type.h"
#include "cluster/peer_stat.h"
#include "compat.h"
#include "funcapi.h"
#include "lib/histogram.h"
#include "lib/steady_clock.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(actorstore_health_now);

/* databases of one server that are nodes beside others */
#define BOARDS			16

/* a process that was started is waited for this long */
#define START_MS		10000

/* a word that was not written for so long says nothing; microseconds */
#define STALE			INT64CONST(30000000)

/* health, silent, and the time above them */
#define WORD(health, silent, time) \
	((uint64) (time) << 3 | (uint64) (silent) << 2 | (health))
#define WORD_HEALTH(word)	((AsHealth) ((word) & 3))
#define WORD_SILENT(word)	(((word) & 4) != 0)
#define WORD_TIME(word)		((int64) ((word) >> 3))

typedef struct BoardShared
{
	pg_atomic_uint32 database;	/* 0: free */
	int16		self;			/* under the lock, as the rest; 0: not known yet */
	AsGossip	gossip;
} BoardShared;

typedef struct EntryShared
{
	pg_atomic_uint64 word;
	pg_atomic_uint64 phi;		/* a double */
	pg_atomic_uint64 counters[AS_HEALTH_NCOUNTERS];
	AsHistogramShared round_trips;
} EntryShared;

typedef struct HealthShared
{
	LWLock	   *lock;
	pg_atomic_uint64 started_at;	/* the process started last */
	pg_atomic_uint32 started_for;	/* and its database */
	BoardShared boards[BOARDS];
	EntryShared entries[AS_PEER_STATS];
} HealthShared;

static HealthShared *shared = NULL;
static BoardShared *own = NULL;

Size
as_health_shmem_size(void)
{
	return sizeof(HealthShared);
}

void
as_health_shmem_init(void)
{
	bool		found;

	shared = ShmemInitStruct("actorstore health", sizeof(HealthShared), &found);
	if (found)
		return;
	memset(shared, 0, sizeof(HealthShared));
	shared->lock = &(GetNamedLWLockTranche("actorstore") + 7)->lock;
	pg_atomic_init_u64(&shared->started_at, 0);
	pg_atomic_init_u32(&shared->started_for, 0);
	for (int i = 0; i < BOARDS; i++)
		pg_atomic_init_u32(&shared->boards[i].database, 0);
	for (int i = 0; i < AS_PEER_STATS; i++)
	{
		EntryShared *entry = &shared->entries[i];

		pg_atomic_init_u64(&entry->word, 0);
		pg_atomic_init_u64(&entry->phi, 0);
		for (int j = 0; j < AS_HEALTH_NCOUNTERS; j++)
			pg_atomic_init_u64(&entry->counters[j], 0);
		as_histogram_init(&entry->round_trips);
	}
}

/* ---- The board ---- */

static BoardShared *
find_board(Oid database)
{
	for (int i = 0; shared != NULL && i < BOARDS; i++)
	{
		if (pg_atomic_read_u32(&shared->boards[i].database) == database)
			return &shared->boards[i];
	}
	return NULL;
}

static void
leave(int code, Datum arg)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	own->self = 0;
	own->gossip.count = 0;
	pg_atomic_write_u32(&own->database, 0);
	LWLockRelease(shared->lock);
	pg_atomic_write_u64(&shared->started_at, 0);
}

bool
as_board_register(void)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (find_board(MyDatabaseId) == NULL)
		own = find_board(InvalidOid);
	if (own != NULL)
		pg_atomic_write_u32(&own->database, MyDatabaseId);
	LWLockRelease(shared->lock);
	if (own != NULL)
		before_shmem_exit(leave, (Datum) 0);
	return own != NULL;
}

bool
as_board_claim_start(void)
{
	TimestampTz now = GetCurrentTimestamp();
	uint64		started_at;

	if (shared == NULL || find_board(MyDatabaseId) != NULL || find_board(InvalidOid) == NULL)
		return false;
	started_at = pg_atomic_read_u64(&shared->started_at);
	if (started_at != 0 && pg_atomic_read_u32(&shared->started_for) == MyDatabaseId &&
		!TimestampDifferenceExceeds((TimestampTz) started_at, now, START_MS))
		return false;
	if (!pg_atomic_compare_exchange_u64(&shared->started_at, &started_at, (uint64) now))
		return false;
	pg_atomic_write_u32(&shared->started_for, MyDatabaseId);
	return true;
}

AsGossip *
as_board_lock(bool exclusive, int16 *self)
{
	BoardShared *board;

	if (shared == NULL)
		return NULL;
	LWLockAcquire(shared->lock, exclusive ? LW_EXCLUSIVE : LW_SHARED);
	board = find_board(MyDatabaseId);
	if (board == NULL || board->self == 0)
	{
		/* before it has begun, or after its end */
		LWLockRelease(shared->lock);
		return NULL;
	}
	*self = board->self;
	return &board->gossip;
}

void
as_board_unlock(void)
{
	LWLockRelease(shared->lock);
}

void
as_board_set_self(int16 self)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	own->self = self;
	LWLockRelease(shared->lock);
}

/* ---- The words beside it ---- */

static EntryShared *
find_entry(int16 node)
{
	int			entry = shared == NULL ? -1 : as_peer_stat_find(node);

	return entry < 0 ? NULL : &shared->entries[entry];
}

void
as_board_set(int16 node, AsHealth health, bool silent, double phi)
{
	EntryShared *entry = find_entry(node);
	uint64		bits;

	if (entry == NULL)
		return;
	memcpy(&bits, &phi, sizeof(bits));
	pg_atomic_write_u64(&entry->phi, bits);
	pg_atomic_write_u64(&entry->word, WORD(health, silent, as_steady_now()));
}

void
as_board_count(int16 node, AsHealthCounter counter)
{
	EntryShared *entry = find_entry(node);

	if (entry != NULL)
		pg_atomic_fetch_add_u64(&entry->counters[counter], 1);
}

void
as_board_add_round_trip(int16 node, int64 us)
{
	EntryShared *entry = find_entry(node);

	if (entry != NULL)
		as_histogram_add(&entry->round_trips, (uint64) Max(us, 0));
}

/* The word of an entry, 0 if it is too old to say anything. */
static uint64
read_word(EntryShared *entry)
{
	uint64		word = entry == NULL ? 0 : pg_atomic_read_u64(&entry->word);

	return as_steady_now() - WORD_TIME(word) > STALE ? 0 : word;
}

AsHealth
as_health_of(int16 node)
{
	return WORD_HEALTH(read_word(find_entry(node)));
}

bool
as_health_is_silent(int16 node)
{
	uint64		word = read_word(find_entry(node));

	return WORD_HEALTH(word) == AS_HEALTH_DOWN && WORD_SILENT(word);
}

/* ---- Opinions on their way ---- */

/* The most numbers that opinions are. */
#define MAX_NUMBERS		(AS_MAX_NODES * (3 + AS_GOSSIP_SUSPECTS))

static int
write_numbers(const AsOpinion *const *opinions, int n, int64 *numbers)
{
	int			count = 0;

	for (int i = 0; i < n; i++)
	{
		numbers[count++] = opinions[i]->node;
		numbers[count++] = opinions[i]->counter;
		numbers[count++] = opinions[i]->nsuspects;
		for (int j = 0; j < opinions[i]->nsuspects; j++)
			numbers[count++] = opinions[i]->suspects[j];
	}
	return count;
}

ArrayType *
as_opinions_array(const AsOpinion *const *opinions, int n)
{
	int64	   *numbers = palloc(sizeof(int64) * MAX_NUMBERS);
	Datum	   *datums = palloc(sizeof(Datum) * MAX_NUMBERS);
	int			count = write_numbers(opinions, n, numbers);

	for (int i = 0; i < count; i++)
		datums[i] = Int64GetDatum(numbers[i]);
	return construct_array(datums, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

void
as_opinions_print(StringInfo out, const AsOpinion *const *opinions, int n)
{
	int64	   *numbers = palloc(sizeof(int64) * MAX_NUMBERS);
	int			count = write_numbers(opinions, n, numbers);

	appendStringInfoChar(out, '{');
	for (int i = 0; i < count; i++)
		appendStringInfo(out, "%s" INT64_FORMAT, i > 0 ? "," : "", numbers[i]);
	appendStringInfoChar(out, '}');
}

static bool
take_number(const int64 *numbers, int count, int *at, int64 least, int64 most, int64 *number)
{
	if (*at >= count || numbers[*at] < least || numbers[*at] > most)
		return false;
	*number = numbers[(*at)++];
	return true;
}

static bool
take_opinion(const int64 *numbers, int count, int *at, AsOpinion *opinion)
{
	int64		node;
	int64		nsuspects;
	int64		suspect;

	/* from the highest counter on nobody could count */
	if (!take_number(numbers, count, at, 1, PG_INT16_MAX, &node) ||
		!take_number(numbers, count, at, 1, PG_INT64_MAX / 2, &opinion->counter) ||
		!take_number(numbers, count, at, 0, AS_GOSSIP_SUSPECTS, &nsuspects))
		return false;
	opinion->node = (int16) node;
	opinion->nsuspects = (int16) nsuspects;
	for (int i = 0; i < nsuspects; i++)
	{
		if (!take_number(numbers, count, at, 1, PG_INT16_MAX, &suspect))
			return false;
		opinion->suspects[i] = (int16) suspect;
	}
	return true;
}

static int
read_numbers(const int64 *numbers, int count, AsOpinion *opinions)
{
	int			n = 0;

	for (int at = 0; at < count; n++)
	{
		if (n == AS_MAX_NODES)
			return -1;
		memset(&opinions[n], 0, sizeof(AsOpinion));
		if (!take_opinion(numbers, count, &at, &opinions[n]))
			return -1;
	}
	return n;
}

int
as_opinions_read(ArrayType *array, AsOpinion *opinions)
{
	Datum	   *datums;
	bool	   *nulls;
	int			count;
	int64	   *numbers;

	if (ARR_NDIM(array) > 1 || ARR_HASNULL(array))
		return -1;
	deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &datums, &nulls, &count);
	numbers = palloc(sizeof(int64) * Max(count, 1));
	for (int i = 0; i < count; i++)
		numbers[i] = DatumGetInt64(datums[i]);
	return read_numbers(numbers, count, opinions);
}

int
as_opinions_parse(const char *text, AsOpinion *opinions)
{
	int64	   *numbers = palloc(sizeof(int64) * MAX_NUMBERS);
	int			count = 0;

	if (strcmp(text, "{}") == 0)
		return 0;
	do
	{
		char	   *end;

		/* behind "{" or "," */
		errno = 0;
		if (count == MAX_NUMBERS)
			return -1;
		numbers[count++] = strtoll(text + 1, &end, 10);
		if (errno != 0 || end == text + 1)
			return -1;
		text = end;
	} while (*text == ',');
	return strcmp(text, "}") == 0 ? read_numbers(numbers, count, opinions) : -1;
}

/* ---- The view ---- */

/* What is known of this database's nodes. */
Datum
actorstore_health_now(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"unknown", "up", "suspect", "down"};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int16		node;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; shared != NULL && i < AS_PEER_STATS; i++)
	{
		EntryShared *entry = &shared->entries[i];
		Datum		values[6 + AS_HEALTH_NCOUNTERS];
		bool		nulls[6 + AS_HEALTH_NCOUNTERS] = {false};
		uint64		word;
		uint64		bits;
		double		phi;

		if (!as_peer_stat_node(i, &node))
			continue;
		word = read_word(entry);
		bits = pg_atomic_read_u64(&entry->phi);
		memcpy(&phi, &bits, sizeof(phi));
		values[0] = Int16GetDatum(node);
		values[1] = CStringGetTextDatum(names[WORD_HEALTH(word)]);
		values[2] = Float8GetDatum(phi);
		nulls[2] = word == 0 || phi < 0;
		for (int j = 0; j < 3; j++)
		{
			static const double parts[] = {0.5, 0.95, 0.99};

			values[3 + j] = Float8GetDatum((double) as_histogram_percentile(&entry->round_trips, parts[j]) / 1000);
			nulls[3 + j] = as_histogram_count(&entry->round_trips) == 0;
		}
		for (int j = 0; j < AS_HEALTH_NCOUNTERS; j++)
			values[6 + j] = Int64GetDatum((int64) pg_atomic_read_u64(&entry->counters[j]));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

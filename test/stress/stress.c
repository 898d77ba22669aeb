/*-------------------------------------------------------------------------
 *
 * stress.c
 *	  SQL functions that set up what stress.h describes, and count.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "stress.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/wait_event.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(stress_new);
PG_FUNCTION_INFO_V1(stress_drop);
PG_FUNCTION_INFO_V1(stress_launch);
PG_FUNCTION_INFO_V1(stress_stop);
PG_FUNCTION_INFO_V1(stress_finish);
PG_FUNCTION_INFO_V1(stress_seat);
PG_FUNCTION_INFO_V1(stress_report);

static Size
seen_words(StressShared *shared)
{
	return (shared->producers * shared->quota + 63) / 64;
}

static void *
allocate(shm_toc *toc, uint64 key, Size size)
{
	void	   *chunk = shm_toc_allocate(toc, size);

	shm_toc_insert(toc, key, chunk);
	return chunk;
}

static void
fill_segment(shm_toc *toc, StressShared *wanted, uint64 ring_capacity, uint64 deque_capacity, uint64 start)
{
	StressShared *shared = allocate(toc, STRESS_KEY_SHARED, sizeof(StressShared));
	pg_atomic_uint64 *seen = allocate(toc, STRESS_KEY_SEEN, seen_words(wanted) * sizeof(pg_atomic_uint64));

	memset(shared, 0, sizeof(StressShared));
	shared->quota = wanted->quota;
	shared->producers = wanted->producers;
	shared->deques = wanted->deques;
	pg_atomic_init_u64(&shared->state, STRESS_RUNNING);
	for (int i = 0; i < STRESS_SEATS; i++)
	{
		StressSeatShared *seat = &shared->seats[i];

		pg_atomic_init_u64(&seat->pid, 0);
		pg_atomic_init_u64(&seat->arrivals, 0);
		pg_atomic_init_u64(&seat->stop_at, STRESS_NOWHERE);
		for (int j = 0; j < STRESS_COUNTS; j++)
			pg_atomic_init_u64(&seat->counts[j], 0);
	}
	for (Size i = 0; i < seen_words(shared); i++)
		pg_atomic_init_u64(&seen[i], 0);
	as_ring_init_at(allocate(toc, STRESS_KEY_RING, as_ring_size(ring_capacity)), ring_capacity, start);
	for (int i = 0; i < shared->deques; i++)
		as_deque_init_at(allocate(toc, STRESS_KEY_DEQUE + i, as_deque_size(deque_capacity)), deque_capacity, start);
}

/* Make a segment, which lives until stress.drop(), and return its handle. */
Datum
stress_new(PG_FUNCTION_ARGS)
{
	uint64		ring_capacity = PG_GETARG_INT64(0);
	uint64		deque_capacity = PG_GETARG_INT64(1);
	StressShared wanted;
	shm_toc_estimator estimator;
	dsm_segment *segment;
	dsm_handle	handle;
	Size		size;

	wanted.deques = PG_GETARG_INT32(2);
	wanted.producers = PG_GETARG_INT32(3);
	wanted.quota = PG_GETARG_INT64(4);
	/* items are 32 bits wide in a deque */
	if (wanted.deques < 1 || wanted.deques > STRESS_DEQUES ||
		wanted.producers < 1 || wanted.producers > STRESS_SEATS ||
		wanted.quota < 1 || wanted.quota > UINT64CONST(0xFFFFFFFF) / STRESS_SEATS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("too much or too little")));

	shm_toc_initialize_estimator(&estimator);
	shm_toc_estimate_chunk(&estimator, sizeof(StressShared));
	shm_toc_estimate_chunk(&estimator, seen_words(&wanted) * sizeof(pg_atomic_uint64));
	shm_toc_estimate_chunk(&estimator, as_ring_size(ring_capacity));
	for (int i = 0; i < wanted.deques; i++)
		shm_toc_estimate_chunk(&estimator, as_deque_size(deque_capacity));
	shm_toc_estimate_keys(&estimator, STRESS_KEY_DEQUE + wanted.deques);
	size = shm_toc_estimate(&estimator);

	segment = dsm_create(size, 0);
	fill_segment(shm_toc_create(STRESS_MAGIC, dsm_segment_address(segment), size),
				 &wanted, ring_capacity, deque_capacity, PG_GETARG_INT64(5));
	dsm_pin_segment(segment);
	handle = dsm_segment_handle(segment);
	dsm_detach(segment);
	PG_RETURN_INT64(handle);
}

Datum
stress_drop(PG_FUNCTION_ARGS)
{
	dsm_unpin_segment((dsm_handle) PG_GETARG_INT64(0));
	PG_RETURN_VOID();
}

void
stress_attach(Stress *stress, dsm_handle handle)
{
	shm_toc    *toc;

	stress->segment = dsm_attach(handle);
	if (stress->segment == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no such segment")));
	toc = shm_toc_attach(STRESS_MAGIC, dsm_segment_address(stress->segment));
	if (toc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("not one of our segments")));
	stress->shared = shm_toc_lookup(toc, STRESS_KEY_SHARED, false);
	stress->ring = shm_toc_lookup(toc, STRESS_KEY_RING, false);
	stress->seen = shm_toc_lookup(toc, STRESS_KEY_SEEN, false);
	for (int i = 0; i < stress->shared->deques; i++)
		stress->deques[i] = shm_toc_lookup(toc, STRESS_KEY_DEQUE + i, false);
}

uint64
stress_sum(Stress *stress, StressCount which)
{
	uint64		sum = 0;

	for (int i = 0; i < STRESS_SEATS; i++)
		sum += pg_atomic_read_u64(&stress->shared->seats[i].counts[which]);
	return sum;
}

static void
attach_arg(Stress *stress, FunctionCallInfo fcinfo)
{
	stress_attach(stress, (dsm_handle) PG_GETARG_INT64(0));
}

static int
seat_arg(FunctionCallInfo fcinfo)
{
	int			seat = PG_GETARG_INT32(1);

	if (seat < 0 || seat >= STRESS_SEATS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no such seat")));
	return seat;
}

/* The place of a word in a list. */
static int
word_arg(FunctionCallInfo fcinfo, const char *const *words, int nwords)
{
	char	   *word = text_to_cstring(PG_GETARG_TEXT_PP(2));

	for (int i = 0; i < nwords; i++)
	{
		if (strcmp(word, words[i]) == 0)
			return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("not a word for this: %s", word)));
}

static void
rest_a_little(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 2, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Start a worker, and wait until it has sat down.  Returns its pid. */
Datum
stress_launch(PG_FUNCTION_ARGS)
{
	static const char *const roles[] = {"producer", "consumer", "owner", "thief"};
	Stress		stress;
	StressJob	job;
	StressSeatShared *seat;
	uint64		arrivals;
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;
	pid_t		pid = 0;

	attach_arg(&stress, fcinfo);
	job.handle = dsm_segment_handle(stress.segment);
	job.seat = seat_arg(fcinfo);
	job.role = (StressRole) word_arg(fcinfo, roles, lengthof(roles));
	seat = &stress.shared->seats[job.seat];
	arrivals = pg_atomic_read_u64(&seat->arrivals);
	if (pg_atomic_read_u64(&seat->pid) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the seat is taken")));

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "actorstore_stress", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "stress_worker_main", sizeof(worker.bgw_function_name));
	snprintf(worker.bgw_name, BGW_MAXLEN, "stress %s in seat %d", roles[job.role], job.seat);
	strlcpy(worker.bgw_type, "stress", BGW_MAXLEN);
	StaticAssertStmt(sizeof(job) <= BGW_EXTRALEN, "a job must fit");
	memcpy(worker.bgw_extra, &job, sizeof(job));
	if (!RegisterDynamicBackgroundWorker(&worker, &handle) ||
		WaitForBackgroundWorkerStartup(handle, &pid) == BGWH_POSTMASTER_DIED)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no worker")));
	while (pg_atomic_read_u64(&seat->arrivals) == arrivals &&
		   GetBackgroundWorkerPid(handle, &pid) == BGWH_STARTED)
		rest_a_little();
	dsm_detach(stress.segment);
	PG_RETURN_INT32(pid);
}

/* Let the worker in the seat stop itself (SIGSTOP), in the middle or not. */
Datum
stress_stop(PG_FUNCTION_ARGS)
{
	static const char *const places[] = {"nowhere", "anywhere", "push", "pop", "take", "steal"};
	Stress		stress;
	int			place = word_arg(fcinfo, places, lengthof(places));

	attach_arg(&stress, fcinfo);
	pg_atomic_write_u64(&stress.shared->seats[seat_arg(fcinfo)].stop_at, place);
	dsm_detach(stress.segment);
	PG_RETURN_VOID();
}

static bool
all_vacant(StressShared *shared, int nseats)
{
	for (int i = 0; i < nseats; i++)
	{
		if (pg_atomic_read_u64(&shared->seats[i].pid) != 0)
			return false;
	}
	return true;
}

/* Send producers away, and then the others when all is recorded. */
Datum
stress_finish(PG_FUNCTION_ARGS)
{
	Stress		stress;

	attach_arg(&stress, fcinfo);
	pg_atomic_write_u64(&stress.shared->state, STRESS_CLOSING);
	while (!all_vacant(stress.shared, stress.shared->producers))
		rest_a_little();
	pg_atomic_write_u64(&stress.shared->state, STRESS_DRAINING);
	while (!all_vacant(stress.shared, STRESS_SEATS))
		rest_a_little();
	dsm_detach(stress.segment);
	PG_RETURN_VOID();
}

static Datum
row(FunctionCallInfo fcinfo, uint64 *values, int nvalues)
{
	TupleDesc	desc;
	Datum		datums[STRESS_COUNTS + 1];
	bool		nulls[STRESS_COUNTS + 1] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != nvalues)
		elog(ERROR, "stress.sql is not the one of this library");
	for (int i = 0; i < nvalues; i++)
		datums[i] = TupleDescAttr(desc, i)->atttypid == INT4OID ? Int32GetDatum((int32) values[i]) :
			Int64GetDatum((int64) values[i]);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), datums, nulls));
}

/* Who sits there, and how many operations have ended, well or not. */
Datum
stress_seat(PG_FUNCTION_ARGS)
{
	static const StressCount operations[] =
	{STRESS_PUSHED, STRESS_POPPED, STRESS_KEPT, STRESS_TAKEN, STRESS_STOLEN, STRESS_FULL, STRESS_EMPTY};
	Stress		stress;
	StressSeatShared *seat;
	uint64		values[2];

	attach_arg(&stress, fcinfo);
	seat = &stress.shared->seats[seat_arg(fcinfo)];
	values[0] = pg_atomic_read_u64(&seat->pid);
	values[1] = 0;
	for (size_t i = 0; i < lengthof(operations); i++)
		values[1] += pg_atomic_read_u64(&seat->counts[operations[i]]);
	dsm_detach(stress.segment);
	return row(fcinfo, values, lengthof(values));
}

/* All counts; what is missing, and who is a stranger, is seen from the bits. */
Datum
stress_report(PG_FUNCTION_ARGS)
{
	Stress		stress;
	uint64		missing = 0;
	uint64		strangers;
	uint64		values[STRESS_COUNTS + 1];
	int			n = 0;

	attach_arg(&stress, fcinfo);
	strangers = stress_sum(&stress, STRESS_STRANGERS);
	for (uint64 item = 0; item < stress.shared->producers * stress.shared->quota; item++)
	{
		StressSeatShared *producer = &stress.shared->seats[item / stress.shared->quota];
		bool		pushed = item % stress.shared->quota < pg_atomic_read_u64(&producer->counts[STRESS_PUSHED]);
		bool		seen = (pg_atomic_read_u64(&stress.seen[item / 64]) >> (item % 64)) & 1;

		missing += pushed && !seen;
		strangers += seen && !pushed;
	}
	for (int i = STRESS_PUSHED; i <= STRESS_RECORDED; i++)
		values[n++] = stress_sum(&stress, i);
	values[n++] = missing;
	values[n++] = stress_sum(&stress, STRESS_DUPLICATES);
	values[n++] = strangers;
	for (int i = STRESS_OUT_OF_ORDER; i < STRESS_COUNTS; i++)
		values[n++] = stress_sum(&stress, i);
	dsm_detach(stress.segment);
	return row(fcinfo, values, n);
}

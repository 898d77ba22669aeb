/*-------------------------------------------------------------------------
 *
 * stats.c
 *	  The functions behind the views of what the runtime does.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "runtime/conflict.h"
#include "runtime/sched.h"
#include "runtime/stat.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(actorstore_type_counts);
PG_FUNCTION_INFO_V1(actorstore_conflicts_now);
PG_FUNCTION_INFO_V1(actorstore_workers_now);
PG_FUNCTION_INFO_V1(actorstore_scheduler_now);

#define COUNT(counter) Int64GetDatum((int64) pg_atomic_read_u64(&(counter)))

static void
put_row(ReturnSetInfo *result, Datum *values, bool *nulls)
{
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static int
put_percentiles(Datum *values, AsHistogramShared *histogram)
{
	values[0] = Float8GetDatum(as_histogram_percentile(histogram, 0.5) / 1000.0);
	values[1] = Float8GetDatum(as_histogram_percentile(histogram, 0.95) / 1000.0);
	values[2] = Float8GetDatum(as_histogram_percentile(histogram, 0.99) / 1000.0);
	return 3;
}

/* The sum and the mean, in milliseconds; like percentiles, of nothing it is 0. */
static int
put_time(Datum *values, pg_atomic_uint64 *us, AsHistogramShared *histogram)
{
	double		ms = pg_atomic_read_u64(us) / 1000.0;

	values[0] = Float8GetDatum(ms);
	values[1] = Float8GetDatum(ms / Max(as_histogram_count(histogram), 1));
	return 2;
}

/* Those who may read the type, or all that there is to watch. */
static bool
is_shown(AsStatShared *stat)
{
	AsType	   *type;

	if (stat->database != MyDatabaseId)
		return false;
	type = as_type_find(cstring_to_text_with_len(stat->name, stat->name_len));
	return type != NULL &&
		(as_type_has(type, AS_PRIV_READ) ||
		 has_privs_of_role(GetUserId(), ROLE_PG_MONITOR));
}

/* What was counted of this database's types since the server started. */
Datum
actorstore_type_counts(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < as_stat_count(); i++)
	{
		AsStatShared *stat;
		Datum		values[29];
		bool		nulls[29] = {false};
		int			n = 0;

		if (!as_stat_get(i, &stat) || !is_shown(stat))
			continue;
		values[n++] = PointerGetDatum(cstring_to_text_with_len(stat->name,
															   stat->name_len));
		values[n++] = COUNT(stat->handled);
		values[n++] = COUNT(stat->turns);
		values[n++] = COUNT(stat->created);
		values[n++] = COUNT(stat->failed);
		values[n++] = COUNT(stat->retried);
		values[n++] = COUNT(stat->dead);
		n += put_percentiles(&values[n], &stat->waiting);
		n += put_percentiles(&values[n], &stat->handling);
		values[n++] = Int64GetDatum((int64) as_histogram_count(&stat->round_trip));
		values[n++] = COUNT(stat->timed_out);
		n += put_percentiles(&values[n], &stat->ask_waiting);
		n += put_percentiles(&values[n], &stat->ask_handling);
		n += put_percentiles(&values[n], &stat->round_trip);
		values[n++] = COUNT(stat->conflicts);
		n += put_time(&values[n], &stat->waiting_us, &stat->waiting);
		n += put_time(&values[n], &stat->handling_us, &stat->handling);
		Assert(n == (int) lengthof(values));
		put_row(result, values, nulls);
	}
	return (Datum) 0;
}

/*
 * Whose versions were contended, of those that the role may read; not of a type
 * of another owner's that had the name before.
 */
Datum
actorstore_conflicts_now(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int			nactors;
	AsConflict *actors = as_conflicts_copy(&nactors);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < nactors; i++)
	{
		text	   *name = cstring_to_text_with_len(actors[i].type, actors[i].type_len);
		AsType	   *type = as_type_find(name);
		Datum		values[4];
		bool		nulls[4] = {false};

		if (type == NULL || !type->exists || type->owner != actors[i].owner ||
			!as_type_has(type, AS_PRIV_READ))
			continue;
		values[0] = PointerGetDatum(name);
		values[1] = PointerGetDatum(cstring_to_text_with_len(actors[i].id, actors[i].id_len));
		values[2] = Int64GetDatum((int64) (actors[i].count - actors[i].inherited));
		values[3] = TimestampTzGetDatum(actors[i].last);
		put_row(result, values, nulls);
	}
	pfree(actors);
	return (Datum) 0;
}

Datum
actorstore_workers_now(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; as_sched_active() && i < as_sched_max_workers(); i++)
	{
		AsWorkerShared *worker = as_worker(i);
		AsHomeShared *home = as_home(pg_atomic_read_u32(&worker->home));
		AsSlotRef	current = pg_atomic_read_u64(&worker->current);
		Datum		values[12];
		bool		nulls[12] = {false};
		int			n = 0;

		if (pg_atomic_read_u32(&worker->status) != AS_WORKER_READY)
			continue;
		values[n++] = Int32GetDatum(i);
		values[n++] = Int32GetDatum(worker->pid);
		values[n++] = ObjectIdGetDatum(pg_atomic_read_u32(&home->database));
		values[n++] = CStringGetTextDatum(current != AS_NO_SLOT ? "running" :
										  pg_atomic_read_u64(&home->sleepers) & (UINT64CONST(1) << i) ?
										  "sleeping" : "looking");
		nulls[n] = (current == AS_NO_SLOT);
		values[n++] = nulls[4] ? (Datum) 0 :
			Int64GetDatum((int64) pg_atomic_read_u64(&as_slot(current)->key_hash));
		values[n++] = COUNT(worker->nturns);
		values[n++] = COUNT(worker->nmessages);
		values[n++] = COUNT(worker->ncommits);
		values[n++] = COUNT(worker->nfailures);
		values[n++] = COUNT(worker->nsteals);
		values[n++] = COUNT(worker->nsleeps);
		values[n++] = Int64GetDatum((int64) as_deque_count(as_worker_deque(i)));
		Assert(n == (int) lengthof(values));
		put_row(result, values, nulls);
	}
	return (Datum) 0;
}

/* This database's part of the scheduler; the slots are those of all. */
Datum
actorstore_scheduler_now(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int			number = as_sched_home();
	uint32		by_status[AS_AGAIN + 1];
	Datum		values[11];
	bool		nulls[11] = {false};
	AsHomeShared *home;
	uint32		nslots;
	int			n = 0;

	InitMaterializedSRF(fcinfo, 0);
	if (number < 0)
		return (Datum) 0;
	home = as_home(number);
	nslots = as_slots_count(by_status);
	values[n++] = Int64GetDatum((int64) as_ring_count(as_home_queue(number)));
	values[n++] = Int64GetDatum(nslots);
	values[n++] = Int64GetDatum(nslots - by_status[AS_FREE]);
	values[n++] = Int64GetDatum(by_status[AS_SCHEDULED] + by_status[AS_AGAIN]);
	values[n++] = Int64GetDatum(by_status[AS_RUNNING] + by_status[AS_AGAIN]);
	values[n++] = COUNT(home->noverflows);
	values[n++] = COUNT(home->nsweeps);
	values[n++] = BoolGetDatum(as_sched_is_swept(number));
	nulls[n] = pg_atomic_read_u64(&home->next_due) == AS_NEVER ||
		pg_atomic_read_u64(&home->next_due) == 0;
	values[n++] = TimestampTzGetDatum((TimestampTz) pg_atomic_read_u64(&home->next_due));
	values[n++] = Int32GetDatum(as_sched_max_workers());
	values[n++] = BoolGetDatum(as_sched_is_starved());
	Assert(n == (int) lengthof(values));
	put_row(result, values, nulls);
	return (Datum) 0;
}

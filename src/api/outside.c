/*-------------------------------------------------------------------------
 *
 * outside.c
 *	  The SQL functions of clients that handle messages outside of the database.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "api/args.h"
#include "api/outside_json.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "runtime/checkout.h"
#include "runtime/offer.h"
#include "runtime/rest.h"
#include "runtime/sched.h"
#include "state/actor.h"
#include "state/catalog.h"
#include "state/identity.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(actorstore_outside);
PG_FUNCTION_INFO_V1(actorstore_checkout);
PG_FUNCTION_INFO_V1(actorstore_complete);
PG_FUNCTION_INFO_V1(actorstore_complete_many);
PG_FUNCTION_INFO_V1(actorstore_fail);
PG_FUNCTION_INFO_V1(actorstore_extend_lease);

#define MAX_LEASE		USECS_PER_DAY
#define MAX_TURNS		1000

/* The handler of what is handled outside: nobody calls it. */
Datum
actorstore_outside(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("actorstore.outside() stands for clients that handle messages outside the database"),
			 errhint("Give it to actorstore.set_handler(); clients call actorstore.checkout().")));
	PG_RETURN_NULL();
}

/* What a copy of a database has was checked out in another one. */
static void
check_not_fenced(void)
{
	int			home = as_sched_home();

	/* workers have looked */
	if (home >= 0 && as_leases_known(home))
		return;
	if (as_identity_is_copy())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is a copy, and fenced"),
				 errhint("See actorstore.unfence().")));
}

static void
check_may(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
	PreventCommandDuringRecovery(function);
	if (as_turn_current != NULL || as_sched_self >= 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s cannot be called in a handler", function)));
	if (!as_sched_active())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s needs actorstore to be preloaded", function),
				 errhint("Put this line into postgresql.conf and restart: shared_preload_libraries = 'actorstore'")));
	check_not_fenced();
}

static int64
arg_lease(FunctionCallInfo fcinfo, int n)
{
	int64		lease = as_arg_span(fcinfo, n, "lease");

	if (lease == 0 || lease > MAX_LEASE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("lease must be greater than zero, and at most one day"),
				 errhint("To keep a turn for longer, call actorstore.extend_lease() now and then.")));
	return lease;
}

/* ---- checkout ---- */

static text **
arg_types(FunctionCallInfo fcinfo, int n, int *ntypes)
{
	Datum	   *elems;
	bool	   *nulls;
	text	  **types;

	as_reject_null(fcinfo, n, "actor_types");
	if (ARR_NDIM(PG_GETARG_ARRAYTYPE_P(n)) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("actor_types must be a one-dimensional array")));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false,
					  TYPALIGN_INT, &elems, &nulls, ntypes);
	if (*ntypes < 1 || *ntypes > AS_MAX_WISHES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("actor_types must name one to %d types", AS_MAX_WISHES)));
	types = palloc(*ntypes * sizeof(text *));
	for (int i = 0; i < *ntypes; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("actor_type must not be NULL")));
		types[i] = DatumGetTextPP(elems[i]);
		as_check_name("actor_type", types[i]);
		as_type_check(as_type_get(types[i]), AS_PRIV_SERVE);
	}
	return types;
}

static int
arg_count(FunctionCallInfo fcinfo, int n, const char *what, int max)
{
	as_reject_null(fcinfo, n, what);
	if (PG_GETARG_INT32(n) < 1 || PG_GETARG_INT32(n) > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between 1 and %d", what, max)));
	return PG_GETARG_INT32(n);
}

static void
return_turn(const AsLeaseRow *row, const AsTurn *turn, void *arg)
{
	ReturnSetInfo *result = arg;
	Datum		values[8];
	bool		nulls[8] = {false};

	values[0] = Int64GetDatum(row->turn_id);
	values[1] = Int64GetDatum(row->token);
	values[2] = PointerGetDatum(row->actor_type);
	values[3] = PointerGetDatum(row->actor_id);
	values[4] = turn->state;
	nulls[4] = (turn->state == (Datum) 0);
	values[5] = Int64GetDatum(row->version);
	nulls[5] = (row->version < 0);
	values[6] = as_outside_messages_json(turn);
	values[7] = TimestampTzGetDatum(row->until);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

Datum
actorstore_checkout(PG_FUNCTION_ARGS)
{
	AsCheckout	checkout = {0};

	as_reject_null(fcinfo, 0, "worker");
	checkout.worker = PG_GETARG_TEXT_PP(0);
	as_check_name("worker", checkout.worker);
	checkout.max_turns = arg_count(fcinfo, 2, "max_turns", MAX_TURNS);
	checkout.lease = arg_lease(fcinfo, 3);
	checkout.deadline = GetCurrentTimestamp() +
		as_arg_span(fcinfo, 4, "max_wait");
	checkout.max_messages = PG_ARGISNULL(5) ? actorstore_batch_size :
		arg_count(fcinfo, 5, "max_messages", AS_MAX_BATCH);
	check_may("actorstore.checkout()");
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("actorstore.checkout() needs isolation level READ COMMITTED")));
	checkout.alone = as_rest_is_alone(fcinfo);
	checkout.types = arg_types(fcinfo, 1, &checkout.ntypes);
	InitMaterializedSRF(fcinfo, 0);
	checkout.sink = return_turn;
	checkout.arg = fcinfo->resultinfo;
	as_checkout(&checkout);
	return (Datum) 0;
}

/* ---- complete ---- */

static void
set_state(AsCompletion *completion, Datum state)
{
	as_check_value_size(state);
	completion->state = state;
}

Datum
actorstore_complete(PG_FUNCTION_ARGS)
{
	AsCompletion completion = {0};

	as_reject_null(fcinfo, 0, "turn_id");
	as_reject_null(fcinfo, 1, "token");
	completion.turn_id = PG_GETARG_INT64(0);
	completion.token = PG_GETARG_INT64(1);
	check_may("actorstore.complete()");
	if (!PG_ARGISNULL(2))
		set_state(&completion, PG_GETARG_DATUM(2));
	if (!PG_ARGISNULL(3))
		as_outside_parse_sends(PG_GETARG_DATUM(3), &completion);
	if (!PG_ARGISNULL(4))
		as_outside_parse_replies(PG_GETARG_DATUM(4), &completion);
	as_complete_begin();
	(void) as_complete(&completion, true);
	as_complete_end();
	PG_RETURN_VOID();
}

/* The elements of an array; NULL for NULL. */
static Datum *
arg_elements(FunctionCallInfo fcinfo, int n, const char *what, Oid type,
			 bool **nulls, int expected)
{
	Datum	   *elems;
	int			nelems;
	bool		is_int8 = (type == INT8OID);

	*nulls = NULL;
	if (PG_ARGISNULL(n))
		return NULL;
	if (ARR_NDIM(PG_GETARG_ARRAYTYPE_P(n)) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a one-dimensional array", what)));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), type, is_int8 ? 8 : -1,
					  is_int8, is_int8 ? TYPALIGN_DOUBLE : TYPALIGN_INT, &elems,
					  nulls, &nelems);
	if (nelems != expected)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must have as many elements as turn_ids", what),
				 errdetail("There are %d and %d.", nelems, expected)));
	return elems;
}

static void
reject_null_elements(const bool *nulls, int n, const char *what)
{
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be NULL", what)));
	}
}

static AsCompletion *
arg_completions(FunctionCallInfo fcinfo, int *n)
{
	AsCompletion *completions;
	Datum	   *values[5];
	bool	   *nulls[5];

	as_reject_null(fcinfo, 0, "turn_ids");
	as_reject_null(fcinfo, 1, "tokens");
	*n = ArrayGetNItems(ARR_NDIM(PG_GETARG_ARRAYTYPE_P(0)),
						ARR_DIMS(PG_GETARG_ARRAYTYPE_P(0)));
	values[0] = arg_elements(fcinfo, 0, "turn_ids", INT8OID, &nulls[0], *n);
	values[1] = arg_elements(fcinfo, 1, "tokens", INT8OID, &nulls[1], *n);
	reject_null_elements(nulls[0], *n, "turn_id");
	reject_null_elements(nulls[1], *n, "token");
	values[2] = arg_elements(fcinfo, 2, "states", JSONBOID, &nulls[2], *n);
	values[3] = arg_elements(fcinfo, 3, "sends", JSONBOID, &nulls[3], *n);
	values[4] = arg_elements(fcinfo, 4, "replies", JSONBOID, &nulls[4], *n);
	completions = palloc0(Max(*n, 1) * sizeof(AsCompletion));
	for (int i = 0; i < *n; i++)
	{
		completions[i].turn_id = DatumGetInt64(values[0][i]);
		completions[i].token = DatumGetInt64(values[1][i]);
		if (values[2] != NULL && !nulls[2][i])
			set_state(&completions[i], values[2][i]);
		if (values[3] != NULL && !nulls[3][i])
			as_outside_parse_sends(values[3][i], &completions[i]);
		if (values[4] != NULL && !nulls[4][i])
			as_outside_parse_replies(values[4][i], &completions[i]);
	}
	return completions;
}

Datum
actorstore_complete_many(PG_FUNCTION_ARGS)
{
	AsCompletion *completions;
	Datum	   *results;
	bool	   *nulls;
	int			n;
	int			lower = 1;

	check_may("actorstore.complete_many()");
	completions = arg_completions(fcinfo, &n);
	results = palloc0(Max(n, 1) * sizeof(Datum));
	nulls = palloc0(Max(n, 1) * sizeof(bool));
	as_complete_begin();
	for (int i = 0; i < n; i++)
	{
		int			sqlerrcode = as_complete(&completions[i], false);

		nulls[i] = (sqlerrcode == 0);
		if (sqlerrcode != 0)
			results[i] = CStringGetTextDatum(unpack_sql_state(sqlerrcode));
	}
	as_complete_end();
	PG_RETURN_ARRAYTYPE_P(construct_md_array(results, nulls, 1, &n, &lower,
											 TEXTOID, -1, false, TYPALIGN_INT));
}

/* ---- fail, extend_lease ---- */

Datum
actorstore_fail(PG_FUNCTION_ARGS)
{
	int64		retry_after = -1;

	as_reject_null(fcinfo, 0, "turn_id");
	as_reject_null(fcinfo, 1, "token");
	if (PG_ARGISNULL(3))
		as_reject_null(fcinfo, 2, "error");
	else
		retry_after = as_arg_span(fcinfo, 3, "retry_after");
	check_may("actorstore.fail()");
	as_complete_begin();
	as_fail(PG_GETARG_INT64(0), PG_GETARG_INT64(1),
			PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2)),
			retry_after);
	as_complete_end();
	PG_RETURN_VOID();
}

Datum
actorstore_extend_lease(PG_FUNCTION_ARGS)
{
	TimestampTz until;
	int64		lease;

	as_reject_null(fcinfo, 0, "turn_id");
	as_reject_null(fcinfo, 1, "token");
	lease = arg_lease(fcinfo, 2);
	check_may("actorstore.extend_lease()");
	as_complete_begin();
	until = as_extend_lease(PG_GETARG_INT64(0), PG_GETARG_INT64(1), lease);
	as_complete_end();
	PG_RETURN_TIMESTAMPTZ(until);
}

/*-------------------------------------------------------------------------
 *
 * state.c
 *	  The SQL functions that read and write the state of one actor.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "api/args.h"
#include "api/errand.h"
#include "funcapi.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(actorstore_insert);
PG_FUNCTION_INFO_V1(actorstore_get);
PG_FUNCTION_INFO_V1(actorstore_update);
PG_FUNCTION_INFO_V1(actorstore_update_versioned);
PG_FUNCTION_INFO_V1(actorstore_compare_and_swap);
PG_FUNCTION_INFO_V1(actorstore_put);
PG_FUNCTION_INFO_V1(actorstore_patch);
PG_FUNCTION_INFO_V1(actorstore_delete);
PG_FUNCTION_INFO_V1(actorstore_delete_versioned);

static void
raise_missing(text *type, text *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("actor (%s, %s) does not exist", text_to_cstring(type),
					text_to_cstring(id))));
}

/* Raise what update and delete raise, unless all went well. */
static void
check_outcome(AsOutcome outcome, AsErrand *errand)
{
	if (outcome == AS_MISSING)
		raise_missing(errand->type, errand->id);
	if (outcome == AS_MISMATCH)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("actor (%s, %s) has another version",
						text_to_cstring(errand->type), text_to_cstring(errand->id)),
				 errdetail("expected version %lld, actual version %lld",
						   (long long) errand->write.expected_version,
						   (long long) as_errand_version(errand))));
}

/* Do it, and return the actor; NULL, or an error, where it is missing. */
static Datum
actor_after(FunctionCallInfo fcinfo, AsErrand *errand, bool needed)
{
	AsOutcome	outcome;
	Datum		result = (Datum) 0;

	errand->call = fcinfo;
	outcome = as_errand_do(errand);
	if (needed)
		check_outcome(outcome, errand);
	if (outcome == AS_DONE)
		result = as_errand_actor(errand);
	else
		fcinfo->isnull = true;
	as_errand_end(errand);
	return result;
}

Datum
actorstore_insert(PG_FUNCTION_ARGS)
{
	AsErrand		errand = {
		.kind = AS_ERRAND_INSERT, .function = "actorstore.insert()",
		.type = as_arg_type(fcinfo, 0), .id = as_arg_id(fcinfo, 1),
		.write.value = as_arg_value(fcinfo, 2)
	};

	return actor_after(fcinfo, &errand, true);
}

Datum
actorstore_get(PG_FUNCTION_ARGS)
{
	AsErrand		errand = {
		.kind = AS_ERRAND_GET, .function = "actorstore.get()",
		.type = as_arg_type(fcinfo, 0), .id = as_arg_id(fcinfo, 1)
	};

	return actor_after(fcinfo, &errand, false);
}

Datum
actorstore_update(PG_FUNCTION_ARGS)
{
	AsErrand		errand = {
		.kind = AS_ERRAND_UPDATE, .function = "actorstore.update()",
		.type = as_arg_type(fcinfo, 0), .id = as_arg_id(fcinfo, 1),
		.write.value = as_arg_value(fcinfo, 2)
	};

	return actor_after(fcinfo, &errand, true);
}

Datum
actorstore_update_versioned(PG_FUNCTION_ARGS)
{
	AsErrand		errand = {
		.kind = AS_ERRAND_UPDATE, .function = "actorstore.update_versioned()",
		.type = as_arg_type(fcinfo, 0), .id = as_arg_id(fcinfo, 1),
		.write.value = as_arg_value(fcinfo, 2),
		.write.versioned = true,
		.write.expected_version = as_arg_version(fcinfo, 3)
	};

	return actor_after(fcinfo, &errand, true);
}

Datum
actorstore_patch(PG_FUNCTION_ARGS)
{
	AsErrand		errand = {
		.kind = AS_ERRAND_PATCH, .function = "actorstore.patch()",
		.type = as_arg_type(fcinfo, 0), .id = as_arg_id(fcinfo, 1),
		.write.value = as_arg_value(fcinfo, 2)
	};

	return actor_after(fcinfo, &errand, true);
}

Datum
actorstore_compare_and_swap(PG_FUNCTION_ARGS)
{
	AsErrand		errand = {
		.kind = AS_ERRAND_UPDATE, .function = "actorstore.compare_and_swap()",
		.type = as_arg_type(fcinfo, 0), .id = as_arg_id(fcinfo, 1), .call = fcinfo,
		.write.versioned = true,
		.write.expected_version = as_arg_version(fcinfo, 2),
		.write.value = as_arg_value(fcinfo, 3)
	};
	AsOutcome	outcome;
	TupleDesc	desc;
	Datum		values[3] = {0};
	bool		nulls[3] = {false, true, true};
	HeapTuple	result;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	outcome = as_errand_do(&errand);
	values[0] = BoolGetDatum(outcome == AS_DONE);
	if (outcome != AS_MISSING)
	{
		values[1] = Int64GetDatum(as_errand_version(&errand));
		values[2] = as_errand_value(&errand);
		nulls[1] = nulls[2] = false;
	}
	result = heap_form_tuple(BlessTupleDesc(desc), values, nulls);
	as_errand_end(&errand);
	PG_RETURN_DATUM(HeapTupleGetDatum(result));
}

Datum
actorstore_put(PG_FUNCTION_ARGS)
{
	AsErrand		errand = {
		.kind = AS_ERRAND_PUT, .function = "actorstore.put()",
		.type = as_arg_type(fcinfo, 0), .id = as_arg_id(fcinfo, 1),
		.write.value = as_arg_value(fcinfo, 2)
	};

	return actor_after(fcinfo, &errand, true);
}

Datum
actorstore_delete(PG_FUNCTION_ARGS)
{
	AsErrand		errand = {
		.kind = AS_ERRAND_DELETE, .function = "actorstore.delete()",
		.type = as_arg_type(fcinfo, 0), .id = as_arg_id(fcinfo, 1)
	};

	return actor_after(fcinfo, &errand, false);
}

Datum
actorstore_delete_versioned(PG_FUNCTION_ARGS)
{
	AsErrand		errand = {
		.kind = AS_ERRAND_DELETE, .function = "actorstore.delete_versioned()",
		.type = as_arg_type(fcinfo, 0), .id = as_arg_id(fcinfo, 1),
		.write.versioned = true,
		.write.expected_version = as_arg_version(fcinfo, 2)
	};

	return actor_after(fcinfo, &errand, true);
}

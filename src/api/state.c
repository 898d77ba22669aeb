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
#include "funcapi.h"
#include "miscadmin.h"
#include "state/actor.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

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
open_for_write(AsPartition *partition, text *type, bool declare,
			   const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
	as_partition_open_for(partition, type, AS_PRIV_WRITE, declare,
						  RowExclusiveLock);
}

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
check_outcome(AsOutcome outcome, AsPartition *partition, text *id,
			  AsWrite *write)
{
	if (outcome == AS_MISSING)
		raise_missing(partition->type_name, id);
	if (outcome == AS_MISMATCH)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("actor (%s, %s) has another version",
						text_to_cstring(partition->type_name),
						text_to_cstring(id)),
				 errdetail("expected version %lld, actual version %lld",
						   (long long) write->expected_version,
						   (long long) as_row_version(partition, write->row))));
}

Datum
actorstore_insert(PG_FUNCTION_ARGS)
{
	text	   *type = as_arg_type(fcinfo, 0);
	text	   *id = as_arg_id(fcinfo, 1);
	Datum		value = as_arg_value(fcinfo, 2);
	AsPartition partition;
	Datum		result;

	open_for_write(&partition, type, true, "actorstore.insert()");
	result = as_actor_datum(&partition,
							as_actor_insert(&partition, id, value));
	as_partition_close(&partition);
	PG_RETURN_DATUM(result);
}

Datum
actorstore_get(PG_FUNCTION_ARGS)
{
	text	   *type = as_arg_type(fcinfo, 0);
	text	   *id = as_arg_id(fcinfo, 1);
	AsPartition partition;
	Datum		result = (Datum) 0;
	bool		found;

	if (!as_partition_open(&partition, type, AccessShareLock))
		PG_RETURN_NULL();
	as_type_check(partition.type, AS_PRIV_READ);
	as_partition_push_read_snapshot(&partition);
	found = as_partition_find(&partition, id, GetActiveSnapshot());
	if (found)
		result = as_actor_datum(&partition,
								ExecFetchSlotHeapTuple(partition.slot, false,
													   NULL));
	PopActiveSnapshot();
	as_partition_close(&partition);

	if (!found)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(result);
}

static Datum
update_actor(text *type, text *id, AsWrite *write, const char *function)
{
	AsPartition partition;
	Datum		result;

	open_for_write(&partition, type, false, function);
	check_outcome(as_actor_update(&partition, id, write), &partition, id,
				  write);
	result = as_actor_datum(&partition, write->row);
	as_partition_close(&partition);
	return result;
}

Datum
actorstore_update(PG_FUNCTION_ARGS)
{
	text	   *type = as_arg_type(fcinfo, 0);
	text	   *id = as_arg_id(fcinfo, 1);
	AsWrite		write = {.value = as_arg_value(fcinfo, 2)};

	PG_RETURN_DATUM(update_actor(type, id, &write, "actorstore.update()"));
}

Datum
actorstore_update_versioned(PG_FUNCTION_ARGS)
{
	text	   *type = as_arg_type(fcinfo, 0);
	text	   *id = as_arg_id(fcinfo, 1);
	AsWrite		write = {
		.value = as_arg_value(fcinfo, 2),
		.versioned = true,
		.expected_version = as_arg_version(fcinfo, 3)
	};

	PG_RETURN_DATUM(update_actor(type, id, &write,
								 "actorstore.update_versioned()"));
}

Datum
actorstore_patch(PG_FUNCTION_ARGS)
{
	text	   *type = as_arg_type(fcinfo, 0);
	text	   *id = as_arg_id(fcinfo, 1);
	AsWrite		write = {.value = as_arg_value(fcinfo, 2), .merge = true};

	PG_RETURN_DATUM(update_actor(type, id, &write, "actorstore.patch()"));
}

Datum
actorstore_compare_and_swap(PG_FUNCTION_ARGS)
{
	text	   *type = as_arg_type(fcinfo, 0);
	text	   *id = as_arg_id(fcinfo, 1);
	AsWrite		write = {
		.versioned = true,
		.expected_version = as_arg_version(fcinfo, 2),
		.value = as_arg_value(fcinfo, 3)
	};
	AsPartition partition;
	AsOutcome	outcome;
	TupleDesc	desc;
	Datum		values[3] = {0};
	bool		nulls[3] = {false, true, true};
	HeapTuple	result;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	open_for_write(&partition, type, false, "actorstore.compare_and_swap()");
	outcome = as_actor_update(&partition, id, &write);
	values[0] = BoolGetDatum(outcome == AS_DONE);
	if (outcome != AS_MISSING)
	{
		values[1] = Int64GetDatum(as_row_version(&partition, write.row));
		values[2] = as_row_value(&partition, write.row);
		nulls[1] = nulls[2] = false;
	}
	result = heap_form_tuple(BlessTupleDesc(desc), values, nulls);
	as_partition_close(&partition);
	PG_RETURN_DATUM(HeapTupleGetDatum(result));
}

Datum
actorstore_put(PG_FUNCTION_ARGS)
{
	text	   *type = as_arg_type(fcinfo, 0);
	text	   *id = as_arg_id(fcinfo, 1);
	Datum		value = as_arg_value(fcinfo, 2);
	AsPartition partition;
	Datum		result;

	open_for_write(&partition, type, true, "actorstore.put()");
	result = as_actor_datum(&partition, as_actor_put(&partition, id, value));
	as_partition_close(&partition);
	PG_RETURN_DATUM(result);
}

Datum
actorstore_delete(PG_FUNCTION_ARGS)
{
	text	   *type = as_arg_type(fcinfo, 0);
	text	   *id = as_arg_id(fcinfo, 1);
	AsWrite		write = {0};
	AsPartition partition;
	AsOutcome	outcome;
	Datum		result = (Datum) 0;

	open_for_write(&partition, type, false, "actorstore.delete()");
	outcome = as_actor_delete(&partition, id, &write);
	if (outcome == AS_DONE)
		result = as_actor_datum(&partition, write.row);
	as_partition_close(&partition);
	if (outcome != AS_DONE)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(result);
}

Datum
actorstore_delete_versioned(PG_FUNCTION_ARGS)
{
	text	   *type = as_arg_type(fcinfo, 0);
	text	   *id = as_arg_id(fcinfo, 1);
	AsWrite		write = {
		.versioned = true,
		.expected_version = as_arg_version(fcinfo, 2)
	};
	AsPartition partition;
	Datum		result;

	open_for_write(&partition, type, false,
				   "actorstore.delete_versioned()");
	check_outcome(as_actor_delete(&partition, id, &write), &partition, id,
				  &write);
	result = as_actor_datum(&partition, write.row);
	as_partition_close(&partition);
	PG_RETURN_DATUM(result);
}

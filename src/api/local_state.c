/*-------------------------------------------------------------------------
 *
 * local_state.c
 *	  The SQL functions that other nodes call to read and write the states of
 *	  actors that live here: see cluster/route.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "access/htup_details.h"
#include "api/args.h"
#include "api/errand.h"
#include "cluster/caller.h"
#include "cluster/route.h"
#include "cluster/row_wire.h"
#include "libpq/pqformat.h"
#include "state/owner.h"
#include "utils/builtins.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(actorstore_local_state);

static AsErrandKind
arg_kind(FunctionCallInfo fcinfo, int n)
{
	char		kind = PG_ARGISNULL(n) ? '\0' : PG_GETARG_CHAR(n);

	if (kind == '\0' || strchr("giumpd", kind) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("another node asks for what this one does not know"),
				 errhint("Install the same version on both.")));
	return (AsErrandKind) kind;
}

static void
write_row(StringInfo wire, AsErrand *errand)
{
	Datum		columns[Natts_actor];
	bool		nulls[Natts_actor];

	heap_deform_tuple(errand->write.row, RelationGetDescr(errand->partition.rel),
					  columns, nulls);
	as_wire_write(wire, columns, false,
				  errand->write.value != (Datum) 0 ? DatumGetJsonbP(errand->write.value) : NULL);
}

/*
 * local_state(caller, epoch, errand, actor_type, actor_id, value,
 * expected_version): an AS_ANSWER_..., and the row.
 */
Datum
actorstore_local_state(PG_FUNCTION_ARGS)
{
	static const char answers[] = {
		[AS_DONE] = AS_ANSWER_DONE, [AS_MISSING] = AS_ANSWER_MISSING,
		[AS_MISMATCH] = AS_ANSWER_MISMATCH
	};
	AsErrand		errand = {
		.kind = arg_kind(fcinfo, 2), .function = "actorstore.local_state()",
		.type = as_arg_type(fcinfo, 3), .id = as_arg_id(fcinfo, 4)
	};
	AsCaller	caller;
	AsOutcome	outcome;
	StringInfoData wire;

	as_reject_null(fcinfo, 1, "epoch");
	if (errand.kind != AS_ERRAND_GET && errand.kind != AS_ERRAND_DELETE)
		errand.write.value = as_arg_value(fcinfo, 5);
	errand.write.versioned = !PG_ARGISNULL(6);
	if (errand.write.versioned)
		errand.write.expected_version = PG_GETARG_INT64(6);
	as_wire_begin(&wire);
	as_caller_become(fcinfo, &caller);
	as_caller_stand_in(fcinfo, errand.type);
	if (!as_route_is_mine(errand.type, errand.id, PG_GETARG_INT64(1)) ||
		(errand.kind != AS_ERRAND_GET && !as_owner_try(errand.type, errand.id)))
		pq_sendbyte(&wire, AS_ANSWER_NOT_MINE);
	else
	{
		outcome = as_errand_do_here(&errand);
		if (outcome == AS_MISSING && errand.kind == AS_ERRAND_GET &&
			as_owner_has_moved(errand.type, errand.id))
			pq_sendbyte(&wire, AS_ANSWER_NOT_MINE);
		else
			pq_sendbyte(&wire, answers[outcome]);
		if (outcome != AS_MISSING)
			write_row(&wire, &errand);
		as_errand_end(&errand);
	}
	as_caller_return(&caller);
	PG_RETURN_BYTEA_P(as_wire_end(&wire));
}

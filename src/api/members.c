/*-------------------------------------------------------------------------
 *
 * members.c
 *	  The SQL functions by which nodes come and go, and those by which nodes
 *	  decide it among themselves.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "access/xact.h"
#include "api/args.h"
#include "cluster/arrival.h"
#include "cluster/ballot.h"
#include "cluster/force.h"
#include "cluster/give.h"
#include "cluster/global.h"
#include "cluster/leave.h"
#include "cluster/location.h"
#include "cluster/member.h"
#include "cluster/node.h"
#include "cluster/peer.h"
#include "cluster/round.h"
#include "cluster/verdict.h"
#include "funcapi.h"
#include "lib/key_hash.h"
#include "lib/slot_map.h"
#include "miscadmin.h"
#include "state/identity.h"
#include "state/type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(actorstore_add_node);
PG_FUNCTION_INFO_V1(actorstore_remove_node);
PG_FUNCTION_INFO_V1(actorstore_set_node_weight);
PG_FUNCTION_INFO_V1(actorstore_set_node_location);
PG_FUNCTION_INFO_V1(actorstore_decide_in_doubt);
PG_FUNCTION_INFO_V1(actorstore_local_answers);
PG_FUNCTION_INFO_V1(actorstore_local_promise);
PG_FUNCTION_INFO_V1(actorstore_local_close);
PG_FUNCTION_INFO_V1(actorstore_local_consent);
PG_FUNCTION_INFO_V1(actorstore_local_withdraw);
PG_FUNCTION_INFO_V1(actorstore_local_accept);
PG_FUNCTION_INFO_V1(actorstore_local_learn);
PG_FUNCTION_INFO_V1(actorstore_local_in_force);
PG_FUNCTION_INFO_V1(actorstore_local_occupied);
PG_FUNCTION_INFO_V1(actorstore_local_join);
PG_FUNCTION_INFO_V1(actorstore_local_settle);
PG_FUNCTION_INFO_V1(actorstore_local_leave);
PG_FUNCTION_INFO_V1(actorstore_slot_of);

/* ---- For superusers ---- */

static char *
arg_text(FunctionCallInfo fcinfo, int n, const char *what)
{
	as_reject_null(fcinfo, n, what);
	return text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static int
arg_weight(FunctionCallInfo fcinfo, int n)
{
	as_reject_null(fcinfo, n, "weight");
	if (PG_GETARG_INT32(n) < 0 || PG_GETARG_INT32(n) > AS_MAX_WEIGHT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("weight must be between 0 and %d", AS_MAX_WEIGHT)));
	return PG_GETARG_INT32(n);
}

Datum
actorstore_add_node(PG_FUNCTION_ARGS)
{
	as_begin_change("actorstore.add_node()");
	as_member_add(text_to_cstring(as_arg_node_name(fcinfo, 0)),
				  arg_text(fcinfo, 1, "conninfo"), arg_weight(fcinfo, 2));
	PG_RETURN_VOID();
}

Datum
actorstore_remove_node(PG_FUNCTION_ARGS)
{
	char	   *name = arg_text(fcinfo, 0, "node_name");
	bool		force;

	as_reject_null(fcinfo, 1, "force");
	as_reject_null(fcinfo, 2, "slots_lost");
	force = PG_GETARG_BOOL(1);
	if (!force && PG_GETARG_BOOL(2))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("slots are lost only where a node is removed with force")));
	as_begin_change("actorstore.remove_node()");
	if (force)
		as_force_remove(name, PG_GETARG_BOOL(2));
	else
		as_leave(name);
	PG_RETURN_VOID();
}

Datum
actorstore_set_node_weight(PG_FUNCTION_ARGS)
{
	as_begin_change("actorstore.set_node_weight()");
	as_member_reweight(arg_text(fcinfo, 0, "node_name"), arg_weight(fcinfo, 1));
	PG_RETURN_VOID();
}

Datum
actorstore_set_node_location(PG_FUNCTION_ARGS)
{
	as_begin_change("actorstore.set_node_location()");
	as_location_set(arg_text(fcinfo, 0, "node_name"),
					as_arg_label(fcinfo, 1, "datacenter"), as_arg_label(fcinfo, 2, "rack"));
	PG_RETURN_VOID();
}

Datum
actorstore_decide_in_doubt(PG_FUNCTION_ARGS)
{
	char	   *gid = arg_text(fcinfo, 0, "gid");

	as_reject_null(fcinfo, 1, "commit");
	as_begin_change("actorstore.resolve_in_doubt()");
	PG_RETURN_INT64(as_verdict(gid, PG_GETARG_BOOL(1)));
}

/* ---- For other nodes: STRICT ---- */

static text *
arg_json(FunctionCallInfo fcinfo, int n)
{
	return cstring_to_text(DatumGetCString(DirectFunctionCall1(jsonb_out, PG_GETARG_DATUM(n))));
}

static Datum
vote_row(FunctionCallInfo fcinfo, const AsVote *vote)
{
	TupleDesc	desc;
	Datum		values[5] = {Int64GetDatum(vote->epoch), BoolGetDatum(vote->agreed),
		Int64GetDatum(vote->promised), Int64GetDatum(vote->accepted)};
	bool		nulls[5] = {false, false, false, false, vote->proposal == NULL};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (vote->proposal != NULL)
		values[4] = DirectFunctionCall1(jsonb_in, CStringGetDatum(text_to_cstring(vote->proposal)));
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

Datum
actorstore_local_promise(PG_FUNCTION_ARGS)
{
	AsVote		vote;

	as_ballot_promise(PG_GETARG_INT64(0), PG_GETARG_INT64(1), &vote);
	PG_RETURN_DATUM(vote_row(fcinfo, &vote));
}

Datum
actorstore_local_close(PG_FUNCTION_ARGS)
{
	AsVote		vote;

	as_give_close(PG_GETARG_INT64(0), PG_GETARG_INT64(1), arg_json(fcinfo, 2), &vote);
	PG_RETURN_DATUM(vote_row(fcinfo, &vote));
}

Datum
actorstore_local_consent(PG_FUNCTION_ARGS)
{
	int64		ballot = PG_GETARG_INT64(1);
	bool		is_ours = as_round_proposer(ballot) == as_node_need_self()->number;
	AsVote		vote;

	as_give_consent(PG_GETARG_INT64(0), ballot, is_ours ? as_peer_coordinator() : 0, &vote);
	PG_RETURN_DATUM(vote_row(fcinfo, &vote));
}

Datum
actorstore_local_withdraw(PG_FUNCTION_ARGS)
{
	as_give_withdraw(PG_GETARG_INT64(0), PG_GETARG_INT64(1));
	PG_RETURN_VOID();
}

Datum
actorstore_local_accept(PG_FUNCTION_ARGS)
{
	AsVote		vote;

	as_ballot_accept(PG_GETARG_INT64(0), PG_GETARG_INT64(1), arg_json(fcinfo, 2), &vote);
	PG_RETURN_DATUM(vote_row(fcinfo, &vote));
}

Datum
actorstore_local_learn(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(as_ballot_learn(arg_json(fcinfo, 0)));
}

Datum
actorstore_local_in_force(PG_FUNCTION_ARGS)
{
	text	   *proposal = as_ballot_in_force();

	if (proposal == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(text_to_cstring(proposal))));
}

Datum
actorstore_local_answers(PG_FUNCTION_ARGS)
{
	const AsNode *node = as_node_by_number(PG_GETARG_INT16(0));

	PG_RETURN_BOOL(node != NULL && as_force_answers(node));
}

Datum
actorstore_local_occupied(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		occupied[AS_SLOTS];

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	as_give_occupied(occupied);
	for (int slot = 0; slot < AS_SLOTS; slot++)
	{
		Datum		value = Int32GetDatum(slot);
		bool		isnull = false;

		if (occupied[slot])
			tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
	}
	return (Datum) 0;
}

/* Get ready to be a node of somebody else's cluster: who will it be? */
Datum
actorstore_local_join(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false};
	pg_uuid_t	uuid;

	values[2] = BoolGetDatum(as_arrival_begin(arg_json(fcinfo, 0), &uuid));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = UUIDPGetDatum(&uuid);
	values[1] = Int64GetDatum((int64) ((UINT64CONST(1) << 32) | as_identity_timeline()));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

Datum
actorstore_local_settle(PG_FUNCTION_ARGS)
{
	as_arrival_settle();
	PG_RETURN_VOID();
}

Datum
actorstore_local_leave(PG_FUNCTION_ARGS)
{
	as_arrival_leave();
	PG_RETURN_VOID();
}

Datum
actorstore_slot_of(PG_FUNCTION_ARGS)
{
	text	   *type = PG_GETARG_TEXT_PP(0);
	text	   *id = PG_GETARG_TEXT_PP(1);

	as_check_name("actor_type", type);
	as_check_name("actor_id", id);
	PG_RETURN_INT32(as_slot_of(as_key_hash(VARDATA_ANY(type), VARSIZE_ANY_EXHDR(type),
										   VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id))));
}

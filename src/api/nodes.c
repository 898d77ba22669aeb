/*-------------------------------------------------------------------------
 *
 * nodes.c
 *	  The SQL functions about other nodes.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "api/args.h"
#include "api/inside.h"
#include "cluster/health.h"
#include "cluster/peer.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "runtime/lifecycle.h"
#include "runtime/node_watch.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(actorstore_monitor_node);
PG_FUNCTION_INFO_V1(actorstore_demonitor_node);
PG_FUNCTION_INFO_V1(actorstore_node_check);

static const AsNode *
arg_node(FunctionCallInfo fcinfo, int n)
{
	const AsNode *node;
	char	   *name;

	as_reject_null(fcinfo, n, "node_name");
	name = text_to_cstring(PG_GETARG_TEXT_PP(n));
	node = as_node_by_name(name);
	if (node == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("node \"%s\" does not exist", name)));
	return node;
}

/* What is wrong with the peer, or NULL; *round_trip is in microseconds. */
static char *
find_fault(const AsNode *node, int64 *round_trip)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *volatile fault = NULL;
	instr_time	start,
				end;

	PG_TRY();
	{
		AsPeer	   *peer = as_peer_get(node);

		INSTR_TIME_SET_CURRENT(start);
		(void) as_peer_execute(peer, "SELECT FROM actorstore.local_identity()",
							   0, NULL, true);
		INSTR_TIME_SET_CURRENT(end);
		INSTR_TIME_SUBTRACT(end, start);
		*round_trip = (int64) INSTR_TIME_GET_MICROSEC(end);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
			error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN || error->elevel > ERROR)
			PG_RE_THROW();
		FlushErrorState();
		fault = error->detail == NULL ? error->message :
			psprintf("%s: %s", error->message, error->detail);
	}
	PG_END_TRY();
	return fault;
}

/* Can this node speak to that one, and how fast? */
Datum
actorstore_node_check(PG_FUNCTION_ARGS)
{
	const AsNode *node = arg_node(fcinfo, 0);
	TupleDesc	desc;
	Datum		values[3] = {0};
	bool		nulls[3] = {false};
	int64		round_trip = 0;
	char	   *fault = NULL;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (node->number != as_node_need_self()->number)
		fault = find_fault(node, &round_trip);
	values[0] = BoolGetDatum(fault == NULL);
	if (fault == NULL)
	{
		Interval   *interval = palloc0(sizeof(Interval));

		interval->time = round_trip;
		values[1] = IntervalPGetDatum(interval);
		nulls[2] = true;
	}
	else
	{
		nulls[1] = true;
		values[2] = CStringGetTextDatum(fault);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* ---- Watching nodes ---- */

/* One that is down already is told of at once. */
Datum
actorstore_monitor_node(PG_FUNCTION_ARGS)
{
	AsTurn	   *turn = as_need_turn("actorstore.monitor_node()");
	const AsNode *node = arg_node(fcinfo, 0);

	if (as_watch_node(turn, PG_GETARG_TEXT_PP(0)) &&
		as_health_of(node->number) == AS_HEALTH_DOWN)
		as_tell_watcher(as_turn_type_name(turn), as_turn_id(turn), PG_GETARG_TEXT_PP(0), true);
	PG_RETURN_VOID();
}

Datum
actorstore_demonitor_node(PG_FUNCTION_ARGS)
{
	AsTurn	   *turn = as_need_turn("actorstore.demonitor_node()");

	as_unwatch_node(turn, as_arg_node_name(fcinfo, 0));
	PG_RETURN_VOID();
}

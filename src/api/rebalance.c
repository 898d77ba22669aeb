/*-------------------------------------------------------------------------
 *
 * rebalance.c
 *	  The SQL functions by which slots move from node to node with what is in
 *	  them, and those by which nodes do it among themselves.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "access/xact.h"
#include "api/args.h"
#include "cluster/decision.h"
#include "cluster/global.h"
#include "cluster/handover.h"
#include "cluster/node.h"
#include "cluster/plan.h"
#include "cluster/resolver.h"
#include "cluster/life.h"
#include "cluster/transit.h"
#include "compat.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "state/text_query.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(actorstore_rebalance);
PG_FUNCTION_INFO_V1(actorstore_stop_rebalance);
PG_FUNCTION_INFO_V1(actorstore_moves_now);
PG_FUNCTION_INFO_V1(actorstore_local_drained);
PG_FUNCTION_INFO_V1(actorstore_local_has_taken);
PG_FUNCTION_INFO_V1(actorstore_local_has_sent);

/* ---- What is to move ---- */

/* From one node to another */
typedef struct Move
{
	int			slots;			/* that are not there yet */
	int			moving;			/* of them */
	int			kept;			/* of them */
	const char *reason;
} Move;

static void
count_kept(const int16 *now, const int16 *target, int from, int to, Move *move)
{
	AsKept	   *kept;
	int			n = from == as_node_need_self()->number ? as_handover_kept(&kept) : 0;

	for (int i = 0; i < n; i++)
	{
		if (now[kept[i].slot] != from || target[kept[i].slot] != to)
			continue;
		move->kept++;
		move->reason = kept[i].reason;
	}
}

static void
count_moves(const int16 *now, const int16 *target, int from, int to, Move *move)
{
	memset(move, 0, sizeof(Move));
	for (int slot = 0; slot < AS_SLOTS; slot++)
	{
		char		transit;

		if (now[slot] != from || target[slot] != to)
			continue;
		transit = as_node_transit(slot);
		move->slots++;
		move->moving += transit != 0 && transit != AS_TRANSIT_OPEN;
	}
	if (move->slots > 0)
		count_kept(now, target, from, to, move);
}

/* Rows (from, to, slots) or, with more columns, (…, moving, kept, reason). */
static void
put_moves(ReturnSetInfo *result, bool with_more)
{
	int16		now[AS_SLOTS];
	int16		target[AS_SLOTS];

	as_node_owners(now);
	(void) as_plan_target(now, target);
	for (int i = 0; i < as_node_count(); i++)
	{
		for (int j = 0; j < as_node_count(); j++)
		{
			const AsNode *from = as_node_nth(i);
			const AsNode *to = as_node_nth(j);
			Move		move;
			Datum		values[6];
			bool		nulls[6] = {false};

			if (i == j)
				continue;
			count_moves(now, target, from->number, to->number, &move);
			if (move.slots == 0)
				continue;
			values[0] = CStringGetTextDatum(from->name);
			values[1] = CStringGetTextDatum(to->name);
			values[2] = Int32GetDatum(move.slots);
			if (with_more)
			{
				values[3] = Int32GetDatum(move.moving);
				values[4] = Int32GetDatum(move.kept);
				values[5] = CStringGetTextDatum(move.reason == NULL ? "" : move.reason);
				nulls[4] = from != as_node_self();
				nulls[5] = move.reason == NULL;
			}
			tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		}
	}
}

Datum
actorstore_rebalance(PG_FUNCTION_ARGS)
{
	int16		now[AS_SLOTS];
	int16		target[AS_SLOTS];

	as_reject_null(fcinfo, 0, "dry_run");
	if (PG_GETARG_BOOL(0))
		as_only_superusers("actorstore.rebalance()");
	else
		as_begin_change("actorstore.rebalance()");
	(void) as_node_need_self();
	InitMaterializedSRF(fcinfo, 0);
	put_moves((ReturnSetInfo *) fcinfo->resultinfo, false);
	as_node_owners(now);
	if (!PG_GETARG_BOOL(0) && as_plan_target(now, target) > 0)
	{
		as_plan_switch(true);
		(void) as_resolver_poke();
	}
	return (Datum) 0;
}

Datum
actorstore_stop_rebalance(PG_FUNCTION_ARGS)
{
	as_begin_change("actorstore.stop_rebalance()");
	(void) as_node_need_self();
	as_plan_switch(false);
	PG_RETURN_VOID();
}

Datum
actorstore_moves_now(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	if (as_node_self() != NULL)
		put_moves((ReturnSetInfo *) fcinfo->resultinfo, true);
	return (Datum) 0;
}

/* ---- For other nodes: STRICT ---- */

Datum
actorstore_local_drained(PG_FUNCTION_ARGS)
{
	(void) as_resolver_poke();
	PG_RETURN_BOOL(as_transit_drained(PG_GETARG_INT64(0)));
}

Datum
actorstore_local_has_taken(PG_FUNCTION_ARGS)
{
	text	   *args[1] = {cstring_to_text(OidOutputFunctionCall(F_ARRAY_OUT, PG_GETARG_DATUM(0)))};

	PG_RETURN_BOOL(as_text_query(NULL, SPI_OK_SELECT,
								 "SELECT FROM unnest($1::smallint[]) AS s (slot) WHERE NOT EXISTS"
								 " (SELECT FROM actorstore.transit AS t WHERE t.slot = s.slot AND t.state = 't')",
								 1, args) == 0);
}

Datum
actorstore_local_has_sent(PG_FUNCTION_ARGS)
{
	(void) as_resolver_poke();
	PG_RETURN_BOOL(as_transit_has_sent(PG_GETARG_INT16(0)) && as_decision_all_over(PG_GETARG_INT16(0)));
}

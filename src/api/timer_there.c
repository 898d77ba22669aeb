/*-------------------------------------------------------------------------
 *
 * timer_there.c
 *	  See timer_there.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "api/timer_there.h"

#include "access/xact.h"
#include "api/args.h"
#include "cluster/caller.h"
#include "cluster/global.h"
#include "cluster/outbox.h"
#include "cluster/route.h"
#include "executor/spi.h"
#include "lib/nap.h"
#include "miscadmin.h"
#include "runtime/timer.h"
#include "state/owner.h"
#include "state/text_query.h"
#include "state/type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(actorstore_local_cancel_timer);

#define CANCEL_SQL "SELECT actorstore.local_cancel_timer($1, $2, $3, $4, $5, $6, $7, $8)"

/* The owner's answers */
#define ANSWER_CANCELLED	'+'
#define ANSWER_MISSING		'-'
#define ANSWER_NOT_YET		'w'	/* a batch has not arrived */
#define ANSWER_NOT_MINE		'?'

/* Ask again so often whether what was on its way has arrived. */
#define NAP_MS				20

/* ---- Here ---- */

/* The last batch made for a node; none: "0", "0". */
static void
find_last_batch(const AsNode *node, char **incarnation, char **batch)
{
	text	   *args[1] = {as_int_text(node->number)};
	AsRows		rows;

	if (as_text_query(&rows, SPI_OK_SELECT,
					  "SELECT incarnation::text, batch::text FROM actorstore.outbox_batch"
					  " WHERE node_number = $1::text::smallint ORDER BY outbox_batch.incarnation DESC, outbox_batch.batch DESC LIMIT 1",
					  1, args) == 0)
	{
		*incarnation = *batch = pstrdup("0");
		return;
	}
	*incarnation = text_to_cstring(as_cell(&rows, 0, 0));
	*batch = text_to_cstring(as_cell(&rows, 0, 1));
}

static char
ask(const AsNode *node, int nvalues, const char *const *values)
{
	AsPeer	   *peer = as_route_begin(node, false);
	AsPeerCommand command = {
		.sql = CANCEL_SQL, .nvalues = nvalues, .values = values, .keep = true
	};
	int			number = as_peer_add_command(peer, &command);
	char		answer;

	(void) as_peer_launch(peer);
	as_route_wait(&peer, 1);
	answer = PQgetvalue(as_peer_result(peer, number), 0, 0)[0];
	if (answer == ANSWER_CANCELLED)
		as_global_wrote(peer);
	return answer;
}

static void
nap(const AsNode *node, TimestampTz since)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to timers that are on their way to node \"%s\"",
						node->name)));
	if (TimestampDifferenceExceeds(since, GetCurrentTimestamp(), actorstore_peer_timeout))
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("what is on its way to node \"%s\" does not arrive", node->name),
				 errdetail("A timer that is to be cancelled may be among it.")));
	(void) as_nap(NAP_MS, AS_NAP_TIMER);
	CHECK_FOR_INTERRUPTS();
}

/* One node's answer, once it has what was sent before. */
static char
cancel_there(const AsNode *node, text *type, text *id, text *name)
{
	TimestampTz since = GetCurrentTimestamp();
	char	   *uuid = DatumGetCString(DirectFunctionCall1(uuid_out,
														   UUIDPGetDatum(&as_node_self()->uuid)));
	const char *values[8] = {
		as_caller_name(), as_route_epoch_text(), text_to_cstring(type), text_to_cstring(id),
		text_to_cstring(name), uuid
	};
	char	   *incarnation;
	char	   *batch;
	char		answer;

	find_last_batch(node, &incarnation, &batch);
	values[6] = incarnation;
	values[7] = batch;
	while ((answer = ask(node, lengthof(values), values)) == ANSWER_NOT_YET)
		nap(node, since);
	return answer;
}

bool
as_timer_there_take_back(text *type, text *id, text *name)
{
	const AsNode *way = as_outbox_way(type, id);

	return way != NULL && as_outbox_take_back(way, AS_KIND_SET_TIMER, type, id, name) > 0;
}

bool
as_timer_there_cancel(text *type, text *id, text *name, bool *is_here)
{
	bool		found = false;

	*is_here = false;
	for (int tries = 0;; tries++)
	{
		const AsNode *node = as_route_find(type, id);
		char		answer;

		if (node == NULL)
		{
			*is_here = true;
			return found;
		}

		/* first what could leave meanwhile, then what has left */
		found = as_timer_there_take_back(type, id, name) || found;
		found = as_outbox_take_back(node, AS_KIND_SET_TIMER, type, id, name) > 0 || found;
		answer = cancel_there(node, type, id, name);
		if (answer != ANSWER_NOT_MINE)
			return answer == ANSWER_CANCELLED || found;
		if (tries > 0)
			as_route_refuse();
		as_route_learn(node);
	}
}

/* ---- There ---- */

/* Has that batch come? */
static bool
has_come(FunctionCallInfo fcinfo)
{
	text	   *args[3];

	if (PG_GETARG_INT64(7) == 0)
		return true;
	args[0] = cstring_to_text(DatumGetCString(DirectFunctionCall1(uuid_out, PG_GETARG_DATUM(5))));
	args[1] = as_int_text(PG_GETARG_INT64(6));
	args[2] = as_int_text(PG_GETARG_INT64(7));
	return as_text_query(NULL, SPI_OK_SELECT,
						 "SELECT FROM actorstore.inbox WHERE origin = $1::text::uuid AND incarnation = $2::text::bigint"
						 " AND batch >= $3::text::bigint", 3, args) > 0;
}

static bool
cancel(text *type, text *id, text *name)
{
	AsTimers	timers;
	bool		found;

	as_type_check(as_type_get(type), AS_PRIV_SEND);
	as_timers_open(&timers, RowExclusiveLock);
	found = as_timer_cancel(&timers, type, id, name);
	as_timers_close(&timers);
	return found;
}

/*
 * local_cancel_timer(caller, epoch, actor_type, actor_id, name, origin, incarnation,
 * batch): an ANSWER_..., once that batch of the other node's has come.
 */
Datum
actorstore_local_cancel_timer(PG_FUNCTION_ARGS)
{
	text	   *type = as_arg_type(fcinfo, 2);
	text	   *id = as_arg_id(fcinfo, 3);
	AsCaller	caller;
	char		answer;

	for (int i = 1; i < PG_NARGS(); i++)
		as_reject_null(fcinfo, i, "an argument");
	PreventCommandIfReadOnly("actorstore.local_cancel_timer()");
	PreventCommandIfParallelMode("actorstore.local_cancel_timer()");
	as_check_name("name", PG_GETARG_TEXT_PP(4));
	as_caller_become(fcinfo, &caller);
	as_caller_stand_in(fcinfo, type);
	if (!as_route_is_mine(type, id, PG_GETARG_INT64(1)) || !as_owner_try(type, id))
		answer = ANSWER_NOT_MINE;
	else if (!has_come(fcinfo))
		answer = ANSWER_NOT_YET;
	else
		answer = cancel(type, id, PG_GETARG_TEXT_PP(4)) ? ANSWER_CANCELLED : ANSWER_MISSING;
	as_caller_return(&caller);
	PG_RETURN_CHAR(answer);
}

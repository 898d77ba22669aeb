/*-------------------------------------------------------------------------
 *
 * ask_there.c
 *	  See ask_there.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "api/ask_there.h"

#include "cluster/caller.h"
#include "cluster/global.h"
#include "cluster/route.h"
#include "runtime/ask.h"
#include "state/owner.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#define ASK_SQL \
	"SELECT is_mine, answer FROM actorstore.local_ask($1, $2, $3, $4, $5, $6, $7, $8, $9)"

/* The owner's own time-out should come first. */
#define GRACE_MS	1000

static AsPeer *
send_question(const AsQuestion *question, const AsNode *owner, int *number)
{
	const AsMessage *message = question->message;
	char		kind[2] = {question->kind, '\0'};
	const char *values[9] = {
		as_caller_name(), as_route_epoch_text(), kind,
		text_to_cstring(message->actor_type), text_to_cstring(message->actor_id),
		text_to_cstring(message->name)
	};
	AsPeer	   *peer;

	if (message->body != (Datum) 0)
		values[6] = JsonbToCString(NULL, &DatumGetJsonbP(message->body)->root, -1);
	values[7] = psprintf(INT64_FORMAT, question->timeout);
	if (message->dedup_key != NULL)
		values[8] = text_to_cstring(message->dedup_key);
	if (question->kind == AS_QUESTION_CALL)
	{
		peer = as_route_begin(owner, false);
		as_global_wrote(peer);
	}
	else
		peer = as_route_begin_outside(owner);
	*number = as_peer_add(peer, ASK_SQL, lengthof(values), values, true);
	return peer;
}

/* False if time was up. */
static bool
wait_for_answer(const AsQuestion *question, AsPeer *peer)
{
	TimestampTz deadline = 0;

	if (question->kind == AS_QUESTION_ASK && question->timeout < PG_INT64_MAX / 2)
		deadline = GetCurrentTimestamp() + question->timeout + GRACE_MS * INT64CONST(1000);
	as_route_wait_until(peer, deadline);
	return peer->broken || peer->state == AS_PEER_IDLE;
}

/* Whether the other node owns the actor; then *answer is there. */
static bool
ask(const AsQuestion *question, const AsNode *owner, Datum *answer)
{
	int			number;
	AsPeer	   *peer = send_question(question, owner, &number);
	bool		is_new = as_peer_prepares(peer);
	PGresult   *result;

	(void) as_peer_launch(peer);
	if (question->kind == AS_QUESTION_TELL && !peer->in_transaction && !is_new)
	{
		as_route_send_off(peer);
		return true;
	}
	if (!wait_for_answer(question, peer))
	{
		as_route_abandon(&peer, 1);
		as_ask_raise_timed_out(question->type, question->message);
	}
	result = as_peer_result(peer, number);
	if (PQntuples(result) != 1 || PQnfields(result) != 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("another node has given an unknown answer")));
	if (PQgetvalue(result, 0, 0)[0] != 't')
		return false;
	if (!PQgetisnull(result, 0, 1))
		*answer = DirectFunctionCall1(jsonb_in, CStringGetDatum(PQgetvalue(result, 0, 1)));
	return true;
}

bool
as_ask_there(const AsQuestion *question, Datum *answer)
{
	const AsMessage *message = question->message;
	const AsNode *owner = as_route_find(message->actor_type, message->actor_id);

	*answer = (Datum) 0;
	if (likely(owner == NULL))
	{
		/* it may be on its way just now */
		if (likely(!as_owner_has_moved(message->actor_type, message->actor_id)))
			return false;
		owner = as_route_find(message->actor_type, message->actor_id);
		if (owner == NULL)
			return false;
	}
	if (question->kind == AS_QUESTION_ASK)
		as_ask_check_asker();
	else if (question->kind == AS_QUESTION_TELL)
		as_check_handled(question->type, message);
	if (ask(question, owner, answer))
		return true;
	as_route_learn(owner);
	owner = as_route_find(message->actor_type, message->actor_id);
	if (owner == NULL)
		return false;
	if (!ask(question, owner, answer))
		as_route_refuse();
	return true;
}

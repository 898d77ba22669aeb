/*-------------------------------------------------------------------------
 *
 * supervise_there.c
 *	  See supervise_there.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "api/supervise_there.h"

#include "api/args.h"
#include "cluster/caller.h"
#include "cluster/global.h"
#include "cluster/route.h"
#include "funcapi.h"
#include "lib/same_text.h"
#include "miscadmin.h"
#include "state/owner.h"
#include "state/type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(actorstore_local_supervisor);

#define LOOK_SQL \
	"SELECT is_mine, parent_type, parent_id, is_stopped, looked_at FROM actorstore.local_supervisor($1, $2, $3, $4)"
#define SUPERVISE_SQL \
	"SELECT actorstore.local_supervise($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"

/* An actor in the tree */
typedef struct Look
{
	text	   *parent_type;	/* NULL: it has no supervisor */
	text	   *parent_id;
	bool		is_stopped;
	int64		at;				/* later than all that it was asked before, as far as it knows */
} Look;

/* ---- Looking ---- */

/* This node holds its slot. */
static void
look_here(text *type, text *id, Look *look)
{
	AsType	   *found = as_type_find(type);
	AsChild    *child;

	as_supervise_lock();
	child = as_child_find(type, id);
	look->parent_type = child == NULL ? NULL : child->parent_type;
	look->parent_id = child == NULL ? NULL : child->parent_id;
	look->is_stopped = found != NULL && as_actor_halt(found, type, id) >= AS_STOPPED;
	look->at = Max(GetCurrentTimestamp(), as_supervise_asked_last(type, id) + 1);
}

/* False: the other node does not own the actor. */
static bool
look_there(text *type, text *id, const AsNode *owner, Look *look)
{
	const char *values[4] = {as_caller_name(), as_route_epoch_text(), text_to_cstring(type), text_to_cstring(id)};
	AsPeer	   *peer = as_route_begin(owner, false);
	int			number = as_peer_add(peer, LOOK_SQL, lengthof(values), values, true);
	PGresult   *result;

	(void) as_peer_launch(peer);
	as_route_wait(&peer, 1);
	result = as_peer_result(peer, number);
	if (PQntuples(result) != 1 || PQnfields(result) != 5)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("another node has given an unknown answer")));
	if (PQgetvalue(result, 0, 0)[0] != 't')
		return false;
	look->parent_type = PQgetisnull(result, 0, 1) ? NULL : cstring_to_text(PQgetvalue(result, 0, 1));
	look->parent_id = look->parent_type == NULL ? NULL : cstring_to_text(PQgetvalue(result, 0, 2));
	look->is_stopped = PQgetvalue(result, 0, 3)[0] == 't';
	look->at = strtoll(PQgetvalue(result, 0, 4), NULL, 10);
	return true;
}

static void
look_anywhere(text *type, text *id, Look *look)
{
	for (int tries = 0;; tries++)
	{
		const AsNode *owner = as_route_find_held(type, id);

		if (owner == NULL)
		{
			look_here(type, id, look);
			return;
		}
		if (look_there(type, id, owner, look))
			return;
		if (tries > 0)
			as_route_refuse();
		as_route_learn(owner);
	}
}

bool
as_supervise_climb(AsSupervision *supervision)
{
	Look		look;
	bool		is_stopped = false;
	char	   *chain = NULL;

	look.parent_type = supervision->parent_type;
	look.parent_id = supervision->parent_id;
	while (look.parent_type != NULL)
	{
		text	   *type = look.parent_type;
		text	   *id = look.parent_id;
		char	   *name = psprintf("(%s, %s)", text_to_cstring(type), text_to_cstring(id));
		bool		first = chain == NULL;

		CHECK_FOR_INTERRUPTS();
		chain = first ? name : psprintf("%s supervises %s", name, chain);
		if (as_same_text(type, supervision->child_type) && as_same_text(id, supervision->child_id))
			as_supervise_refuse_circle(supervision, chain);
		look_anywhere(type, id, &look);
		if (!first)
			continue;
		supervision->asked_at = look.at;
		is_stopped = look.is_stopped;
	}
	return is_stopped;
}

/*
 * local_supervisor(caller, epoch, actor_type, actor_id): who supervises an actor of
 * this node, and whether it is stopped; nobody changes the tree here until the
 * transaction ends.
 */
Datum
actorstore_local_supervisor(PG_FUNCTION_ARGS)
{
	text	   *type = as_arg_type(fcinfo, 2);
	text	   *id = as_arg_id(fcinfo, 3);
	TupleDesc	desc;
	AsCaller	caller;
	Look		look = {0};
	Datum		values[5] = {0};
	bool		nulls[5] = {false};
	bool		is_mine;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	as_reject_null(fcinfo, 1, "epoch");
	as_caller_become(fcinfo, &caller);
	is_mine = as_route_is_mine(type, id, PG_GETARG_INT64(1)) && as_owner_try(type, id);
	if (is_mine)
		look_here(type, id, &look);
	as_caller_return(&caller);
	values[0] = BoolGetDatum(is_mine);
	values[1] = PointerGetDatum(look.parent_type);
	values[2] = PointerGetDatum(look.parent_id);
	nulls[1] = nulls[2] = look.parent_type == NULL;
	values[3] = BoolGetDatum(look.is_stopped);
	values[4] = Int64GetDatum(look.at);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* ---- Writing ---- */

/* False: the other node does not own the child. */
static bool
supervise_there(const AsSupervision *s, const AsNode *owner)
{
	const char *values[12] = {
		as_caller_name(), as_route_epoch_text(),
		text_to_cstring(s->parent_type), text_to_cstring(s->parent_id),
		text_to_cstring(s->child_type), text_to_cstring(s->child_id),
		text_to_cstring(s->strategy), text_to_cstring(s->max_restarts), text_to_cstring(s->period),
		text_to_cstring(s->keep_state), text_to_cstring(s->restart),
		psprintf(INT64_FORMAT, s->asked_at)
	};
	AsPeer	   *peer = as_route_begin(owner, false);
	int			number = as_peer_add(peer, SUPERVISE_SQL, lengthof(values), values, true);

	(void) as_peer_launch(peer);
	as_route_wait(&peer, 1);
	if (PQgetvalue(as_peer_result(peer, number), 0, 0)[0] != 't')
		return false;
	as_global_wrote(peer);
	return true;
}

void
as_supervise_there(const AsSupervision *supervision)
{
	for (int tries = 0;; tries++)
	{
		const AsNode *owner = as_route_find_held(supervision->child_type, supervision->child_id);

		if (owner == NULL)
		{
			as_supervise_lock();

			/* they may have been dropped meanwhile */
			(void) as_type_get(supervision->parent_type);
			(void) as_type_get(supervision->child_type);
			as_supervise(supervision);
			return;
		}
		if (supervise_there(supervision, owner))
			return;
		if (tries > 0)
			as_route_refuse();
		as_route_learn(owner);
	}
}

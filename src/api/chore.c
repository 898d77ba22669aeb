/*-------------------------------------------------------------------------
 *
 * chore.c
 *	  See chore.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "access/xact.h"

#include "api/args.h"
#include "api/chore.h"
#include "cluster/caller.h"
#include "cluster/global.h"
#include "cluster/route.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "state/owner.h"
#include "utils/builtins.h"
#include "utils/resowner.h"

PG_FUNCTION_INFO_V1(actorstore_local_chore);

#define MAX_TRIES	10

#define CHORE_SQL \
	"SELECT is_mine, result FROM actorstore.local_chore($1, $2, $3, $4, $5, $6, $7, $8)"

static int64
do_here(const AsChore *chore)
{
	switch (chore->kind)
	{
		case AS_CHORE_PAUSE:
			return as_pause_here(chore);
		case AS_CHORE_RESUME:
			return as_resume_here(chore);
		case AS_CHORE_REDRIVE:
			return as_redrive_here(chore);
		case AS_CHORE_PURGE:
			return as_purge_here(chore);
		case AS_CHORE_JOIN:
			return as_join_here(chore);
		case AS_CHORE_LEAVE:
			return as_leave_here(chore);
		case AS_CHORE_UNSUPERVISE:
			return as_unsupervise_here(chore);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("another node asks for what this one does not know"),
			 errhint("Install the same version on both.")));
}

/* ---- There ---- */

static char *
text_or_null(const text *value)
{
	return value == NULL ? NULL : text_to_cstring(value);
}

/* False: the node does not own the actor, or knows other nodes. */
static bool
do_there(const AsChore *chore, const AsNode *node, int64 *result)
{
	char		kind[2] = {(char) chore->kind, '\0'};
	const char *values[8] = {
		as_caller_name(), as_route_epoch_text(), kind, text_to_cstring(chore->type),
		text_or_null(chore->id), psprintf(INT64_FORMAT, chore->amount),
		text_or_null(chore->group), text_or_null(chore->owner)
	};
	AsPeer	   *peer = as_route_begin(node, false);
	PGresult   *answer;
	int			number;

	as_global_wrote(peer);
	number = as_peer_add(peer, CHORE_SQL, lengthof(values), values, true);
	(void) as_peer_launch(peer);
	as_route_wait(&peer, 1);
	answer = as_peer_result(peer, number);
	if (PQntuples(answer) != 1 || PQnfields(answer) != 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("another node has given an unknown answer")));
	*result = strtoll(PQgetvalue(answer, 0, 1), NULL, 10);
	return PQgetvalue(answer, 0, 0)[0] == 't';
}

int64
as_chore_do(const AsChore *chore)
{
	for (int tries = 0;; tries++)
	{
		const AsNode *owner = as_route_find_held(chore->type, chore->id);
		int64		result;

		if (owner == NULL)
			return do_here(chore);
		if (do_there(chore, owner, &result))
			return result;
		if (tries > 0)
			as_route_refuse();
		as_route_learn(owner);
	}
}

/* ---- Everywhere ---- */

int
as_chore_nodes(const AsNode **nodes)
{
	const AsNode *self = as_node_need_self();
	int			n = as_node_count();

	as_route_look();
	if (n > AS_MAX_PEERS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("too many nodes")));
	for (int i = 0; i < n; i++)
	{
		nodes[i] = as_node_nth(i);
		if (nodes[i]->number == self->number)
			nodes[i] = NULL;
	}
	return n;
}

void
as_chore_check_epoch(bool same)
{
	if (!same)
		ereport(ERROR,
				(errcode(AS_ERRCODE_NOT_THE_OWNER),
				 errmsg("nodes have come or gone meanwhile"),
				 errhint("Try again.")));
}

void
as_chore_learn(int tries, const AsNode *refuser)
{
	as_chore_check_epoch(tries < MAX_TRIES - 1);
	if (refuser != NULL)
		as_route_learn(refuser);
}

/* False: the node *refuser, or this one by now (NULL), knows other nodes. */
static bool
do_on_each(AsChore chore, int64 *sum, const AsNode **refuser)
{
	const AsNode *nodes[AS_MAX_PEERS];
	int64		epoch = as_node_epoch();	/* before we ask who they are */
	int64		max = chore.amount;
	int			n = as_chore_nodes(nodes);

	*sum = 0;
	*refuser = NULL;
	for (int i = 0; i < n; i++)
	{
		int64		result;

		if (nodes[i] == NULL)
			result = do_here(&chore);
		else if (!do_there(&chore, nodes[i], &result))
		{
			*refuser = nodes[i];
			return false;
		}
		*sum += result;
		if (chore.kind == AS_CHORE_REDRIVE && max > 0 && (chore.amount = max - *sum) <= 0)
			break;
	}
	return as_node_epoch() == epoch;
}

/* The same; what was done on some nodes is undone if another one refuses. */
static bool
do_on_all(const AsChore *chore, int64 *sum, const AsNode **refuser)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		done = do_on_each(*chore, sum, refuser);
		if (done)
			ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		done = false;
	}
	PG_END_TRY();
	if (!done)
		RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (error != NULL)
		ReThrowError(error);
	return done;
}

int64
as_chore_do_everywhere(const AsChore *chore)
{
	int64		epoch = as_node_epoch();
	int64		sum;
	const AsNode *refuser;

	as_owner_check_member();
	if (!as_route_is_needed())
	{
		sum = do_here(chore);
		as_chore_check_epoch(as_node_epoch() == epoch);
		return sum;
	}
	for (int tries = 0; !do_on_all(chore, &sum, &refuser); tries++)
		as_chore_learn(tries, refuser);
	return sum;
}

/* ---- For other nodes ---- */

/* Arguments of local_chore() */
enum
{
	ARG_CALLER,
	ARG_EPOCH,
	ARG_KIND,
	ARG_TYPE,
	ARG_ID,
	ARG_AMOUNT,
	ARG_GROUP,
	ARG_OWNER
};

static text *
arg_text(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : PG_GETARG_TEXT_PP(n);
}

static void
take_chore(FunctionCallInfo fcinfo, AsChore *chore)
{
	as_reject_null(fcinfo, ARG_EPOCH, "epoch");
	as_reject_null(fcinfo, ARG_KIND, "kind");
	as_reject_null(fcinfo, ARG_AMOUNT, "amount");
	memset(chore, 0, sizeof(AsChore));
	chore->kind = (AsChoreKind) PG_GETARG_CHAR(ARG_KIND);
	chore->type = as_arg_type(fcinfo, ARG_TYPE);
	chore->id = PG_ARGISNULL(ARG_ID) ? NULL : as_arg_id(fcinfo, ARG_ID);
	chore->amount = PG_GETARG_INT64(ARG_AMOUNT);
	chore->group = arg_text(fcinfo, ARG_GROUP);
	chore->owner = arg_text(fcinfo, ARG_OWNER);
}

/* Only one actor can join or leave, and a group; or be unsupervised. */
static void
check_chore(const AsChore *chore)
{
	bool		of_group = chore->kind == AS_CHORE_JOIN || chore->kind == AS_CHORE_LEAVE;
	bool		of_one = of_group || chore->kind == AS_CHORE_UNSUPERVISE;

	if ((of_one && chore->id == NULL) || (of_group && chore->group == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("an argument must not be NULL")));
	if (chore->group != NULL)
		as_check_name("group_name", chore->group);
}

Datum
actorstore_local_chore(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	AsCaller	caller;
	AsChore		chore;
	Datum		values[2] = {0};
	bool		nulls[2] = {false};
	int64		epoch;
	bool		is_mine;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	PreventCommandIfReadOnly("actorstore.local_chore()");
	PreventCommandIfParallelMode("actorstore.local_chore()");
	as_caller_become(fcinfo, &caller);
	take_chore(fcinfo, &chore);
	check_chore(&chore);
	as_caller_stand_in(fcinfo, chore.type);
	epoch = PG_GETARG_INT64(ARG_EPOCH);
	is_mine = chore.id == NULL ? as_route_knows(epoch) :
		as_route_is_mine(chore.type, chore.id, epoch) &&
		(chore.kind == AS_CHORE_PURGE || as_owner_try(chore.type, chore.id));
	if (is_mine)
		values[1] = Int64GetDatum(do_here(&chore));
	if (chore.id == NULL)
		is_mine = is_mine && as_route_knows(epoch);	/* under its locks */
	as_caller_return(&caller);
	values[0] = BoolGetDatum(is_mine);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

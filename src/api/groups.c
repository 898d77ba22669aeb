/*-------------------------------------------------------------------------
 *
 * groups.c
 *	  The SQL functions about groups of actors (runtime/groups.h).
 *
 * That an actor is in a group is kept by the node that owns the actor, so it
 * goes where the actor goes and ends with it.  Whose a group is by then stands at
 * each of its members.  So, where there are several nodes:
 *
 *	- To join is a command to the owner of the actor.  If he has a member of the
 *	  group already, he knows whose it is.  Else all nodes are asked, in the order
 *	  of their numbers, and let nobody else ask until this transaction has
 *	  ended: two who make the same group at once meet on the first node.
 *	- To leave is a command to the owner of the actor.
 *	- A broadcast asks all nodes for their members, and sends each a message.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "api/args.h"
#include "api/chore.h"
#include "cluster/caller.h"
#include "cluster/peer.h"
#include "cluster/route.h"
#include "cluster/transit.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "runtime/groups.h"
#include "state/owner.h"
#include "state/partition.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(actorstore_join_group);
PG_FUNCTION_INFO_V1(actorstore_leave_group);
PG_FUNCTION_INFO_V1(actorstore_broadcast);
PG_FUNCTION_INFO_V1(actorstore_local_group_owner);
PG_FUNCTION_INFO_V1(actorstore_local_group_members);

#define OWNER_SQL "SELECT is_mine, owner FROM actorstore.local_group_owner($1, $2, $3)"
#define MEMBERS_SQL "SELECT actor_type, actor_id FROM actorstore.local_group_members($1, $2, $3)"

/* How long one waits at a time for slots that are handed over */
#define HANDED_NAP_MS	5

/* The owner of the actor has nobody in the group: he must be told whose it is. */
#define UNKNOWN		(-1)

/* The amount of a chore: has everybody been asked whose it is? */
#define ASKED_ALL	1

static text *
arg_group(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("group_name must not be NULL")));
	as_check_name("group_name", PG_GETARG_TEXT_PP(n));
	return PG_GETARG_TEXT_PP(n);
}

static void
arg_member(FunctionCallInfo fcinfo, AsChore *chore, AsChoreKind kind, const char *function)
{
	memset(chore, 0, sizeof(AsChore));
	chore->kind = kind;
	chore->group = arg_group(fcinfo, 0);
	chore->type = as_arg_type(fcinfo, 1);
	chore->id = as_arg_id(fcinfo, 2);
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
	as_type_check(as_type_get(chore->type), AS_PRIV_WRITE);
}

/* ---- Whose is it? ---- */

/* 42501 unless the group is the current role's. */
static void
check_owner(const text *group, const char *owner)
{
	if (!has_privs_of_role(GetUserId(), get_role_oid(owner, false)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of group \"%s\"", text_to_cstring(group)),
				 errdetail("A group belongs to the role that made its first member join.")));
}

static char *
ask_here(text *group)
{
	Oid			owner = as_group_lock(group);

	return OidIsValid(owner) ? GetUserNameFromId(owner, false) : NULL;
}

/* False: that node knows other nodes. */
static bool
ask_there(text *group, const AsNode *node, char **owner)
{
	const char *values[3] = {as_caller_name(), as_route_epoch_text(), text_to_cstring(group)};
	AsPeer	   *peer = as_route_begin(node, false);
	int			number = as_peer_add(peer, OWNER_SQL, lengthof(values), values, true);
	PGresult   *result;

	(void) as_peer_launch(peer);
	as_route_wait(&peer, 1);
	result = as_peer_result(peer, number);
	if (PQntuples(result) != 1 || PQgetvalue(result, 0, 0)[0] != 't')
		return false;
	*owner = PQgetisnull(result, 0, 1) ? NULL : pstrdup(PQgetvalue(result, 0, 1));
	return true;
}

/* False: the node *refuser, or this one by now (NULL), knows other nodes. */
static bool
ask_each(text *group, char **owner, const AsNode **refuser)
{
	const AsNode *nodes[AS_MAX_PEERS];
	int64		epoch = as_node_epoch();
	int			n = as_chore_nodes(nodes);

	*owner = NULL;
	*refuser = NULL;
	for (int i = 0; i < n; i++)
	{
		char	   *answer;

		if (nodes[i] == NULL)
			answer = ask_here(group);
		else if (!ask_there(group, nodes[i], &answer))
		{
			*refuser = nodes[i];
			return false;
		}
		if (answer != NULL)
			check_owner(group, *owner = answer);
	}
	return as_node_epoch() == epoch;
}

/* Ask all nodes; NULL: nobody's, so far. */
static text *
ask_all(text *group)
{
	char	   *owner;
	const AsNode *refuser;

	for (int tries = 0; !ask_each(group, &owner, &refuser); tries++)
		as_chore_learn(tries, refuser);
	return owner == NULL ? NULL : cstring_to_text(owner);
}

/*
 * local_group_owner(caller, epoch, group_name): the name of the role whose the
 * group is by what is known here, NULL if nobody is in it here; nobody else is
 * told until this transaction ends.
 */
Datum
actorstore_local_group_owner(PG_FUNCTION_ARGS)
{
	text	   *group = arg_group(fcinfo, 2);
	TupleDesc	desc;
	AsCaller	caller;
	Datum		values[2] = {0};
	bool		nulls[2] = {false, true};
	char	   *owner = NULL;
	bool		is_mine;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	as_reject_null(fcinfo, 1, "epoch");
	as_caller_become(fcinfo, &caller);
	is_mine = as_route_knows(PG_GETARG_INT64(1));
	if (is_mine)
		owner = ask_here(group);
	as_caller_return(&caller);
	values[0] = BoolGetDatum(is_mine);
	if (owner != NULL)
	{
		values[1] = CStringGetTextDatum(owner);
		nulls[1] = false;
	}
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* ---- Members ---- */

Datum
actorstore_join_group(PG_FUNCTION_ARGS)
{
	AsChore		chore;
	int64		joined;

	arg_member(fcinfo, &chore, AS_CHORE_JOIN, "actorstore.join_group()");
	joined = as_chore_do(&chore);
	if (joined == UNKNOWN)
	{
		chore.owner = ask_all(chore.group);
		chore.amount = ASKED_ALL;
		joined = as_chore_do(&chore);
	}
	PG_RETURN_BOOL(joined > 0);
}

static bool
join_first(const AsChore *chore)
{
	Oid			owner = chore->owner == NULL ? GetUserId() :
		get_role_oid(text_to_cstring(chore->owner), false);

	return as_group_join_first(chore->group, chore->type, chore->id, owner);
}

int64
as_join_here(const AsChore *chore)
{
	AsPartition partition;
	bool		joined;

	/* the type is not to be dropped before this commits */
	(void) as_type_get(chore->type);
	as_partition_open_for(&partition, chore->type, AS_PRIV_WRITE, false, RowExclusiveLock);
	as_partition_close(&partition);
	if (as_actor_halt(partition.type, chore->type, chore->id) >= AS_STOPPED)
		ereport(ERROR,
				(errcode(AS_ERRCODE_HALTED),
				 errmsg("actor (%s, %s) is stopped", text_to_cstring(chore->type),
						text_to_cstring(chore->id))));
	if (!as_route_is_needed())
	{
		joined = as_group_join(chore->group, chore->type, chore->id);
		AcceptInvalidationMessages();
		as_chore_check_epoch(!as_route_is_needed());
		return joined;
	}
	if (chore->amount == ASKED_ALL)
		return join_first(chore);
	return as_group_join_others(chore->group, chore->type, chore->id, &joined) ? joined : UNKNOWN;
}

Datum
actorstore_leave_group(PG_FUNCTION_ARGS)
{
	AsChore		chore;

	arg_member(fcinfo, &chore, AS_CHORE_LEAVE, "actorstore.leave_group()");
	PG_RETURN_BOOL(as_chore_do(&chore) > 0);
}

int64
as_leave_here(const AsChore *chore)
{
	AsType	   *type = as_type_get(chore->type);

	as_type_check(type, AS_PRIV_WRITE);
	return as_group_leave(chore->group, type, chore->type, chore->id);
}

/* ---- Broadcasts ---- */

static void
check_may_send(text *type)
{
	as_type_check(as_type_get(type), AS_PRIV_SEND);
}

/* A slot that is handed over may have members that its taker does not show yet. */
static bool
hands_over(void)
{
	for (int i = 0; i < AS_SLOTS; i++)
	{
		if (as_node_transit(i) == AS_TRANSIT_HANDED)
			return true;
	}
	return false;
}

/*
 * Members here, such that all nodes' together are all there are.  Who moves
 * leaves the giver and comes to the taker in one transaction, and no later epoch is in
 * force while the giver has the slot as handed over.  So who is not here any
 * more, and was not at the taker when it looked by the same epoch, is found out by what
 * is looked at here afterwards; who is seen on both is one.  Less than 0: another
 * epoch is in force by now.
 */
static int
look_here(text *group, int64 epoch, AsGroupMember **members)
{
	TimestampTz deadline = as_peer_deadline(actorstore_peer_timeout);

	for (;;)
	{
		int			n = as_group_members(group, members);

		AcceptInvalidationMessages();
		if (as_node_epoch() != epoch)
			return -1;
		if (!hands_over())
			return n;
		if (GetCurrentTimestamp() >= deadline)
			return -1;
		as_peer_nap(HANDED_NAP_MS, AS_NAP_SLOT);
	}
}

/* All other nodes look at once. */
static int
launch_looks(text *group, const AsNode *const *nodes, int n, AsPeer **peers, int *numbers)
{
	const char *values[3] = {as_caller_name(), as_route_epoch_text(), text_to_cstring(group)};

	for (int i = 0; i < n; i++)
	{
		peers[i] = NULL;
		if (nodes[i] == NULL)
			continue;
		peers[i] = as_route_begin(nodes[i], true);
		numbers[i] = as_peer_add(peers[i], MEMBERS_SQL, lengthof(values), values, true);
		(void) as_peer_launch(peers[i]);
	}
	as_route_wait(peers, n);
	return n;
}

static int
take_members(PGresult *result, AsGroupMember **members, int n)
{
	int			some = PQntuples(result);

	*members = repalloc_huge(*members, Max(n + some, 1) * sizeof(AsGroupMember));
	for (int i = 0; i < some; i++)
	{
		(*members)[n + i].type = cstring_to_text(PQgetvalue(result, i, 0));
		(*members)[n + i].id = cstring_to_text(PQgetvalue(result, i, 1));
	}
	return n + some;
}

/* A row of NULLs: that node knows other nodes. */
static bool
is_refusal(const PGresult *result)
{
	return PQntuples(result) == 1 && PQgetisnull(result, 0, 0);
}

/* Those on other nodes behind the first n; less than 0: the node *refuser knows other nodes. */
static int
find_others(text *group, AsGroupMember **members, int n, const AsNode **refuser)
{
	const AsNode *nodes[AS_MAX_PEERS];
	AsPeer	   *peers[AS_MAX_PEERS];
	int			numbers[AS_MAX_PEERS];

	for (int i = launch_looks(group, nodes, as_chore_nodes(nodes), peers, numbers) - 1; i >= 0; i--)
	{
		PGresult   *result = peers[i] == NULL ? NULL : as_peer_result(peers[i], numbers[i]);

		if (result == NULL)
			continue;
		if (is_refusal(result))
		{
			*refuser = nodes[i];
			return -1;
		}
		n = take_members(result, members, n);
	}
	return n;
}

static int
find_members(text *group, AsGroupMember **members)
{
	for (int tries = 0;; tries++)
	{
		int64		epoch = as_node_epoch();	/* before anybody looks */
		const AsNode *refuser = NULL;
		int			n = look_here(group, epoch, members);

		if (n >= 0 && as_route_is_needed())
			n = find_others(group, members, n, &refuser);
		if (n >= 0 && as_node_epoch() == epoch)
			return n;
		as_chore_learn(tries, refuser);
	}
}

Datum
actorstore_broadcast(PG_FUNCTION_ARGS)
{
	text	   *group = arg_group(fcinfo, 0);
	text	   *message = as_arg_message(fcinfo, 1);
	Datum		body = PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2);
	AsGroupMember *members;
	int			n;

	PreventCommandIfReadOnly("actorstore.broadcast()");
	PreventCommandIfParallelMode("actorstore.broadcast()");
	as_owner_check_member();
	n = find_members(group, &members);
	PG_RETURN_INT64(as_group_send(members, n, message, body, check_may_send));
}

/*
 * local_group_members(caller, epoch, group_name): those here that have not exited;
 * or a row of NULLs if that epoch is not the one in force here.
 */
Datum
actorstore_local_group_members(PG_FUNCTION_ARGS)
{
	text	   *group = arg_group(fcinfo, 2);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	AsCaller	caller;
	AsGroupMember *members;
	int			n;

	as_reject_null(fcinfo, 1, "epoch");
	InitMaterializedSRF(fcinfo, 0);
	as_caller_become(fcinfo, &caller);
	n = as_route_knows(PG_GETARG_INT64(1)) ? look_here(group, PG_GETARG_INT64(1), &members) : -1;
	if (n < 0)
	{
		Datum		values[2] = {0};
		bool		nulls[2] = {true, true};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	for (int i = 0; i < n; i++)
	{
		Datum		values[2] = {PointerGetDatum(members[i].type), PointerGetDatum(members[i].id)};
		bool		nulls[2] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	as_caller_return(&caller);
	return (Datum) 0;
}

/*-------------------------------------------------------------------------
 *
 * global.c
 *	  Members of the transaction, and their savepoints: see global.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/global.h"

#include <limits.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "cluster/fault.h"
#include "cluster/life.h"
#include "cluster/resolver.h"
#include "cluster/waits.h"
#include "compat.h"
#include "miscadmin.h"
#include "utils/guc.h"

bool		actorstore_wait_for_phase_two = true;
int			actorstore_phase_two_timeout = 5000;

AsPart	as_global_members[AS_MAX_PEERS];
int			as_global_nmembers = 0;
AsNode		as_global_self;

static AsPeer *ahead = NULL;	/* has a transaction that is nobody's yet */

bool
as_global_is_used(void)
{
	return as_global_nmembers > 0;
}

/* ---- Enlisting ---- */

void
as_global_check_nesting(void)
{
	if (as_peer_is_own_session())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("what another node has called cannot call other nodes"),
				 errhint("Use send.")));
}

static void
check_may_enlist(void)
{
	for (int i = 0; i < as_global_nmembers; i++)
	{
		if (as_global_members[i].state != AS_PART_ACTIVE)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the transaction is already being prepared on other nodes"),
					 errhint("What runs on several nodes at once cannot call them.")));
	}
	as_global_check_nesting();
	PreventCommandDuringRecovery("a transaction over several nodes");
	(void) as_node_need_self();
	as_global_check_local();
}

static AsPart *
find_member(int16 node)
{
	for (int i = 0; i < as_global_nmembers; i++)
	{
		if (as_global_members[i].peer->number == node)
			return &as_global_members[i];
	}
	return NULL;
}

bool
as_global_is_member(const AsNode *node)
{
	return find_member(node->number) != NULL;
}

static void
check_may_prepare(const AsNode *node, const AsPeer *peer)
{
	if (peer->max_prepared == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("node \"%s\" has no room for prepared transactions", node->name),
				 errhint("Put this line, or one with a larger number, into postgresql.conf there and restart: max_prepared_transactions = %d",
						 MaxConnections)));
}

static AsPart *
make_member(const AsNode *node)
{
	AsPeer	   *peer;
	AsPart   *member;

	peer = as_peer_get(node);
	check_may_prepare(node, peer);
	if (as_global_nmembers == 0)
	{
		as_global_self = *as_node_self();
		as_life_set(AS_LIFE_BEGIN);
	}
	member = &as_global_members[as_global_nmembers];
	memset(member, 0, sizeof(AsPart));
	member->peer = peer;
	member->level = peer == ahead ? 1 : 0;
	ahead = peer == ahead ? NULL : ahead;
	as_global_nmembers++;
	peer->in_transaction = true;
	as_life_add_node(node->number, PQbackendPID(peer->conn));
	as_resolver_start();
	return member;
}

/* Sessions between nodes are READ COMMITTED where nothing is said (peer_connect.c): to say it takes time there. */
static const char *
begin_command(void)
{
	switch (XactIsoLevel)
	{
		case XACT_SERIALIZABLE:
			return XactReadOnly ? "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY" : "BEGIN ISOLATION LEVEL SERIALIZABLE";
		case XACT_REPEATABLE_READ:
			return XactReadOnly ? "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" : "BEGIN ISOLATION LEVEL REPEATABLE READ";
		default:
			return XactReadOnly ? "BEGIN READ ONLY" : "BEGIN";
	}
}

AsPeer *
as_global_begin_ahead(const AsNode *node)
{
	AsPeer	   *peer = as_peer_get(node);

	check_may_prepare(node, peer);
	ahead = peer;
	peer->in_transaction = true;	/* nobody else may close it */
	(void) as_peer_add(peer, begin_command(), 0, NULL, true);
	as_peer_add_settings(peer);
	return peer;
}

bool
as_global_is_ahead(const AsNode *node)
{
	return ahead != NULL && ahead->number == node->number && !ahead->broken;
}

void
as_global_drop_ahead(void)
{
	if (ahead != NULL)
		as_peer_close(ahead);
	ahead = NULL;
}

as_noreturn static void
throw_doomed(AsPart *member)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("the part of this transaction on node \"%s\" is lost",
					member->peer->name)));
}

/* Begin there what was begun here; rides with the caller's commands. */
static void
catch_up(AsPart *member)
{
	int			level = GetCurrentTransactionNestLevel();
	char		command[64];

	while (member->level < level)
	{
		if (member->level == 0)
			as_peer_add(member->peer, begin_command(), 0, NULL, true);
		else
		{
			snprintf(command, sizeof(command), "SAVEPOINT s%d", member->level + 1);
			as_peer_add(member->peer, command, 0, NULL, false);
		}
		member->level++;
		if (as_peer_is_nearly_full(member->peer))
		{
			(void) as_peer_launch(member->peer);
			(void) as_peers_wait(&member->peer, 1, 0);
			(void) as_peer_result(member->peer, 0);
		}
	}
}

AsPeer *
as_global_enlist(const AsNode *node)
{
	AsPart   *member = find_member(node->number);

	check_may_enlist();
	if (member == NULL)
		member = make_member(node);
	if (member->doomed || member->peer->broken)
		throw_doomed(member);
	if (member->peer->state == AS_PEER_FLYING)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("node \"%s\" has not answered yet", node->name),
				 errhint("What runs on several nodes at once cannot call them.")));
	catch_up(member);
	as_life_set(AS_LIFE_ACTIVE);
	as_waits_explain_errors();
	return member->peer;
}

AsPeer *
as_global_enlist_once(const AsNode *node)
{
	AsPart	   *member;

	check_may_enlist();
	member = make_member(node);
	as_life_set(AS_LIFE_ACTIVE);
	as_waits_explain_errors();
	return member->peer;
}

void
as_global_wrote(AsPeer *peer)
{
	AsPart   *member = find_member(peer->number);

	if (member != NULL)
		member->wrote = true;
}

void
as_global_locked(AsPeer *peer)
{
	AsPart	   *member = find_member(peer->number);

	if (member != NULL)
		member->locked = true;
}

/* ---- Savepoints ---- */

static void
doom(AsPart *member)
{
	member->doomed = true;
	as_life_lose_node(member->peer->number);
}

void
as_global_settle(bool cancel, TimestampTz deadline)
{
	AsPeer	   *peers[AS_MAX_PEERS];

	for (int i = 0; i < as_global_nmembers; i++)
	{
		AsPart   *member = &as_global_members[i];

		peers[i] = member->peer;
		if (member->peer->state == AS_PEER_LOADING)
			(void) as_peer_launch(member->peer);
		else if (cancel && member->peer->state == AS_PEER_FLYING && !member->peer->broken)
			as_peer_cancel(member->peer, Min(deadline, as_peer_deadline(2000)));
	}
	if (as_peers_wait_quietly(peers, as_global_nmembers, deadline))
		return;
	for (int i = 0; i < as_global_nmembers; i++)
	{
		if (peers[i]->state != AS_PEER_IDLE || peers[i]->broken)
		{
			peers[i]->broken = true;
			doom(&as_global_members[i]);
		}
	}
}

/* Released with the next command that is sent. */
static void
release_savepoints(int level)
{
	char		command[64];

	for (int i = 0; i < as_global_nmembers; i++)
	{
		AsPart   *member = &as_global_members[i];

		if (member->level < level)
			continue;
		if (member->doomed || member->peer->broken)
			throw_doomed(member);
		snprintf(command, sizeof(command), "RELEASE SAVEPOINT s%d", level);
		as_peer_add(member->peer, command, 0, NULL, false);
		member->level = level - 1;
		if (as_peer_is_nearly_full(member->peer))
		{
			(void) as_peer_launch(member->peer);
			(void) as_peers_wait(&member->peer, 1, 0);
			(void) as_peer_result(member->peer, 0);
		}
	}
}

static void
roll_back_savepoints(int level)
{
	TimestampTz deadline;
	char		command[64];
	bool		any = false;

	for (int i = 0; i < as_global_nmembers; i++)
		any = any || as_global_members[i].level >= level;
	if (!any)
		return;
	deadline = as_peer_deadline(actorstore_peer_timeout);
	as_global_settle(true, deadline);
	for (int i = 0; i < as_global_nmembers; i++)
	{
		AsPart   *member = &as_global_members[i];

		if (member->level < level || member->doomed)
			continue;
		snprintf(command, sizeof(command), "ROLLBACK TO SAVEPOINT s%d", level);
		as_peer_add(member->peer, command, 0, NULL, false);
		snprintf(command, sizeof(command), "RELEASE SAVEPOINT s%d", level);
		as_peer_add(member->peer, command, 0, NULL, false);
		as_peer_forget_settings(member->peer);
	}
	as_global_settle(false, deadline);
	for (int i = 0; i < as_global_nmembers; i++)
	{
		AsPart   *member = &as_global_members[i];

		if (member->level < level)
			continue;
		if (!as_peer_succeeded(member->peer, 1))
			doom(member);
		member->level = level - 1;
	}
}

static void
at_subtransaction_event(SubXactEvent event, SubTransactionId subid,
						SubTransactionId parent, void *arg)
{
	if (as_global_nmembers == 0)
		return;
	if (event == SUBXACT_EVENT_PRE_COMMIT_SUB)
		release_savepoints(GetCurrentTransactionNestLevel());
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		roll_back_savepoints(GetCurrentTransactionNestLevel());
	else if (event == SUBXACT_EVENT_START_SUB)
		as_waits_explain_errors();
}

/* ---- The end ---- */

void
as_global_release_members(void)
{
	for (int i = 0; i < as_global_nmembers; i++)
	{
		AsPeer	   *peer = as_global_members[i].peer;

		peer->in_transaction = false;
		if (peer->broken || peer->unkept || as_global_members[i].doomed ||
			peer->state != AS_PEER_IDLE)
			as_peer_close(peer);
	}
	as_global_nmembers = 0;
}

static void
at_transaction_event(XactEvent event, void *arg)
{
	if (as_global_nmembers == 0)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (as_global_is_over())
				break;
			for (int i = 0; i < as_global_nmembers; i++)
			{
				if (as_global_members[i].doomed || as_global_members[i].peer->broken)
					throw_doomed(&as_global_members[i]);
			}
			as_global_check_local();
			as_global_prepare();
			break;
		case XACT_EVENT_PRE_PREPARE:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that has worked on other nodes")));
			break;
		case XACT_EVENT_COMMIT:
			as_global_finish();
			as_global_release_members();
			as_global_leave_last();
			as_life_set(AS_LIFE_COMMITTED);
			break;
		case XACT_EVENT_ABORT:
			as_life_set(AS_LIFE_ABORTING);
			as_global_leave_last();
			as_global_undo();
			as_global_release_members();
			as_life_set(AS_LIFE_ABORTED);
			break;
		default:
			break;
	}
}

void
as_global_init(void)
{
	DefineCustomBoolVariable("actorstore.wait_for_phase_two",
							 "Lets COMMIT wait until the other nodes have committed, too.",
							 "If not, it answers once the decision is safe: other sessions may see the change on the other nodes a moment later.",
							 &actorstore_wait_for_phase_two,
							 true,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("actorstore.phase_two_timeout",
							"How long COMMIT waits for other nodes to commit a transaction that is decided.",
							"The resolver sees to those that have not answered.",
							&actorstore_phase_two_timeout,
							5000, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);

	/*
	 * The callback registered first is called last: all that the transaction
	 * does before its end comes before we prepare it.
	 */
	RegisterXactCallback(at_transaction_event, NULL);
	RegisterSubXactCallback(at_subtransaction_event, NULL);
	as_global_guard_init();
	as_fault_init();
}

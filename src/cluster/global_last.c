/*-------------------------------------------------------------------------
 *
 * global_last.c
 *	  Transactions that end with the call at hand: see global.h.
 *
 * The only node that is written on may commit with the command, in one flight
 * that begins and ends the transaction there, if this one certainly commits
 * once the other has.  So the call must be all that a statement does, and the
 * statement all that the transaction does:
 *
 *	- The plan is nothing but this call.
 *	- A simple query of one statement, outside of a transaction block; or an
 *	  Execute behind which the client's Sync has arrived already.
 *	- The transaction has written nothing here, has no member, and is READ
 *	  COMMITTED, as all sessions between nodes are where nothing is said (NOTIFY
 *	  and temporary objects are refused by then anyway).
 *	- The result needs no conversion, which might not be possible.
 *
 * What is left is the result's way to the client.  From the other node's commit
 * on a cancel comes too late, as it does for any commit; and an error, which
 * only a lack of memory could still raise, ends the session: a client that is
 * told of an error in a session that goes on may rely on the transaction being
 * rolled back, one whose connection ends must look.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/global.h"

#include "access/xact.h"
#include "cluster/fault.h"
#include "cluster/life.h"
#include "cluster/peer_stat.h"
#include "compat.h"
#include "executor/execdesc.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/plannodes.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/portal.h"

/* the other node has committed, this one is about to */
static bool is_over = false;

static bool exit_on_any_error;	/* as it was before: the setting exit_on_error */

/* ---- Is this call the last? ---- */

static bool
are_columns(const List *targets)
{
	ListCell   *cell;

	foreach(cell, targets)
	{
		if (!IsA(lfirst_node(TargetEntry, cell)->expr, Var))
			return false;
	}
	return true;
}

/* SELECT f(...), SELECT (f(...)).field, SELECT columns FROM f(...) */
static bool
is_whole_plan(const PlannedStmt *statement, const Node *call)
{
	const Plan *plan = statement->planTree;
	const Node *found = NULL;

	if (statement->commandType != CMD_SELECT || statement->subplans != NIL ||
		statement->rowMarks != NIL || plan->initPlan != NIL || plan->qual != NIL ||
		plan->lefttree != NULL || plan->righttree != NULL)
		return false;
	if (IsA(plan, FunctionScan))
	{
		const List *functions = ((const FunctionScan *) plan)->functions;

		if (list_length(functions) == 1 && are_columns(plan->targetlist))
			found = linitial_node(RangeTblFunction, functions)->funcexpr;
	}
	else if (IsA(plan, Result) && ((const Result *) plan)->resconstantqual == NULL &&
			 list_length(plan->targetlist) == 1)
	{
		found = (const Node *) linitial_node(TargetEntry, plan->targetlist)->expr;
		if (IsA(found, FieldSelect))
			found = (const Node *) ((const FieldSelect *) found)->arg;
	}
	return found != NULL && found == call;
}

/*
 * Only a simple query has no cached plan; one of several statements has begun
 * a transaction block.
 */
static bool
ends_transaction(Portal portal)
{
	bool		ends = true;

	if (portal->cplan != NULL)
	{
		ends = as_client_has_sent();
		if (ends)
		{
			pq_startmsgread();
			ends = pq_peekbyte() == 'S';
			pq_endmsgread();
		}
	}
	return ends;
}

static bool
is_whole_transaction(void)
{
	return !IsTransactionBlock() && GetCurrentTransactionNestLevel() == 1 &&
		!TransactionIdIsValid(GetTopTransactionIdIfAny()) &&
		XactIsoLevel == XACT_READ_COMMITTED && !as_global_is_used();
}

static bool
is_shown_as_it_is(void)
{
	int			encoding = pg_get_client_encoding();

	return encoding == GetDatabaseEncoding() || encoding == PG_SQL_ASCII;
}

bool
as_global_is_last(FunctionCallInfo call)
{
	Portal		portal = ActivePortal;

	return portal != NULL && portal->name[0] == '\0' &&
		portal->strategy == PORTAL_ONE_SELECT && portal->queryDesc != NULL &&
		whereToSendOutput == DestRemote &&
		is_whole_transaction() && is_shown_as_it_is() &&
		is_whole_plan(portal->queryDesc->plannedstmt, call->flinfo->fn_expr) &&
		ends_transaction(portal);
}

/* ---- Several members ---- */

/* Where nothing proves that it is not yet at PREPARE, it has until it is asked again. */
static void
check_silent(AsPart *member)
{
	bool		was_overdue = member->overdue;

	member->overdue = !as_peer_is_executing(member->peer, as_peer_deadline(Min(actorstore_peer_timeout, 2000)));
	if (was_overdue && member->overdue)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("node \"%s\" has not answered to PREPARE TRANSACTION in time", member->peer->name)));
}

void
as_global_await_last(void)
{
	AsPeer	   *peers[AS_MAX_PEERS];
	int			n = 0;
	bool		some_fly;

	AS_FOR_EACH_MEMBER(member)
		peers[n++] = member->peer;
	do
	{
		some_fly = false;
		if (as_peers_wait(peers, n, as_peer_deadline(actorstore_peer_timeout)))
			break;
		AS_FOR_EACH_MEMBER(member)
		{
			if (member->peer->broken || member->peer->state != AS_PEER_FLYING)
				continue;
			check_silent(member);
			some_fly = true;
		}
	} while (some_fly);
}

/* ---- The flight of the only one ---- */

/* Wait for all answers, cancelled or not: returns the error if so. */
static ErrorData *
wait_to_the_end(AsPeer *peer)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData  *volatile cancelled = NULL;

	PG_TRY();
	{
		AS_FAULT("one_phase");
		(void) as_peers_wait(&peer, 1, 0);
	}
	PG_CATCH();
	{
		TimestampTz deadline = as_peer_deadline(actorstore_peer_timeout);

		MemoryContextSwitchTo(context);
		cancelled = CopyErrorData();
		FlushErrorState();
		as_peer_cancel(peer, Min(deadline, as_peer_deadline(2000)));
		(void) as_peers_wait_quietly(&peer, 1, deadline);
	}
	PG_END_TRY();
	return cancelled;
}

static bool
has_committed(AsPeer *peer, int end)
{
	for (int i = 0; i < end; i++)
	{
		if (!as_peer_succeeded(peer, i))
			return false;
	}
	return peer->state == AS_PEER_IDLE && !peer->broken && as_peer_sqlstate(peer, end) == NULL;
}

as_noreturn static void
throw_uncommitted(AsPeer *peer, int end, ErrorData *cancelled)
{
	bool		answered = peer->state == AS_PEER_IDLE && !peer->broken;

	for (int i = 0; i < end; i++)
	{
		if (as_peer_sqlstate(peer, i) == NULL)
			continue;
		if (cancelled != NULL && answered)
			ReThrowError(cancelled);
		(void) as_peer_result(peer, i);
	}
	as_global_check_answer(peer, end);
	(void) as_peer_result(peer, end);
	pg_unreachable();
}

void
as_global_run_last(AsPeer *peer)
{
	AsPart	   *member = &as_global_members[0];
	int			end = as_peer_add_end(peer);
	ErrorData  *cancelled;

	Assert(as_global_nmembers == 1 && member->peer == peer);
	member->state = AS_PART_ENDED;
	(void) as_peer_launch(peer);
	cancelled = wait_to_the_end(peer);
	if (!has_committed(peer, end))
		throw_uncommitted(peer, end, cancelled);
	exit_on_any_error = ExitOnAnyError;
	ExitOnAnyError = true;
	HOLD_CANCEL_INTERRUPTS();
	is_over = true;
	if (peer->unreplicated)
		ereport(WARNING,
				(errmsg("node \"%s\" has committed, but not waited for its standbys",
						peer->name)));
}

void
as_global_end_last(bool wrote)
{
	if (wrote)
		as_peer_stat_count(as_global_members[0].peer->stat, AS_PEER_ONE_PHASE, 1);
	else
	{
		as_global_leave_last();
		as_global_release_members();
		as_life_set(AS_LIFE_COMMITTED);
	}
}

bool
as_global_is_over(void)
{
	return is_over;
}

void
as_global_leave_last(void)
{
	if (!is_over)
		return;
	is_over = false;
	ExitOnAnyError = exit_on_any_error;
	if (QueryCancelHoldoffCount > 0)
		RESUME_CANCEL_INTERRUPTS();
}

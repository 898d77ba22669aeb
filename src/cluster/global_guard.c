/*-------------------------------------------------------------------------
 *
 * global_guard.c
 *	  What a transaction over several nodes may not do, and what must be done
 *	  before its parts are prepared: see global.h; and around COMMIT PREPARED,
 *	  of whatever transaction: see lane.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/global.h"

#include "access/xact.h"
#include "cluster/fault.h"
#include "cluster/fence.h"
#include "cluster/lane.h"
#include "commands/async.h"
#include "compat.h"
#include "lib/utility_hook.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/proc.h"

static ProcessUtility_hook_type prev_process_utility = NULL;

/* the transaction of this backend that has declared a cursor WITH HOLD */
static LocalTransactionId holding = InvalidLocalTransactionId;

as_noreturn static void
refuse(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("a transaction over several nodes cannot use %s", what)));
}

/*
 * The server keeps to itself whether something is to be notified; but it knows
 * whether this transaction could be prepared.
 */
static bool
has_notified(void)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool notified = false;

	PG_TRY();
	{
		AtPrepare_Notify();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		notified = true;
	}
	PG_END_TRY();
	return notified;
}

void
as_global_check_local(void)
{
	if ((MyXactFlags & XACT_FLAGS_ACCESSEDTEMPNAMESPACE) != 0)
		refuse("temporary objects");
	if (holding == as_my_lxid)
		refuse("cursors WITH HOLD");
	if (has_notified())
		refuse("LISTEN, UNLISTEN or NOTIFY");
}

static void
at_prepare(const char *gid)
{
	if (as_global_is_used())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has worked on other nodes")));
	if (as_peer_is_own_session())
	{
		as_receipt_write(gid);
		AS_FAULT("receipt");
	}
}

static void
check_command(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_NotifyStmt:
		case T_ListenStmt:
		case T_UnlistenStmt:
			if (as_global_is_used())
				refuse("LISTEN, UNLISTEN or NOTIFY");
			break;
		case T_DeclareCursorStmt:
			if ((((DeclareCursorStmt *) statement)->options & CURSOR_OPT_HOLD) == 0)
				break;
			if (as_global_is_used())
				refuse("cursors WITH HOLD");
			holding = as_my_lxid;
			break;
		case T_TransactionStmt:
			as_fence_check_transaction(((TransactionStmt *) statement)->kind);
			if (((TransactionStmt *) statement)->kind == TRANS_STMT_PREPARE)
				at_prepare(((TransactionStmt *) statement)->gid);
			break;
		default:
			break;
	}
}

static void
commit_prepared(AS_UTILITY_PARAMS)
{
	as_lane_begin_commit_prepared(((TransactionStmt *) pstmt->utilityStmt)->gid);
	PG_TRY();
	{
		as_utility_next(prev_process_utility, AS_UTILITY_ARGS);
		AS_FAULT("commit_prepared");
	}
	PG_FINALLY();
	{
		as_lane_end_commit_prepared();
	}
	PG_END_TRY();
}

static bool
is_commit_prepared(Node *statement)
{
	return IsA(statement, TransactionStmt) &&
		((TransactionStmt *) statement)->kind == TRANS_STMT_COMMIT_PREPARED;
}

static void
process_utility(AS_UTILITY_PARAMS)
{
	check_command(pstmt->utilityStmt);
	if (is_commit_prepared(pstmt->utilityStmt))
		commit_prepared(AS_UTILITY_ARGS);
	else
		as_utility_next(prev_process_utility, AS_UTILITY_ARGS);
	if (as_global_is_used() && (MyXactFlags & XACT_FLAGS_ACCESSEDTEMPNAMESPACE) != 0 &&
		!IsA(pstmt->utilityStmt, TransactionStmt))
		refuse("temporary objects");
}

void
as_global_guard_init(void)
{
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	as_fence_init();
}

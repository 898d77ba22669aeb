/*-------------------------------------------------------------------------
 *
 * fence.c
 *	  See fence.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/fence.h"

#include "access/xact.h"
#include "cluster/node.h"
#include "cluster/peer.h"
#include "cluster/peer_stat.h"
#include "executor/executor.h"
#include "state/catalog.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/inval.h"

static ExecutorStart_hook_type prev_executor_start = NULL;

/*
 * What commands begin with that only ask; the first two also where there is no
 * extension (peer.c).
 */
static const char *const harmless[] = {
	"SELECT pg_catalog.set_config(name, '0', false)",
	"SELECT node_uuid, incarnation,",
	"SELECT actorstore.local_epoch(",
	"SELECT actorstore.local_in_force(",
	"SELECT actorstore.local_prepared(",
	"SELECT actorstore.local_receipts(",
	"SELECT actorstore.local_acknowledged("
};

static bool
only_asks(void)
{
	for (int i = 0; i < (int) lengthof(harmless) && debug_query_string != NULL; i++)
	{
		if (strncmp(debug_query_string, harmless[i], strlen(harmless[i])) == 0)
			return true;
	}
	return false;
}

/* Is a later incarnation known of the node that has opened this session? */
static bool
is_replaced(const pg_uuid_t *uuid)
{
	int64		incarnation = as_peer_origin_incarnation();

	for (int i = 0; i < as_node_count() && incarnation != 0; i++)
	{
		const AsNode *node = as_node_nth(i);

		if (memcmp(&node->uuid, uuid, sizeof(pg_uuid_t)) == 0)
			return incarnation < Max(node->incarnation, as_peer_stat_incarnation(as_peer_stat_find(node->number)));
	}
	return false;
}

static void
check(void)
{
	pg_uuid_t	uuid;

	AcceptInvalidationMessages();
	if (!OidIsValid(as_catalog_relation("node")) || !as_peer_origin(&uuid))
		return;
	if (as_node_is_lost(&uuid))
		ereport(ERROR,
				(errcode(AS_ERRCODE_NOT_THE_OWNER),
				 errmsg("the node that has opened this session has been removed, and declared lost"),
				 errhint("It will never be a node again. What it still has can be read there from its tables.")));
	if (is_replaced(&uuid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the server that has opened this session is its node no more"),
				 errdetail("A later incarnation of the node is known here."),
				 errhint("Stop it; its clients belong to the server that has replaced it.")));
}

void
as_fence_check_transaction(TransactionStmtKind kind)
{
	if (as_peer_is_own_session() && !IsAbortedTransactionBlockState() &&
		(kind == TRANS_STMT_COMMIT || kind == TRANS_STMT_PREPARE ||
		 kind == TRANS_STMT_COMMIT_PREPARED || kind == TRANS_STMT_ROLLBACK_PREPARED))
		check();
}

static void
executor_start(QueryDesc *query, int eflags)
{
	if (as_peer_is_own_session() && !only_asks())
		check();
	if (prev_executor_start != NULL)
		prev_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

void
as_fence_init(void)
{
	prev_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = executor_start;
}

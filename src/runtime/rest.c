/*-------------------------------------------------------------------------
 *
 * rest.c
 *	  See rest.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/rest.h"

#include "access/transam.h"
#include "access/xact.h"
#include "executor/execdesc.h"
#include "nodes/plannodes.h"
#include "optimizer/optimizer.h"
#include "storage/proc.h"
#include "tcop/pquery.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"

/* What the client has sent; NULL if it is something else that runs now. */
static PlannedStmt *
statement(void)
{
	QueryDesc  *query = ActivePortal == NULL ? NULL : ActivePortal->queryDesc;

	/* SPI's cursors are portals, too */
	if (query == NULL || query->dest == NULL ||
		(query->dest->mydest != DestRemote &&
		 query->dest->mydest != DestRemoteExecute))
		return NULL;
	return query->plannedstmt;
}

/* A plan that reads what the function returns, and nothing else */
static bool
reads_only(PlannedStmt *planned, Node *function)
{
	FunctionScan *scan;

	if (planned->commandType != CMD_SELECT || planned->hasModifyingCTE ||
		planned->subplans != NIL || planned->rowMarks != NIL ||
		!IsA(planned->planTree, FunctionScan))
		return false;
	scan = (FunctionScan *) planned->planTree;
	return scan->scan.plan.initPlan == NIL &&
		list_length(scan->functions) == 1 &&
		((RangeTblFunction *) linitial(scan->functions))->funcexpr == function &&
		!contain_mutable_functions((Node *) scan->scan.plan.targetlist) &&
		!contain_mutable_functions((Node *) scan->scan.plan.qual);
}

bool
as_rest_is_alone(FunctionCallInfo fcinfo)
{
	PlannedStmt *planned = statement();

	return planned != NULL && fcinfo->flinfo->fn_expr != NULL &&
		!IsTransactionBlock() && GetCurrentTransactionNestLevel() == 1 &&
		reads_only(planned, fcinfo->flinfo->fn_expr);
}

void
as_rest_begin(void)
{
	InvalidateCatalogSnapshot();
	if (ThereAreNoPriorRegisteredSnapshots())
		MyProc->xmin = TransactionXmin = InvalidTransactionId;
}

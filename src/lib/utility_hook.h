/*-------------------------------------------------------------------------
 *
 * utility_hook.h
 *	  What a ProcessUtility_hook is called with, to be handed on.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_UTILITY_HOOK_H
#define AS_UTILITY_HOOK_H

#include "actorstore.h"

#include "tcop/utility.h"

#define AS_UTILITY_PARAMS \
	PlannedStmt *pstmt, const char *query_string, bool read_only_tree, \
	ProcessUtilityContext context, ParamListInfo params, \
	QueryEnvironment *query_env, DestReceiver *dest, QueryCompletion *qc
#define AS_UTILITY_ARGS \
	pstmt, query_string, read_only_tree, context, params, query_env, dest, qc

/* Calls the hook that was there before, or the server's own function. */
static inline void
as_utility_next(ProcessUtility_hook_type next, AS_UTILITY_PARAMS)
{
	if (next != NULL)
		next(AS_UTILITY_ARGS);
	else
		standard_ProcessUtility(AS_UTILITY_ARGS);
}

#endif							/* AS_UTILITY_HOOK_H */

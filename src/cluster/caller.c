/*-------------------------------------------------------------------------
 *
 * caller.c
 *	  In whose name a routed command runs: see caller.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/caller.h"

#include "catalog/namespace.h"
#include "cluster/peer.h"
#include "commands/trigger.h"
#include "compat.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "state/type.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

char *
as_caller_name(void)
{
	return superuser() ? NULL : GetUserNameFromId(GetUserId(), false);
}

/*
 * Whoever may execute the function has the right; the rest makes sure that it
 * is used by who holds it, and not by what he runs.
 */
static void
check_session(Oid function)
{
	if (as_peer_is_own_session() &&
		GetUserId() == GetSessionUserId() &&
		!InLocalUserIdChange() && !InSecurityRestrictedOperation() &&
		as_function_aclcheck(function, GetSessionUserId(), ACL_EXECUTE) == ACLCHECK_OK)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("only another node may call function %s", get_func_name(function))));
}

static Oid
find_role(const text *name)
{
	char	   *word = text_to_cstring(name);
	Oid			role = strlen(word) < NAMEDATALEN ? get_role_oid(word, true) : InvalidOid;

	if (!OidIsValid(role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\" does not exist", word)));
	if (superuser_arg(role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("another node cannot act as superuser \"%s\"", word)));
	return role;
}

/* What has been put off so far was so by the session's own role. */
static void
defer_no_constraints(void)
{
	ConstraintsSetStmt *statement = makeNode(ConstraintsSetStmt);

	statement->deferred = false;
	AfterTriggerSetState(statement);
}

/*
 * (Where the path names pg_temp itself, it stays where it is.)  Where there is
 * none, none can come while the caller is in force.
 */
static void
look_through_temp_last(void)
{
	Oid			temp,
				toast;

	GetTempNamespaceState(&temp, &toast);
	if (!OidIsValid(temp))
		return;
	(void) set_config_option("search_path",
							 psprintf("%s%spg_temp", namespace_search_path,
									  namespace_search_path[0] != '\0' ? ", " : ""),
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
							 false);
}

void
as_caller_become(FunctionCallInfo fcinfo, AsCaller *saved)
{
	Oid			role;

	check_session(fcinfo->flinfo->fn_oid);
	GetUserIdAndSecContext(&saved->user, &saved->sec_context);
	role = PG_ARGISNULL(0) ? saved->user : find_role(PG_GETARG_TEXT_PP(0));
	defer_no_constraints();
	saved->guc_level = NewGUCNestLevel();
	look_through_temp_last();
	SetUserIdAndSecContext(role, saved->sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
}

void
as_caller_stand_in(FunctionCallInfo fcinfo, const text *type)
{
	AsType	   *found = PG_ARGISNULL(0) ? as_type_find(type) : NULL;
	Oid			user;
	int			sec_context;

	if (found == NULL || superuser_arg(found->owner))
		return;
	GetUserIdAndSecContext(&user, &sec_context);
	SetUserIdAndSecContext(found->owner, sec_context);
}

void
as_caller_return(AsCaller *saved)
{
	AtEOXact_GUC(false, saved->guc_level);
	SetUserIdAndSecContext(saved->user, saved->sec_context);
}

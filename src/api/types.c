/*-------------------------------------------------------------------------
 *
 * types.c
 *	  The SQL functions about actor types, their handlers and rights.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "api/args.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "cluster/caller.h"
#include "cluster/node.h"
#include "cluster/registry.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(actorstore_create_type);
PG_FUNCTION_INFO_V1(actorstore_alter_type);
PG_FUNCTION_INFO_V1(actorstore_drop_type);
PG_FUNCTION_INFO_V1(actorstore_type_table);
PG_FUNCTION_INFO_V1(actorstore_set_handler);
PG_FUNCTION_INFO_V1(actorstore_grant_type);
PG_FUNCTION_INFO_V1(actorstore_revoke_type);
PG_FUNCTION_INFO_V1(actorstore_local_type);
PG_FUNCTION_INFO_V1(actorstore_registry_changed);

static void
begin_change(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
}

/* The options, from the first one's argument on. */
static void
get_options(FunctionCallInfo fcinfo, int n, AsTypeOptions *options)
{
	for (int i = 0; i < AS_NUM_OPTIONS; i++)
	{
		options->nulls[i] = PG_ARGISNULL(n + i);
		options->values[i] = options->nulls[i] ? (Datum) 0 :
			PG_GETARG_DATUM(n + i);
	}
}

Datum
actorstore_create_type(PG_FUNCTION_ARGS)
{
	AsChange	change;

	as_change_init(&change, AS_CHANGE_CREATE, as_arg_type(fcinfo, 0));
	begin_change("actorstore.create_type()");
	get_options(fcinfo, 1, &change.options);
	as_registry_change(&change);
	PG_RETURN_VOID();
}

Datum
actorstore_alter_type(PG_FUNCTION_ARGS)
{
	AsChange	change;

	as_change_init(&change, AS_CHANGE_ALTER, as_arg_type(fcinfo, 0));
	begin_change("actorstore.alter_type()");
	get_options(fcinfo, 1, &change.options);
	as_registry_change(&change);
	PG_RETURN_VOID();
}

Datum
actorstore_drop_type(PG_FUNCTION_ARGS)
{
	AsChange	change;

	as_change_init(&change, AS_CHANGE_DROP, as_arg_type(fcinfo, 0));
	as_reject_null(fcinfo, 1, "events");
	begin_change("actorstore.drop_type()");
	change.events = PG_GETARG_BOOL(1);
	as_registry_change(&change);
	PG_RETURN_VOID();
}

Datum
actorstore_type_table(PG_FUNCTION_ARGS)
{
	PG_RETURN_OID(as_type_get(as_arg_type(fcinfo, 0))->relation);
}

static void
reject_no_handler(const char *signature)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FUNCTION),
			 signature == NULL ? errmsg("handler does not exist") :
			 errmsg("handler function %s does not exist on node \"%s\"", signature,
					as_node_need_self()->name),
			 errhint("To remove a handler, set it to NULL.")));
}

Datum
actorstore_set_handler(PG_FUNCTION_ARGS)
{
	AsChange	change;

	as_change_init(&change, AS_CHANGE_HANDLER, as_arg_type(fcinfo, 0));
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("message must not be NULL")));
	begin_change("actorstore.set_handler()");
	if (!PG_ARGISNULL(2) && !OidIsValid(PG_GETARG_OID(2)))
		reject_no_handler(NULL);
	change.message = PG_GETARG_TEXT_PP(1);
	change.handler = PG_ARGISNULL(2) ? InvalidOid : PG_GETARG_OID(2);
	change.search_path = namespace_search_path;
	as_registry_change(&change);
	PG_RETURN_VOID();
}

/* The set of AsPrivilege that a text[] names. */
static int
get_privileges(FunctionCallInfo fcinfo, int n)
{
	ArrayType  *array;
	Datum	   *words;
	bool	   *nulls;
	int			nwords;
	int			privileges = 0;

	as_reject_null(fcinfo, n, "privileges");
	array = PG_GETARG_ARRAYTYPE_P(n);
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("privileges must be a one-dimensional array")));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &words, &nulls,
					  &nwords);
	for (int i = 0; i < nwords; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a privilege must not be NULL")));
		privileges |= as_privilege_parse(TextDatumGetCString(words[i]));
	}
	return privileges;
}

static void
change_rights(FunctionCallInfo fcinfo, const char *kind)
{
	AsChange	change;

	as_change_init(&change, kind, as_arg_type(fcinfo, 0));
	as_reject_null(fcinfo, 1, "role");
	change.grantee = PG_GETARG_OID(1);
	change.privileges = get_privileges(fcinfo, 2);
	as_registry_change(&change);
}

Datum
actorstore_grant_type(PG_FUNCTION_ARGS)
{
	begin_change("actorstore.grant_type()");
	change_rights(fcinfo, AS_CHANGE_GRANT);
	PG_RETURN_VOID();
}

Datum
actorstore_revoke_type(PG_FUNCTION_ARGS)
{
	begin_change("actorstore.revoke_type()");
	change_rights(fcinfo, AS_CHANGE_REVOKE);
	PG_RETURN_VOID();
}

/* ---- For other nodes ---- */

/* Arguments of local_type() */
enum
{
	ARG_CALLER,
	ARG_EPOCH,
	ARG_KIND,
	ARG_TYPE,
	ARG_EVENTS,
	ARG_MESSAGE,
	ARG_HANDLER,
	ARG_SEARCH_PATH,
	ARG_GRANTEE,
	ARG_PRIVILEGES,
	ARG_OPTIONS
};

static char *
text_or_null(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static void
read_change(FunctionCallInfo fcinfo, AsChange *change)
{
	const char *handler = text_or_null(fcinfo, ARG_HANDLER);
	const char *grantee = text_or_null(fcinfo, ARG_GRANTEE);

	for (int i = ARG_EPOCH; i <= ARG_EVENTS; i++)
		as_reject_null(fcinfo, i, "argument");
	as_change_init(change, text_or_null(fcinfo, ARG_KIND), as_arg_type(fcinfo, ARG_TYPE));
	change->events = PG_GETARG_BOOL(ARG_EVENTS);
	if (strcmp(change->kind, AS_CHANGE_HANDLER) == 0)
	{
		as_reject_null(fcinfo, ARG_MESSAGE, "message");
		as_reject_null(fcinfo, ARG_SEARCH_PATH, "search_path");
		change->message = PG_GETARG_TEXT_PP(ARG_MESSAGE);
		change->search_path = text_or_null(fcinfo, ARG_SEARCH_PATH);
		change->handler = handler == NULL ? InvalidOid : as_handler_lookup(handler);
		if (handler != NULL && !OidIsValid(change->handler))
			reject_no_handler(handler);
	}
	change->grantee = grantee == NULL ? InvalidOid : get_role_oid(grantee, false);
	if (!PG_ARGISNULL(ARG_PRIVILEGES))
		change->privileges = PG_GETARG_INT32(ARG_PRIVILEGES);
	get_options(fcinfo, ARG_OPTIONS, &change->options);
}

Datum
actorstore_local_type(PG_FUNCTION_ARGS)
{
	AsCaller	saved;
	AsChange	change;
	AsType	   *type;
	char	   *owner = NULL;

	as_caller_become(fcinfo, &saved);
	as_caller_stand_in(fcinfo, as_arg_type(fcinfo, ARG_TYPE));
	read_change(fcinfo, &change);
	as_registry_take(&change, PG_GETARG_INT64(ARG_EPOCH), PG_ARGISNULL(ARG_CALLER));
	as_caller_return(&saved);

	type = as_type_find(change.type);
	if (type != NULL)
		owner = GetUserNameFromId(type->owner, true);
	if (owner == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(owner));
}

/*
 * Trigger on the tables that say which types there are, and which actors are paused
 * or stopped: everybody reads them anew.
 */
Datum
actorstore_registry_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function was not called by trigger manager")));
	if (RelationGetRelid(((TriggerData *) fcinfo->context)->tg_relation) == as_catalog()->halted)
		as_catalog_tell_halted();
	else
		CacheInvalidateRelcacheByRelid(as_catalog()->type);
	return PointerGetDatum(NULL);
}

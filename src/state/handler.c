/*-------------------------------------------------------------------------
 *
 * handler.c
 *	  Who answers an actor type's messages.
 *
 * A handler is remembered by its signature, as text, together with the
 * search_path in force when it was set.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/type_ddl.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "utils/builtins.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

/* Messages of the system to an actor; any other name may not begin with $ */
static const char *const reserved_messages[] =
{"$start", "$stop", "$pre_restart", "$post_restart", "$down", "$exit",
"$nodedown", "$nodeup"};

static void
check_message_name(const text *message)
{
	char	   *name;

	as_check_name("message", message);
	name = text_to_cstring(message);
	if (name[0] != '$')
		return;
	for (int i = 0; i < (int) lengthof(reserved_messages); i++)
	{
		if (strcmp(name, reserved_messages[i]) == 0)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("there is no reserved message \"%s\"", name),
			 errdetail("Names that begin with \"$\" are kept for messages of the system."),
			 errhint("Those are $start, $stop, $pre_restart, $post_restart, $down, $exit, $nodedown and $nodeup.")));
}

/*
 * Check that the function can be a handler and that the type's owner can be
 * trusted with it: it will run with the owner's rights.
 */
static void
check_handler(const AsType *type, Oid handler)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(handler));
	Form_pg_proc proc;
	char	   *signature;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function with OID %u does not exist", handler)));
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	signature = format_procedure(handler);

	if (proc->prokind != PROKIND_FUNCTION || proc->proretset ||
		OidIsValid(proc->provariadic) ||
		proc->prorettype != JSONBOID || proc->pronargs != 2 ||
		proc->proargtypes.values[0] != JSONBOID ||
		(proc->proargtypes.values[1] != JSONBOID &&
		 proc->proargtypes.values[1] != JSONBARRAYOID))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s cannot be a handler", signature),
				 errdetail("A handler is a function f(state jsonb, body jsonb) or f(state jsonb, bodies jsonb[]) that returns jsonb.")));

	if (as_function_aclcheck(handler, GetUserId(), ACL_EXECUTE) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, signature);

	if (!as_handler_is_trusted(type, handler))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("function %s cannot be a handler of actor type \"%s\"",
						signature, as_type_name(type)),
				 errdetail("A handler runs with the rights of the type's owner, who must be its owner or a member of the role that is, unless a superuser owns it.")));
	ReleaseSysCache(tuple);
}

void
as_type_set_handler(text *name, text *message, Oid handler,
					const char *search_path)
{
	Oid			types[4] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[4];
	AsType	   *type;
	AsAdmin		admin;
	char	   *signature;

	check_message_name(message);
	type = as_type_lock(name);
	values[0] = PointerGetDatum(name);
	values[1] = PointerGetDatum(message);

	if (!OidIsValid(handler))
	{
		as_admin_begin(&admin);
		as_admin_execute("DELETE FROM actorstore.handler"
						 " WHERE actor_type = $1 AND message = $2",
						 SPI_OK_DELETE, 2, types, values, NULL);
		as_admin_end(&admin);
		return;
	}

	check_handler(type, handler);
	signature = format_procedure_qualified(handler);
	if (VARDATA_ANY(message)[0] == '$' && strcmp(signature, AS_OUTSIDE) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("messages of the system cannot be handled outside the database")));
	values[2] = CStringGetTextDatum(signature);
	values[3] = CStringGetTextDatum(search_path);
	as_admin_begin(&admin);
	as_admin_execute("INSERT INTO actorstore.handler (actor_type, message, function, search_path)"
					 " VALUES ($1, $2, $3, $4)"
					 " ON CONFLICT (actor_type, message) DO UPDATE"
					 " SET function = excluded.function, search_path = excluded.search_path",
					 SPI_OK_INSERT, 4, types, values, NULL);
	as_admin_end(&admin);
}

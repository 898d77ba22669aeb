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
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "runtime/lifecycle.h"
#include "runtime/flow.h"
#include "runtime/outgoing.h"
#include "state/catalog.h"
#include "state/type_ddl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"

PG_FUNCTION_INFO_V1(actorstore_create_type);
PG_FUNCTION_INFO_V1(actorstore_alter_type);
PG_FUNCTION_INFO_V1(actorstore_drop_type);
PG_FUNCTION_INFO_V1(actorstore_type_table);
PG_FUNCTION_INFO_V1(actorstore_set_handler);
PG_FUNCTION_INFO_V1(actorstore_grant_type);
PG_FUNCTION_INFO_V1(actorstore_revoke_type);
PG_FUNCTION_INFO_V1(actorstore_registry_changed);

static void
get_options(FunctionCallInfo fcinfo, AsTypeOptions *options)
{
	for (int i = 0; i < AS_NUM_OPTIONS; i++)
	{
		options->nulls[i] = PG_ARGISNULL(1 + i);
		options->values[i] = options->nulls[i] ? (Datum) 0 :
			PG_GETARG_DATUM(1 + i);
	}
}

Datum
actorstore_create_type(PG_FUNCTION_ARGS)
{
	text	   *name = as_arg_type(fcinfo, 0);
	AsTypeOptions options;

	PreventCommandIfReadOnly("actorstore.create_type()");
	PreventCommandIfParallelMode("actorstore.create_type()");
	get_options(fcinfo, &options);
	as_type_create(name, &options);
	as_flow_note_change();
	PG_RETURN_VOID();
}

Datum
actorstore_alter_type(PG_FUNCTION_ARGS)
{
	text	   *name = as_arg_type(fcinfo, 0);
	AsTypeOptions options;

	PreventCommandIfReadOnly("actorstore.alter_type()");
	PreventCommandIfParallelMode("actorstore.alter_type()");
	get_options(fcinfo, &options);
	as_type_alter(name, &options);
	as_flow_note_change();
	PG_RETURN_VOID();
}

Datum
actorstore_drop_type(PG_FUNCTION_ARGS)
{
	text	   *name = as_arg_type(fcinfo, 0);

	as_reject_null(fcinfo, 1, "events");
	PreventCommandIfReadOnly("actorstore.drop_type()");
	PreventCommandIfParallelMode("actorstore.drop_type()");
	as_type_check_owner(as_type_get(name));
	as_life_type_drops(name);
	as_type_drop(name, PG_GETARG_BOOL(1));
	as_life_type_dropped(name);
	as_outgoing_note_doubt();
	as_flow_note_change();
	PG_RETURN_VOID();
}

Datum
actorstore_type_table(PG_FUNCTION_ARGS)
{
	PG_RETURN_OID(as_type_get(as_arg_type(fcinfo, 0))->relation);
}

/* Are any messages of the type handled outside? */
static bool
has_outside(text *name)
{
	AsType	   *type = as_type_get(name);

	(void) as_handler_find(type, name);
	return type->noutside > 0;
}

Datum
actorstore_set_handler(PG_FUNCTION_ARGS)
{
	text	   *name = as_arg_type(fcinfo, 0);
	bool		was_outside;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("message must not be NULL")));
	PreventCommandIfReadOnly("actorstore.set_handler()");
	PreventCommandIfParallelMode("actorstore.set_handler()");
	if (!PG_ARGISNULL(2) && !OidIsValid(PG_GETARG_OID(2)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("handler does not exist"),
				 errhint("To remove a handler, set it to NULL.")));
	was_outside = has_outside(name);
	as_type_set_handler(name, PG_GETARG_TEXT_PP(1),
						PG_ARGISNULL(2) ? InvalidOid : PG_GETARG_OID(2));

	/* what waits for a client may be a worker's now */
	if (was_outside)
		as_outgoing_note_sweep();
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

Datum
actorstore_grant_type(PG_FUNCTION_ARGS)
{
	text	   *name = as_arg_type(fcinfo, 0);

	as_reject_null(fcinfo, 1, "role");
	PreventCommandIfReadOnly("actorstore.grant_type()");
	PreventCommandIfParallelMode("actorstore.grant_type()");
	as_type_grant(name, PG_GETARG_OID(1), get_privileges(fcinfo, 2));
	PG_RETURN_VOID();
}

Datum
actorstore_revoke_type(PG_FUNCTION_ARGS)
{
	text	   *name = as_arg_type(fcinfo, 0);

	as_reject_null(fcinfo, 1, "role");
	PreventCommandIfReadOnly("actorstore.revoke_type()");
	PreventCommandIfParallelMode("actorstore.revoke_type()");
	as_type_revoke(name, PG_GETARG_OID(1), get_privileges(fcinfo, 2));
	PG_RETURN_VOID();
}

/*
 * Trigger on the tables that say which types there are: everybody reads them
 * anew.
 */
Datum
actorstore_registry_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function was not called by trigger manager")));
	CacheInvalidateRelcacheByRelid(as_catalog()->type);
	return PointerGetDatum(NULL);
}

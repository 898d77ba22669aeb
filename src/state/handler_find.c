/*-------------------------------------------------------------------------
 *
 * handler_find.c
 *	  Which function answers a message, and who is halted.
 *
 * A type's handlers are read once and kept with the type.  The function is
 * stored by its signature; its OID is looked up again after any function, schema
 * or role has changed, and whether it may be trusted is checked then: whoever could make
 * a function of that name after the old one was dropped would otherwise run
 * as the type's owner.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/type.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "common/string.h"
#include "compat.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "state/type_ddl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* grows whenever a function has changed, or who may be trusted */
static uint64 functions_changed = 1;

static void
forget_functions(Datum arg, int cacheid, uint32 hashvalue)
{
	functions_changed++;
}

void
as_handler_init(void)
{
	CacheRegisterSyscacheCallback(PROCOID, forget_functions, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget_functions, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, forget_functions, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, forget_functions, (Datum) 0);
}

/* Through the primary key, which begins with these. */
static SysScanDesc
begin_scan(Relation rel, int nkeys, const text *first, const text *second)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_TEXTEQ,
				PointerGetDatum(first));
	keys[0].sk_collation = C_COLLATION_OID;
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_TEXTEQ,
				PointerGetDatum(second));
	keys[1].sk_collation = C_COLLATION_OID;
	return systable_beginscan(rel, as_primary_key_index(rel), true, NULL, nkeys, keys);
}

static text *
type_name(const AsType *type)
{
	return cstring_to_text_with_len(type->name, type->name_len);
}

/* ---- Handlers ---- */

static void
free_handlers(AsType *type)
{
	for (int i = 0; i < type->nhandlers; i++)
	{
		pfree(type->handlers[i].message);
		pfree(type->handlers[i].signature);
		pfree(type->handlers[i].search_path);
	}
	if (type->handlers != NULL)
		pfree(type->handlers);
	type->handlers = NULL;
	type->nhandlers = type->noutside = type->ntake_many = 0;
	type->handlers_loaded++;
}

static void
load_handlers(AsType *type)
{
	Relation	rel = table_open(as_catalog()->handler, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	SysScanDesc scan = begin_scan(rel, 1, type_name(type), NULL);
	HeapTuple	tuple;

	free_handlers(type);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		MemoryContext old = MemoryContextSwitchTo(CacheMemoryContext);
		Size		size = (type->nhandlers + 1) * sizeof(AsHandler);
		AsHandler  *handler;
		bool		isnull;

		type->handlers = type->handlers == NULL ? palloc(size) :
			repalloc(type->handlers, size);
		handler = &type->handlers[type->nhandlers];
		handler->message =
			DatumGetTextPCopy(heap_getattr(tuple, Anum_handler_message, desc, &isnull));
		handler->signature =
			TextDatumGetCString(heap_getattr(tuple, Anum_handler_function, desc, &isnull));
		handler->search_path =
			TextDatumGetCString(heap_getattr(tuple, Anum_handler_search_path, desc, &isnull));
		handler->resolved = 0;
		handler->sees_states = false;
		handler->writes_states = false;
		handler->outside = strcmp(handler->signature, AS_OUTSIDE) == 0;
		handler->takes_many = pg_str_endswith(handler->signature, "jsonb[])");
		if (handler->outside)
			type->noutside++;
		if (handler->takes_many)
			type->ntake_many++;
		type->nhandlers++;
		MemoryContextSwitchTo(old);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

static bool
is_name(const text *name, const char *word, Size len)
{
	return VARSIZE_ANY_EXHDR(name) == len &&
		memcmp(VARDATA_ANY(name), word, len) == 0;
}

AsHandler *
as_handler_find(AsType *type, const text *message)
{
	AsHandler  *any = NULL;

	if (!type->has_handlers)
	{
		/* an invalidation that comes while we read unsets this again */
		type->has_handlers = true;
		PG_TRY();
		{
			load_handlers(type);
		}
		PG_CATCH();
		{
			type->has_handlers = false;
			PG_RE_THROW();
		}
		PG_END_TRY();
	}
	for (int i = 0; i < type->nhandlers; i++)
	{
		AsHandler  *handler = &type->handlers[i];

		if (is_name(handler->message, VARDATA_ANY(message),
					VARSIZE_ANY_EXHDR(message)))
			return handler;
		if (is_name(handler->message, "*", 1))
			any = handler;
	}

	/* what the system says is answered only by who has asked for it */
	return VARDATA_ANY(message)[0] == '$' ? NULL : any;
}

bool
as_handler_is_trusted(const AsType *type, Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		return false;
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	return superuser_arg(owner) || is_member_of_role(type->owner, owner);
}

Oid
as_handler_lookup(const char *signature)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum		found;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(signature);
	fcinfo->args[0].isnull = false;
	found = to_regprocedure(fcinfo);
	return fcinfo->isnull ? InvalidOid : DatumGetObjectId(found);
}

Oid
as_handler_function(const AsType *type, AsHandler *handler)
{
	Oid			found;

	if (handler->resolved == functions_changed)
		return handler->function;

	if (!as_role_exists(type->owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the owner of actor type \"%s\" does not exist any more",
						as_type_name(type)),
				 errhint("Give it another one: UPDATE actorstore.type SET owner = '...' WHERE actor_type = %s.",
						 quote_literal_cstr(as_type_name(type)))));
	found = as_handler_lookup(handler->signature);
	if (!OidIsValid(found))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("handler function %s does not exist",
						handler->signature),
				 errhint("Make it anew, or call actorstore.set_handler() with another one.")));
	if (!as_handler_is_trusted(type, found))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("function %s cannot be a handler of actor type \"%s\"",
						handler->signature, as_type_name(type)),
				 errdetail("It was made anew by a role that the type's owner does not trust."),
				 errhint("Look at it, and call actorstore.set_handler() again.")));
	handler->function = found;
	handler->resolved = functions_changed;
	return handler->function;
}

/* ---- Paused and stopped actors ---- */

static void
load_halted(AsType *type)
{
	Relation	rel = table_open(as_catalog()->halted, AccessShareLock);
	SysScanDesc scan = begin_scan(rel, 1, type_name(type), NULL);
	HeapTuple	tuple;

	type->paused = false;
	type->some_halted = false;

	/* the type as a whole has an empty id, which comes first */
	while (!type->some_halted &&
		   HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		text	   *id = DatumGetTextPP(heap_getattr(tuple, Anum_halted_actor_id,
													 RelationGetDescr(rel), &isnull));

		if (VARSIZE_ANY_EXHDR(id) == 0)
			type->paused = true;
		else
			type->some_halted = true;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

static void
need_halted(AsType *type)
{
	if (type->has_halted)
		return;
	type->has_halted = true;
	PG_TRY();
	{
		load_halted(type);
	}
	PG_CATCH();
	{
		type->has_halted = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
}

AsHalt
as_actor_halt(AsType *type, const text *name, const text *id)
{
	AsHalt		halt;
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		isnull;

	need_halted(type);
	halt = type->paused ? AS_PAUSED : AS_NOT_HALTED;
	if (!type->some_halted)
		return halt;
	rel = table_open(as_catalog()->halted, AccessShareLock);
	scan = begin_scan(rel, 2, name, id);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		TupleDesc	desc = RelationGetDescr(rel);

		if (!DatumGetBool(heap_getattr(tuple, Anum_halted_stopped, desc,
									   &isnull)))
			halt = AS_PAUSED;
		else
			halt = DatumGetBool(heap_getattr(tuple, Anum_halted_restarting,
											 desc, &isnull)) ?
				AS_DOWN : AS_STOPPED;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return halt;
}

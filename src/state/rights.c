/*-------------------------------------------------------------------------
 *
 * rights.c
 *	  Who may do what with an actor type.
 *
 * The rights stand in actorstore.type_grant.  Whoever may read a declared
 * type may also SELECT from its partition, by a real grant on the table.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/type_ddl.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_init_privs.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(actorstore_undo_default_privileges);

/* ---- Default privileges ---- */

/* Where the catalogs keep the rights on objects of a kind */
typedef struct Kind
{
	Oid			class;
	int			cache;
	AttrNumber	owner;
	AttrNumber	acl;
	bool		is_public;		/* PUBLIC has them, but where they are revoked */
} Kind;

static const Kind kinds[] = {
	{RelationRelationId, RELOID, Anum_pg_class_relowner, Anum_pg_class_relacl, false},
	{NamespaceRelationId, NAMESPACEOID, Anum_pg_namespace_nspowner, Anum_pg_namespace_nspacl, false},
	{ProcedureRelationId, PROCOID, Anum_pg_proc_proowner, Anum_pg_proc_proacl, true},
};

static const Kind *
kind_of(Oid class)
{
	for (int i = 0; i < (int) lengthof(kinds); i++)
	{
		if (kinds[i].class == class)
			return &kinds[i];
	}
	elog(ERROR, "unexpected class %u", class);
}

static void
withdraw(Oid role, Oid class, Oid object)
{
	RemoveRoleFromObjectACL(role, class, object);
	CommandCounterIncrement();
}

bool
as_undo_default_privileges(Oid class, Oid object)
{
	const Kind *kind = kind_of(class);
	HeapTuple	tuple = SearchSysCache1(kind->cache, ObjectIdGetDatum(object));
	Oid			owner;
	Datum		rights;
	Oid		   *roles = NULL;
	int			nroles = 0;
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for object %u of class %u", object, class);
	owner = DatumGetObjectId(SysCacheGetAttr(kind->cache, tuple, kind->owner, &isnull));
	rights = SysCacheGetAttr(kind->cache, tuple, kind->acl, &isnull);
	if (!isnull)
		nroles = aclmembers(DatumGetAclP(rights), &roles);
	ReleaseSysCache(tuple);
	if (isnull)
		return false;
	for (int i = 0; i < nroles; i++)
	{
		if (roles[i] != owner)
			withdraw(roles[i], class, object);
	}
	if (!kind->is_public)
		withdraw(ACL_ID_PUBLIC, class, object);
	return true;
}

/* Has the script that makes the extension granted or revoked something of it? */
static bool
is_spoken_of(Oid class, Oid object)
{
	Relation	rel = table_open(InitPrivsRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	bool		is;

	ScanKeyInit(&keys[0], Anum_pg_init_privs_objoid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object));
	ScanKeyInit(&keys[1], Anum_pg_init_privs_classoid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(class));
	scan = systable_beginscan(rel, InitPrivsObjIndexId, true, NULL, 2, keys);
	is = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return is;
}

/*
 * undo_default_privileges(class, object): for that script.  PUBLIC may call what it
 * does not revoke, also where by default PUBLIC may call nothing that is made.
 */
Datum
actorstore_undo_default_privileges(PG_FUNCTION_ARGS)
{
	Oid			class = PG_GETARG_OID(0);
	Oid			object = PG_GETARG_OID(1);
	bool		is_for_all = kind_of(class)->is_public && !is_spoken_of(class, object);

	if (as_undo_default_privileges(class, object) && is_for_all)
	{
		AsAdmin		admin;

		as_admin_begin(&admin);
		as_admin_utility("GRANT EXECUTE ON ROUTINE %s TO PUBLIC", format_procedure_qualified(object));
		as_admin_leave(&admin);
	}
	PG_RETURN_VOID();
}

/* ---- What is granted ---- */

char *
as_partition_name(const AsType *type)
{
	char	   *name = get_rel_name(type->relation);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the table of actor type \"%s\" does not exist",
						as_type_name(type))));
	return quote_qualified_identifier("actorstore", name);
}

void
as_partition_grant(const AsType *type, Oid grantee, bool grant)
{
	const char *role = OidIsValid(grantee) ?
	quote_identifier(GetUserNameFromId(grantee, false)) : "PUBLIC";

	as_admin_utility("%s SELECT ON %s %s %s", grant ? "GRANT" : "REVOKE",
					 as_partition_name(type), grant ? "TO" : "FROM", role);
}

bool
as_role_exists(Oid role)
{
	return !OidIsValid(role) ||
		SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role));
}

static void
check_grantee(Oid grantee)
{
	/* a regrole may be a number that stands for nobody */
	if (!as_role_exists(grantee))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role with OID %u does not exist", grantee)));
}

/* Write or delete one row of actorstore.type_grant for each privilege. */
static void
change_grants(text *name, Oid grantee, int privileges, const char *sql,
			  int expected)
{
	Oid			types[3] = {TEXTOID, OIDOID, TEXTOID};
	Datum		values[3] = {PointerGetDatum(name), ObjectIdGetDatum(grantee)};

	for (int privilege = AS_PRIV_READ; privilege <= AS_PRIV_SERVE; privilege <<= 1)
	{
		if ((privileges & privilege) == 0)
			continue;
		values[2] = CStringGetTextDatum(as_privilege_name(privilege));
		as_admin_execute(sql, expected, 3, types, values, NULL);
	}
}

void
as_type_grant(text *name, Oid grantee, int privileges)
{
	AsType	   *type = as_type_lock(name);
	AsAdmin		admin;

	check_grantee(grantee);
	as_admin_begin(&admin);
	change_grants(name, grantee, privileges,
				  "INSERT INTO actorstore.type_grant (actor_type, grantee, privilege)"
				  " VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
				  SPI_OK_INSERT);
	if (type->declared && (privileges & AS_PRIV_READ) != 0)
		as_partition_grant(type, grantee, true);
	as_admin_end(&admin);
}

void
as_type_revoke(text *name, Oid grantee, int privileges)
{
	AsType	   *type = as_type_lock(name);
	AsAdmin		admin;

	as_admin_begin(&admin);
	change_grants(name, grantee, privileges,
				  "DELETE FROM actorstore.type_grant"
				  " WHERE actor_type = $1 AND grantee = $2 AND privilege = $3",
				  SPI_OK_DELETE);
	if (type->declared && (privileges & AS_PRIV_READ) != 0 &&
		grantee != type->owner && as_role_exists(grantee))
		as_partition_grant(type, grantee, false);
	as_admin_end(&admin);
}

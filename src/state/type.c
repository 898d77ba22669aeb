/*-------------------------------------------------------------------------
 *
 * type.c
 *	  See type.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/type.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "compat.h"
#include "lib/interval.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

typedef struct TypeEntry
{
	AsType	   *type;			/* the key, and where it points for ever */
	char		status;
} TypeEntry;

static bool same_name(const AsType *a, const AsType *b);

#define SH_PREFIX		typehash
#define SH_ELEMENT_TYPE	TypeEntry
#define SH_KEY_TYPE		AsType *
#define SH_KEY			type
#define SH_HASH_KEY(tb, key)	((key)->hash)
#define SH_EQUAL(tb, a, b)		same_name((a), (b))
#define SH_SCOPE		static inline
#define SH_DEFINE
#define SH_DECLARE
#include "lib/simplehash.h"

static typehash_hash *types = NULL;
static AsType *last_type = NULL;	/* the one asked for most recently */
static MemoryContext types_context = NULL;

static const struct
{
	AsPrivilege privilege;
	const char *name;
}			privileges[] =
{
	{AS_PRIV_READ, "read"},
	{AS_PRIV_WRITE, "write"},
	{AS_PRIV_SEND, "send"},
	{AS_PRIV_ASK, "ask"},
	{AS_PRIV_SERVE, "serve"},
};

static bool
same_name(const AsType *a, const AsType *b)
{
	return a->name_len == b->name_len &&
		memcmp(a->name, b->name, a->name_len) == 0;
}

/*
 * Some relation has changed (InvalidOid: any may have).  No catalog may be
 * read here.  Actors stop often, and types change seldom.
 */
static void
forget_types(Datum arg, Oid relid)
{
	bool		halted = as_catalog_is_halted(relid);
	bool		registry = as_catalog_is_registry(relid);
	typehash_iterator i;
	TypeEntry  *entry;

	if (types == NULL || (!halted && !registry))
		return;
	typehash_start_iterate(types, &i);
	while ((entry = typehash_iterate(types, &i)) != NULL)
	{
		entry->type->has_halted = entry->type->has_halted && !halted;
		entry->type->valid = entry->type->valid && !registry;
	}
}

void
as_type_init(void)
{
	CacheRegisterRelcacheCallback(forget_types, (Datum) 0);
}

/* The cache's struct for that name, made if need be. */
static AsType *
type_slot(const text *name, bool *is_new)
{
	AsType		key;
	TypeEntry  *entry;
	bool		found;

	key.name = VARDATA_ANY(name);
	key.name_len = VARSIZE_ANY_EXHDR(name);
	*is_new = false;
	if (last_type != NULL && same_name(last_type, &key))
		return last_type;

	if (types == NULL)
	{
		types_context = AllocSetContextCreate(CacheMemoryContext,
											  "actorstore types",
											  ALLOCSET_SMALL_SIZES);
		types = typehash_create(types_context, 32, NULL);
	}

	key.hash = hash_bytes((unsigned char *) key.name, key.name_len);
	entry = typehash_lookup(types, &key);
	if (entry == NULL)
	{
		AsType	   *type = MemoryContextAllocZero(types_context,
												  sizeof(AsType));

		type->hash = key.hash;
		type->name_len = key.name_len;
		type->name = MemoryContextAlloc(types_context, key.name_len);
		memcpy(type->name, key.name, key.name_len);
		entry = typehash_insert(types, type, &found);
		Assert(!found);
		*is_new = true;
	}
	last_type = entry->type;
	return entry->type;
}

/* Read the grants on a type from actorstore.type_grant. */
static void
load_grants(AsType *type, Datum name)
{
	Relation	rel = table_open(as_catalog()->grants, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	int			allocated = 0;

	ScanKeyInit(&key, Anum_grant_actor_type, BTEqualStrategyNumber, F_TEXTEQ,
				name);
	key.sk_collation = C_COLLATION_OID;
	scan = systable_beginscan(rel, as_primary_key_index(rel), true, NULL, 1, &key);

	/* the primary key leads through the rows grantee by grantee */
	type->ngrants = 0;
	if (type->grants != NULL)
		pfree(type->grants);
	type->grants = NULL;
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Oid			grantee = DatumGetObjectId(heap_getattr(tuple, Anum_grant_grantee,
															RelationGetDescr(rel), &isnull));
		char	   *word = TextDatumGetCString(heap_getattr(tuple, Anum_grant_privilege,
															RelationGetDescr(rel), &isnull));

		if (type->ngrants == 0 ||
			type->grants[type->ngrants - 1].grantee != grantee)
		{
			if (type->ngrants == allocated)
			{
				allocated = Max(4, allocated * 2);
				if (type->grants == NULL)
					type->grants = MemoryContextAlloc(types_context,
													  allocated * sizeof(AsGrant));
				else
					type->grants = repalloc(type->grants,
											allocated * sizeof(AsGrant));
			}
			type->grants[type->ngrants].grantee = grantee;
			type->grants[type->ngrants].privileges = 0;
			type->ngrants++;
		}
		type->grants[type->ngrants - 1].privileges |= as_privilege_parse(word);
		pfree(word);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* Look for a type's row; snapshot = NULL for what is committed by now. */
static SysScanDesc
begin_type_scan(Relation rel, const text *name, Snapshot snapshot)
{
	ScanKeyData key;

	ScanKeyInit(&key, Anum_type_actor_type, BTEqualStrategyNumber, F_TEXTEQ,
				PointerGetDatum(name));
	key.sk_collation = C_COLLATION_OID;
	return systable_beginscan(rel, as_primary_key_index(rel), true, snapshot, 1,
							  &key);
}

bool
as_type_in_snapshot(const text *name, Snapshot snapshot)
{
	Relation	rel = table_open(as_catalog()->type, AccessShareLock);
	SysScanDesc scan = begin_type_scan(rel, name, snapshot);
	bool		found = HeapTupleIsValid(systable_getnext(scan));

	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* How its messages are dealt with. */
static void
load_options(AsType *type, HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	char	   *on_full;
	char	   *on_exhausted;

#define COLUMN(name) heap_getattr(tuple, Anum_type_##name, desc, &isnull)
	type->mailbox_limit = DatumGetInt32(COLUMN(mailbox_limit));
	if (isnull)
		type->mailbox_limit = 0;
	on_full = TextDatumGetCString(COLUMN(on_full));
	type->on_full = strcmp(on_full, "wait") == 0 ? AS_FULL_WAIT :
		strcmp(on_full, "drop") == 0 ? AS_FULL_DROP : AS_FULL_ERROR;
	pfree(on_full);
	type->max_attempts = DatumGetInt32(COLUMN(max_attempts));
	type->backoff = as_interval_us(DatumGetIntervalP(COLUMN(backoff)));
	type->backoff_max = as_interval_us(DatumGetIntervalP(COLUMN(backoff_max)));
	type->turn_timeout = as_interval_us(DatumGetIntervalP(COLUMN(turn_timeout)));
	type->rate_limit = DatumGetFloat8(COLUMN(rate_limit));
	if (isnull)
		type->rate_limit = 0;
	type->max_concurrency = DatumGetInt32(COLUMN(max_concurrency));
	if (isnull)
		type->max_concurrency = 0;
	type->order_by_deadline = DatumGetBool(COLUMN(order_by_deadline));
	on_exhausted = TextDatumGetCString(COLUMN(on_exhausted));
	type->on_exhausted = strcmp(on_exhausted, "restart") == 0 ? AS_EXHAUSTED_RESTART :
		strcmp(on_exhausted, "pause") == 0 ? AS_EXHAUSTED_PAUSE :
		strcmp(on_exhausted, "stop") == 0 ? AS_EXHAUSTED_STOP :
		strcmp(on_exhausted, "escalate") == 0 ? AS_EXHAUSTED_ESCALATE :
		AS_EXHAUSTED_GO_ON;
	pfree(on_exhausted);
#undef COLUMN
	type->has_handlers = false;
	type->has_halted = false;
}

/* Read what there is to know about a type. */
static void
load_type(AsType *type, const text *name)
{
	const AsCatalog *catalog = as_catalog();
	Relation	rel = table_open(catalog->type, AccessShareLock);
	SysScanDesc scan = begin_type_scan(rel, name, NULL);
	HeapTuple	tuple;

	tuple = systable_getnext(scan);
	type->exists = HeapTupleIsValid(tuple);
	if (type->exists)
	{
		TupleDesc	desc = RelationGetDescr(rel);
		bool		isnull;

		type->owner = DatumGetObjectId(heap_getattr(tuple, Anum_type_owner,
													desc, &isnull));
		type->declared = DatumGetBool(heap_getattr(tuple, Anum_type_declared,
												   desc, &isnull));
		type->changed_by = HeapTupleHeaderGetXmin(tuple->t_data);
		if (type->declared)
			type->relation =
				as_catalog_relation(NameStr(*DatumGetName(heap_getattr(tuple,
																	   Anum_type_partition,
																	   desc, &isnull))));
		else
			type->relation = catalog->undeclared;
		load_options(type, tuple, desc);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);

	if (type->exists)
		load_grants(type, PointerGetDatum(name));
}

/* Forget a name that nobody has got the struct of. */
static void
forget_slot(AsType *type)
{
	typehash_delete(types, type);
	last_type = NULL;
	pfree(type->name);
	pfree(type);
}

AsType *
as_type_find(const text *name)
{
	AsType	   *type;
	bool		is_new;

	AcceptInvalidationMessages();
	type = type_slot(name, &is_new);
	if (!type->valid)
	{
		/*
		 * An invalidation that comes while we read unsets this again.  What
		 * we read is good for this call; the next one reads anew.
		 */
		type->valid = true;
		PG_TRY();
		{
			load_type(type, name);
		}
		PG_CATCH();
		{
			type->valid = false;
			if (is_new)
				forget_slot(type);
			PG_RE_THROW();
		}
		PG_END_TRY();

		/* whoever gives its table back its name tells nobody */
		if (type->exists && !OidIsValid(type->relation))
			type->valid = false;
	}
	if (type->exists)
		return type;

	/* anybody may ask for any name: remember only those that there were */
	if (is_new)
		forget_slot(type);
	return NULL;
}

static void
raise_unknown_type(const text *name, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("actor type \"%s\" does not exist", text_to_cstring(name)),
			 hint ? errhint("%s", hint) : 0));
}

AsType *
as_type_get(const text *name)
{
	AsType	   *type = as_type_find(name);

	if (type == NULL)
		raise_unknown_type(name, NULL);
	return type;
}

void
as_type_declare(text *name, bool anyway)
{
	Oid			argtypes[2] = {TEXTOID, OIDOID};
	Datum		args[2] = {PointerGetDatum(name), ObjectIdGetDatum(GetUserId())};
	AsAdmin		admin;

	as_check_name("actor_type", name);
	if (!anyway && as_database_aclcheck(MyDatabaseId, GetUserId(),
										ACL_CREATE) != ACLCHECK_OK)
		raise_unknown_type(name,
						   "Declare it with actorstore.create_type(), or get CREATE on the database to declare it by its first use.");

	/* somebody else may do the same just now: wait for them */
	as_admin_begin(&admin);
	as_admin_execute("INSERT INTO actorstore.type (actor_type, owner, declared, mailbox_limit)"
					 " VALUES ($1, $2, false, NULL) ON CONFLICT DO NOTHING",
					 SPI_OK_INSERT, 2, argtypes, args, NULL);
	as_admin_end(&admin);
	CommandCounterIncrement();
}

static void
declare_here(text *name)
{
	as_type_declare(name, false);
}

void		(*as_type_declare_hook) (text *name) = declare_here;

AsType *
as_type_get_or_declare(text *name)
{
	AsType	   *type;

	while ((type = as_type_find(name)) == NULL)
		as_type_declare_hook(name);
	return type;
}

bool
as_type_is_mine(const AsType *type)
{
	return has_privs_of_role(GetUserId(), type->owner);
}

bool
as_type_has(const AsType *type, AsPrivilege privilege)
{
	if (as_type_is_mine(type))
		return true;
	for (int i = 0; i < type->ngrants; i++)
	{
		const AsGrant *grant = &type->grants[i];

		if ((grant->privileges & privilege) != 0 &&
			(!OidIsValid(grant->grantee) ||
			 has_privs_of_role(GetUserId(), grant->grantee)))
			return true;
	}
	return false;
}

void
as_type_check(const AsType *type, AsPrivilege privilege)
{
	if (as_type_has(type, privilege))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for actor type \"%s\"",
					as_type_name(type)),
			 errdetail("The privilege \"%s\" on the type is required.",
					   as_privilege_name(privilege))));
}

void
as_type_check_owner(const AsType *type)
{
	if (!as_type_is_mine(type))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of actor type \"%s\"",
						as_type_name(type))));
}

void
as_check_name(const char *what, const text *name)
{
	Size		len = VARSIZE_ANY_EXHDR(name);

	if (len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be empty", what)));
	if (len > AS_MAX_NAME_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is too long", what),
				 errdetail("It has %zu bytes; at most %d are allowed.",
						   len, AS_MAX_NAME_BYTES)));
}

char *
as_type_name(const AsType *type)
{
	return pnstrdup(type->name, type->name_len);
}

const char *
as_privilege_name(AsPrivilege privilege)
{
	for (int i = 0; i < (int) lengthof(privileges); i++)
	{
		if (privileges[i].privilege == privilege)
			return privileges[i].name;
	}
	pg_unreachable();
}

AsPrivilege
as_privilege_parse(const char *name)
{
	for (int i = 0; i < (int) lengthof(privileges); i++)
	{
		if (strcmp(privileges[i].name, name) == 0)
			return privileges[i].privilege;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized privilege: \"%s\"", name),
			 errhint("The privileges on an actor type are \"read\", \"write\", \"send\", \"ask\" and \"serve\".")));
}

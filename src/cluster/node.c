/*-------------------------------------------------------------------------
 *
 * node.c
 *	  See node.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/node.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "runtime/sched.h"
#include "state/catalog.h"
#include "state/identity.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* Column numbers of actorstore.node */
#define Anum_node_number		1
#define Anum_node_name			2
#define Anum_node_conninfo		3
#define Anum_node_weight		4
#define Anum_node_uuid			5
#define Anum_node_incarnation	6
#define Anum_node_is_self		7

/* Column numbers of actorstore.epoch */
#define Anum_epoch_epoch		1
#define Anum_epoch_node_numbers	3
#define Anum_epoch_owners		5

PG_FUNCTION_INFO_V1(actorstore_cluster_changed);

/* What the tables say. */
typedef struct Cluster
{
	MemoryContext context;		/* it is in here */
	int			count;
	int			self;			/* -1: none */
	bool		fenced;			/* a copy */
	uint32		timeline;		/* on which that was found */
	bool		gone;			/* was a node, is none any more */
	int64		epoch;
	AsNode		nodes[AS_MAX_NODES];
	int16		owners[AS_SLOTS];	/* in nodes, -1: none */
} Cluster;

static Cluster *cluster = NULL;
static bool cluster_valid = false;

/* the tables that it was read from */
static Oid	node_table = InvalidOid;
static Oid	epoch_table = InvalidOid;

/* ---- Reading ---- */

static Relation
open_table(const char *name)
{
	Oid			oid = as_catalog_relation(name);

	if (!OidIsValid(oid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation \"actorstore.%s\" does not exist", name),
				 errhint("Create the extension anew: CREATE EXTENSION actorstore.")));
	return table_open(oid, AccessShareLock);
}

static Datum
column(HeapTuple tuple, Relation rel, int number, bool *isnull)
{
	bool		ignored;

	return heap_getattr(tuple, number, RelationGetDescr(rel),
						isnull == NULL ? &ignored : isnull);
}

static int
compare_nodes(const void *a, const void *b)
{
	return ((const AsNode *) a)->number - ((const AsNode *) b)->number;
}

static int
find_number(const Cluster *in, int number)
{
	for (int i = 0; i < in->count; i++)
	{
		if (in->nodes[i].number == number)
			return i;
	}
	return -1;
}

/* All scans show what is committed by now, whatever the snapshot at hand. */
static void
read_nodes(Cluster *into)
{
	Relation	rel = open_table("node");
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	int			self = 0;

	node_table = RelationGetRelid(rel);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		AsNode	   *node = &into->nodes[into->count];
		bool		isnull;
		Datum		conninfo = column(tuple, rel, Anum_node_conninfo, &isnull);

		if (into->count == AS_MAX_NODES)
			elog(ERROR, "actorstore.node has more than %d rows", AS_MAX_NODES);
		node->number = DatumGetInt16(column(tuple, rel, Anum_node_number, NULL));
		node->name = TextDatumGetCString(column(tuple, rel, Anum_node_name, NULL));
		node->conninfo = isnull ? NULL : TextDatumGetCString(conninfo);
		node->weight = DatumGetInt32(column(tuple, rel, Anum_node_weight, NULL));
		node->uuid = *DatumGetUUIDP(column(tuple, rel, Anum_node_uuid, NULL));
		node->incarnation = DatumGetInt64(column(tuple, rel, Anum_node_incarnation, NULL));
		if (DatumGetBool(column(tuple, rel, Anum_node_is_self, NULL)))
			self = node->number;
		into->count++;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	qsort(into->nodes, into->count, sizeof(AsNode), compare_nodes);
	into->self = find_number(into, self);
}

static void
read_owners(Cluster *into, Datum owners)
{
	Datum	   *numbers;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(owners), INT2OID, sizeof(int16), true,
					  TYPALIGN_SHORT, &numbers, NULL, &n);
	if (n != AS_SLOTS)
		elog(ERROR, "a map of slots has %d of them", n);
	for (int slot = 0; slot < AS_SLOTS; slot++)
		into->owners[slot] = (int16) find_number(into, DatumGetInt16(numbers[slot]));
}

/* A node that was removed still has its own row, but is none of the members. */
static bool
is_member(Datum node_numbers, int number)
{
	Datum	   *numbers;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(node_numbers), INT2OID, sizeof(int16),
					  true, TYPALIGN_SHORT, &numbers, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		if (DatumGetInt16(numbers[i]) == number)
			return true;
	}
	return false;
}

/* There are few epochs: the older ones are of no use. */
static void
read_epoch(Cluster *into)
{
	Relation	rel = open_table("epoch");
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	epoch_table = RelationGetRelid(rel);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		int64		epoch = DatumGetInt64(column(tuple, rel, Anum_epoch_epoch, NULL));

		if (epoch <= into->epoch)
			continue;
		into->epoch = epoch;
		read_owners(into, column(tuple, rel, Anum_epoch_owners, NULL));
		into->gone = into->self >= 0 &&
			!is_member(column(tuple, rel, Anum_epoch_node_numbers, NULL),
					   into->nodes[into->self].number);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

static Cluster *
read_cluster(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "actorstore nodes",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Cluster    *new = palloc0(sizeof(Cluster));

	new->context = context;
	for (int slot = 0; slot < AS_SLOTS; slot++)
		new->owners[slot] = -1;
	read_nodes(new);
	if (new->count > 0)
		read_epoch(new);
	new->timeline = as_identity_timeline();
	new->fenced = new->self >= 0 && as_identity_is_copy();
	MemoryContextSwitchTo(caller);
	return new;
}

/* Somebody may still look at the one before: it goes with the transaction. */
static void
replace_cluster(Cluster *new)
{
	MemoryContextSetParent(new->context, TopMemoryContext);
	if (cluster != NULL)
		MemoryContextSetParent(cluster->context, TopTransactionContext);
	cluster = new;
}

static void
load(void)
{
	/*
	 * cluster_valid is set before an invalidation that comes while we read
	 * could unset it, and unset again if we fail.
	 */
	cluster_valid = true;
	PG_TRY();
	{
		replace_cluster(read_cluster());
	}
	PG_CATCH();
	{
		cluster_valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static inline Cluster *
get_cluster(void)
{
	if (unlikely(!cluster_valid))
		load();
	return cluster;
}

/* ---- Invalidation ---- */

static void
forget_cluster(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || relid == node_table || relid == epoch_table)
		cluster_valid = false;
}

static int16
number_for_ids(void)
{
	const AsNode *self = as_node_self();

	return self == NULL ? 0 : self->number;
}

void
as_node_init(void)
{
	as_message_node = number_for_ids;
	CacheRegisterRelcacheCallback(forget_cluster, (Datum) 0);
}

/* Trigger on node and epoch. */
Datum
actorstore_cluster_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function was not called by trigger manager")));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	if (TRIGGER_FIRED_BY_INSERT(((TriggerData *) fcinfo->context)->tg_event))
		as_node_restrict_parallel();
	return PointerGetDatum(NULL);
}

/* ---- Nodes ---- */

const AsNode *
as_node_self(void)
{
	Cluster    *now = get_cluster();
	AsNode	   *self;
	uint32		timeline;

	if (now->self < 0)
		return NULL;
	timeline = as_identity_timeline();
	if (timeline != now->timeline)
	{
		/* recovery has ended: is it the original still? */
		cluster_valid = false;
		now = get_cluster();
	}
	if (now->self < 0 || now->fenced || now->gone)
		return NULL;
	self = &now->nodes[now->self];
	self->incarnation = (int64) (((uint64) self->incarnation & ~UINT64CONST(0xffffffff)) |
								 timeline);
	return self;
}

const AsNode *
as_node_need_self(void)
{
	const AsNode *self = as_node_self();

	if (self == NULL && get_cluster()->fenced)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is a copy of node \"%s\"",
						cluster->nodes[cluster->self].name),
				 errhint("Call actorstore.unfence() once the original runs no more.")));
	if (self == NULL && get_cluster()->gone)
		ereport(ERROR,
				(errcode(AS_ERRCODE_NOT_THE_OWNER),
				 errmsg("node \"%s\" has been removed",
						cluster->nodes[cluster->self].name)));
	if (self == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is not a node"),
				 errhint("Call actorstore.init_node() first.")));
	return self;
}

bool
as_node_has_others(void)
{
	Cluster    *now = get_cluster();

	return now->count > 1 && now->self >= 0 && !now->fenced;
}

const AsNode *
as_node_by_number(int number)
{
	Cluster    *now = get_cluster();
	int			i = find_number(now, number);

	return i < 0 ? NULL : &now->nodes[i];
}

const AsNode *
as_node_by_name(const char *name)
{
	Cluster    *now = get_cluster();

	for (int i = 0; i < now->count; i++)
	{
		if (strcmp(now->nodes[i].name, name) == 0)
			return &now->nodes[i];
	}
	return NULL;
}

int
as_node_count(void)
{
	return get_cluster()->count;
}

const AsNode *
as_node_nth(int n)
{
	return &get_cluster()->nodes[n];
}

/* ---- Places ---- */

const AsNode *
as_node_owner(uint64 key_hash)
{
	Cluster    *now = get_cluster();
	int			i = now->owners[as_slot_of(key_hash)];

	return i < 0 ? NULL : &now->nodes[i];
}

int
as_node_replicas(uint64 key_hash, const AsNode **replicas, int max)
{
	const AsNode *owner = as_node_owner(key_hash);
	Cluster    *now = cluster;
	AsMember	members[AS_MAX_NODES];
	int16		order[AS_MAX_NODES];
	int			n;

	if (owner == NULL)
		return 0;
	for (int i = 0; i < now->count; i++)
	{
		members[i].node = now->nodes[i].number;
		members[i].weight = now->nodes[i].weight;
	}
	n = as_slot_map_order(as_slot_of(key_hash), owner->number, members,
						  now->count, order);
	n = Min(n, max);
	for (int i = 0; i < n; i++)
		replicas[i] = &now->nodes[find_number(now, order[i])];
	return n;
}

void
as_node_owners(int16 *owners)
{
	Cluster    *now = get_cluster();

	for (int slot = 0; slot < AS_SLOTS; slot++)
		owners[slot] = now->owners[slot] < 0 ? AS_NO_NODE : now->nodes[now->owners[slot]].number;
}

int64
as_node_epoch(void)
{
	return get_cluster()->epoch;
}

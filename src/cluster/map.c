/*-------------------------------------------------------------------------
 *
 * map.c
 *	  See map.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/map.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "cluster/transit.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "state/identity.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Column numbers of actorstore.node */
#define Anum_node_number		1
#define Anum_node_name			2
#define Anum_node_conninfo		3
#define Anum_node_weight		4
#define Anum_node_uuid			5
#define Anum_node_incarnation	6
#define Anum_node_is_self		7
#define Anum_node_detour		8
#define Anum_node_datacenter	9
#define Anum_node_rack			10

/* Column numbers of actorstore.epoch */
#define Anum_epoch_epoch		1
#define Anum_epoch_node_numbers	3
#define Anum_epoch_owners		5
#define Anum_epoch_lost			9

/* Column numbers of actorstore.ballot */
#define Anum_ballot_epoch		1
#define Anum_ballot_given		5
#define Anum_ballot_closing		6

/* Column numbers of actorstore.transit */
#define Anum_transit_slot		1
#define Anum_transit_taker		2
#define Anum_transit_state		3

/* the tables that it was read from */
static Oid	node_table = InvalidOid;
static Oid	epoch_table = InvalidOid;
static Oid	ballot_table = InvalidOid;
static Oid	arrival_table = InvalidOid;
static Oid	transit_table = InvalidOid;

/* conninfo.h */
static const char *supposed_conninfo = NULL;

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

/* NULL where there is none. */
static char *
text_column(HeapTuple tuple, Relation rel, int number)
{
	bool		isnull;
	Datum		value = column(tuple, rel, number, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static bool
is_same_label(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* The first node that has them lends its place in nodes as the number of its labels. */
static void
number_labels(AsCluster *into)
{
	for (int i = 0; i < into->count; i++)
	{
		AsNode	   *node = &into->nodes[i];
		int			first = 0;

		while (!is_same_label(into->nodes[first].datacenter, node->datacenter))
			first++;
		node->location.datacenter = (int16) first;
		while (into->nodes[first].location.datacenter != node->location.datacenter ||
			   !is_same_label(into->nodes[first].rack, node->rack))
			first++;
		node->location.rack = (int16) first;
	}
}

static int
compare_nodes(const void *a, const void *b)
{
	return ((const AsNode *) a)->number - ((const AsNode *) b)->number;
}

/* All scans show what is committed by now, whatever the snapshot at hand. */
static void
read_nodes(AsCluster *into)
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
		Datum		conninfo = column(tuple, rel, Anum_node_detour, &isnull);

		if (into->count == AS_MAX_NODES)
			elog(ERROR, "actorstore.node has more than %d rows", AS_MAX_NODES);
		if (isnull)
			conninfo = column(tuple, rel, Anum_node_conninfo, &isnull);
		node->number = DatumGetInt16(column(tuple, rel, Anum_node_number, NULL));
		node->name = TextDatumGetCString(column(tuple, rel, Anum_node_name, NULL));
		node->conninfo = isnull ? NULL : TextDatumGetCString(conninfo);
		node->weight = DatumGetInt32(column(tuple, rel, Anum_node_weight, NULL));
		node->uuid = *DatumGetUUIDP(column(tuple, rel, Anum_node_uuid, NULL));
		node->incarnation = DatumGetInt64(column(tuple, rel, Anum_node_incarnation, NULL));
		node->datacenter = text_column(tuple, rel, Anum_node_datacenter);
		node->rack = text_column(tuple, rel, Anum_node_rack);
		if (DatumGetBool(column(tuple, rel, Anum_node_is_self, NULL)))
		{
			self = node->number;
			if (isnull && supposed_conninfo != NULL)
				node->conninfo = pstrdup(supposed_conninfo);
		}
		into->count++;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	qsort(into->nodes, into->count, sizeof(AsNode), compare_nodes);
	number_labels(into);
	into->self = as_cluster_find(into, self);
}

static void
read_owners(AsCluster *into, Datum owners)
{
	Datum	   *numbers;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(owners), INT2OID, sizeof(int16), true,
					  TYPALIGN_SHORT, &numbers, NULL, &n);
	if (n != AS_SLOTS)
		elog(ERROR, "a map of slots has %d of them", n);
	for (int slot = 0; slot < AS_SLOTS; slot++)
		into->owners[slot] = (int16) as_cluster_find(into, DatumGetInt16(numbers[slot]));
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

static void
read_lost(AsCluster *into, Jsonb *lost)
{
	JsonbIterator *it = JsonbIteratorInit(&lost->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	into->lost = palloc(sizeof(pg_uuid_t) * (JB_ROOT_COUNT(lost) + 1));
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			into->lost[into->nlost++] =
				*DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(pnstrdup(value.val.string.val, value.val.string.len))));
	}
}

/* Of the epochs only the last one is of use; the others stay, as a record. */
static HeapTuple
last_epoch(Relation rel, Snapshot snapshot, int64 *number)
{
	Relation	index = index_open(as_catalog_relation("epoch_pkey"), AccessShareLock);
	SysScanDesc scan = systable_beginscan_ordered(rel, index, snapshot, 0, NULL);
	HeapTuple	last = systable_getnext_ordered(scan, BackwardScanDirection);

	*number = 0;
	if (HeapTupleIsValid(last))
	{
		last = heap_copytuple(last);
		*number = DatumGetInt64(column(last, rel, Anum_epoch_epoch, NULL));
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	return last;
}

/* The snapshot is kept for what is stored out of line: COMMIT PREPARED, which comes here, has none. */
static void
read_epoch(AsCluster *into)
{
	Relation	rel = open_table("epoch");
	Snapshot	snapshot = RegisterSnapshot(GetCatalogSnapshot(RelationGetRelid(rel)));
	HeapTuple	last = last_epoch(rel, snapshot, &into->epoch);

	epoch_table = RelationGetRelid(rel);
	if (last != NULL)
	{
		read_owners(into, column(last, rel, Anum_epoch_owners, NULL));
		read_lost(into, DatumGetJsonbP(column(last, rel, Anum_epoch_lost, NULL)));
		into->gone = into->self >= 0 &&
			!is_member(column(last, rel, Anum_epoch_node_numbers, NULL),
					   into->nodes[into->self].number);
	}
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
}

int
as_cluster_owner_by(Snapshot snapshot, int slot)
{
	Relation	rel = open_table("epoch");
	int64		epoch;
	HeapTuple	last = last_epoch(rel, snapshot, &epoch);
	Datum	   *numbers;
	int			n = 0;

	if (last != NULL)
		deconstruct_array(DatumGetArrayTypeP(column(last, rel, Anum_epoch_owners, NULL)),
						  INT2OID, sizeof(int16), true, TYPALIGN_SHORT, &numbers, NULL, &n);
	table_close(rel, AccessShareLock);
	return slot < n ? DatumGetInt16(numbers[slot]) : AS_NO_NODE;
}

static void
close_slots(AsCluster *into, Datum slots)
{
	Datum	   *numbers;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(slots), INT2OID, sizeof(int16), true,
					  TYPALIGN_SHORT, &numbers, NULL, &n);
	for (int i = 0; i < n; i++)
		into->closed[DatumGetInt16(numbers[i]) & (AS_SLOTS - 1)] = true;
}

/* Of epochs that are in force already nobody is asked any more. */
static void
read_ballot(AsCluster *into)
{
	Relation	rel = open_table("ballot");
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	ballot_table = RelationGetRelid(rel);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (DatumGetInt64(column(tuple, rel, Anum_ballot_epoch, NULL)) <= into->epoch)
			continue;
		close_slots(into, column(tuple, rel, Anum_ballot_given, NULL));
		close_slots(into, column(tuple, rel, Anum_ballot_closing, NULL));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

static void
read_transit(AsCluster *into)
{
	Relation	rel = open_table("transit");
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	transit_table = RelationGetRelid(rel);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		int			slot = DatumGetInt16(column(tuple, rel, Anum_transit_slot, NULL)) & (AS_SLOTS - 1);
		char		state = DatumGetChar(column(tuple, rel, Anum_transit_state, NULL));
		int			taker = as_cluster_find(into, DatumGetInt16(column(tuple, rel, Anum_transit_taker, NULL)));

		into->transit[slot] = state;
		if (state == AS_TRANSIT_HANDED || state == AS_TRANSIT_TAKEN)
			into->holders[slot] = (int16) taker;
		into->comes[slot] = state == AS_TRANSIT_PARKED && taker >= 0 && taker == into->self;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

static bool
read_arrival(void)
{
	Relation	rel = open_table("arrival");
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	bool		is_arriving = HeapTupleIsValid(systable_getnext(scan));

	arrival_table = RelationGetRelid(rel);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return is_arriving;
}

AsCluster *
as_cluster_read(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "actorstore nodes",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	AsCluster  *new = palloc0(sizeof(AsCluster));

	new->context = context;
	for (int slot = 0; slot < AS_SLOTS; slot++)
		new->owners[slot] = -1;
	read_nodes(new);
	if (new->count > 0)
		read_epoch(new);
	memcpy(new->holders, new->owners, sizeof(new->owners));
	read_ballot(new);
	read_transit(new);
	new->arriving = read_arrival() && new->self < 0;
	new->timeline = as_identity_timeline();
	new->fenced = new->self >= 0 && as_identity_is_copy();
	MemoryContextSwitchTo(caller);
	return new;
}

void
as_cluster_suppose_conninfo(const char *conninfo)
{
	supposed_conninfo = conninfo;
}

int
as_cluster_find(const AsCluster *in, int number)
{
	for (int i = 0; i < in->count; i++)
	{
		if (in->nodes[i].number == number)
			return i;
	}
	return -1;
}

bool
as_cluster_concerns(Oid table)
{
	return table == node_table || table == epoch_table ||
		table == ballot_table || table == arrival_table || table == transit_table;
}

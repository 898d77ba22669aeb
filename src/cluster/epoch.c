/*-------------------------------------------------------------------------
 *
 * epoch.c
 *	  See epoch.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/epoch.h"

#include "catalog/pg_type.h"
#include "cluster/conninfo.h"
#include "cluster/node.h"
#include "lib/slot_map.h"
#include "state/catalog.h"
#include "state/identity.h"
#include "utils/array.h"
#include "utils/builtins.h"

#define FIRST_NODE		1
#define FIRST_WEIGHT	100

/* The upper half of an incarnation counts what timelines do not show. */
static int64
first_incarnation(void)
{
	return (int64) ((UINT64CONST(1) << 32) | as_identity_timeline());
}

static Datum
owners_array(const int16 *owners)
{
	Datum	   *elements = palloc(AS_SLOTS * sizeof(Datum));

	for (int slot = 0; slot < AS_SLOTS; slot++)
		elements[slot] = Int16GetDatum(owners[slot]);
	return PointerGetDatum(construct_array(elements, AS_SLOTS, INT2OID,
										   sizeof(int16), true, TYPALIGN_SHORT));
}

static void
insert_self(text *name, text *conninfo)
{
	Oid			types[5] = {INT2OID, TEXTOID, INT4OID, INT8OID, TEXTOID};
	Datum		values[5] = {Int16GetDatum(FIRST_NODE), PointerGetDatum(name),
		Int32GetDatum(FIRST_WEIGHT), Int64GetDatum(first_incarnation()),
	PointerGetDatum(conninfo)};

	as_admin_execute("INSERT INTO actorstore.node (node_number, node_name, weight, node_uuid, incarnation, is_self, conninfo)"
					 " VALUES ($1, $2, $3, gen_random_uuid(), $4, true, $5)",
					 SPI_OK_INSERT, 5, types, values, conninfo == NULL ? "    n" : NULL);
}

static void
insert_first_epoch(void)
{
	AsMember	self = {FIRST_NODE, FIRST_WEIGHT};
	int16		owners[AS_SLOTS] = {AS_NO_NODE};
	Oid			types[3] = {INT2OID, INT4OID, INT2ARRAYOID};
	Datum		values[3] = {Int16GetDatum(FIRST_NODE), Int32GetDatum(FIRST_WEIGHT)};

	(void) as_slot_map_next(owners, &self, 1, owners);
	values[2] = owners_array(owners);
	as_admin_execute("INSERT INTO actorstore.epoch (epoch, last_number, node_numbers, weights, owners)"
					 " VALUES (1, $1, ARRAY[$1], ARRAY[$2], $3)",
					 SPI_OK_INSERT, 3, types, values, NULL);
}

/* It is a node already; but how it is reached may be said later, as long as it is alone. */
static void
tell_later(text *name, text *conninfo)
{
	const AsNode *self = as_node_need_self();
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {PointerGetDatum(conninfo)};

	if (conninfo == NULL || self->conninfo != NULL || strcmp(self->name, text_to_cstring(name)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is node \"%s\" already", self->name)));
	as_admin_execute("UPDATE actorstore.node SET conninfo = $1 WHERE is_self",
					 SPI_OK_UPDATE, 1, types, values, NULL);
}

static void
begin_first(text *name, text *conninfo)
{
	insert_self(name, conninfo);
	insert_first_epoch();
	as_admin_execute("INSERT INTO actorstore.arrival SELECT node_uuid FROM actorstore.node",
					 SPI_OK_INSERT, 0, NULL, NULL, NULL);
}

void
as_epoch_begin(text *node_name, text *conninfo)
{
	AsAdmin		admin;

	if (conninfo != NULL)
		as_conninfo_check(text_to_cstring(conninfo));
	as_admin_begin(&admin);

	/* two at once: the second one finds what the first one did */
	as_admin_utility("LOCK TABLE actorstore.node IN SHARE ROW EXCLUSIVE MODE");
	if (as_node_count() > 0)
		tell_later(node_name, conninfo);
	else
		begin_first(node_name, conninfo);
	as_admin_leave(&admin);
}

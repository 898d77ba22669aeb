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

#include "access/xlog.h"
#include "cluster/map.h"
#include "cluster/transit.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "runtime/sched.h"
#include "state/identity.h"
#include "state/owner.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(actorstore_cluster_changed);

#define UUID_TEXT_SIZE	37

static AsCluster *cluster = NULL;
static bool cluster_valid = false;

/* this node's, as text, as it was last read */
static char own_uuid[UUID_TEXT_SIZE] = "";
static int64 own_incarnation = 0;	/* without the timeline */

/* Somebody may still look at the one before: it goes with the transaction. */
static void
replace_cluster(AsCluster *new)
{
	MemoryContextSetParent(new->context, TopMemoryContext);
	if (cluster != NULL)
		MemoryContextSetParent(cluster->context, TopTransactionContext);
	cluster = new;
}

/* Do slots have owners here? */
static inline bool
has_owners(const AsCluster *in)
{
	return (in->self >= 0 && !in->fenced) || in->arriving;
}

static void
note_own_identity(void)
{
	const AsNode *self;

	own_uuid[0] = '\0';
	if (cluster->self < 0)
		return;
	self = &cluster->nodes[cluster->self];
	strlcpy(own_uuid, DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&self->uuid))), sizeof(own_uuid));
	own_incarnation = self->incarnation & ~INT64CONST(0xffffffff);
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
		replace_cluster(as_cluster_read());
		note_own_identity();
		as_owner_applies = !cluster_valid || has_owners(cluster);
	}
	PG_CATCH();
	{
		cluster_valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static inline AsCluster *
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
	if (OidIsValid(relid) && !as_cluster_concerns(relid))
		return;
	cluster_valid = false;
	as_owner_applies = true;
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
	AsCluster  *now = get_cluster();
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

const char *
as_node_uuid_peek(void)
{
	return own_uuid;
}

int64
as_node_incarnation_peek(void)
{
	return own_uuid[0] == '\0' ? 0 : own_incarnation | as_identity_timeline();
}

bool
as_node_some_are_lost(void)
{
	return get_cluster()->nlost > 0;
}

bool
as_node_is_lost(const pg_uuid_t *uuid)
{
	AsCluster  *now = get_cluster();

	for (int i = 0; i < now->nlost; i++)
	{
		if (memcmp(&now->lost[i], uuid, sizeof(pg_uuid_t)) == 0)
			return true;
	}
	return false;
}

bool
as_node_has_others(void)
{
	AsCluster  *now = get_cluster();

	return now->count > 1 && now->self >= 0 && !now->fenced && !now->gone;
}

void
as_node_suppose_conninfo(const char *conninfo)
{
	as_cluster_suppose_conninfo(conninfo);
	forget_cluster((Datum) 0, InvalidOid);
}

const AsNode *
as_node_by_number(int number)
{
	AsCluster  *now = get_cluster();
	int			i = as_cluster_find(now, number);

	return i < 0 ? NULL : &now->nodes[i];
}

const AsNode *
as_node_need_number(int number)
{
	const AsNode *node = as_node_by_number(number);

	if (node == NULL)
		ereport(ERROR,
				(errcode(AS_ERRCODE_NOT_THE_OWNER),
				 errmsg("node number %d has been removed", number)));
	return node;
}

const AsNode *
as_node_by_name(const char *name)
{
	AsCluster  *now = get_cluster();

	for (int i = 0; i < now->count; i++)
	{
		if (strcmp(now->nodes[i].name, name) == 0)
			return &now->nodes[i];
	}
	return NULL;
}

const AsNode *
as_node_need(const char *name)
{
	const AsNode *node = as_node_by_name(name);

	if (node == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("node \"%s\" does not exist", name),
				 errhint("The nodes stand in actorstore.node.")));
	return node;
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
	AsCluster  *now = get_cluster();
	int			i = now->owners[as_slot_of(key_hash)];

	return i < 0 ? NULL : &now->nodes[i];
}

const AsNode *
as_node_holder(uint64 key_hash)
{
	AsCluster  *now = get_cluster();
	int			i = now->holders[as_slot_of(key_hash)];

	return i < 0 ? NULL : &now->nodes[i];
}

bool
as_node_comes(uint64 key_hash)
{
	return get_cluster()->comes[as_slot_of(key_hash)];
}

int
as_node_replicas(uint64 key_hash, const AsNode **replicas, int max)
{
	const AsNode *owner = as_node_owner(key_hash);
	AsCluster  *now = cluster;
	AsMember	members[AS_MAX_NODES];
	int16		ring[AS_MAX_NODES];
	AsNode	   *in_ring[AS_MAX_NODES];
	AsLocation	locations[AS_MAX_NODES];
	int			order[AS_MAX_NODES];
	int			n;

	if (owner == NULL)
		return 0;
	for (int i = 0; i < now->count; i++)
	{
		members[i].node = now->nodes[i].number;
		members[i].weight = now->nodes[i].weight;
	}
	n = as_slot_map_order(as_slot_of(key_hash), owner->number, members,
						  now->count, ring);
	for (int i = 0; i < n; i++)
	{
		in_ring[i] = &now->nodes[as_cluster_find(now, ring[i])];
		locations[i] = in_ring[i]->location;
	}
	as_spread(locations, n, order);
	n = Min(n, max);
	for (int i = 0; i < n; i++)
		replicas[i] = in_ring[order[i]];
	return n;
}

void
as_node_owners(int16 *owners)
{
	AsCluster  *now = get_cluster();

	for (int slot = 0; slot < AS_SLOTS; slot++)
		owners[slot] = now->owners[slot] < 0 ? AS_NO_NODE : now->nodes[now->owners[slot]].number;
}

int64
as_node_epoch(void)
{
	return get_cluster()->epoch;
}

char
as_node_transit(int slot)
{
	return get_cluster()->transit[slot];
}

/* ---- For state/owner.h ---- */

static bool
owners_apply(void)
{
	return has_owners(get_cluster());
}

static AsSlotState
look_at_slot(int slot)
{
	AsCluster  *now = get_cluster();

	if (now->self < 0 || now->holders[slot] != now->self)
		return AS_SLOT_FOREIGN;
	if (now->transit[slot] == AS_TRANSIT_FROZEN)
		return AS_SLOT_FROZEN;
	return now->closed[slot] ? AS_SLOT_CLOSED : AS_SLOT_OURS;
}

static bool
is_outside(void)
{
	AsCluster  *now = get_cluster();

	return now->gone || now->arriving;
}

static const char *
why_not_ours(const AsCluster *now, int slot)
{
	if (now->arriving)
		return "This database is about to become a node of a cluster.";
	if (now->gone)
		return psprintf("Node \"%s\" has been removed.", now->nodes[now->self].name);
	if (now->owners[slot] == now->self)
		return now->holders[slot] == now->self ? "Its slot is about to be given to another node." :
			"Its slot has been handed over to another node.";
	if (now->owners[slot] < 0)
		return "Nobody owns its slot.";
	return psprintf("It belongs to node \"%s\".", now->nodes[now->owners[slot]].name);
}

static void
refuse_slot(int slot, const text *type, const text *id)
{
	ereport(ERROR,
			(errcode(AS_ERRCODE_NOT_THE_OWNER),
			 type == NULL ? errmsg("this database is no node") :
			 errmsg("this node does not own actor (%s, %s)", text_to_cstring(type), text_to_cstring(id)),
			 errdetail_internal("%s", why_not_ours(get_cluster(), slot)),
			 get_cluster()->arriving ?
			 errhint("Call actorstore.add_node() there once more, or actorstore.unfence() here if nothing shall come of it.") : 0));
}

static int16
number_for_ids(void)
{
	const AsNode *self = as_node_self();

	return self == NULL ? 0 : self->number;
}

static const AsOwnerSource source = {owners_apply, look_at_slot, is_outside, refuse_slot};

void
as_node_init(void)
{
	as_message_node = number_for_ids;
	CacheRegisterRelcacheCallback(forget_cluster, (Datum) 0);
	as_owner_source = &source;
}

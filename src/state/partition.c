/*-------------------------------------------------------------------------
 *
 * partition.c
 *	  Opening a type's partition, and the snapshots to look at it with.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/partition.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "compat.h"
#include "state/owner.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

void		(*as_partition_open_hook) (AsPartition *partition,
									   LOCKMODE lockmode) = NULL;

/*
 * Lock the relation that holds the type's actors.  Waiting for a lock, we may
 * learn that the type has moved elsewhere, or is gone: look again.
 */
static AsType *
lock_relation(const text *type_name, LOCKMODE lockmode)
{
	for (;;)
	{
		AsType	   *type = as_type_find(type_name);
		Oid			relation;

		if (type == NULL)
			return NULL;
		relation = type->relation;
		LockRelationOid(relation, lockmode);
		if (type->valid)
			return type;
		if (as_type_find(type_name) == type && type->relation == relation)
			return type;
		UnlockRelationOid(relation, lockmode);
	}
}

/* Does the index consist of (actor_type, actor_id)? */
static bool
is_actor_key(Form_pg_index index)
{
	return index->indnkeyatts == 2 && index->indisvalid &&
		index->indimmediate &&
		index->indkey.values[0] == Anum_actor_type &&
		index->indkey.values[1] == Anum_actor_id;
}

static bool
is_plain(Relation rel, Relation pkey)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;

	/* as_primary_key_index() has made the list of indexes valid */
	return list_length(rel->rd_indexlist) == 1 &&
		pkey->rd_index->indnatts == 2 &&
		rel->trigdesc == NULL &&
		(constr == NULL || constr->num_check == 0);
}

/*
 * There is no such type now.  A transaction that lives in its own snapshot
 * must not see that if the snapshot shows one; looking there also leaves the
 * predicate lock that a later declaration of the type conflicts with.
 */
static void
check_missing_type(const text *type_name)
{
	if (IsolationUsesXactSnapshot() &&
		as_type_in_snapshot(type_name, GetActiveSnapshot()))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent change of actor type \"%s\"",
						text_to_cstring(type_name))));
}

bool
as_partition_open(AsPartition *partition, text *type_name, LOCKMODE lockmode)
{
	Relation	rel;
	Oid			pkey;

	as_owner_check_member();
	partition->type_name = type_name;
	partition->type = lock_relation(type_name, lockmode);
	if (partition->type == NULL)
	{
		check_missing_type(type_name);
		return false;
	}
	if (as_partition_open_hook != NULL)
		as_partition_open_hook(partition, lockmode);

	rel = try_relation_open(partition->type->relation, NoLock);
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the table of actor type \"%s\" does not exist",
						as_type_name(partition->type)),
				 errhint("Somebody has renamed or dropped it by hand: rename it back, or remove the type with actorstore.drop_type().")));
	pkey = as_primary_key_index(rel);
	if (RelationGetNumberOfAttributes(rel) != Natts_actor || !OidIsValid(pkey))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has not the columns or the primary key of actorstore.actor",
						RelationGetRelationName(rel))));
	if (RecoveryInProgress() && !RelationIsPermanent(rel))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot access actors of unlogged type \"%s\" during recovery",
						as_type_name(partition->type))));
	partition->rel = rel;
	partition->pkey = index_open(pkey, lockmode);
	if (!is_actor_key(partition->pkey->rd_index))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the primary key of table \"%s\" is not (actor_type, actor_id)",
						RelationGetRelationName(rel))));
	partition->plain = is_plain(rel, partition->pkey);
	partition->slot = table_slot_create(rel, NULL);
	partition->new_slot = lockmode == AccessShareLock ? NULL :
		MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsHeapTuple);
	return true;
}

void
as_partition_open_for(AsPartition *partition, text *type_name,
					  AsPrivilege privilege, bool declare, LOCKMODE lockmode)
{
	while (!as_partition_open(partition, type_name, lockmode))
	{
		if (declare)
			as_type_get_or_declare(type_name);
		else
			as_type_get(type_name);
	}
	as_type_check(partition->type, privilege);
}

void
as_partition_close(AsPartition *partition)
{
	ExecDropSingleTupleTableSlot(partition->slot);
	if (partition->new_slot != NULL)
		ExecDropSingleTupleTableSlot(partition->new_slot);
	index_close(partition->pkey, NoLock);
	relation_close(partition->rel, NoLock);
}

/*
 * Was the type changed by a transaction that the snapshot does not see?  Then
 * its rows may have been moved into another table, or been written anew, by
 * that transaction, and the snapshot would see none of them.
 */
static bool
changed_after(AsType *type, Snapshot snapshot)
{
	if (TransactionIdPrecedes(type->changed_by, TransactionXmin))
	{
		/* older than any snapshot to come: never mind wrap-around */
		type->changed_by = FrozenTransactionId;
		return false;
	}

	/* a cursor of ours may be older than our own change of the type */
	if (TransactionIdIsCurrentTransactionId(type->changed_by))
		return !IsolationUsesXactSnapshot();
	return XidInMVCCSnapshot(type->changed_by, snapshot);
}

static void
check_snapshot(AsPartition *partition, Snapshot snapshot)
{
	if (changed_after(partition->type, snapshot))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent change of actor type \"%s\"",
						as_type_name(partition->type))));
}

void
as_partition_push_read_snapshot(AsPartition *partition)
{
	Snapshot	snapshot = GetActiveSnapshot();

	if (IsolationUsesXactSnapshot())
		check_snapshot(partition, snapshot);
	else if (changed_after(partition->type, snapshot))
		snapshot = GetTransactionSnapshot();
	PushActiveSnapshot(snapshot);
}

void
as_partition_push_write_snapshot(AsPartition *partition)
{
	PushActiveSnapshot(GetTransactionSnapshot());
	if (IsolationUsesXactSnapshot())
		check_snapshot(partition, GetActiveSnapshot());
}

void
as_raise_serialization_failure(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent update")));
}

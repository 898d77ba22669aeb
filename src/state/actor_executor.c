/*-------------------------------------------------------------------------
 *
 * actor_executor.c
 *	  Writing actors through the executor's machinery.
 *
 * An administrator may hang indexes, triggers and constraints on a type's
 * partition.  Then a write must do all that an INSERT, UPDATE or DELETE does,
 * and we leave it to the functions that logical replication applies changes
 * with.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/actor.h"

#include "access/table.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "compat.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

typedef struct Execution
{
	EState	   *estate;
	ResultRelInfo *target;
	EPQState	epq;
	TupleTableSlot *slot;		/* the new row */
	TupleTableSlot *old_slot;	/* says where the old row is */
} Execution;

static void
begin_execution(Execution *execution, AsPartition *partition)
{
	EState	   *estate = CreateExecutorState();
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	ResultRelInfo *target = makeNode(ResultRelInfo);
	TupleDesc	desc = RelationGetDescr(partition->rel);

	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(partition->rel);
	rte->relkind = partition->rel->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
	as_init_range_table(estate, rte);

	PushActiveSnapshot(GetTransactionSnapshot());
	estate->es_snapshot = GetActiveSnapshot();
	estate->es_output_cid = GetCurrentCommandId(true);
	InitResultRelInfo(target, partition->rel, 1, NULL, 0);
	estate->es_opened_result_relations = list_make1(target);
	AfterTriggerBeginQuery();

	execution->estate = estate;
	execution->target = target;
	execution->slot = ExecInitExtraTupleSlot(estate, desc, &TTSOpsHeapTuple);
	execution->old_slot = ExecInitExtraTupleSlot(estate, desc,
												 table_slot_callbacks(partition->rel));
	as_eval_plan_qual_init(&execution->epq, estate);
	ExecOpenIndices(target, false);
}

static void
end_execution(Execution *execution)
{
	EState	   *estate = execution->estate;
	ListCell   *cell;

	AfterTriggerEndQuery(estate);

	/* tables that cascading triggers have opened; ours is not among them */
	foreach(cell, estate->es_trig_target_relations)
		table_close(((ResultRelInfo *) lfirst(cell))->ri_RelationDesc, NoLock);
	EvalPlanQualEnd(&execution->epq);
	ExecCloseIndices(execution->target);
	ExecResetTupleTable(estate->es_tupleTable, false);
	PopActiveSnapshot();
	FreeExecutorState(estate);
}

static void
raise_suppressed(AsPartition *partition)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 errmsg("a trigger on table \"%s\" suppressed the write of an actor",
					RelationGetRelationName(partition->rel))));
}

/* The row as triggers may have made it, and where it stands. */
static HeapTuple
stored_row(AsPartition *partition, Execution *execution)
{
	MemoryContext context = execution->estate->es_query_cxt;
	MemoryContext old;
	HeapTuple	row;

	if (!ItemPointerIsValid(&execution->slot->tts_tid))
		raise_suppressed(partition);
	old = MemoryContextSwitchTo(MemoryContextGetParent(context));
	row = ExecCopySlotHeapTuple(execution->slot);
	MemoryContextSwitchTo(old);
	row->t_self = execution->slot->tts_tid;
	return row;
}

HeapTuple
as_executor_insert(AsPartition *partition, HeapTuple row)
{
	Execution	execution;

	begin_execution(&execution, partition);
	ExecStoreHeapTuple(row, execution.slot, false);
	ItemPointerSetInvalid(&execution.slot->tts_tid);
	ExecSimpleRelationInsert(execution.target, execution.estate,
							 execution.slot);
	row = stored_row(partition, &execution);
	end_execution(&execution);
	return row;
}

HeapTuple
as_executor_update(AsPartition *partition, ItemPointer place, HeapTuple row)
{
	Execution	execution;

	begin_execution(&execution, partition);
	execution.old_slot->tts_tid = *place;
	ExecStoreHeapTuple(row, execution.slot, false);
	ItemPointerSetInvalid(&execution.slot->tts_tid);
	ExecSimpleRelationUpdate(execution.target, execution.estate,
							 &execution.epq, execution.old_slot,
							 execution.slot);
	row = stored_row(partition, &execution);
	end_execution(&execution);
	return row;
}

void
as_executor_delete(AsPartition *partition, text *id, ItemPointer place)
{
	Execution	execution;

	begin_execution(&execution, partition);
	execution.old_slot->tts_tid = *place;
	ExecSimpleRelationDelete(execution.target, execution.estate,
							 &execution.epq, execution.old_slot);
	end_execution(&execution);

	/* a BEFORE trigger that returned NULL leaves the row, or a newer one */
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (as_partition_find(partition, id, GetActiveSnapshot()))
		raise_suppressed(partition);
	PopActiveSnapshot();
}

/* Is it an index of the partition whose keys are those of the primary key? */
static bool
is_key(AsPartition *partition, const char *name)
{
	Oid			index = get_relname_relid(name, RelationGetNamespace(partition->rel));
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	Form_pg_index form;
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_index) GETSTRUCT(tuple);
	result = form->indrelid == RelationGetRelid(partition->rel) &&
		form->indnkeyatts == 2 &&
		form->indkey.values[0] == Anum_actor_type &&
		form->indkey.values[1] == Anum_actor_id;
	ReleaseSysCache(tuple);
	return result;
}

/*
 * Has the primary key refused a row?  (Another unique index may have.)  While REINDEX
 * CONCURRENTLY is at work it has a double, which may be asked first.
 */
static bool
is_key_violation(AsPartition *partition, ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION &&
		error->table_name != NULL && error->constraint_name != NULL &&
		strcmp(error->table_name,
			   RelationGetRelationName(partition->rel)) == 0 &&
		is_key(partition, error->constraint_name);
}

HeapTuple
as_executor_try_insert(AsPartition *partition, HeapTuple row, bool last_try)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		row = as_executor_insert(partition, row);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (last_try || !is_key_violation(partition, error))
			ReThrowError(error);
		FreeErrorData(error);
		return NULL;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return row;
}

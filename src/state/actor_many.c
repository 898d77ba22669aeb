/*-------------------------------------------------------------------------
 *
 * actor_many.c
 *	  Many actors written by one call.
 *
 * All of them are locked or inserted in ascending order of their ids, so that
 * two such calls can wait for each other in one direction only.  Actors that
 * are to be inserted, one behind the other, are a run: their rows go into the
 * table page by page (table_multi_insert), before a greater id is locked.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/actor.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "lib/same_text.h"
#include "miscadmin.h"
#include "state/owner.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

/* rows to be put in by one subtransaction, and how many of them at once */
#define MAX_RUN_ROWS		16384
#define MAX_RUN_BYTES		(4 * 1024 * 1024)
#define MAX_BATCH_ROWS		1000
#define MAX_BATCH_BYTES		(1024 * 1024)

/* so few rows are not worth a subtransaction */
#define FEW_ROWS			8

/*
 * Subtransactions that a transaction may spend so.  Many would make the
 * snapshots of others overflow; and logical decoding holds the first 4,096
 * changes of each of them in memory at once, here at most MAX_RUN_BYTES.
 */
#define MAX_SUBTRANSACTIONS 8

/* Consecutive actors that are to be inserted */
typedef struct Run
{
	AsPartition *partition;
	int			n;
	text	  **ids;
	Datum	   *values;
	Size		bytes;
	bool		collided;		/* has a run met rows that were there? */
	int			nslots;
	TupleTableSlot *slots[MAX_BATCH_ROWS];
	MemoryContext context;		/* for what each batch takes */
} Run;

static Run *
begin_run(AsPartition *partition)
{
	Run		   *run = palloc0(sizeof(Run));

	run->partition = partition;
	run->context = AllocSetContextCreate(CurrentMemoryContext,
										 "actorstore batch",
										 ALLOCSET_DEFAULT_SIZES);
	return run;
}

static void
end_run(Run *run)
{
	for (int i = 0; i < run->nslots; i++)
		ExecDropSingleTupleTableSlot(run->slots[i]);
	MemoryContextDelete(run->context);
	pfree(run);
}

/*
 * Slots for n rows.  They belong to the caller's resource owner, not to that
 * of a subtransaction.
 */
static void
make_slots(Run *run, int n)
{
	for (; run->nslots < Min(n, MAX_BATCH_ROWS); run->nslots++)
		run->slots[run->nslots] =
			MakeSingleTupleTableSlot(RelationGetDescr(run->partition->rel),
									 &TTSOpsHeapTuple);
}

/* Forget the rows of a batch, written or not. */
static void
reset_batch(Run *run)
{
	/* slots own their rows, which lie in the context */
	for (int i = 0; i < run->nslots; i++)
		ExecClearTuple(run->slots[i]);
	MemoryContextReset(run->context);
}

/* Put n rows of the run into the table and its index. */
static void
insert_batch(Run *run, text **ids, Datum *values, int n)
{
	AsPartition *partition = run->partition;
	MemoryContext old = MemoryContextSwitchTo(run->context);

	for (int i = 0; i < n; i++)
	{
		HeapTuple	row = as_row_first(partition, ids[i], values[i]);

		if (!partition->plain)
		{
			as_executor_insert(partition, row);
			CommandCounterIncrement();
			continue;
		}
		ExecStoreHeapTuple(row, run->slots[i], true);
	}

	if (partition->plain)
	{
		table_multi_insert(partition->rel, run->slots, n,
						   GetCurrentCommandId(true), 0, NULL);
		for (int i = 0; i < n; i++)
		{
			ItemPointer place = &run->slots[i]->tts_tid;

			as_index_row(partition, ids[i], place, UNIQUE_CHECK_YES, false);
			as_partition_remember(partition, ids[i], place, NULL);
		}
	}
	MemoryContextSwitchTo(old);
	reset_batch(run);
}

static Size
value_size(Datum value)
{
	return VARSIZE_ANY(DatumGetPointer(value));
}

static void
insert_run(Run *run)
{
	int			first = 0;

	while (first < run->n)
	{
		Size		bytes = 0;
		int			n = 0;

		CHECK_FOR_INTERRUPTS();
		while (first + n < run->n && n < MAX_BATCH_ROWS &&
			   bytes < MAX_BATCH_BYTES)
			bytes += value_size(run->values[first + n++]);
		insert_batch(run, run->ids + first, run->values + first, n);
		first += n;
	}
}

/* May the transaction have one more subtransaction for a run? */
static bool
may_have_subtransaction(void)
{
	static TransactionId counted = InvalidTransactionId;
	static int	n;
	TransactionId current = GetTopTransactionId();

	if (!TransactionIdEquals(counted, current))
	{
		counted = current;
		n = 0;
	}
	return n++ < MAX_SUBTRANSACTIONS;
}

/* Insert the run, or nothing of it if one of its actors is there. */
static bool
try_insert_run(Run *run)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool inserted = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		insert_run(run);
		ReleaseCurrentSubTransaction();
		inserted = true;
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
		if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION)
			ReThrowError(error);
		FreeErrorData(error);
		reset_batch(run);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return inserted;
}

/* Rows that somebody else has inserted meanwhile get their next version. */
static void
put_one_by_one(Run *run)
{
	MemoryContext old = MemoryContextSwitchTo(run->context);
	bool		missing = !run->collided;

	for (int i = 0; i < run->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		missing = as_actor_put_guess(run->partition, run->ids[i],
									 run->values[i], missing);
		ExecClearTuple(run->partition->new_slot);
		MemoryContextReset(run->context);
	}
	MemoryContextSwitchTo(old);
}

static void
put_run(Run *run)
{
	if (run->n == 0)
		return;
	make_slots(run, run->n);
	if (run->n <= FEW_ROWS || !may_have_subtransaction())
		put_one_by_one(run);
	else if (!try_insert_run(run))
	{
		run->collided = true;
		put_one_by_one(run);
	}
	run->n = 0;
	run->bytes = 0;
}

void
as_actor_insert_many(AsPartition *partition, int n, text **ids, Datum *values)
{
	Run		   *run = begin_run(partition);

	for (int i = 0; i < n; i++)
		as_owner_need(partition->type_name, ids[i]);
	run->n = n;
	run->ids = ids;
	run->values = values;
	make_slots(run, n);
	insert_run(run);
	end_run(run);
	CommandCounterIncrement();
}

static bool
exists(AsPartition *partition, text *id)
{
	bool		found;

	found = as_partition_find_newest(partition, id, NULL);
	PopActiveSnapshot();
	return found;
}

void
as_actor_put_many(AsPartition *partition, int n, text **ids, Datum *values)
{
	Run		   *run = begin_run(partition);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "actorstore put_many",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = CurrentMemoryContext;

	for (int i = 1; i < n; i++)
	{
		if (as_same_text(ids[i - 1], ids[i]))
			ereport(ERROR,
					(errcode(ERRCODE_CARDINALITY_VIOLATION),
					 errmsg("put_many cannot write the same actor a second time"),
					 errdetail("The id \"%s\" is given twice.",
							   text_to_cstring(ids[i]))));
	}

	for (int i = 0; i < n; i++)
	{
		AsOutcome	outcome = AS_MISSING;

		CHECK_FOR_INTERRUPTS();
		as_owner_need(partition->type_name, ids[i]);

		/*
		 * Smaller ids first.  Where one actor was missing, the next ones
		 * probably are, too: look only after that has proved wrong.
		 */
		if (run->n > 0 && run->collided && exists(partition, ids[i]))
			put_run(run);
		if (run->n == 0)
		{
			AsWrite		write = {.value = values[i]};

			MemoryContextSwitchTo(context);
			outcome = as_actor_update(partition, ids[i], &write);
			MemoryContextSwitchTo(old);
			ExecClearTuple(partition->new_slot);
			MemoryContextReset(context);
			run->ids = &ids[i];
			run->values = &values[i];
		}
		if (outcome == AS_MISSING)
		{
			run->n++;
			run->bytes += value_size(values[i]);
			if (run->n == MAX_RUN_ROWS || run->bytes > MAX_RUN_BYTES)
				put_run(run);
		}
	}
	put_run(run);
	MemoryContextDelete(context);
	end_run(run);
	CommandCounterIncrement();
}

/*-------------------------------------------------------------------------
 *
 * actor_many.c
 *	  Many actors written by one call.
 *
 * All of them are locked or inserted in ascending order of their ids, so that
 * two such calls can wait for each other in one direction only.  New rows are
 * collected and put into the table page by page (table_multi_insert); the
 * collection is written out before a greater id is locked, and when it is
 * full.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/actor.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define MAX_COLLECTED_ROWS	1000
#define MAX_COLLECTED_BYTES	(1024 * 1024)

/* so many missing actors in a row make the next one's likely */
#define SOME_MISSING		8

typedef struct Collection
{
	AsPartition *partition;
	int			nrows;
	Size		bytes;
	text	   *ids[MAX_COLLECTED_ROWS];
	Datum		values[MAX_COLLECTED_ROWS];
	TupleTableSlot *slots[MAX_COLLECTED_ROWS];	/* made on demand */
	MemoryContext context;		/* for what each batch takes */
} Collection;

static Collection *
begin_collection(AsPartition *partition)
{
	Collection *collection = palloc0(sizeof(Collection));

	collection->partition = partition;
	collection->context = AllocSetContextCreate(CurrentMemoryContext,
												"actorstore batch",
												ALLOCSET_DEFAULT_SIZES);
	return collection;
}

static void
end_collection(Collection *collection)
{
	for (int i = 0; i < MAX_COLLECTED_ROWS && collection->slots[i] != NULL; i++)
		ExecDropSingleTupleTableSlot(collection->slots[i]);
	MemoryContextDelete(collection->context);
	pfree(collection);
}

/* Forget the rows of a batch, written or not. */
static void
reset_batch(Collection *collection)
{
	/* slots own their rows, which lie in the context */
	for (int i = 0; i < collection->nrows; i++)
		ExecClearTuple(collection->slots[i]);
	MemoryContextReset(collection->context);
}

/* Put the rows collected into the table and its index. */
static void
insert_batch(Collection *collection)
{
	AsPartition *partition = collection->partition;
	MemoryContext old = MemoryContextSwitchTo(collection->context);

	for (int i = 0; i < collection->nrows; i++)
	{
		HeapTuple	row = as_row_first(partition, collection->ids[i],
									   collection->values[i]);

		if (!partition->plain)
		{
			as_executor_insert(partition, row);
			CommandCounterIncrement();
			continue;
		}
		ExecStoreHeapTuple(row, collection->slots[i], true);
	}

	if (partition->plain)
	{
		table_multi_insert(partition->rel, collection->slots,
						   collection->nrows, GetCurrentCommandId(true), 0,
						   NULL);
		for (int i = 0; i < collection->nrows; i++)
		{
			ItemPointer place = &collection->slots[i]->tts_tid;

			as_index_row(partition, collection->ids[i], place,
						 UNIQUE_CHECK_YES, false);
			as_partition_remember(partition, collection->ids[i], place, NULL);
		}
	}
	MemoryContextSwitchTo(old);
	reset_batch(collection);
}

static void
flush(Collection *collection)
{
	if (collection->nrows == 0)
		return;
	insert_batch(collection);
	collection->nrows = 0;
	collection->bytes = 0;
}

static void
collect(Collection *collection, text *id, Datum value)
{
	int			i = collection->nrows++;

	collection->ids[i] = id;
	collection->values[i] = value;
	collection->bytes += VARSIZE_ANY(DatumGetPointer(value));
	if (collection->slots[i] == NULL)
		collection->slots[i] =
			MakeSingleTupleTableSlot(RelationGetDescr(collection->partition->rel),
									 &TTSOpsHeapTuple);
	if (collection->nrows == MAX_COLLECTED_ROWS ||
		collection->bytes > MAX_COLLECTED_BYTES)
		flush(collection);
}

void
as_actor_insert_many(AsPartition *partition, int n, text **ids, Datum *values)
{
	Collection *collection = begin_collection(partition);

	for (int i = 0; i < n; i++)
		collect(collection, ids[i], values[i]);
	flush(collection);
	end_collection(collection);
	CommandCounterIncrement();
}

static bool
same_id(const text *a, const text *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

void
as_actor_put_many(AsPartition *partition, int n, text **ids, Datum *values)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "actorstore put_many",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = CurrentMemoryContext;
	int			missing = 0;	/* in a row */

	for (int i = 1; i < n; i++)
	{
		if (same_id(ids[i - 1], ids[i]))
			ereport(ERROR,
					(errcode(ERRCODE_CARDINALITY_VIOLATION),
					 errmsg("put_many cannot write the same actor a second time"),
					 errdetail("The id \"%s\" is given twice.",
							   text_to_cstring(ids[i]))));
	}

	/* where some actors in a row were missing, the next one probably is, too */
	MemoryContextSwitchTo(context);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (as_actor_put_guess(partition, ids[i], values[i],
							   missing >= SOME_MISSING))
			missing++;
		else
			missing = 0;
		ExecClearTuple(partition->new_slot);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	CommandCounterIncrement();
}

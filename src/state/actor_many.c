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
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#define MAX_COLLECTED_ROWS	1000
#define MAX_COLLECTED_BYTES	(1024 * 1024)

/* so few rows are not worth a subtransaction */
#define FEW_ROWS			8

typedef struct Collection
{
	AsPartition *partition;
	int			nrows;
	Size		bytes;
	bool		collided;		/* has a batch met rows that were there? */
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

/*
 * The same, but rows that somebody else has inserted meanwhile get their next
 * version instead.
 */
static void
put_batch(Collection *collection)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool inserted = false;

	if (collection->nrows > FEW_ROWS)
	{
		BeginInternalSubTransaction(NULL);
		MemoryContextSwitchTo(context);
		PG_TRY();
		{
			insert_batch(collection);
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
			reset_batch(collection);
			collection->collided = true;
		}
		PG_END_TRY();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}

	if (!inserted)
	{
		for (int i = 0; i < collection->nrows; i++)
			as_actor_put(collection->partition, collection->ids[i],
						 collection->values[i]);
	}
}

static void
flush(Collection *collection, bool put)
{
	if (collection->nrows == 0)
		return;
	if (put)
		put_batch(collection);
	else
		insert_batch(collection);
	collection->nrows = 0;
	collection->bytes = 0;
}

static void
collect(Collection *collection, text *id, Datum value, bool put)
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
		flush(collection, put);
}

void
as_actor_insert_many(AsPartition *partition, int n, text **ids, Datum *values)
{
	Collection *collection = begin_collection(partition);

	for (int i = 0; i < n; i++)
		collect(collection, ids[i], values[i], false);
	flush(collection, false);
	end_collection(collection);
	CommandCounterIncrement();
}

static bool
same_id(const text *a, const text *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
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
	Collection *collection = begin_collection(partition);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "actorstore put_many",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = CurrentMemoryContext;

	for (int i = 1; i < n; i++)
	{
		if (same_id(ids[i - 1], ids[i]))
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

		/*
		 * Smaller ids first.  Where one actor was missing, the next ones
		 * probably are, too: look only after that has proved wrong.
		 */
		if (collection->nrows > 0 && collection->collided &&
			exists(partition, ids[i]))
			flush(collection, true);
		if (collection->nrows == 0)
		{
			AsWrite		write = {.value = values[i]};

			MemoryContextSwitchTo(context);
			outcome = as_actor_update(partition, ids[i], &write);
			MemoryContextSwitchTo(old);
			ExecClearTuple(partition->new_slot);
			MemoryContextReset(context);
		}
		if (outcome == AS_MISSING)
			collect(collection, ids[i], values[i], true);
	}
	flush(collection, true);
	MemoryContextDelete(context);
	end_collection(collection);
	CommandCounterIncrement();
}

/*-------------------------------------------------------------------------
 *
 * copied.c
 *	  See copied.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/copied.h"

#include "access/transam.h"
#include "lib/same_text.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"

static MemoryContext memory = NULL; /* NULL: nothing is copied */
static HTAB *tables = NULL;
static AsTransit batch;
static text *last_type = NULL;	/* of the row added last */

void
as_copied_forget(void)
{
	if (memory != NULL)
		MemoryContextDelete(memory);
	memory = NULL;
	tables = NULL;
	last_type = NULL;
}

void
as_copied_begin(const AsTransit *transit)
{
	HASHCTL		control = {
		.keysize = sizeof(Oid), .entrysize = sizeof(AsCopiedTable)
	};

	as_copied_forget();
	memory = AllocSetContextCreate(TopMemoryContext, "actors that are copied", ALLOCSET_DEFAULT_SIZES);
	control.hcxt = memory;
	tables = hash_create("actors that are copied", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	batch = *transit;
}

bool
as_copied_is_of(const AsTransit *transit)
{
	return memory != NULL && batch.n == transit->n && batch.taker == transit->taker &&
		memcmp(batch.slots, transit->slots, transit->n * sizeof(batch.slots[0])) == 0;
}

/* ---- Tables ---- */

AsCopiedTable *
as_copied_add_table(Relation rel, BlockNumber npages)
{
	Oid			relation = RelationGetRelid(rel);
	bool		found;
	AsCopiedTable *table = hash_search(tables, &relation, HASH_ENTER, &found);

	Assert(!found);
	memset(table, 0, sizeof(AsCopiedTable));
	table->relation = relation;
	table->file = rel->rd_rel->relfilenode;
	table->npages = npages;
	table->unsettled = MemoryContextAllocExtended(memory, Max(npages, 1) * sizeof(bool),
												  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	return table;
}

AsCopiedTable *
as_copied_table(Relation rel)
{
	Oid			relation = RelationGetRelid(rel);
	AsCopiedTable *table = memory == NULL ? NULL : hash_search(tables, &relation, HASH_FIND, NULL);

	return table == NULL || table->file != rel->rd_rel->relfilenode ? NULL : table;
}

/* ---- Rows ---- */

static text *
keep(const text *from)
{
	text	   *kept = MemoryContextAlloc(memory, VARSIZE_ANY(from));

	memcpy(kept, from, VARSIZE_ANY(from));
	return kept;
}

static void
make_room(AsCopiedTable *table)
{
	if (table->nrows < table->room)
		return;
	table->room = Max(1024, 2 * table->room);
	if (table->rows == NULL)
		table->rows = MemoryContextAllocHuge(memory, table->room * sizeof(AsCopiedRow));
	else
		table->rows = repalloc_huge(table->rows, table->room * sizeof(AsCopiedRow));
}

void
as_copied_add(AsCopiedTable *table, ItemPointer place, TransactionId xmin, const text *type, const text *id)
{
	AsCopiedRow *row;

	make_room(table);
	row = &table->rows[table->nrows++];
	row->place = *place;
	row->xmin = xmin;
	row->is_there = false;
	if (last_type == NULL || !as_same_text(last_type, type))
		last_type = keep(type);
	row->type = last_type;
	row->id = keep(id);
}

int
as_copied_on_page(AsCopiedTable *table, BlockNumber block, AsCopiedRow **rows)
{
	int			n = 0;

	while (table->next < table->nrows && ItemPointerGetBlockNumber(&table->rows[table->next].place) < block)
		table->next++;
	*rows = &table->rows[table->next];
	while (table->next + n < table->nrows && ItemPointerGetBlockNumber(&(*rows)[n].place) == block)
		n++;
	return n;
}

AsCopiedRow *
as_copied_at(AsCopiedTable *table, ItemPointer place, TransactionId xmin)
{
	AsCopiedRow *rows;
	int			n = as_copied_on_page(table, ItemPointerGetBlockNumber(place), &rows);

	for (int i = 0; i < n; i++)
	{
		if (ItemPointerEquals(&rows[i].place, place))
			return TransactionIdEquals(rows[i].xmin, xmin) ? &rows[i] : NULL;
	}
	return NULL;
}

/* Also of tables that are gone, or have another file */
void
as_copied_gone(AsCopiedCallback callback, void *arg)
{
	HASH_SEQ_STATUS all;
	AsCopiedTable *table;

	if (memory == NULL)
		return;
	hash_seq_init(&all, tables);
	while ((table = hash_seq_search(&all)) != NULL)
	{
		for (int i = 0; i < table->nrows; i++)
		{
			if (!table->rows[i].is_there)
				callback(&table->rows[i], arg);
		}
	}
}

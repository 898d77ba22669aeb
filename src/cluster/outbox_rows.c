/*-------------------------------------------------------------------------
 *
 * outbox_rows.c
 *	  The rows of actorstore.outbox: see outbox.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/outbox.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/heaptoast.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "cluster/lane.h"
#include "compat.h"
#include "executor/spi.h"
#include "lib/key_hash.h"
#include "state/catalog.h"
#include "state/text_query.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* What goes into one batch at most, unless a single message is larger. */
#define MAX_BATCH_MESSAGES	1000
#define MAX_BATCH_BYTES		(256 * 1024)

/* Column numbers of actorstore.outbox */
#define Anum_outbox_node			1
#define Anum_outbox_id				2
#define Anum_outbox_actor_type		3
#define Anum_outbox_actor_id		4
#define Anum_outbox_message			5
#define Anum_outbox_body			6
#define Anum_outbox_headers			7
#define Anum_outbox_priority		8
#define Anum_outbox_sent_at			9
#define Anum_outbox_due				10
#define Anum_outbox_expires_at		11
#define Anum_outbox_sender_type		12
#define Anum_outbox_sender_id		13
#define Anum_outbox_dedup_key		14
#define Anum_outbox_kind			15
#define Natts_outbox				15

/* ---- Writing ---- */

static void
set_text(Datum *values, bool *nulls, int column, const text *value)
{
	values[column - 1] = PointerGetDatum(value);
	nulls[column - 1] = value == NULL;
}

static void
set_time(Datum *values, bool *nulls, int column, TimestampTz value)
{
	values[column - 1] = TimestampTzGetDatum(value);
	nulls[column - 1] = value == 0;
}

static void
set_json(Datum *values, bool *nulls, int column, Datum value)
{
	values[column - 1] = value;
	nulls[column - 1] = value == 0;
}

static void
store_message(TupleTableSlot *slot, int16 node, int kind, const AsMessage *message)
{
	Datum	   *values = slot->tts_values;
	bool	   *nulls = slot->tts_isnull;

	ExecClearTuple(slot);
	memset(nulls, 0, sizeof(bool) * Natts_outbox);
	values[Anum_outbox_node - 1] = Int16GetDatum(node);
	values[Anum_outbox_id - 1] = Int64GetDatum(message->message_id);
	set_text(values, nulls, Anum_outbox_actor_type, message->actor_type);
	set_text(values, nulls, Anum_outbox_actor_id, message->actor_id);
	set_text(values, nulls, Anum_outbox_message, message->name);
	set_json(values, nulls, Anum_outbox_body, message->body);
	set_json(values, nulls, Anum_outbox_headers, message->headers);
	values[Anum_outbox_priority - 1] = Int16GetDatum(message->priority);
	values[Anum_outbox_sent_at - 1] = TimestampTzGetDatum(message->sent_at);
	set_time(values, nulls, Anum_outbox_due, message->due);
	set_time(values, nulls, Anum_outbox_expires_at, message->expires_at);
	set_text(values, nulls, Anum_outbox_sender_type, message->sender_type);
	set_text(values, nulls, Anum_outbox_sender_id, message->sender_id);
	set_text(values, nulls, Anum_outbox_dedup_key, message->dedup_key);
	values[Anum_outbox_kind - 1] = Int16GetDatum(kind);
	ExecStoreVirtualTuple(slot);
}

static Relation
open_outbox(LOCKMODE lockmode)
{
	return table_open(as_catalog_relation("outbox"), lockmode);
}

/*
 * Rows that are toasted get another tuple, of whose place
 * CatalogTuplesMultiInsertWithInfo() would tell the index nothing.
 */
static bool
insert_if_large(Relation rel, TupleTableSlot *slot, CatalogIndexState indexes)
{
	HeapTuple	row = ExecFetchSlotHeapTuple(slot, true, NULL);

	if (row->t_len <= TOAST_TUPLE_THRESHOLD && !HeapTupleHasExternal(row))
		return false;
	CatalogTupleInsertWithInfo(rel, row, indexes);
	return true;
}

void
as_outbox_insert(int16 node, int kind, const AsMessage *messages, int n)
{
	Relation	rel = open_outbox(RowExclusiveLock);
	CatalogIndexState indexes = CatalogOpenIndexes(rel);
	int			nslots = Min(n, MAX_BATCH_MESSAGES);
	TupleTableSlot **slots = palloc(sizeof(TupleTableSlot *) * nslots);

	for (int i = 0; i < nslots; i++)
		slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsHeapTuple);
	for (int done = 0; done < n; done += nslots)
	{
		int			end = Min(n, done + nslots);
		int			some = 0;

		for (int i = done; i < end; i++)
		{
			store_message(slots[some], node, kind, &messages[i]);
			some += !insert_if_large(rel, slots[some], indexes);
		}
		if (some > 0)
			CatalogTuplesMultiInsertWithInfo(rel, slots, some, indexes);
	}
	for (int i = 0; i < nslots; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	CatalogCloseIndexes(indexes);
	table_close(rel, NoLock);
}

/* ---- Dispatching ---- */

static void
text_of(AsLetter *letter, AsEnvelopeText which, HeapTuple row, int column,
		TupleDesc desc)
{
	bool		isnull;
	Datum		value = heap_getattr(row, column, desc, &isnull);
	text	   *plain = isnull ? NULL : DatumGetTextPP(value);

	if (plain == NULL)
		return;
	letter->texts[which] = VARDATA_ANY(plain);
	letter->lengths[which] = VARSIZE_ANY_EXHDR(plain);
}

static void
json_of(AsLetter *letter, AsEnvelopeText which, HeapTuple row, int column,
		TupleDesc desc)
{
	bool		isnull;
	Datum		value = heap_getattr(row, column, desc, &isnull);
	Jsonb	   *json = isnull ? NULL : DatumGetJsonbP(value);

	if (json == NULL)
		return;
	letter->texts[which] = JsonbToCString(NULL, &json->root, VARSIZE(json));
	letter->lengths[which] = (uint32) strlen(letter->texts[which]);
}

static int64
number_of(HeapTuple row, int column, TupleDesc desc)
{
	bool		isnull;
	Datum		value = heap_getattr(row, column, desc, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

static void
make_letter(AsLetter *letter, HeapTuple row, TupleDesc desc)
{
	bool		isnull;

	memset(letter, 0, sizeof(AsLetter));
	letter->id = number_of(row, Anum_outbox_id, desc);
	letter->sent_at = number_of(row, Anum_outbox_sent_at, desc);
	letter->due = number_of(row, Anum_outbox_due, desc);
	letter->expires_at = number_of(row, Anum_outbox_expires_at, desc);
	letter->kind = (uint8) DatumGetInt16(heap_getattr(row, Anum_outbox_kind, desc, &isnull));
	letter->priority = (uint8) DatumGetInt16(heap_getattr(row, Anum_outbox_priority, desc, &isnull));
	text_of(letter, AS_TEXT_ACTOR_TYPE, row, Anum_outbox_actor_type, desc);
	text_of(letter, AS_TEXT_ACTOR_ID, row, Anum_outbox_actor_id, desc);
	text_of(letter, AS_TEXT_NAME, row, Anum_outbox_message, desc);
	json_of(letter, AS_TEXT_BODY, row, Anum_outbox_body, desc);
	json_of(letter, AS_TEXT_HEADERS, row, Anum_outbox_headers, desc);
	text_of(letter, AS_TEXT_SENDER_TYPE, row, Anum_outbox_sender_type, desc);
	text_of(letter, AS_TEXT_SENDER_ID, row, Anum_outbox_sender_id, desc);
	text_of(letter, AS_TEXT_DEDUP_KEY, row, Anum_outbox_dedup_key, desc);
}

/*
 * Delete a row.  It can be gone, if somebody has taken the message back; or
 * somebody is about to: then wait for him, if that is allowed.
 */
static TM_Result
delete_row(Relation rel, ItemPointer place, bool may_wait)
{
	TM_FailureData failure;

	return table_tuple_delete(rel, place, GetCurrentCommandId(true),
							  GetActiveSnapshot(), InvalidSnapshot, may_wait,
							  &failure, false);
}

static bool
is_in(const bool *slots, const AsLetter *letter)
{
	return slots[as_slot_of(as_key_hash(letter->texts[AS_TEXT_ACTOR_TYPE], letter->lengths[AS_TEXT_ACTOR_TYPE],
										letter->texts[AS_TEXT_ACTOR_ID], letter->lengths[AS_TEXT_ACTOR_ID]))];
}

/*
 * Rows of the node, from an id on, into the body; and delete them.  Only those
 * of some slots, unless slots is NULL.
 */
static int
take_rows(int16 node, uint64 from, bool may_wait, const bool *slots, StringInfo body, uint64 *next)
{
	Relation	rel = open_outbox(RowExclusiveLock);
	Relation	index = index_open(as_catalog_relation("outbox_pkey"), AccessShareLock);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "letter",
												  ALLOCSET_DEFAULT_SIZES);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	row;
	AsLetter	letter;
	int			n = 0;

	*next = AS_NO_LOW;
	ScanKeyInit(&keys[0], Anum_outbox_node, BTEqualStrategyNumber, F_INT2EQ, Int16GetDatum(node));
	ScanKeyInit(&keys[1], Anum_outbox_id, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum((int64) from));
	scan = systable_beginscan_ordered(rel, index, GetActiveSnapshot(), 2, keys);
	while (HeapTupleIsValid(row = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		MemoryContext before = MemoryContextSwitchTo(context);

		TM_Result	deleted = TM_BeingModified;

		make_letter(&letter, row, RelationGetDescr(rel));
		if (slots != NULL && !is_in(slots, &letter))
		{
			MemoryContextSwitchTo(before);
			MemoryContextReset(context);
			continue;
		}
		if (n < MAX_BATCH_MESSAGES && (n == 0 || body->len <= MAX_BATCH_BYTES))
			deleted = delete_row(rel, &row->t_self, may_wait && n == 0);
		if (deleted == TM_BeingModified)
		{
			*next = (uint64) letter.id;
			MemoryContextSwitchTo(before);
			break;
		}
		if (deleted == TM_Ok)
		{
			as_envelope_add(body, &letter);
			n++;
		}
		MemoryContextSwitchTo(before);
		MemoryContextReset(context);
	}
	systable_endscan_ordered(scan);
	MemoryContextDelete(context);
	index_close(index, NoLock);
	table_close(rel, NoLock);
	return n;
}

static bytea *
seal(const StringInfo body, int nmessages)
{
	StringInfoData envelope;

	initStringInfo(&envelope);
	appendStringInfoSpaces(&envelope, VARHDRSZ);
	as_envelope_seal(&envelope, body, nmessages);
	SET_VARSIZE(envelope.data, envelope.len);
	return (bytea *) envelope.data;
}

static void
insert_batch(int16 node, const AsBatch *batch)
{
	Relation	rel = table_open(as_catalog_relation("outbox_batch"), RowExclusiveLock);
	Datum		values[6];
	bool		nulls[6] = {false};
	HeapTuple	row;

	values[0] = Int16GetDatum(node);
	values[1] = Int64GetDatum(batch->incarnation);
	values[2] = Int64GetDatum(batch->number);
	values[3] = Int32GetDatum(batch->nmessages);
	values[4] = PointerGetDatum(batch->envelope);
	values[5] = TimestampTzGetDatum(GetCurrentTimestamp());
	row = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	CatalogTupleInsert(rel, row);
	heap_freetuple(row);
	table_close(rel, NoLock);
}

bool
as_outbox_dispatch(int16 node, uint64 from, bool may_wait, AsBatch *batch, uint64 *next)
{
	StringInfoData body;

	initStringInfo(&body);
	batch->nmessages = take_rows(node, from, may_wait, NULL, &body, next);
	if (batch->nmessages == 0)
		return false;
	batch->envelope = seal(&body, batch->nmessages);
	insert_batch(node, batch);
	return true;
}

int
as_outbox_stored(int16 node, int64 incarnation, int64 number, int max, AsBatch *batches)
{
	AsRows		rows;
	text	   *args[4] = {as_int_text(node), as_int_text(incarnation), as_int_text(number), as_int_text(max)};

	(void) as_text_query(&rows, SPI_OK_SELECT,
						 "SELECT incarnation::text, batch::text, nmessages::text, envelope::text FROM actorstore.outbox_batch"
						 " WHERE node_number = $1::text::smallint AND (incarnation, batch) > ($2::text::bigint, $3::text::bigint)"
						 " ORDER BY outbox_batch.incarnation, outbox_batch.batch LIMIT $4::text::int",
						 4, args);
	for (int i = 0; i < rows.nrows; i++)
	{
		batches[i].incarnation = as_cell_int(&rows, i, 0);
		batches[i].number = as_cell_int(&rows, i, 1);
		batches[i].nmessages = (int) as_cell_int(&rows, i, 2);
		batches[i].envelope = DatumGetByteaPP(DirectFunctionCall1(byteain, CStringGetDatum(text_to_cstring(as_cell(&rows, i, 3)))));
	}
	return rows.nrows;
}

void
as_outbox_clean(int16 node, int64 incarnation, int64 number)
{
	text	   *args[4] = {as_int_text(node), as_int_text(incarnation), as_int_text(number),
	as_int_text(actorstore_outbox_retention)};

	(void) as_text_query(NULL, SPI_OK_DELETE,
						 "DELETE FROM actorstore.outbox_batch WHERE node_number = $1::text::smallint"
						 " AND (incarnation, batch) < ($2::text::bigint, $3::text::bigint)"
						 " AND made_at < clock_timestamp() - $4::text::int * interval '1 second'",
						 4, args);
}

bytea *
as_outbox_take_kept(const bool *slots)
{
	StringInfoData body;
	uint64		next;
	int			n;

	initStringInfo(&body);
	n = take_rows(AS_NO_NODE, 0, true, slots, &body, &next);
	if (n == 0)
		return NULL;
	CommandCounterIncrement();
	return seal(&body, n);
}

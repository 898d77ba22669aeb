/*-------------------------------------------------------------------------
 *
 * mailbox.c
 *	  See mailbox.h.
 *
 * One file of more than 500 lines, so that no other one knows the columns.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/mailbox.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "compat.h"
#include "runtime/mail_page.h"
#include "runtime/trace.h"
#include "runtime/sched.h"
#include "state/catalog.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Column numbers of actorstore.message */
enum
{
	COL_MESSAGE_ID = 1,
	COL_ACTOR_TYPE,
	COL_ACTOR_ID,
	COL_MESSAGE,
	COL_BODY,
	COL_KEY_HASH,
	COL_POSITION,
	COL_PRIORITY,
	COL_LANE,
	COL_ATTEMPTS,
	COL_SENT_AT,
	COL_DUE,
	COL_EXPIRES_AT,
	COL_HEADERS,
	COL_SENDER_TYPE,
	COL_SENDER_ID,
	COL_DEDUP_KEY,
	NATTS_MESSAGE = COL_DEDUP_KEY
};

/* Rows handed to the table at a time. */
#define ROWS_AT_ONCE	256

/* So many rows before it is read, a row is foreseen. */
#define ROWS_AHEAD	12

/* The next key is looked for so many rows on, before it is looked up. */
#define STEPS_TO_KEY	4

void
as_mailbox_open(AsMailbox *mailbox, LOCKMODE lockmode)
{
	static AsIndexNames names = {.n = 3, .names = {"message_key", "message_due", "message_later"}};

	mailbox->rel = table_open(as_catalog()->message, lockmode);
	as_index_set_open(&mailbox->indexes, mailbox->rel, &names, lockmode);
	mailbox->by_key = mailbox->indexes.known[0];
	mailbox->by_due = mailbox->indexes.known[1];
	mailbox->later = mailbox->indexes.known[2];
	mailbox->slot = table_slot_create(mailbox->rel, NULL);
	mailbox->scan = NULL;
	mailbox->at_keys = false;
}

void
as_mailbox_close(AsMailbox *mailbox)
{
	if (mailbox->scan != NULL)
		index_endscan(mailbox->scan);
	ExecDropSingleTupleTableSlot(mailbox->slot);
	as_index_set_close(&mailbox->indexes);
	table_close(mailbox->rel, NoLock);
}

/* ---- Rows ---- */

static HeapTuple
form_row(AsMailbox *mailbox, const AsMessage *message)
{
	Datum		values[NATTS_MESSAGE];
	bool		nulls[NATTS_MESSAGE] = {false};

#define SET(col, value)	(values[(col) - 1] = (value))
#define SET_OR_NULL(col, present, value) \
	(nulls[(col) - 1] = !(present), values[(col) - 1] = (value))
	SET(COL_MESSAGE_ID, Int64GetDatum(message->message_id));
	SET(COL_ACTOR_TYPE, PointerGetDatum(message->actor_type));
	SET(COL_ACTOR_ID, PointerGetDatum(message->actor_id));
	SET(COL_MESSAGE, PointerGetDatum(message->name));
	SET_OR_NULL(COL_BODY, message->body != 0, message->body);
	SET(COL_KEY_HASH, Int64GetDatum((int64) message->key_hash));
	SET(COL_POSITION, Int64GetDatum(message->position));
	SET(COL_PRIORITY, Int16GetDatum(message->priority));
	SET(COL_LANE, Int16GetDatum(message->lane));
	SET(COL_ATTEMPTS, Int32GetDatum(message->attempts));
	SET(COL_SENT_AT, TimestampTzGetDatum(message->sent_at));
	SET_OR_NULL(COL_DUE, message->due != 0, TimestampTzGetDatum(message->due));
	SET_OR_NULL(COL_EXPIRES_AT, message->expires_at != 0,
				TimestampTzGetDatum(message->expires_at));
	SET_OR_NULL(COL_HEADERS, message->headers != 0, message->headers);
	SET_OR_NULL(COL_SENDER_TYPE, message->sender_type != NULL,
				PointerGetDatum(message->sender_type));
	SET_OR_NULL(COL_SENDER_ID, message->sender_id != NULL,
				PointerGetDatum(message->sender_id));
	SET_OR_NULL(COL_DEDUP_KEY, message->dedup_key != NULL,
				PointerGetDatum(message->dedup_key));
#undef SET
#undef SET_OR_NULL
	return heap_form_tuple(RelationGetDescr(mailbox->rel), values, nulls);
}

static void
take_row(AsMailbox *mailbox, HeapTuple row, AsMessage *message)
{
	Datum		values[NATTS_MESSAGE];
	bool		nulls[NATTS_MESSAGE];

	heap_deform_tuple(row, RelationGetDescr(mailbox->rel), values, nulls);
#define GET(col)	(values[(col) - 1])
#define GET_OR_0(col)	(nulls[(col) - 1] ? (Datum) 0 : values[(col) - 1])
#define GET_TEXT_OR_NULL(col) \
	(nulls[(col) - 1] ? NULL : DatumGetTextPP(values[(col) - 1]))
	message->message_id = DatumGetInt64(GET(COL_MESSAGE_ID));
	message->cell = 0;
	message->asked = false;
	message->given_up = false;
	message->actor_type = DatumGetTextPP(GET(COL_ACTOR_TYPE));
	message->actor_id = DatumGetTextPP(GET(COL_ACTOR_ID));
	message->name = DatumGetTextPP(GET(COL_MESSAGE));
	message->body = GET_OR_0(COL_BODY);
	message->key_hash = (uint64) DatumGetInt64(GET(COL_KEY_HASH));
	message->position = DatumGetInt64(GET(COL_POSITION));
	message->priority = DatumGetInt16(GET(COL_PRIORITY));
	message->lane = DatumGetInt16(GET(COL_LANE));
	message->attempts = DatumGetInt32(GET(COL_ATTEMPTS));
	message->sent_at = DatumGetTimestampTz(GET(COL_SENT_AT));
	message->due = DatumGetTimestampTz(GET_OR_0(COL_DUE));
	message->expires_at = DatumGetTimestampTz(GET_OR_0(COL_EXPIRES_AT));
	message->headers = GET_OR_0(COL_HEADERS);
	message->sender_type = GET_TEXT_OR_NULL(COL_SENDER_TYPE);
	message->sender_id = GET_TEXT_OR_NULL(COL_SENDER_ID);
	message->dedup_key = GET_TEXT_OR_NULL(COL_DEDUP_KEY);
#undef GET
#undef GET_OR_0
#undef GET_TEXT_OR_NULL
	message->place = row->t_self;
}

void
as_mailbox_take(AsMailbox *mailbox, AsMessage *message)
{
	take_row(mailbox, ExecCopySlotHeapTuple(mailbox->slot), message);
}

/* ---- The entries that a row needs in the indexes ---- */

static void
index_by_key(AsMailbox *mailbox, const AsMessage *message, ItemPointer place,
			 bool unchanged)
{
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	values[0] = Int64GetDatum((int64) message->key_hash);
	values[1] = Int16GetDatum(message->lane);
	values[2] = Int64GetDatum(message->position);
	index_insert(mailbox->by_key, values, nulls, place, mailbox->rel,
				 UNIQUE_CHECK_NO, unchanged, NULL);
}

/* Those that only messages with a time have. */
static void
index_by_due(AsMailbox *mailbox, const AsMessage *message, ItemPointer place)
{
	Datum		values[1];
	bool		nulls[1] = {false};

	if (message->due == 0)
		return;
	values[0] = TimestampTzGetDatum(message->due);
	index_insert(mailbox->by_due, values, nulls, place, mailbox->rel,
				 UNIQUE_CHECK_NO, false, NULL);
	values[0] = Int64GetDatum(message->message_id);
	index_insert(mailbox->later, values, nulls, place, mailbox->rel,
				 UNIQUE_CHECK_NO, false, NULL);
}

static void
index_row(AsMailbox *mailbox, const AsMessage *message, TupleTableSlot *slot,
		  bool unchanged)
{
	index_by_key(mailbox, message, &slot->tts_tid, unchanged);
	index_by_due(mailbox, message, &slot->tts_tid);
	as_index_set_write(&mailbox->indexes, slot, false);
}

/* A message and where its row is */
typedef struct Placed
{
	const AsMessage *message;
	ItemPointer place;
} Placed;

static int
compare_keys(const void *a, const void *b)
{
	int64		x = (int64) ((const Placed *) a)->message->key_hash;
	int64		y = (int64) ((const Placed *) b)->message->key_hash;

	return x < y ? -1 : x > y;
}

/*
 * The same for many rows, in the order of the index, so that neighbours find
 * the same pages at hand.
 */
static void
index_rows(AsMailbox *mailbox, Placed *rows, int n)
{
	qsort(rows, n, sizeof(Placed), compare_keys);
	for (int i = 0; i < n; i++)
		index_by_key(mailbox, rows[i].message, rows[i].place, false);
	for (int i = 0; i < n; i++)
		index_by_due(mailbox, rows[i].message, rows[i].place);
}

static void
insert_one(AsMailbox *mailbox, AsMessage *message)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(mailbox->rel),
													&TTSOpsHeapTuple);

	ExecStoreHeapTuple(form_row(mailbox, message), slot, true);
	table_tuple_insert(mailbox->rel, slot, GetCurrentCommandId(true), 0, NULL);
	index_row(mailbox, message, slot, false);
	ExecDropSingleTupleTableSlot(slot);
}

static void
insert_some(AsMailbox *mailbox, AsMessage *messages, int n,
			TupleTableSlot **slots)
{
	Placed		rows[ROWS_AT_ONCE];

	for (int i = 0; i < n; i++)
		ExecStoreHeapTuple(form_row(mailbox, &messages[i]), slots[i], true);
	table_multi_insert(mailbox->rel, slots, n, GetCurrentCommandId(true), 0,
					   NULL);
	for (int i = 0; i < n; i++)
	{
		rows[i].message = &messages[i];
		rows[i].place = &slots[i]->tts_tid;
	}
	index_rows(mailbox, rows, n);
	for (int i = 0; i < n; i++)
	{
		as_index_set_write(&mailbox->indexes, slots[i], false);
		ExecClearTuple(slots[i]);
	}
}

void
as_mailbox_insert(AsMailbox *mailbox, AsMessage *messages, int n)
{
	TupleTableSlot *slots[ROWS_AT_ONCE];
	MemoryContext context;
	MemoryContext old;
	int			nslots = Min(n, ROWS_AT_ONCE);

	if (as_trace_is_on())
		as_trace_sent(messages, n);
	if (n == 1)
	{
		insert_one(mailbox, messages);
		return;
	}
	context = AllocSetContextCreate(CurrentMemoryContext, "actorstore messages",
									ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < nslots; i++)
		slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(mailbox->rel),
											&TTSOpsHeapTuple);
	for (int done = 0; done < n; done += nslots)
	{
		old = MemoryContextSwitchTo(context);
		insert_some(mailbox, messages + done, Min(n - done, nslots), slots);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	for (int i = 0; i < nslots; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	MemoryContextDelete(context);
}

/* ---- Reading ---- */

/* Begin to read by key with the active snapshot. */
static void
begin_scan(AsMailbox *mailbox, ScanKey keys, int nkeys)
{
	if (mailbox->scan != NULL && mailbox->scan->numberOfKeys != nkeys)
	{
		index_endscan(mailbox->scan);
		mailbox->scan = NULL;
	}
	if (mailbox->scan == NULL)
		mailbox->scan = as_index_beginscan(mailbox->rel, mailbox->by_key,
										   GetActiveSnapshot(), nkeys);
	mailbox->scan->xs_snapshot = GetActiveSnapshot();
	mailbox->ndead = mailbox->ngone = 0;
	mailbox->at_keys = false;
	index_rescan(mailbox->scan, keys, nkeys, NULL, 0);
}

/* Nothing of the snapshot may be left in the scan. */
static void
end_scan(AsMailbox *mailbox)
{
	ExecClearTuple(mailbox->slot);
	mailbox->scan->xs_snapshot = InvalidSnapshot;
}

/* Rows that the page of the index at hand names are on their way meanwhile. */
static void
foresee(IndexScanDesc scan)
{
	BTScanPos	page = &((BTScanOpaque) scan->opaque)->currPos;

	if (page->itemIndex + ROWS_AHEAD <= page->lastItem)
		as_mail_page_foresee(&page->items[page->itemIndex + ROWS_AHEAD].heapTid);
	if (page->itemIndex + ROWS_AHEAD / 2 <= page->lastItem)
		as_mail_page_foresee_row(&page->items[page->itemIndex + ROWS_AHEAD / 2].heapTid);
}

/*
 * What index_getnext_slot() does, but for pruning the page: a page is looked
 * at once for each of its messages, and the room that pruning makes in it is
 * of no use before a vacuum, which prunes it itself.
 */
static bool
next_of_scan(AsMailbox *mailbox)
{
	IndexScanDesc scan = mailbox->scan;
	HeapTuple	row = &((BufferHeapTupleTableSlot *) mailbox->slot)->base.tupdata;
	ItemPointer entry;

	while ((entry = index_getnext_tid(scan, ForwardScanDirection)) != NULL)
	{
		ItemPointerData place = *entry;
		Buffer		buffer = as_mail_page_read(mailbox->rel,
											   ItemPointerGetBlockNumber(&place));
		bool		all_dead = false;
		bool		found;

		foresee(scan);
		ExecClearTuple(mailbox->slot);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		found = heap_hot_search_buffer(&place, mailbox->rel, buffer,
									   scan->xs_snapshot, row, &all_dead, true);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		scan->kill_prior_tuple = all_dead;
		if (found)
		{
			row->t_self = place;
			ExecStorePinnedBufferHeapTuple(row, mailbox->slot, buffer);
			mailbox->slot->tts_tableOid = RelationGetRelid(mailbox->rel);
			return true;
		}
		ReleaseBuffer(buffer);
		if (all_dead)
			mailbox->ndead++;
		else
			mailbox->ngone++;
	}
	return false;
}

static void
lane_keys(ScanKey keys, uint64 key_hash, int first_lane, int last_lane,
		  uint64 position)
{
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum((int64) key_hash));
	if (first_lane == last_lane)
	{
		ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT2EQ,
					Int16GetDatum(first_lane));
		ScanKeyInit(&keys[2], 3, BTGreaterEqualStrategyNumber, F_INT8GE,
					Int64GetDatum((int64) position));
	}
	else
	{
		ScanKeyInit(&keys[1], 2, BTGreaterEqualStrategyNumber, F_INT2GE,
					Int16GetDatum(first_lane));
		ScanKeyInit(&keys[2], 2, BTLessEqualStrategyNumber, F_INT2LE,
					Int16GetDatum(last_lane));
	}
}

int
as_mailbox_read(AsMailbox *mailbox, uint64 key_hash, int first_lane,
				int last_lane, uint64 position, AsMessage *messages, int max,
				bool *end)
{
	ScanKeyData keys[3];
	int			n = 0;

	lane_keys(keys, key_hash, first_lane, last_lane, position);
	begin_scan(mailbox, keys, 3);
	*end = false;
	while (n < max && !*end)
	{
		if (next_of_scan(mailbox))
			as_mailbox_take(mailbox, &messages[n++]);
		else
			*end = true;
	}
	end_scan(mailbox);
	return n;
}

int
as_mailbox_count(AsMailbox *mailbox, uint64 key_hash, int first_lane, int max)
{
	ScanKeyData keys[3];
	int			n = 0;

	lane_keys(keys, key_hash, first_lane, 2 * AS_DELAYED_LANE - 1, 0);
	begin_scan(mailbox, keys, 3);
	while (n < max && next_of_scan(mailbox))
		n++;
	end_scan(mailbox);
	return n;
}

/*
 * Go on with the scan from key to key; false if the next key is not found within
 * a few rows, as it may be far behind the many of this one.
 */
static bool
step_to_key(AsMailbox *mailbox, uint64 from, bool *found)
{
	for (int i = 0; i < STEPS_TO_KEY; i++)
	{
		HeapTuple	row;
		bool		isnull;

		*found = next_of_scan(mailbox);
		if (!*found)
			return true;
		row = ExecFetchSlotHeapTuple(mailbox->slot, false, NULL);
		if (DatumGetInt64(heap_getattr(row, COL_KEY_HASH,
									   RelationGetDescr(mailbox->rel),
									   &isnull)) >= (int64) from)
			return true;
	}
	return false;
}

bool
as_mailbox_next_key(AsMailbox *mailbox, uint64 from, AsMessage *first)
{
	ScanKeyData keys[1];
	bool		found = false;

	if (!mailbox->at_keys || !step_to_key(mailbox, from, &found))
	{
		ScanKeyInit(&keys[0], 1, BTGreaterEqualStrategyNumber, F_INT8GE,
					Int64GetDatum((int64) from));
		begin_scan(mailbox, keys, 1);
		mailbox->at_keys = true;
		found = next_of_scan(mailbox);
	}

	/* the lanes that are read come first */
	if (found)
		as_mailbox_take(mailbox, first);
	ExecClearTuple(mailbox->slot);
	return found;
}

void
as_mailbox_end_keys(AsMailbox *mailbox)
{
	if (!mailbox->at_keys)
		return;
	end_scan(mailbox);
	mailbox->at_keys = false;
}

void
as_mailbox_scan_due(AsMailbox *mailbox, TimestampTz from,
					AsMessageCallback callback, void *arg)
{
	ScanKeyData key;
	IndexScanDesc scan;
	AsMessage	message;
	bool		go_on = true;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "message that is due", ALLOCSET_DEFAULT_SIZES);

	ScanKeyInit(&key, 1, BTGreaterEqualStrategyNumber, F_TIMESTAMP_GE,
				TimestampTzGetDatum(from));
	scan = as_index_beginscan(mailbox->rel, mailbox->by_due,
							  GetActiveSnapshot(), 1);
	index_rescan(scan, &key, 1, NULL, 0);
	while (go_on && index_getnext_slot(scan, ForwardScanDirection,
									   mailbox->slot))
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		as_mailbox_take(mailbox, &message);
		go_on = callback(&message, arg);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	index_endscan(scan);
	ExecClearTuple(mailbox->slot);
	MemoryContextDelete(context);
}

void
as_mailbox_scan_all(AsMailbox *mailbox, AsMessageCallback callback, void *arg)
{
	AsMessage	message;
	bool		go_on = true;

	begin_scan(mailbox, NULL, 0);
	while (go_on && next_of_scan(mailbox))
	{
		take_row(mailbox, ExecFetchSlotHeapTuple(mailbox->slot, false, NULL),
				 &message);
		go_on = callback(&message, arg);
	}
	end_scan(mailbox);
}

/* ---- Changing ---- */

bool
as_mailbox_delete(AsMailbox *mailbox, const AsMessage *message)
{
	TM_FailureData failure;
	ItemPointerData place = message->place;

	return table_tuple_delete(mailbox->rel, &place, GetCurrentCommandId(true),
							  GetActiveSnapshot(), InvalidSnapshot, true,
							  &failure, false) == TM_Ok;
}

bool
as_mailbox_replace(AsMailbox *mailbox, AsMessage *message)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(mailbox->rel),
													&TTSOpsHeapTuple);
	TM_FailureData failure;
	TM_Result	result;
	AsIndexNeed need;

	ExecStoreHeapTuple(form_row(mailbox, message), slot, true);
	result = as_table_tuple_update(mailbox->rel, &message->place, slot,
								   GetCurrentCommandId(true),
								   GetActiveSnapshot(), &failure,
								   &need);
	if (result == TM_Ok)
	{
		message->place = slot->tts_tid;
		if (need == AS_ALL_INDEXES)
			index_row(mailbox, message, slot, true);
		else if (need == AS_SUMMARIES)
			as_index_set_write_summaries(&mailbox->indexes, slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	return result == TM_Ok;
}

/* Look for a message by an index with a key on a column; true if it is there. */
static bool
find_by(AsMailbox *mailbox, Relation index, int column, int64 value)
{
	ScanKeyData key;
	IndexScanDesc scan;
	bool		found;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(value));
	scan = as_index_beginscan(mailbox->rel, index, GetActiveSnapshot(), 1);
	index_rescan(scan, &key, 1, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, mailbox->slot);
	index_endscan(scan);
	return found;
}

typedef struct Wanted
{
	int64		message_id;
	ItemPointerData place;
	bool		found;
} Wanted;

static bool
is_wanted(AsMessage *message, void *arg)
{
	Wanted	   *wanted = arg;

	if (message->message_id != wanted->message_id)
		return true;
	wanted->place = message->place;
	wanted->found = true;
	return false;
}

/*
 * A message without a time is found by its position, which is its number, by
 * looking through the index by key from end to end; but at no row of another
 * message.  One that another node has numbered took a position here: for that
 * the rows are looked at.
 */
static bool
find_place(AsMailbox *mailbox, int64 message_id, ItemPointerData *place)
{
	Wanted		wanted = {.message_id = message_id};
	int64		number;

	if (find_by(mailbox, mailbox->later, 1, message_id) ||
		(as_message_number(message_id, &number) &&
		 find_by(mailbox, mailbox->by_key, 3, number)))
	{
		*place = mailbox->slot->tts_tid;
		return true;
	}
	if (as_message_number(message_id, &number))
		return false;
	as_mailbox_scan_all(mailbox, is_wanted, &wanted);
	*place = wanted.place;
	return wanted.found;
}

bool
as_mailbox_find(AsMailbox *mailbox, int64 message_id, AsMessage *message)
{
	TM_FailureData failure;
	ItemPointerData place;
	bool		found;

	if (!find_place(mailbox, message_id, &place))
		return false;

	/* follow a version that somebody has made meanwhile */
	ExecClearTuple(mailbox->slot);
	found = table_tuple_lock(mailbox->rel, &place, GetActiveSnapshot(),
							 mailbox->slot, GetCurrentCommandId(true),
							 LockTupleExclusive, LockWaitBlock,
							 TUPLE_LOCK_FLAG_FIND_LAST_VERSION,
							 &failure) == TM_Ok;
	if (found)
		as_mailbox_take(mailbox, message);
	ExecClearTuple(mailbox->slot);
	return found && message->message_id == message_id;
}

bool
as_mailbox_fetch(AsMailbox *mailbox, const ItemPointerData *place,
				 int64 message_id, AsMessage *message)
{
	ItemPointerData at = *place;
	bool		found;

	/* the table may have been written anew since */
	found = ItemPointerGetBlockNumber(&at) < RelationGetNumberOfBlocks(mailbox->rel) &&
		table_tuple_fetch_row_version(mailbox->rel, &at, GetActiveSnapshot(),
									  mailbox->slot);
	if (found)
		as_mailbox_take(mailbox, message);
	ExecClearTuple(mailbox->slot);
	return found && message->message_id == message_id;
}

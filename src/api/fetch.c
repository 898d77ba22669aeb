/*-------------------------------------------------------------------------
 *
 * fetch.c
 *	  The SQL function that reads a subscription.
 *
 * A subscription from the beginning first returns the actors that are there.
 * They are read page by page in the order of their keys, and each page is
 * stored with the snapshot it was read with until it is acknowledged, so that
 * it comes again unchanged.  Then come the changes since the slot was made,
 * without those that the snapshot of their actor's page had seen.  Versions
 * could not decide that: they begin again when an actor is deleted.
 *
 * A page's snapshot is younger than the slot, so what it has not seen was
 * committed after it, and is in the stream.  What it has seen of an actor was
 * committed before what it has not seen, as the row's lock makes the second
 * wait for the end of the first.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "access/transam.h"
#include "access/xact.h"
#include "api/args.h"
#include "api/subscription.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "cdc/slot.h"
#include "compat.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "state/catalog.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

PG_FUNCTION_INFO_V1(actorstore_fetch);

/* Columns of actorstore.change_event */
typedef enum EventColumn
{
	EV_SEQUENCE,
	EV_OPERATION,
	EV_ACTOR_TYPE,
	EV_ACTOR_ID,
	EV_PREVIOUS_VALUE,
	EV_PREVIOUS_VERSION,
	EV_NEW_VALUE,
	EV_NEW_VERSION,
	EV_TIMESTAMP,
	EV_COLUMNS
} EventColumn;

/* present actors read at once, whatever the caller asks for */
#define MAX_PAGE	10000

/* A page of present actors: those up to a key, behind the page before. */
typedef struct KeyPage
{
	bool		last;			/* has no upper end */
	text	   *type;
	text	   *id;
	FullTransactionId reader;	/* had written no actor when it read the page */
	Datum		snapshot;		/* pg_snapshot */
	XLogRecPtr	taken_at;		/* all that the snapshot has seen lies before */
} KeyPage;

typedef struct Delivery
{
	ReturnSetInfo *result;
	AsSubscription *subscription;
	AsSlotRead	read;
	int			npages;
	KeyPage    *pages;
	XLogRecPtr	pages_end;		/* changes behind it need no look at pages */
	FullTransactionId next_xid;
	AsSequence	last;			/* event returned */
	TimestampTz last_time;
	int64		nnew;			/* events never returned before */
} Delivery;

/* ---- Present actors ---- */

/*
 * A page must not show what this transaction itself has not committed yet.
 * Whoever has written an actor still has the lock on its table.
 */
static void
reject_own_changes(void)
{
	List	   *tables = find_all_inheritors(as_catalog()->actor, NoLock, NULL);
	ListCell   *cell;

	foreach(cell, tables)
	{
		LOCKTAG		tag;

		SET_LOCKTAG_RELATION(tag, MyDatabaseId, lfirst_oid(cell));
		if (as_lock_held_by_me(&tag, RowExclusiveLock))
			ereport(ERROR,
					(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
					 errmsg("cannot read the present actors in a transaction that has changed actors"),
					 errhint("Commit first.")));
	}
}

/* Read the next page and store it. */
static void
read_page(AsSubscription *subscription, int size)
{
	Oid			types[7] = {TEXTOID, TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID, INT4OID, INT8OID};
	Datum		values[7] = {PointerGetDatum(subscription->name),
		PointerGetDatum(subscription->read_type),
		PointerGetDatum(subscription->read_id),
		PointerGetDatum(subscription->types),
		PointerGetDatum(subscription->prefix),
		Int32GetDatum(size),
	Int64GetDatum(subscription->nread)};
	char		nulls[8] = "       ";
	bool		isnull;
	AsAdmin		admin;

	for (int i = 1; i <= 4; i++)
		nulls[i] = DatumGetPointer(values[i]) == NULL ? 'n' : ' ';
	as_admin_begin(&admin);
	as_admin_execute("WITH page AS MATERIALIZED ("
					 " SELECT $7 + row_number() OVER (ORDER BY actor_type, actor_id) - 1 AS number, a.*"
					 " FROM (SELECT actor_type, actor_id, value, version, updated_at FROM actorstore.actor"
					 "  WHERE ($2 IS NULL OR (actor_type, actor_id) > ($2, $3))"
					 "  AND ($4 IS NULL OR actor_type = ANY ($4)) AND ($5 IS NULL OR starts_with(actor_id, $5))"
					 "  ORDER BY actor_type, actor_id LIMIT $6) AS a),"
					 " spool AS (INSERT INTO actorstore.subscription_actor"
					 "  (subscription, number, actor_type, actor_id, value, version, updated_at)"
					 "  SELECT $1, number, actor_type, actor_id, value, version, updated_at FROM page),"
					 " size AS (SELECT count(*) AS n FROM page),"
					 " key AS (SELECT actor_type, actor_id FROM page, size WHERE n = $6 ORDER BY number DESC LIMIT 1),"
					 " note AS (INSERT INTO actorstore.subscription_page"
					 "  (subscription, number, last_type, last_id, reader, snapshot, taken_at)"
					 "  SELECT $1, $7 + n + (n < $6)::int, (SELECT actor_type FROM key), (SELECT actor_id FROM key),"
					 "   pg_current_xact_id(), pg_current_snapshot(), pg_current_wal_insert_lsn() FROM size)"
					 "UPDATE actorstore.subscription AS s SET reading = (n = $6), nread = nread + n,"
					 " read_type = (SELECT actor_type FROM key), read_id = (SELECT actor_id FROM key)"
					 " FROM size WHERE s.subscription = $1 RETURNING s.reading, s.nread",
					 SPI_OK_UPDATE_RETURNING, 7, types, values, nulls);
	subscription->reading =
		DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
								   SPI_tuptable->tupdesc, 1, &isnull));
	subscription->nread =
		DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
									SPI_tuptable->tupdesc, 2, &isnull));
	as_admin_leave(&admin);
	subscription->has_pages = true;
}

/* Remember the event just returned. */
static void
note_event(Delivery *delivery, AsSequence sequence, TimestampTz time)
{
	AsSubscription *subscription = delivery->subscription;

	delivery->read.taken++;
	delivery->last = sequence;
	delivery->last_time = time;
	if (!subscription->has_fetched ||
		as_sequence_compare(sequence, subscription->fetched) > 0)
		delivery->nnew++;
}

/* Return stored actors that are not acknowledged yet. */
static void
return_stored(Delivery *delivery)
{
	AsSubscription *subscription = delivery->subscription;
	Oid			types[3] = {TEXTOID, INT8OID, INT8OID};
	Datum		arguments[3] = {PointerGetDatum(subscription->name)};
	uint64		n;
	AsAdmin		admin;

	if (subscription->nread == 0 ||
		(subscription->has_acked &&
		 subscription->acked.lsn > subscription->start_lsn))
		return;
	arguments[1] = Int64GetDatum(subscription->has_acked ?
								 (int64) subscription->acked.number : -1);
	arguments[2] = Int64GetDatum(delivery->read.enough);
	as_admin_begin(&admin);
	n = as_admin_execute("SELECT number, actor_type, actor_id, value, version, updated_at "
						 "FROM actorstore.subscription_actor "
						 "WHERE subscription = $1 AND number > $2 ORDER BY number LIMIT $3",
						 SPI_OK_SELECT, 3, types, arguments, NULL);
	for (uint64 i = 0; i < n; i++)
	{
		Datum		row[6];
		bool		row_nulls[6];
		Datum		values[EV_COLUMNS] = {0};
		bool		nulls[EV_COLUMNS] = {false};
		AsSequence	sequence;

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, row,
						  row_nulls);
		sequence.lsn = subscription->start_lsn;
		sequence.number = (uint32) DatumGetInt64(row[0]);
		values[EV_SEQUENCE] = PointerGetDatum(as_sequence_text(sequence));
		values[EV_OPERATION] = CStringGetTextDatum("INSERT");
		values[EV_ACTOR_TYPE] = row[1];
		values[EV_ACTOR_ID] = row[2];
		nulls[EV_PREVIOUS_VALUE] = nulls[EV_PREVIOUS_VERSION] = true;
		values[EV_NEW_VALUE] = row[3];
		values[EV_NEW_VERSION] = row[4];
		values[EV_TIMESTAMP] = row[5];
		tuplestore_putvalues(delivery->result->setResult,
							 delivery->result->setDesc, values, nulls);
		note_event(delivery, sequence, DatumGetTimestampTz(row[5]));
	}
	as_admin_leave(&admin);
}

static void
load_pages(Delivery *delivery)
{
	AsSubscription *subscription = delivery->subscription;
	MemoryContext context = CurrentMemoryContext;
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {PointerGetDatum(subscription->name)};
	AsAdmin		admin;

	if (!subscription->has_pages)
		return;
	as_admin_begin(&admin);
	delivery->npages =
		(int) as_admin_execute("SELECT last_type, last_id, reader, snapshot, taken_at "
							   "FROM actorstore.subscription_page WHERE subscription = $1 ORDER BY number",
							   SPI_OK_SELECT, 1, types, values, NULL);
	delivery->pages = MemoryContextAlloc(context, Max(delivery->npages, 1) * sizeof(KeyPage));
	for (int i = 0; i < delivery->npages; i++)
	{
		KeyPage    *page = &delivery->pages[i];
		Datum		row[5];
		bool		nulls[5];
		MemoryContext old;

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, row,
						  nulls);
		old = MemoryContextSwitchTo(context);
		page->last = nulls[0];
		page->type = nulls[0] ? NULL : DatumGetTextPCopy(row[0]);
		page->id = nulls[1] ? NULL : DatumGetTextPCopy(row[1]);
		page->reader = DatumGetFullTransactionId(row[2]);
		page->snapshot = PointerGetDatum(PG_DETOAST_DATUM_COPY(row[3]));
		page->taken_at = DatumGetLSN(row[4]);
		delivery->pages_end = Max(delivery->pages_end, page->taken_at);
		MemoryContextSwitchTo(old);
	}
	as_admin_leave(&admin);
}

/* memcmp() of two strings of any length, as the C collation orders them */
static int
compare_bytes(const char *a, int a_len, const text *b)
{
	int			b_len = VARSIZE_ANY_EXHDR(b);
	int			result = memcmp(a, VARDATA_ANY(b), Min(a_len, b_len));

	return result != 0 ? result : a_len - b_len;
}

/* The page that the actor would be on, if it was there. */
static KeyPage *
page_of(Delivery *delivery, const AsEvent *event)
{
	int			low = 0;
	int			high = delivery->npages - 1;

	while (low < high)
	{
		int			middle = (low + high) / 2;
		KeyPage    *page = &delivery->pages[middle];
		int			order = -1;

		if (!page->last)
			order = compare_bytes(event->actor_type, event->actor_type_len,
								  page->type);
		if (order == 0)
			order = compare_bytes(event->actor_id, event->actor_id_len,
								  page->id);
		if (order <= 0)
			high = middle;
		else
			low = middle + 1;
	}
	return &delivery->pages[low];
}

/* Is the change in what a page shows of its actor? */
static bool
seen_by_page(Delivery *delivery, const AsEvent *event, TransactionId xid)
{
	KeyPage    *page;
	uint32		epoch = EpochFromFullTransactionId(delivery->next_xid);
	FullTransactionId full_xid;

	if (delivery->npages == 0 || event->sequence.lsn > delivery->pages_end)
		return false;
	page = page_of(delivery, event);
	if (event->sequence.lsn > page->taken_at)
		return false;
	if (xid > XidFromFullTransactionId(delivery->next_xid))
		epoch--;
	full_xid = FullTransactionIdFromEpochAndXid(epoch, xid);
	if (FullTransactionIdEquals(full_xid, page->reader))
		return false;
	return DatumGetBool(DirectFunctionCall2(pg_visible_in_snapshot,
											FullTransactionIdGetDatum(full_xid),
											page->snapshot));
}

/* ---- Changes ---- */

static void
set_side(Datum *values, bool *nulls, int column, const AsEventSide *side)
{
	nulls[column] = nulls[column + 1] = !side->present || !side->has_value;
	if (nulls[column])
		return;
	values[column] = JsonbPGetDatum(side->value);
	values[column + 1] = Int64GetDatum(side->version);
}

/* Takes the events that a slot gives (AsEventSink). */
static void
return_event(void *arg, const AsEvent *event, TransactionId xid,
			 TimestampTz commit_time)
{
	Delivery   *delivery = arg;
	Datum		values[EV_COLUMNS] = {0};
	bool		nulls[EV_COLUMNS] = {false};

	if (seen_by_page(delivery, event, xid) ||
		delivery->read.taken >= delivery->read.enough)
		return;
	values[EV_SEQUENCE] = PointerGetDatum(as_sequence_text(event->sequence));
	values[EV_OPERATION] =
		CStringGetTextDatum(as_operation_name(event->operation));
	values[EV_ACTOR_TYPE] =
		PointerGetDatum(cstring_to_text_with_len(event->actor_type,
												 event->actor_type_len));
	values[EV_ACTOR_ID] =
		PointerGetDatum(cstring_to_text_with_len(event->actor_id,
												 event->actor_id_len));
	set_side(values, nulls, EV_PREVIOUS_VALUE, &event->previous);
	set_side(values, nulls, EV_NEW_VALUE, &event->new);
	values[EV_TIMESTAMP] = TimestampTzGetDatum(commit_time);
	tuplestore_putvalues(delivery->result->setResult,
						 delivery->result->setDesc, values, nulls);
	note_event(delivery, event->sequence, commit_time);
}

static List *
add_option(List *options, const char *name, const char *value)
{
	return lappend(options, makeDefElem(pstrdup(name),
										(Node *) makeString(pstrdup(value)), -1));
}

static List *
plugin_options(AsSubscription *subscription)
{
	List	   *options = NIL;

	if (subscription->types != NULL)
	{
		StringInfoData list;
		text	  **names;
		int			n = as_subscription_types(subscription->types, &names);

		initStringInfo(&list);
		for (int i = 0; i < n; i++)
		{
			appendStringInfoString(&list, i > 0 ? ",\"" : "\"");
			for (const char *c = text_to_cstring(names[i]); *c != '\0'; c++)
			{
				if (*c == '"')
					appendStringInfoChar(&list, '"');
				appendStringInfoChar(&list, *c);
			}
			appendStringInfoChar(&list, '"');
		}
		options = add_option(options, "actor_types", list.data);
	}
	if (subscription->prefix != NULL)
		options = add_option(options, "key_prefix",
							 text_to_cstring(subscription->prefix));
	if (subscription->has_acked)
		options = add_option(options, "after",
							 text_to_cstring(as_sequence_text(subscription->acked)));
	if (subscription->has_since)
		options = add_option(options, "since",
							 timestamptz_to_str(subscription->since));
	return options;
}

static void
check_slot(AsSubscription *subscription)
{
	AsSlotState state = as_slot_state(subscription->slot, NULL);

	if (state == AS_SLOT_READY)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("subscription \"%s\" cannot go on",
					text_to_cstring(subscription->name)),
			 state == AS_SLOT_LOST ?
			 errdetail("Changes that it has not read have been removed, as \"max_slot_wal_keep_size\" allows.") :
			 errdetail("Its replication slot \"%s\" does not exist on this server.",
					   subscription->slot),
			 errhint("Call unsubscribe, and subscribe with start_from => 'beginning'.")));
}

/* Store how far fetch has come. */
static void
save_progress(Delivery *delivery)
{
	Oid			types[4] = {TEXTOID, TEXTOID, TIMESTAMPTZOID, INT8OID};
	Datum		values[4] = {PointerGetDatum(delivery->subscription->name),
		PointerGetDatum(as_sequence_text(delivery->last)),
		TimestampTzGetDatum(delivery->last_time),
	Int64GetDatum(delivery->nnew)};
	AsAdmin		admin;

	if (delivery->nnew == 0)
		return;
	as_admin_begin(&admin);
	as_admin_execute("UPDATE actorstore.subscription SET fetched = $2, fetched_time = $3, nevents = nevents + $4 "
					 "WHERE subscription = $1",
					 SPI_OK_UPDATE, 4, types, values, NULL);
	as_admin_leave(&admin);
}

/* Forget pages that the slot has passed. */
static void
forget_pages(Delivery *delivery)
{
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {PointerGetDatum(delivery->subscription->name)};
	XLogRecPtr	confirmed;
	AsAdmin		admin;

	if (delivery->npages == 0 ||
		as_slot_state(delivery->subscription->slot, &confirmed) != AS_SLOT_READY ||
		confirmed <= delivery->pages_end)
		return;
	as_admin_begin(&admin);
	as_admin_execute("DELETE FROM actorstore.subscription_page WHERE subscription = $1",
					 SPI_OK_DELETE, 1, types, values, NULL);
	as_admin_leave(&admin);
}

static void
deliver(Delivery *delivery)
{
	AsSubscription *subscription = delivery->subscription;
	AsSlotRead *read = &delivery->read;

	return_stored(delivery);
	if (read->taken == 0 && subscription->reading)
	{
		reject_own_changes();
		read_page(subscription, (int) Min(read->enough, MAX_PAGE));
		return_stored(delivery);
	}
	if (read->taken > 0)
		return;

	load_pages(delivery);
	delivery->next_xid = ReadNextFullTransactionId();
	read->slot = subscription->slot;
	read->options = plugin_options(subscription);
	read->sink = return_event;
	read->sink_arg = delivery;

	/* a transaction that does not commit must find everything again */
	read->may_confirm = !subscription->uncommitted;
	as_slot_read(read);
}

static TimestampTz
arg_deadline(FunctionCallInfo fcinfo, int n)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz deadline;

	as_reject_null(fcinfo, n, "max_wait");
	deadline = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													   TimestampTzGetDatum(now),
													   PG_GETARG_DATUM(n)));
	if (deadline < now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_wait must not be negative")));
	return deadline;
}

Datum
actorstore_fetch(PG_FUNCTION_ARGS)
{
	Delivery	delivery = {0};
	text	   *name = as_arg_subscription(fcinfo, 0);

	as_reject_null(fcinfo, 1, "max_events");
	delivery.read.enough = PG_GETARG_INT32(1);
	if (delivery.read.enough < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_events must be at least 1")));
	delivery.read.deadline = arg_deadline(fcinfo, 2);
	PreventCommandIfReadOnly("actorstore.fetch()");
	PreventCommandIfParallelMode("actorstore.fetch()");
	PreventCommandDuringRecovery("actorstore.fetch()");

	InitMaterializedSRF(fcinfo, 0);
	delivery.result = (ReturnSetInfo *) fcinfo->resultinfo;
	delivery.subscription = as_subscription_get(name);
	as_subscription_check_owner(delivery.subscription);
	as_subscription_check_types(delivery.subscription->types);
	check_slot(delivery.subscription);
	deliver(&delivery);
	save_progress(&delivery);
	forget_pages(&delivery);
	return (Datum) 0;
}

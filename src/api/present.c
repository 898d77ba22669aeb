/*-------------------------------------------------------------------------
 *
 * present.c
 *	  The actors that are there when a subscription from the beginning
 *	  starts.
 *
 * They are read page by page in the order of their keys, and each page is
 * stored with the snapshot it was read with until it is acknowledged, so that
 * it comes again unchanged.  Then come the changes since the slot was made,
 * without those that the snapshot of their actor's page had seen.  Versions
 * could not decide that: they begin again when an actor is deleted.
 *
 * A page's snapshot is younger than the slot, and whoever was running when the
 * slot was made has ended before (subscribe waits for them), so what it has not
 * seen is committed after the slot's position, and is in the stream.  What it
 * has seen of an actor was committed before what it has not seen, as the row's
 * lock makes the second wait for the end of the first.
 *
 * The pages' snapshots are forgotten when the slot's position, on disk, lies
 * behind all that any of them has seen.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "api/present.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "cdc/slot.h"
#include "compat.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/pg_lsn.h"
#include "utils/xid8.h"

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

struct AsPages
{
	int			n;
	KeyPage    *pages;
	XLogRecPtr	end;			/* changes behind it need no look at pages */
	FullTransactionId next_xid;
};

static void
raise_own_changes(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			 errmsg("cannot read the present actors in a transaction that has changed actors"),
			 errhint("Commit first.")));
}

/*
 * A page must not show what this transaction itself has not committed yet.
 * Whoever has written an actor still has the lock on its table.
 */
static void
reject_own_changes(void)
{
	List	   *tables = find_all_inheritors(as_catalog()->actor, NoLock, NULL);
	ListCell   *cell;
	LOCKTAG		registry;

	/* whose tables types come from and go to */
	SET_LOCKTAG_RELATION(registry, MyDatabaseId, as_catalog()->type);
	if (as_lock_held_by_me(&registry, ShareUpdateExclusiveLock))
		raise_own_changes();
	foreach(cell, tables)
	{
		LOCKTAG		tag;

		SET_LOCKTAG_RELATION(tag, MyDatabaseId, lfirst_oid(cell));
		if (as_lock_held_by_me(&tag, RowExclusiveLock))
			raise_own_changes();
	}
}

void
as_present_read(AsSubscription *subscription, int64 max)
{
	int			size = (int) Min(max, MAX_PAGE);
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

	reject_own_changes();
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

	/* the number in a sequence has 32 bits */
	if (subscription->nread > PG_UINT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many present actors for one subscription"),
				 errhint("Subscribe to fewer types at a time.")));
}

void
as_present_stored(AsSubscription *subscription, int64 max,
				  void (*callback) (void *arg, const AsPresentActor *actor),
				  void *arg)
{
	Oid			types[3] = {TEXTOID, INT8OID, INT8OID};
	Datum		values[3] = {PointerGetDatum(subscription->name)};
	uint64		n;
	AsAdmin		admin;

	if (subscription->nread == 0 ||
		(subscription->has_acked &&
		 subscription->acked.lsn > subscription->start_lsn))
		return;
	values[1] = Int64GetDatum(subscription->has_acked ?
							  (int64) subscription->acked.number : -1);
	values[2] = Int64GetDatum(max);
	as_admin_begin(&admin);
	n = as_admin_execute("SELECT number, actor_type, actor_id, value, version, updated_at "
						 "FROM actorstore.subscription_actor "
						 "WHERE subscription = $1 AND number > $2 ORDER BY number LIMIT $3",
						 SPI_OK_SELECT, 3, types, values, NULL);
	for (uint64 i = 0; i < n; i++)
	{
		Datum		row[6];
		bool		nulls[6];
		AsPresentActor actor;

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, row,
						  nulls);
		actor.sequence.lsn = subscription->start_lsn;
		actor.sequence.number = (uint32) DatumGetInt64(row[0]);
		actor.type = row[1];
		actor.id = row[2];
		actor.value = row[3];
		actor.version = row[4];
		actor.updated_at = row[5];
		callback(arg, &actor);
	}
	as_admin_leave(&admin);
}

AsPages *
as_present_pages(AsSubscription *subscription)
{
	AsPages    *pages = palloc0(sizeof(AsPages));
	MemoryContext context = CurrentMemoryContext;
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {PointerGetDatum(subscription->name)};
	AsAdmin		admin;

	pages->next_xid = ReadNextFullTransactionId();
	if (!subscription->has_pages)
		return pages;
	as_admin_begin(&admin);
	pages->n =
		(int) as_admin_execute("SELECT last_type, last_id, reader, snapshot, taken_at "
							   "FROM actorstore.subscription_page WHERE subscription = $1 ORDER BY number",
							   SPI_OK_SELECT, 1, types, values, NULL);
	pages->pages = MemoryContextAlloc(context, Max(pages->n, 1) * sizeof(KeyPage));
	for (int i = 0; i < pages->n; i++)
	{
		KeyPage    *page = &pages->pages[i];
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
		pages->end = Max(pages->end, page->taken_at);
		MemoryContextSwitchTo(old);
	}
	as_admin_leave(&admin);
	return pages;
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
page_of(AsPages *pages, const AsEvent *event)
{
	int			low = 0;
	int			high = pages->n - 1;

	while (low < high)
	{
		int			middle = (low + high) / 2;
		KeyPage    *page = &pages->pages[middle];
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
	return &pages->pages[low];
}

bool
as_present_has_seen(AsPages *pages, const AsEvent *event, TransactionId xid)
{
	KeyPage    *page;
	uint32		epoch = EpochFromFullTransactionId(pages->next_xid);
	FullTransactionId full_xid;

	if (pages->n == 0 || event->sequence.lsn > pages->end)
		return false;
	page = page_of(pages, event);
	if (event->sequence.lsn > page->taken_at)
		return false;
	if (xid > XidFromFullTransactionId(pages->next_xid))
		epoch--;
	full_xid = FullTransactionIdFromEpochAndXid(epoch, xid);
	if (FullTransactionIdEquals(full_xid, page->reader))
		return false;
	return DatumGetBool(DirectFunctionCall2(pg_visible_in_snapshot,
											FullTransactionIdGetDatum(full_xid),
											page->snapshot));
}

void
as_present_forget(AsSubscription *subscription, AsPages *pages)
{
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {PointerGetDatum(subscription->name)};
	XLogRecPtr	confirmed;
	AsAdmin		admin;

	if (pages->n == 0 ||
		as_slot_state(subscription->slot, &confirmed) != AS_SLOT_READY ||
		confirmed <= pages->end)
		return;
	as_admin_begin(&admin);
	as_admin_execute("DELETE FROM actorstore.subscription_page WHERE subscription = $1",
					 SPI_OK_DELETE, 1, types, values, NULL);
	as_admin_leave(&admin);
}

/*-------------------------------------------------------------------------
 *
 * decision.c
 *	  See decision.h.
 *
 * Both kinds of rows are written past the executor: no trigger, no rule, no
 * search_path has a say.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/decision.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "cluster/peer.h"
#include "compat.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "replication/syncrep.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "state/catalog.h"
#include "state/text_query.h"
#include "storage/bufmgr.h"
#include "storage/lwlock.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

PG_FUNCTION_INFO_V1(actorstore_sync_acknowledged);

/* ---- Rows ---- */

/* The same as CatalogTupleInsert() where the primary key is the only index. */
static void
insert_with_key(Relation rel, Oid index, HeapTuple tuple, Datum *key)
{
	Relation	pkey = index_open(index, RowExclusiveLock);
	bool		nulls[INDEX_MAX_KEYS] = {false};

	simple_heap_insert(rel, tuple);
	(void) index_insert(pkey, key, nulls, &tuple->t_self, rel, UNIQUE_CHECK_YES, false, NULL);
	index_close(pkey, RowExclusiveLock);
}

/*
 * Whoever locks the table against writers waits for those that are about to commit.
 * While REINDEX CONCURRENTLY is at work there is more than one index.
 */
static ItemPointerData
insert_row(Oid table, Datum *values, bool *nulls, Datum *key)
{
	Relation	rel = table_open(table, RowExclusiveLock);
	HeapTuple	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	List	   *indexes = RelationGetIndexList(rel);
	ItemPointerData row;

	if (list_length(indexes) == 1)
		insert_with_key(rel, linitial_oid(indexes), tuple, key);
	else
		CatalogTupleInsert(rel, tuple);
	row = tuple->t_self;
	heap_freetuple(tuple);
	table_close(rel, NoLock);
	return row;
}

void
as_decision_write(FullTransactionId xid, int64 incarnation, int n,
				  const int16 *nodes, char *const *gids, AsDecisionPlace *place)
{
	Datum	   *numbers = palloc(sizeof(Datum) * n);
	Datum	   *texts = palloc(sizeof(Datum) * n);
	Datum		values[6] = {0};
	bool		nulls[6] = {false};

	for (int i = 0; i < n; i++)
	{
		numbers[i] = Int16GetDatum(nodes[i]);
		texts[i] = CStringGetTextDatum(gids[i]);
	}
	values[0] = FullTransactionIdGetDatum(xid);
	values[1] = Int64GetDatum(incarnation);
	values[2] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[3] = PointerGetDatum(construct_array(numbers, n, INT2OID, 2, true, TYPALIGN_SHORT));
	values[4] = PointerGetDatum(construct_array(texts, n, TEXTOID, -1, false, TYPALIGN_INT));
	nulls[5] = true;
	place->row = insert_row(as_catalog()->decision, values, nulls, values);
	place->xid = xid;
	as_sync_require();
	ForceSyncCommit();
}

static bool
is_row_of(TupleTableSlot *slot, FullTransactionId xid)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, 1, &isnull);

	return !isnull && FullTransactionIdEquals(DatumGetFullTransactionId(value), xid);
}

/*
 * Once it was deleted and vacuumed away, another row may stand in its place, or
 * the table be shorter; none of this happens while the table is locked and the
 * row is held in the slot.
 */
void
as_decision_delete(const AsDecisionPlace *place)
{
	Relation	rel = table_open(as_catalog()->decision, RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	ItemPointerData row = place->row;
	TM_FailureData failure;

	if (ItemPointerGetBlockNumber(&row) < RelationGetNumberOfBlocks(rel) &&
		table_tuple_fetch_row_version(rel, &row, SnapshotAny, slot) &&
		is_row_of(slot, place->xid))
		(void) table_tuple_delete(rel, &row, GetCurrentCommandId(true), InvalidSnapshot,
								  InvalidSnapshot, false, &failure, false);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
}

/* Who may delete receipts may write them. */
static void
check_may_write_receipts(void)
{
	Oid			types[3] = {UUIDOID, INT8OID, XID8OID};
	Oid			function;

	if (superuser())
		return;
	function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
							   CStringGetDatum("local_forget"),
							   PointerGetDatum(buildoidvector(types, 3)),
							   ObjectIdGetDatum(get_namespace_oid("actorstore", false)));
	if (as_function_aclcheck(function, GetUserId(), ACL_EXECUTE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only another node may prepare a part of its transaction")));
}

void
as_receipt_write(const char *gid)
{
	AsGid		parts;
	Datum		values[5] = {0};
	bool		nulls[5] = {false};
	Datum		key[3];

	if (!as_gid_read(&parts, gid) || !IsTransactionBlock() ||
		IsAbortedTransactionBlockState())
		return;
	check_may_write_receipts();
	values[0] = UUIDPGetDatum(&parts.uuid);
	values[1] = Int64GetDatum(parts.incarnation);
	values[2] = FullTransactionIdGetDatum(parts.xid);
	values[3] = CStringGetTextDatum(gid);
	values[4] = TimestampTzGetDatum(GetCurrentTimestamp());
	PushActiveSnapshot(GetTransactionSnapshot());
	key[0] = values[0];
	key[1] = values[2];
	key[2] = values[3];
	(void) insert_row(as_catalog()->receipt, values, nulls, key);
	PopActiveSnapshot();
	as_sync_require();
}

/* ---- Standbys ---- */

/* The setting is read by each process in its own time, the flag is shared. */
static bool
has_sync_standbys(void)
{
	return max_wal_senders > 0 &&
		(as_sync_standbys_defined() ||
		 (SyncRepStandbyNames != NULL && SyncRepStandbyNames[0] != '\0'));
}

bool
as_sync_acknowledged(XLogRecPtr lsn)
{
	bool		acknowledged;

	if (!has_sync_standbys())
		return true;
	LWLockAcquire(SyncRepLock, LW_SHARED);
	acknowledged = WalSndCtl->lsn[SYNC_REP_WAIT_FLUSH] >= lsn;
	LWLockRelease(SyncRepLock);
	return acknowledged;
}

bool
as_decision_all_over(int node)
{
	text	   *args[2] = {as_int_text(node), as_int_text(as_node_need_self()->number)};

	return as_text_query(NULL, SPI_OK_SELECT,
						 "SELECT FROM actorstore.decision AS d WHERE EXISTS (SELECT FROM pg_catalog.unnest(d.nodes) AS u (n)"
						 "  WHERE $1::text IN ($2::text, u.n::text) AND u.n <> ALL (coalesce(d.lost, '{}')))"
						 " UNION ALL SELECT FROM pg_catalog.pg_prepared_xacts AS p JOIN actorstore.node AS n ON n.node_number::text = $1::text"
						 " WHERE p.database = pg_catalog.current_database()"
						 "  AND pg_catalog.starts_with(p.gid, 'actorstore_' || CASE WHEN n.is_self THEN '' ELSE n.node_uuid::text || '_' END)",
						 2, args) == 0;
}

static void
set_synchronous_commit(const char *value)
{
	(void) set_config_option("synchronous_commit", value, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

void
as_sync_require(void)
{
	if (synchronous_commit < SYNCHRONOUS_COMMIT_REMOTE_FLUSH)
		set_synchronous_commit("on");
}

void
as_sync_require_if_replicated(void)
{
	if (has_sync_standbys())
	{
		as_sync_require();
		ForceSyncCommit();
	}
	else
		set_synchronous_commit("off");
}

/*
 * For a coordinator that has seen a receipt: is all that can be seen here on
 * the standbys, too?
 */
Datum
actorstore_sync_acknowledged(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(as_sync_acknowledged(GetFlushRecPtr(NULL)));
}

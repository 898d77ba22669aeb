/*-------------------------------------------------------------------------
 *
 * slot.c
 *	  Logical slots of this database, read and dropped from within.
 *
 * A slot is not transactional, but what refers to it is.  So a new slot is
 * temporary, which the server removes by itself whatever becomes of this
 * session, until just before the commit; and a slot is dropped just after the
 * commit.  A crash in the instant between one of these and the commit record,
 * or a slot that is in use when it should go, leaves a slot that nobody refers
 * to: a sweep drops it.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cdc/slot.h"

#include "access/timeline.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "access/xlogutils.h"
#include "catalog/namespace.h"
#include "cdc/commit_signal.h"
#include "compat.h"
#include "lib/key_hash.h"
#include "lib/nap.h"
#include "miscadmin.h"
#include "replication/decode.h"
#include "replication/logical.h"
#include "replication/slot.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/standby.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/*
 * Reading starts again at the last record from which a snapshot can be built.
 * When a reader comes by more WAL than this, it has such a record written.
 */
#define MAX_READ_AGAIN	((uint64) 4 * 1024 * 1024)

/* look so often whether a record is written */
#define UNWRITTEN_NAP_MS	1

typedef struct PendingSlot
{
	NameData	slot;
	bool		drop;			/* else: keep */
	SubTransactionId subid;		/* whose wish it is */
} PendingSlot;

static List *pending = NIL;

PG_FUNCTION_INFO_V1(actorstore_slot_is_lost);

char *
as_slot_prefix(Oid database)
{
	return psprintf("actorstore_%u_", database);
}

char *
as_slot_new_name(void)
{
	uint64		random;

	if (!pg_strong_random(&random, sizeof(random)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	return psprintf("%s%016llx", as_slot_prefix(MyDatabaseId),
					(unsigned long long) random);
}

bool
as_slot_lock(const char *slot)
{
	uint64		hash = as_key_hash(slot, strlen(slot), "", 0);
	Oid			subscriptions = get_relname_relid("subscription",
												  get_namespace_oid("actorstore",
																	false));
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, subscriptions, (uint32) hash,
					   (uint16) (hash >> 32));
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* Is it a slot of this database and this plugin? */
static bool
is_ours(ReplicationSlot *slot)
{
	return slot->data.database == MyDatabaseId &&
		strcmp(NameStr(slot->data.plugin), "actorstore") == 0;
}

#ifdef AS_STANDBY_FORGETS_CATALOGS

/*
 * Since when no other server than this one has been the primary, as far as its
 * timelines tell; on a standby, as it will be if that is promoted now.
 *
 * A slot keeps the catalogs as they were when the changes that it has not read
 * were made: on its own server, while that is the primary.  Where it becomes a
 * standby, whoever is the primary then may vacuum them, which is replayed, and
 * nobody tells the slot, which is there again once the server takes over again.
 *
 * A slot's position is moved on primaries only, and each primary that was
 * promoted has a timeline of its own.  So if the position is on the current
 * timeline, or on the one before, as after a server that has crashed is
 * promoted in its own place, there was no other primary in between.
 */
static XLogRecPtr
primary_since(void)
{
	static TimeLineID timeline = 0;
	static XLogRecPtr since = InvalidXLogRecPtr;
	bool		standby = RecoveryInProgress();
	TimeLineID	now;
	List	   *history;			/* the current one is the first */
	int			before;

	if (standby)
		(void) GetXLogReplayRecPtr(&now);
	else
		now = GetWALInsertionTimeLine();
	if (now == timeline)
		return since;
	history = readTimeLineHistory(now);
	before = standby ? 0 : 1;
	since = before < list_length(history) ?
		((TimeLineHistoryEntry *) list_nth(history, before))->begin : InvalidXLogRecPtr;
	timeline = now;
	list_free_deep(history);
	return since;
}

#else
#define primary_since() InvalidXLogRecPtr
#endif

AsSlotState
as_slot_state(const char *name, XLogRecPtr *confirmed)
{
	XLogRecPtr	since = primary_since();
	ReplicationSlot *slot = SearchNamedReplicationSlot(name, true);
	AsSlotState state;

	if (slot == NULL)
		return AS_SLOT_MISSING;
	SpinLockAcquire(&slot->mutex);
	if (!slot->in_use || !is_ours(slot))
		state = AS_SLOT_MISSING;
	else if (as_slot_is_lost(slot))
		state = AS_SLOT_LOST;
	else
		state = slot->data.restart_lsn < since ? AS_SLOT_UNGUARDED : AS_SLOT_READY;
	if (confirmed != NULL)
		*confirmed = slot->data.confirmed_flush;
	SpinLockRelease(&slot->mutex);
	return state;
}

/* Is there nothing more to be had from a slot? */
Datum
actorstore_slot_is_lost(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(as_slot_state(NameStr(*PG_GETARG_NAME(0)), NULL) != AS_SLOT_READY);
}

/* ---- Reading ---- */

/*
 * The rest of a record may not be written yet.  read_local_xlog_page() would wait
 * for it, also where nobody is left to write it: the postmaster of a
 * server that was killed could not be started again while we are there.
 */
static int
read_page(XLogReaderState *reader, XLogRecPtr page, int length, XLogRecPtr record, char *into)
{
	while (!RecoveryInProgress() && GetFlushRecPtr(NULL) < page + length)
	{
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, UNWRITTEN_NAP_MS, as_wait_event(AS_NAP_WAL));
	}
	return read_local_xlog_page(reader, page, length, record, into);
}

static LogicalDecodingContext *
begin_decoding(AsSlotRead *read)
{
	LogicalDecodingContext *ctx;

	as_decode_into(read->sink, read->sink_arg);
	ctx = CreateDecodingContext(InvalidXLogRecPtr, read->options, false,
								XL_ROUTINE(.page_read = read_page,
										   .segment_open = wal_segment_open,
										   .segment_close = wal_segment_close),
								NULL, NULL, NULL);
	as_decode_into(NULL, NULL);
	XLogBeginRead(ctx->reader, MyReplicationSlot->data.restart_lsn);

	/* what the caches know is not what the changes were made with */
	InvalidateSystemCaches();
	return ctx;
}

/*
 * Decode until enough is taken, or there is no more WAL and something is
 * taken or the deadline has passed.  Returns the position up to which nothing
 * was taken.
 */
static XLogRecPtr
decode(LogicalDecodingContext *ctx, AsSlotRead *read)
{
	XLogRecPtr	nothing_taken = InvalidXLogRecPtr;

	for (;;)
	{
		XLogRecPtr	end_of_wal = GetFlushRecPtr(NULL);

		/* nobody is to see what a standby that takes over may not have */
		if (ctx->reader->EndRecPtr < end_of_wal)
			as_slot_wait_for_standbys(end_of_wal);
		while (ctx->reader->EndRecPtr < end_of_wal)
		{
			char	   *problem = NULL;
			XLogRecord *record = XLogReadRecord(ctx->reader, &problem);

			if (problem != NULL)
				elog(ERROR, "could not find record for logical decoding: %s",
					 problem);
			if (record != NULL)
				LogicalDecodingProcessRecord(ctx, ctx->reader);
			if (read->taken == 0)
				nothing_taken = ctx->reader->EndRecPtr;
			if (read->taken >= read->enough)
				return nothing_taken;
			CHECK_FOR_INTERRUPTS();
		}
		if (read->taken > 0 ||
			!as_commit_wait(ctx->reader->EndRecPtr, read->deadline))
			return nothing_taken;
	}
}

/* Let the slot's position move; what it holds back of WAL goes later. */
static void
confirm(XLogRecPtr position, bool durably)
{
	if (position <= MyReplicationSlot->data.confirmed_flush)
		return;
	LogicalConfirmReceivedLocation(position);
	ReplicationSlotMarkDirty();
	if (durably)
		ReplicationSlotSave();
}

void
as_slot_read(AsSlotRead *read)
{
	ResourceOwner owner = CurrentResourceOwner;
	LogicalDecodingContext *volatile ctx = NULL;

	CheckLogicalDecodingRequirements();
	if (MyReplicationSlot != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("this session is using replication slot \"%s\" already",
						NameStr(MyReplicationSlot->data.name))));
	as_slot_acquire(read->slot);
	PG_TRY();
	{
		XLogRecPtr	restart = MyReplicationSlot->data.restart_lsn;
		XLogRecPtr	nothing_taken;

		if (!is_ours(MyReplicationSlot))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("replication slot \"%s\" is not one of a subscription",
							read->slot)));

		ctx = begin_decoding(read);
		nothing_taken = decode(ctx, read);

		/* decoding has its own transactions and may have left its owner */
		CurrentResourceOwner = owner;
		if (read->may_confirm)
			confirm(nothing_taken, read->confirm_durably);
		if (ctx->reader->EndRecPtr - restart > MAX_READ_AGAIN)
			LogStandbySnapshot();
		FreeDecodingContext(ctx);
		ReplicationSlotRelease();
		InvalidateSystemCaches();
	}
	PG_CATCH();
	{
		as_decode_into(NULL, NULL);
		if (ctx != NULL && ctx->reader->seg.ws_file >= 0)
			wal_segment_close(ctx->reader);
		if (MyReplicationSlot != NULL)
			ReplicationSlotRelease();
		InvalidateSystemCaches();
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* ---- Coming and going ---- */

void
as_slot_drop(const char *slot)
{
	if (as_slot_state(slot, NULL) != AS_SLOT_MISSING)
		ReplicationSlotDrop(slot, true);
}

void
as_slot_abandon(const char *slot)
{
	if (MyReplicationSlot != NULL)
		ReplicationSlotRelease();
	as_slot_drop(slot);
}

/*
 * Drop a slot at the end of a transaction, where nothing may fail.  If it is
 * in use, or cannot be dropped, the sweep will come by.
 */
static void
drop_quietly(const char *slot)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	uint32		holdoff = InterruptHoldoffCount;

	PG_TRY();
	{
		as_slot_abandon(slot);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		if (MyReplicationSlot != NULL)
			ReplicationSlotRelease();
		CurrentResourceOwner = owner;
		InterruptHoldoffCount = holdoff;
	}
	PG_END_TRY();
}

static void
keep(const char *slot)
{
	if (as_slot_state(slot, NULL) == AS_SLOT_MISSING)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a subscription made in this transaction is gone"),
				 errdetail("An error in the transaction, also one behind a savepoint, ends the replication slot of a subscription that is not committed."),
				 errhint("Call subscribe in a transaction of its own.")));
	as_slot_acquire(slot);

	/* a temporary one could not be made so */
	SpinLockAcquire(&MyReplicationSlot->mutex);
	as_slot_follow(MyReplicationSlot);
	SpinLockRelease(&MyReplicationSlot->mutex);
	ReplicationSlotPersist();
	ReplicationSlotRelease();
}

static void
remember(const char *slot, bool drop)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	PendingSlot *wish = palloc0(sizeof(PendingSlot));

	namestrcpy(&wish->slot, slot);
	wish->drop = drop;
	wish->subid = GetCurrentSubTransactionId();
	pending = lappend(pending, wish);
	MemoryContextSwitchTo(old);
}

void
as_slot_keep_at_commit(const char *slot)
{
	remember(slot, false);
}

void
as_slot_drop_at_commit(const char *slot)
{
	remember(slot, true);
}

static void
end_transaction(XactEvent event, void *arg)
{
	List	   *wishes = pending;
	ListCell   *cell;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			foreach(cell, wishes)
			{
				PendingSlot *wish = lfirst(cell);

				if (!wish->drop)
					keep(NameStr(wish->slot));
			}
			break;
		case XACT_EVENT_PRE_PREPARE:
			if (wishes != NIL)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has created or dropped a subscription")));
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
			pending = NIL;
			foreach(cell, wishes)
			{
				PendingSlot *wish = lfirst(cell);

				if (wish->drop == (event == XACT_EVENT_COMMIT))
					drop_quietly(NameStr(wish->slot));
			}
			break;
		default:
			break;
	}
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId subid,
				   SubTransactionId parent, void *arg)
{
	ListCell   *cell;

	foreach(cell, pending)
	{
		PendingSlot *wish = lfirst(cell);

		if (wish->subid != subid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			wish->subid = parent;
		else if (event == SUBXACT_EVENT_ABORT_SUB)
		{
			if (!wish->drop)
				drop_quietly(NameStr(wish->slot));
			pending = foreach_delete_current(pending, cell);
		}
	}
}

void
as_slot_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}

List *
as_slots_idle(Oid database)
{
	char	   *prefix = as_slot_prefix(database);
	List	   *names = NIL;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];

		if (slot->in_use && slot->active_pid == 0 &&
			slot->data.database == database &&
			strncmp(NameStr(slot->data.name), prefix, strlen(prefix)) == 0)
			names = lappend(names, pstrdup(NameStr(slot->data.name)));
	}
	LWLockRelease(ReplicationSlotControlLock);
	return names;
}

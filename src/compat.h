/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  The one place for differences between PostgreSQL 15, 16, 17 and 18.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_COMPAT_H
#define AS_COMPAT_H

#include "access/genam.h"
#include "access/tableam.h"
#include "catalog/pg_database.h"
#include "catalog/pg_proc.h"
#include "commands/dbcommands.h"
#include "executor/executor.h"
#include "parser/parse_relation.h"
#include "replication/message.h"
#include "replication/slot.h"
#include "replication/walsender_private.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/relcache.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "actorstore supports PostgreSQL 15 to 18"
#endif

/* 16: what has a length in front is no longer postgres.h's */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 16: one function for the rights on all kinds of objects */
#if PG_VERSION_NUM >= 160000
#define as_database_aclcheck(oid, role, mode) \
	object_aclcheck(DatabaseRelationId, (oid), (role), (mode))
#define as_function_aclcheck(oid, role, mode) \
	object_aclcheck(ProcedureRelationId, (oid), (role), (mode))
#else
#define as_database_aclcheck(oid, role, mode) \
	pg_database_aclcheck((oid), (role), (mode))
#define as_function_aclcheck(oid, role, mode) \
	pg_proc_aclcheck((oid), (role), (mode))
#endif

/* 16: another name for where a relation's file is */
#if PG_VERSION_NUM >= 160000
#define as_rel_locator(rel) ((rel)->rd_locator)
#else
#define as_rel_locator(rel) ((rel)->rd_node)
#endif

/* 17: waits of extensions have names */
#if PG_VERSION_NUM >= 170000
#define as_new_wait_event(name) WaitEventExtensionNew(name)
#else
#define as_new_wait_event(name) ((void) (name), PG_WAIT_EXTENSION)
#endif

/* 17: a transactional message may be flushed at once */
#if PG_VERSION_NUM >= 170000
#define as_log_message(prefix, message, size) \
	LogLogicalMessage((prefix), (message), (size), true, false)
#else
#define as_log_message(prefix, message, size) \
	LogLogicalMessage((prefix), (message), (size), true)
#endif

/* 17: may ask for stronger locks as well */
#if PG_VERSION_NUM >= 170000
#define as_lock_held_by_me(tag, mode) LockHeldByMe((tag), (mode), false)
#else
#define as_lock_held_by_me(tag, mode) LockHeldByMe((tag), (mode))
#endif

/* 17: logical decoding hands rows out without a buffer around them */
#if PG_VERSION_NUM >= 170000
#define as_tuple_buffer_row(buffer) (buffer)
#else
#define as_tuple_buffer_row(buffer) ((buffer) != NULL ? &(buffer)->tuple : NULL)
#endif

/* 18: says whether a deferrable primary key will do */
#if PG_VERSION_NUM >= 180000
#define as_primary_key_index(rel) RelationGetPrimaryKeyIndex((rel), false)
#else
#define as_primary_key_index(rel) RelationGetPrimaryKeyIndex(rel)
#endif

/* 18: a keyword in front instead of an attribute behind */
#if PG_VERSION_NUM >= 180000
#define as_noreturn pg_noreturn
#else
#define as_noreturn pg_attribute_noreturn()
#endif

/* 18: counters for EXPLAIN */
#if PG_VERSION_NUM >= 180000
#define as_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan((heap), (index), (snapshot), NULL, (nkeys), 0)
#else
#define as_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan((heap), (index), (snapshot), (nkeys), 0)
#endif

/* 17: access methods may keep something between insertions */
#if PG_VERSION_NUM >= 170000
#define as_index_insert_cleanup(index, info) index_insert_cleanup((index), (info))
#else
#define as_index_insert_cleanup(index, info) ((void) 0)
#endif

/* 16: memory of settings has functions of its own */
#if PG_VERSION_NUM >= 160000
#define as_guc_malloc(size) guc_malloc(LOG, (size))
#else
#define as_guc_malloc(size) malloc(size)
#endif

/* 17: processes are numbered */
#if PG_VERSION_NUM >= 170000
#define as_my_proc_number MyProcNumber
#define as_my_lxid (MyProc->vxid.lxid)
#define as_proc_number(proc) GetNumberFromPGProc(proc)
#define as_proc_backend(proc) ((proc)->vxid.procNumber)
#define as_proc_lxid(proc) ((proc)->vxid.lxid)
#define as_lock_instance_backend(instance) ((instance)->vxid.procNumber)
#define as_lock_instance_lxid(instance) ((instance)->vxid.localTransactionId)
#define as_vxid_set_backend(vxid, number) ((vxid)->procNumber = (number))
#else
#define as_my_proc_number (MyProc->pgprocno)
#define as_my_lxid (MyProc->lxid)
#define as_proc_number(proc) ((proc)->pgprocno)
#define as_proc_backend(proc) ((proc)->backendId)
#define as_proc_lxid(proc) ((proc)->lxid)
#define as_lock_instance_backend(instance) ((instance)->backend)
#define as_lock_instance_lxid(instance) ((instance)->lxid)
#define as_vxid_set_backend(vxid, number) ((vxid)->backendId = (number))
#endif

/*
 * From libpq/libpq.h, which wants the headers of what the server was built
 * with, Kerberos among others.  17: counts what has been received.
 */
extern void pq_startmsgread(void);
extern void pq_endmsgread(void);
extern int	pq_peekbyte(void);
#if PG_VERSION_NUM >= 170000
extern ssize_t pq_buffer_remaining_data(void);
#define as_client_has_sent() (pq_buffer_remaining_data() > 0)
#else
extern bool pq_buffer_has_data(void);
#define as_client_has_sent() pq_buffer_has_data()
#endif

/* 17: a limit of transactions that holds for background workers, too */
#if PG_VERSION_NUM >= 170000
#define as_lift_transaction_timeout() \
	SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE)
#else
#define as_lift_transaction_timeout() ((void) 0)
#endif

/* 18, and the minor releases of the others since 2025: a flag among others */
#ifdef SYNC_STANDBY_DEFINED
#define as_sync_standbys_defined() \
	((WalSndCtl->sync_standbys_status & SYNC_STANDBY_DEFINED) != 0)
#else
#define as_sync_standbys_defined() (WalSndCtl->sync_standbys_defined)
#endif

/* 16: what setting synchronous_commit does is declared here, in 15 in replication/syncrep.h */
#if PG_VERSION_NUM >= 160000
#include "utils/guc_hooks.h"
#endif

/* 17: belongs to a resource owner, or to none */
#if PG_VERSION_NUM >= 170000
#define as_create_wait_event_set(n) CreateWaitEventSet(CurrentResourceOwner, (n))
#define as_create_lasting_wait_event_set(n) CreateWaitEventSet(NULL, (n))
#else
#define as_create_wait_event_set(n) CreateWaitEventSet(CurrentMemoryContext, (n))
#define as_create_lasting_wait_event_set(n) CreateWaitEventSet(TopMemoryContext, (n))
#endif

/* 16: a slot says why it is of no use any more */
#if PG_VERSION_NUM >= 160000
#define as_slot_is_lost(slot) ((slot)->data.invalidated != RS_INVAL_NONE)
#else
#define as_slot_is_lost(slot) XLogRecPtrIsInvalid((slot)->data.restart_lsn)
#endif

/* 16: where a standby replays that catalogs are vacuumed, slots that need them are invalidated */
#if PG_VERSION_NUM < 160000
#define AS_STANDBY_FORGETS_CATALOGS
#endif

/* 17: recovery does not find the files of prepared transactions that it wants to remove */
#if PG_VERSION_NUM >= 170000
#define AS_RECOVERY_LEAVES_PREPARED_FILES
#endif

/* 18: may refuse invalidated slots itself */
#if PG_VERSION_NUM >= 180000
#define as_slot_acquire(name) ReplicationSlotAcquire((name), true, true)
#else
#define as_slot_acquire(name) ReplicationSlotAcquire((name), true)
#endif

/*
 * 17: standbys may keep a slot as it is on the primary (sync_replication_slots),
 * and who reads such a slot waits for the standbys in synchronized_standby_slots.
 */
#if PG_VERSION_NUM >= 170000
#define AS_FOLLOWING_SLOT ", failover => true"
#define as_slot_follow(slot) ((slot)->data.failover = true)
#define as_slot_wait_for_standbys(lsn) WaitForStandbyConfirmation(lsn)
#else
#define AS_FOLLOWING_SLOT ""
#define as_slot_follow(slot) ((void) (slot))
#define as_slot_wait_for_standbys(lsn) ((void) (lsn))
#endif

/* 16: one more argument */
#if PG_VERSION_NUM >= 160000
#define as_eval_plan_qual_init(epq, estate) \
	EvalPlanQualInit((epq), (estate), NULL, NIL, -1, NIL)
#else
#define as_eval_plan_qual_init(epq, estate) \
	EvalPlanQualInit((epq), (estate), NULL, NIL, -1)
#endif

/* 16: ExecutorCheckPerms_hook is given the rights apart from the range table */
#if PG_VERSION_NUM >= 160000
#define AS_CHECK_PERMS_PARAMETERS List *range_table, List *permissions, bool raise
#define as_check_perms(hook) (hook) (range_table, permissions, raise)
#else
#define AS_CHECK_PERMS_PARAMETERS List *range_table, bool raise
#define as_check_perms(hook) (hook) (range_table, raise)
#endif

/*
 * A range table of one relation.  16: rights are checked apart from it; 18:
 * relations may be pruned from it.
 */
static inline void
as_init_range_table(EState *estate, RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	List	   *rights = NIL;

	addRTEPermissionInfo(&rights, rte);
#if PG_VERSION_NUM >= 180000
	ExecInitRangeTable(estate, list_make1(rte), rights,
					   bms_make_singleton(1));
#else
	ExecInitRangeTable(estate, list_make1(rte), rights);
#endif
#else
	ExecInitRangeTable(estate, list_make1(rte));
#endif
}

/*
 * Which indexes are to hear of a row's new version.  16: it may be one that no index entry
 * leads to, though what an index says that summarizes blocks, as BRIN does, has changed.
 */
typedef enum AsIndexNeed
{
	AS_NO_INDEX,
	AS_SUMMARIES,
	AS_ALL_INDEXES
} AsIndexNeed;

#if PG_VERSION_NUM >= 160000
#define as_index_is_summary(info) ((info)->ii_Summarizing)
#else
#define as_index_is_summary(info) false
#endif

/*
 * table_tuple_update() without a crosscheck snapshot, waiting for concurrent
 * writers.
 */
static inline TM_Result
as_table_tuple_update(Relation rel, ItemPointer otid, TupleTableSlot *slot,
					  CommandId cid, Snapshot snapshot, TM_FailureData *tmfd,
					  AsIndexNeed *need)
{
	LockTupleMode lockmode;
	TM_Result	result;
#if PG_VERSION_NUM >= 160000
	TU_UpdateIndexes update_indexes = TU_None;

	result = table_tuple_update(rel, otid, slot, cid, snapshot, InvalidSnapshot,
								true, tmfd, &lockmode, &update_indexes);
	*need = update_indexes == TU_All ? AS_ALL_INDEXES :
		update_indexes == TU_Summarizing ? AS_SUMMARIES : AS_NO_INDEX;
#else
	bool		update_indexes = false;

	result = table_tuple_update(rel, otid, slot, cid, snapshot, InvalidSnapshot,
								true, tmfd, &lockmode, &update_indexes);
	*need = update_indexes ? AS_ALL_INDEXES : AS_NO_INDEX;
#endif
	if (result != TM_Ok)
		*need = AS_NO_INDEX;
	return result;
}

#endif							/* AS_COMPAT_H */

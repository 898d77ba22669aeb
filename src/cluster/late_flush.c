/*-------------------------------------------------------------------------
 *
 * late_flush.c
 *	  See late_flush.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/late_flush.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "cluster/decision.h"
#include "cluster/fault.h"
#include "compat.h"
#include "replication/syncrep.h"
#include "utils/guc.h"
#include "utils/resowner.h"

/* Look so often, so many times, whether somebody else flushes. */
#define NAP_US		200
#define NAPS		5

static bool is_late = false;	/* this transaction is */
static bool has_committed = false;
static int	level;				/* of synchronous_commit, that it waits as by */

void
as_flush_late(void)
{
	if (is_late)
		return;
	level = Max(synchronous_commit, SYNCHRONOUS_COMMIT_REMOTE_FLUSH);
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	is_late = true;
}

/*
 * What is seen has its commit in the WAL, before ours.  A commit that has written
 * nothing else is flushed if that is asked for, but no standby waited for: so late.
 */
void
as_flush_what_is_seen(void)
{
	(void) GetTopTransactionId();
	as_flush_late();
}

/* As a commit does: nothing throws, interrupts are held. */
static void
flush(XLogRecPtr lsn)
{
	int			own_level = synchronous_commit;

	for (int i = 0; i < NAPS && GetFlushRecPtr(NULL) < lsn; i++)
		pg_usleep(NAP_US);
	XLogFlush(lsn);
	synchronous_commit = level;
	assign_synchronous_commit(level, NULL);
	SyncRepWaitForLSN(lsn, true);
	synchronous_commit = own_level;
	assign_synchronous_commit(own_level, NULL);
}

static void
at_transaction_event(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (is_late)
				as_sync_require();
			break;
		case XACT_EVENT_COMMIT:
			has_committed = is_late;
			is_late = false;
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			is_late = false;
			break;
		default:
			break;
	}
}

/* Hints go out at this point, too (runtime/outgoing.c). */
static void
release_resources(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_commit || !is_top_level || !has_committed)
		return;
	has_committed = false;
	AS_FAULT("deliver_told");
	flush(XactLastCommitEnd);
}

void
as_late_flush_init(void)
{
	RegisterXactCallback(at_transaction_event, NULL);
	RegisterResourceReleaseCallback(release_resources, NULL);
}

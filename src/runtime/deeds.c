/*-------------------------------------------------------------------------
 *
 * deeds.c
 *	  See deeds.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/deeds.h"

#include "access/xact.h"
#include "executor/instrument.h"
#include "runtime/offer.h"
#include "runtime/sched.h"
#include "runtime/stat.h"
#include "runtime/trace.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

typedef enum DeedKind
{
	DEED_BEGUN,					/* nothing is taken yet */
	DEED_TAKEN,
	DEED_SET,					/* is open, or goes on, till a time */
	DEED_ENDED
} DeedKind;

typedef struct Deed
{
	DeedKind	kind;
	SubTransactionId subid;
	int64		turn_id;
	uint64		key_hash;
	TimestampTz until;			/* of one that is set */
	AsLeaseEnd *end;			/* of one that has ended */
	AsTurn	   *turn;			/* likewise; NULL: not to be counted */
} Deed;

/* in TopTransactionContext, in the order in which they were done */
static Deed *deeds = NULL;
static int	ndeeds = 0;
static int	allocated = 0;
static bool has_committed = false;
static bool doubted = false;

/*
 * What the transaction has written to the log by the end of its last checkout,
 * if it has written nothing else.
 */
static bool only_leases = false;
static int64 records_written;

static Deed *
add(DeedKind kind, int64 turn_id, uint64 key_hash)
{
	Deed	   *deed;

	if (ndeeds == allocated)
	{
		int			n = Max(16, 2 * allocated);

		deeds = deeds == NULL ?
			MemoryContextAlloc(TopTransactionContext, n * sizeof(Deed)) :
			repalloc(deeds, n * sizeof(Deed));
		allocated = n;
	}
	deed = &deeds[ndeeds++];
	memset(deed, 0, sizeof(Deed));
	deed->kind = kind;
	deed->subid = GetCurrentSubTransactionId();
	deed->turn_id = turn_id;
	deed->key_hash = key_hash;
	return deed;
}

void
as_deed_begin(int64 turn_id)
{
	(void) add(DEED_BEGUN, turn_id, 0);
}

void
as_deed_cancel(int64 turn_id)
{
	Assert(ndeeds > 0 && deeds[ndeeds - 1].turn_id == turn_id);
	ndeeds--;
}

void
as_deed_taken(int64 turn_id, uint64 key_hash)
{
	Deed	   *deed = &deeds[ndeeds - 1];

	Assert(deed->kind == DEED_BEGUN && deed->turn_id == turn_id);
	deed->key_hash = key_hash;
	deed->kind = DEED_TAKEN;
}

void
as_deed_open(int64 turn_id, uint64 key_hash, TimestampTz until)
{
	add(DEED_SET, turn_id, key_hash)->until = until;
}

void
as_deed_end(AsLeaseEnd *end, AsTurn *turn)
{
	Deed	   *deed = add(DEED_ENDED, end->turn_id, end->key_hash);

	deed->end = end;
	deed->turn = turn;
}

void
as_deeds_doubt(void)
{
	doubted = true;
}

void
as_deeds_begin_checkout(void)
{
	if (!TransactionIdIsValid(GetTopTransactionIdIfAny()))
		only_leases = true;
	else if (pgWalUsage.wal_records != records_written)
		only_leases = false;
}

void
as_deeds_end_checkout(void)
{
	records_written = pgWalUsage.wal_records;
}

/* ---- The end of the transaction ---- */

static void
forget(void)
{
	deeds = NULL;
	ndeeds = 0;
	allocated = 0;
	has_committed = false;
	doubted = false;
	only_leases = false;
}

static void
need_not_wait_for_disk(void)
{
	if (only_leases && pgWalUsage.wal_records == records_written &&
		synchronous_commit > SYNCHRONOUS_COMMIT_OFF)
		(void) set_config_option("synchronous_commit", "off", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
								 false);
}

/* Nothing here may fail: the transaction has committed. */
static void
do_deeds(void)
{
	int			home = as_sched_home();

	if (doubted && home >= 0)
		as_leases_doubt(home);
	for (int i = 0; i < ndeeds; i++)
	{
		Deed	   *deed = &deeds[i];

		if (deed->kind == DEED_SET)
			as_lease_set(deed->key_hash, deed->turn_id, deed->until);
		else if (deed->kind == DEED_ENDED)
		{
			as_lease_end(deed->end);
			if (deed->turn != NULL && as_trace_is_on())
				as_trace_handled(deed->turn);
			if (deed->turn != NULL)
				as_stat_count_turn(deed->turn);
		}
	}
}

static void
undo(Deed *deed)
{
	AsLeaseEnd	end = {.key_hash = deed->key_hash, .turn_id = deed->turn_id};

	if (deed->kind == DEED_TAKEN)
		as_lease_end(&end);
	else if (deed->kind == DEED_ENDED && deed->end->answers != NULL)
	{
		as_lease_note_runner(deed->key_hash, deed->turn_id, -1);
		for (int i = 0; i < deed->end->nrequests; i++)
			as_answer_discard(&deed->end->answers[i]);
	}
}

static void
end_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			need_not_wait_for_disk();
			break;
		case XACT_EVENT_COMMIT:
			has_committed = true;
			break;
		case XACT_EVENT_ABORT:
			as_offer_leave();
			for (int i = ndeeds - 1; i >= 0; i--)
				undo(&deeds[i]);
			forget();
			break;
		case XACT_EVENT_PRE_PREPARE:
			if (ndeeds > 0)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has checked out or ended turns")));
			break;
		default:
			break;
	}
}

/* Once the locks are gone, as with messages (outgoing.c). */
static void
release_resources(ResourceReleasePhase phase, bool is_commit,
				  bool is_top_level, void *arg)
{
	if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_commit ||
		!is_top_level || !has_committed)
		return;
	do_deeds();
	forget();
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId subid,
				   SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (int i = ndeeds - 1; i >= 0 && deeds[i].subid == subid; i--)
			deeds[i].subid = parent;
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		as_offer_leave();
		while (ndeeds > 0 && deeds[ndeeds - 1].subid == subid)
			undo(&deeds[--ndeeds]);
	}
}

void
as_deeds_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterResourceReleaseCallback(release_resources, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}

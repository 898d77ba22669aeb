/*-------------------------------------------------------------------------
 *
 * resolver.c
 *	  See resolver.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/resolver.h"

#include <limits.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "cluster/catch_up.h"
#include "cluster/deadlock.h"
#include "cluster/decision.h"
#include "cluster/forwarder.h"
#include "cluster/health.h"
#include "cluster/life.h"
#include "cluster/member.h"
#include "cluster/mover.h"
#include "cluster/node.h"
#include "cluster/peer.h"
#include "cluster/peer_stat.h"
#include "cluster/seeds.h"
#include "cluster/settle.h"
#include "cluster/transit.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "lib/nap.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "runtime/sched.h"
#include "runtime/worker.h"
#include "state/text_query.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

int			actorstore_resolver_interval = 1000;

static int	in_doubt_alarm = 60000; /* ms */

static bool
is_node(void)
{
	bool		is;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	is = OidIsValid(get_extension_oid("actorstore", true)) && as_node_self() != NULL;
	PopActiveSnapshot();
	CommitTransactionCommand();
	return is;
}

/* Let transactions be prepared under this start's number. */
static void
write_boot(void)
{
	text	   *args[1];

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	args[0] = cstring_to_text(psprintf(UINT64_FORMAT, as_boot_peek()));
	(void) as_text_query(NULL, SPI_OK_INSERT,
						 "INSERT INTO actorstore.boot (boot, started_at) VALUES ($1::text::bigint, clock_timestamp()) ON CONFLICT DO NOTHING",
						 1, args);
	as_sync_require();
	ForceSyncCommit();
	PopActiveSnapshot();
	CommitTransactionCommand();
	as_boot_publish();
}

/* Into the log, each time that the same time is over, till all is over. */
static void
sound_alarm(void)
{
	static TimestampTz last = 0;
	TimestampTz now = GetCurrentTimestamp();
	AsRows		rows;

	if (!TimestampDifferenceExceeds(last, now, in_doubt_alarm))
		return;
	last = now;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) as_text_query(&rows, SPI_OK_SELECT,
						 "SELECT count(*)::text, coalesce(max(age), 0)::text FROM actorstore.doubtful_now()",
						 0, NULL);
	if (as_cell_int(&rows, 0, 0) > 0)
		ereport(LOG,
				(errmsg("%d parts of transactions over several nodes have been in doubt for more than %d ms",
						(int) as_cell_int(&rows, 0, 0), in_doubt_alarm),
				 errdetail("What is prepared here holds back vacuum by %d transactions.",
						   (int) as_cell_int(&rows, 0, 1)),
				 errhint("See actorstore.in_doubt.")));
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/*
 * What sessions have seen outlives this server: a primary that was replaced is
 * not taken for its node again after a restart.  One of them at a time.
 */
static void
keep_incarnations(void)
{
	for (int i = 0; i < as_node_count(); i++)
	{
		const AsNode *node = as_node_nth(i);
		int64		seen = as_peer_stat_incarnation(as_peer_stat_find(node->number));
		text	   *args[2];

		if (seen <= node->incarnation)
			continue;
		args[0] = as_int_text(node->number);
		args[1] = as_int_text(seen);
		(void) as_text_query(NULL, SPI_OK_UPDATE,
							 "UPDATE actorstore.node SET incarnation = $2::text::bigint"
							 " WHERE node_number = $1::text::smallint AND NOT is_self AND incarnation < $2::text::bigint",
							 2, args);
		break;
	}
}

/* Finish what was begun with membership; not at once again if that fails. */
static void
look_after_members(void)
{
	static TimestampTz tried = 0;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	keep_incarnations();
	as_settle_look();
	if (TimestampDifferenceExceeds(tried, GetCurrentTimestamp(), actorstore_peer_timeout))
	{
		tried = GetCurrentTimestamp();
		as_member_unstick();
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* A pass that fails is logged; the next one begins anew. */
static void
pass_safely(MemoryContext context)
{
	uint64		number = as_resolver_begin_pass();
	volatile uint64 nresolved = 0;

	PG_TRY();
	{
		as_catch_up_wanted();
		nresolved = as_resolve();
		sound_alarm();
		as_forwarders_look();
		as_health_look();
		as_seeds_look(as_resolve_missed_some());
		look_after_members();
		as_mover_look();
		while (as_transit_let_go())
			;
	}
	PG_CATCH();
	{
		EmitErrorReport();
		AbortCurrentTransaction();
		FlushErrorState();
	}
	PG_END_TRY();
	as_resolver_end_pass(number, nresolved);
	MemoryContextSwitchTo(context);
	MemoryContextReset(context);
}

static void
sleep_between(void)
{
	int			slept = 0;

	pgstat_report_activity(STATE_IDLE, NULL);
	(void) pgstat_report_stat(false);
	while (slept < actorstore_resolver_interval && !as_resolver_is_asked() &&
		   !as_sched_is_barred(MyDatabaseId))
	{
		int			ms = Min(as_deadlock_nap(), actorstore_resolver_interval - slept);
		bool		roused = as_nap(ms, AS_NAP_RESOLVER_MAIN);

		as_worker_check_signals();
		as_deadlock_look();
		if (roused)
			break;
		slept += ms;
	}
}

void
as_resolver_main(Datum database)
{
	MemoryContext context;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	as_worker_connect(DatumGetObjectId(database));
	if (!as_resolver_register())
		proc_exit(0);
	if (RecoveryInProgress() || as_worker_look_around() != AS_FOUND_SERVED || !is_node())
		proc_exit(0);
	write_boot();
	context = AllocSetContextCreate(TopMemoryContext, "actorstore resolver",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	while (!as_sched_is_barred(MyDatabaseId) && is_node())
	{
		pass_safely(context);
		sleep_between();
	}
	proc_exit(0);
}

void
as_resolver_start(void)
{
	BackgroundWorker registration;
	BackgroundWorkerHandle *handle;

	if (!as_resolver_claim_start())
		return;
	as_worker_describe(&registration, "actorstore resolver", "as_resolver_main",
					   ObjectIdGetDatum(MyDatabaseId));
	if (!RegisterDynamicBackgroundWorker(&registration, &handle))
		ereport(LOG,
				(errmsg("no background worker is free to resolve transactions over several nodes"),
				 errhint("Consider increasing the configuration parameter \"max_worker_processes\".")));
}

/* A worker or steward serves this database; the first time in a transaction. */
static void
on_served(bool first)
{
	if (first ? as_node_self() != NULL : as_resolver_is_known())
		as_resolver_start();
}

void
as_resolver_init(void)
{
	DefineCustomIntVariable("actorstore.resolver_interval",
							"How often the resolver looks at all nodes for transactions that were left unfinished.",
							NULL,
							&actorstore_resolver_interval,
							1000, 10, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("actorstore.in_doubt_alarm",
							"How long a transaction over several nodes may be in doubt before doctor() and the log say so.",
							NULL,
							&in_doubt_alarm,
							60000, 10, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	as_seeds_init();
	as_worker_served = on_served;
}

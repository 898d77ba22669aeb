/*-------------------------------------------------------------------------
 *
 * seeds.c
 *	  When the seeds are tried: see seeds.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/seeds.h"

#include "access/xlog.h"
#include "cluster/node.h"
#include "lib/seed_list.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "runtime/worker.h"
#include "state/own_transaction.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* between searches, in ms: while a member is out of reach, and otherwise */
#define MIN_PAUSE		1000
#define MAX_PAUSE		60000
#define QUIET_PAUSE		600000

char	   *actorstore_seeds = NULL;

static bool
check_seeds(char **value, void **extra, GucSource source)
{
	const char *problem;

	if (as_seed_count(*value, &problem) >= 0)
		return true;
	GUC_check_errdetail("%s", problem);
	GUC_check_errhint("It is a list of host, host:port, [address]:port, /directory:port, or srv:_service._tcp.name, separated by commas.");
	return false;
}

void
as_seeds_init(void)
{
	DefineCustomStringVariable("actorstore.seeds",
							   "Where other nodes are looked for that are not found where they were.",
							   "A list of hosts, with ports or without, and of names that have SRV records.",
							   &actorstore_seeds,
							   "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY | GUC_LIST_INPUT, check_seeds, NULL, NULL);
}

/* ---- The process ---- */

void
as_seeds_main(Datum database)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	as_worker_connect(DatumGetObjectId(database));
	if (!RecoveryInProgress() && as_worker_look_around() == AS_FOUND_SERVED)
		as_seeds_search();
	proc_exit(0);
}

/* ---- For the resolver ---- */

static bool
runs(BackgroundWorkerHandle **handle)
{
	pid_t		pid;

	if (*handle == NULL)
		return false;
	if (GetBackgroundWorkerPid(*handle, &pid) != BGWH_STOPPED)
		return true;
	pfree(*handle);
	*handle = NULL;
	return false;
}

/* False if this is no node, or the only one. */
static bool
is_beside_others(int64 *epoch)
{
	bool		is;

	as_own_transaction_begin();
	is = as_node_self() != NULL && as_node_has_others();
	*epoch = as_node_epoch();
	as_own_transaction_end();
	return is;
}

static void
start(BackgroundWorkerHandle **handle)
{
	static bool said = false;	/* that there is none */
	MemoryContext context = MemoryContextSwitchTo(TopMemoryContext);
	BackgroundWorker registration;

	as_worker_describe(&registration, "actorstore seeds", "as_seeds_main", ObjectIdGetDatum(MyDatabaseId));
	if (RegisterDynamicBackgroundWorker(&registration, handle))
		said = false;
	else if (!said)
	{
		said = true;
		ereport(LOG,
				(errmsg("no background worker is free to look for other nodes"),
				 errhint("Consider increasing the configuration parameter \"max_worker_processes\".")));
	}
	MemoryContextSwitchTo(context);
}

/* Is this another list than the one at the last look? */
static bool
is_new_list(void)
{
	static char *last = NULL;

	if (last != NULL && strcmp(last, actorstore_seeds) == 0)
		return false;
	if (last != NULL)
		pfree(last);
	last = MemoryContextStrdup(TopMemoryContext, actorstore_seeds);
	return true;
}

void
as_seeds_look(bool missing)
{
	static BackgroundWorkerHandle *handle = NULL;
	static TimestampTz tried = 0;
	static int64 tried_epoch = 0;
	static int	pause = 0;
	TimestampTz now = GetCurrentTimestamp();
	int64		epoch;

	if (is_new_list())
		pause = 0;
	else if (pause != 0 && missing != (pause != QUIET_PAUSE))
		pause = missing ? MIN_PAUSE : QUIET_PAUSE;
	if (actorstore_seeds[0] == '\0' || runs(&handle) ||
		!TimestampDifferenceExceeds(tried, now, Min(pause, MIN_PAUSE)) || !is_beside_others(&epoch))
		return;
	/* who is a member and who is refused depends on the epoch in force */
	if (epoch == tried_epoch && !TimestampDifferenceExceeds(tried, now, pause))
		return;
	tried = now;
	tried_epoch = epoch;
	pause = !missing ? QUIET_PAUSE : pause == 0 ? MIN_PAUSE : Min(2 * pause, MAX_PAUSE);
	start(&handle);
}

/*-------------------------------------------------------------------------
 *
 * health.c
 *	  The process that asks other nodes whether they are there, and what it
 *	  tells those who ask: see health.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/health.h"

#include <limits.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "cluster/node.h"
#include "cluster/probe.h"
#include "commands/extension.h"
#include "funcapi.h"
#include "lib/steady_clock.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "runtime/node_watch.h"
#include "runtime/sched.h"
#include "runtime/worker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(actorstore_local_heartbeat);

int			actorstore_heartbeat_interval = 1000;
int			actorstore_heartbeat_pause = 3000;
double		actorstore_phi_threshold = 8.0;

static int16 self;
static AsProbe probes[AS_GOSSIP_SUSPECTS];
static int	nprobes = 0;
static int	stretch = 1;

/* ---- Whom to ask ---- */

static int
by_number(const void *a, const void *b)
{
	return *(const int16 *) a - *(const int16 *) b;
}

static bool
is_same(const AsProbe *probe, const AsNode *node)
{
	return probe->node == node->number && node->conninfo != NULL &&
		strcmp(probe->conninfo, node->conninfo) == 0 && strcmp(probe->name, node->name) == 0;
}

/* Keep the connections to those who stay. */
static void
set_targets(const int16 *targets, int n)
{
	AsProbe		before[AS_GOSSIP_SUSPECTS];
	int			nbefore = nprobes;

	memcpy(before, probes, sizeof(before));
	nprobes = 0;
	for (int i = 0; i < n; i++)
	{
		const AsNode *node = as_node_by_number(targets[i]);
		AsProbe    *probe = &probes[nprobes++];
		bool		kept = false;

		for (int j = 0; j < nbefore && !kept; j++)
		{
			if (before[j].node == 0 || !is_same(&before[j], node))
				continue;
			*probe = before[j];
			before[j].node = 0;
			kept = true;
		}
		if (!kept)
			as_probe_begin(probe, node);
		probe->known = node->incarnation;
	}
	for (int j = 0; j < nbefore; j++)
	{
		if (before[j].node != 0)
			as_probe_end(&before[j]);
	}
}

/* The members by the map in force; false if this is no node beside others. */
static bool
look_at_members(void)
{
	MemoryContext context = CurrentMemoryContext;
	bool		beside_others;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	beside_others = OidIsValid(get_extension_oid("actorstore", true)) &&
		as_node_self() != NULL && as_node_has_others();
	if (beside_others)
	{
		int			count = as_node_count();
		int16	   *members = palloc(sizeof(int16) * count);
		int16		targets[AS_GOSSIP_SUSPECTS];
		int			ntargets;
		AsGossip   *gossip;

		for (int i = 0; i < count; i++)
			members[i] = as_node_nth(i)->number;
		qsort(members, count, sizeof(int16), by_number);
		self = as_node_self()->number;
		as_board_set_self(self);
		gossip = as_board_lock(true, &self);
		as_gossip_set_members(gossip, members, count);
		ntargets = as_gossip_targets(gossip, self, targets);
		as_board_unlock();
		set_targets(targets, ntargets);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return beside_others;
}

/* ---- Judging ---- */

static AsProbe *
find_probe(int16 node)
{
	for (int i = 0; i < nprobes; i++)
	{
		if (probes[i].node == node)
			return &probes[i];
	}
	return NULL;
}

static void
tell_change(const AsNode *node, AsHealth before, AsHealth after)
{
	if (node == NULL || before == after)
		return;
	if (after == AS_HEALTH_DOWN)
		ereport(LOG, (errmsg("node \"%s\" is down", node->name)));
	else if (before == AS_HEALTH_DOWN)
		ereport(LOG, (errmsg("node \"%s\" is up again", node->name)));
	if (after == AS_HEALTH_DOWN || before == AS_HEALTH_DOWN)
		as_tell_watchers(cstring_to_text(node->name), after == AS_HEALTH_DOWN);
}

/* Suspect whom we must, judge all, and let everybody know. */
static void
judge(void)
{
	int64		now = as_steady_now();
	int16		suspects[AS_GOSSIP_SUSPECTS];
	int			nsuspects = 0;
	double		phi[AS_GOSSIP_SUSPECTS];
	AsGossip   *gossip;
	uint8		before[AS_MAX_NODES];
	static AsGossip judged;

	for (int i = 0; i < nprobes; i++)
	{
		phi[i] = as_phi_value(&probes[i].phi, now, (int64) actorstore_heartbeat_pause * 1000, stretch);
		if (phi[i] >= actorstore_phi_threshold)
			suspects[nsuspects++] = probes[i].node;
	}
	gossip = as_board_lock(true, &self);
	memcpy(before, gossip->health, sizeof(before));
	as_gossip_suspect(gossip, self, GetCurrentTimestamp(), suspects, nsuspects);
	(void) as_gossip_judge(gossip, self);
	judged = *gossip;
	as_board_unlock();

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	for (int i = 0; i < judged.count; i++)
	{
		int16		node = judged.opinions[i].node;
		AsProbe    *probe = find_probe(node);

		if (node == self)
			continue;
		as_board_set(node, (AsHealth) judged.health[i],
					 probe != NULL && !probe->refuses,
					 probe == NULL ? -1 : phi[probe - probes]);
		tell_change(as_node_by_number(node), (AsHealth) before[i], (AsHealth) judged.health[i]);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* ---- The process ---- */

/* Wait for answers till a time; what arrives is taken at once. */
static void
wait_until(int64 until)
{
	for (;;)
	{
		AsPeerSocket sockets[AS_GOSSIP_SUSPECTS];
		AsProbe    *waiting[AS_GOSSIP_SUSPECTS];
		int			n = 0;
		int64		left = until - as_steady_now();

		for (int i = 0; i < nprobes; i++)
		{
			if (as_probe_wants(&probes[i], &sockets[n]))
				waiting[n++] = &probes[i];
		}
		as_peer_wait_for_sockets(sockets, n, as_peer_deadline((int) (Max(left, 0) / 1000)), AS_PEER_WAIT_ONCE);
		as_worker_check_signals();
		for (int i = 0; i < n; i++)
		{
			if (as_peer_socket_is_ready(&sockets[i]))
				as_probe_go_on(waiting[i]);
		}
		if (left < 1000 || as_sched_is_barred(MyDatabaseId))
			return;
	}
}

/*
 * We were to be here before: nobody has been silent meanwhile, and we are slow
 * to hear.
 */
static void
allow_for_lateness(int64 late)
{
	int64		interval = (int64) actorstore_heartbeat_interval * 1000;

	for (int i = 0; i < nprobes; i++)
		as_phi_excuse(&probes[i].phi, late, interval, as_steady_now());
	stretch = as_phi_stretch(stretch, late, interval);
}

static bool
is_wanted(void)
{
	return actorstore_heartbeat_interval > 0 && !as_sched_is_barred(MyDatabaseId) &&
		look_at_members();
}

void
as_health_main(Datum database)
{
	MemoryContext context;
	int64		next;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	as_worker_connect(DatumGetObjectId(database));
	if (RecoveryInProgress() || as_worker_look_around() != AS_FOUND_SERVED ||
		!as_board_register())
		proc_exit(0);
	context = AllocSetContextCreate(TopMemoryContext, "actorstore health",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	next = as_steady_now();
	while (is_wanted())
	{
		allow_for_lateness(as_steady_now() - next);
		next = as_steady_now() + (int64) actorstore_heartbeat_interval * 1000;
		for (int i = 0; i < nprobes; i++)
			as_probe_beat(&probes[i]);
		judge();
		pgstat_report_activity(STATE_IDLE, NULL);
		(void) pgstat_report_stat(false);
		wait_until(next);
		MemoryContextReset(context);
	}
	proc_exit(0);
}

void
as_health_look(void)
{
	MemoryContext context = CurrentMemoryContext;
	BackgroundWorker registration;
	BackgroundWorkerHandle *handle;
	bool		beside_others;

	if (actorstore_heartbeat_interval == 0)
		return;
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	beside_others = as_node_self() != NULL && as_node_has_others();
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	if (!beside_others || !as_board_claim_start())
		return;
	as_worker_describe(&registration, "actorstore health", "as_health_main",
					   ObjectIdGetDatum(MyDatabaseId));
	if (!RegisterDynamicBackgroundWorker(&registration, &handle))
		ereport(LOG,
				(errmsg("no background worker is free to ask other nodes whether they are there"),
				 errhint("Consider increasing the configuration parameter \"max_worker_processes\".")));
}

void
as_health_init(void)
{
	DefineCustomIntVariable("actorstore.heartbeat_interval",
							"How often other nodes are asked whether they are there.",
							"0: never.",
							&actorstore_heartbeat_interval,
							1000, 0, INT_MAX / 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("actorstore.heartbeat_pause",
							"How long a node may be silent at any time without being suspected.",
							NULL,
							&actorstore_heartbeat_pause,
							3000, 0, INT_MAX / 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomRealVariable("actorstore.phi_threshold",
							 "From which phi on a node is suspected to be down.",
							 "8: by chance once in 10^8 beats.",
							 &actorstore_phi_threshold,
							 8.0, 1.0, 300.0,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
}

/* ---- Those who ask ---- */

static void
check_target(pg_uuid_t *target)
{
	const AsNode *here = as_node_self();

	if (here == NULL || memcmp(&here->uuid, target, sizeof(pg_uuid_t)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this is another node than the one that is asked, or none")));
}

/*
 * local_heartbeat(target, origin, hash, clock, opinions): the answer to a
 * question of health.h; NULLs where no process has been here yet.
 */
Datum
actorstore_local_heartbeat(PG_FUNCTION_ARGS)
{
	AsOpinion	heard[AS_MAX_NODES];
	const AsOpinion *newer[AS_MAX_NODES];
	int			nheard = PG_ARGISNULL(4) ? 0 : as_opinions_read(PG_GETARG_ARRAYTYPE_P(4), heard);
	int16		here;
	AsGossip   *gossip;
	TupleDesc	desc;
	Datum		values[3] = {0};
	bool		nulls[3] = {true, true, true};
	int64		hash;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (nheard < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an array of opinions cannot be read")));
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("who asks, and who is asked, must not be null")));
	check_target(PG_GETARG_UUID_P(0));
	if (as_node_by_number(PG_GETARG_INT16(1)) != NULL)
		as_board_count(PG_GETARG_INT16(1), AS_HEALTH_RECEIVED);
	gossip = as_board_lock(nheard > 0, &here);
	if (gossip == NULL)
		PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
	for (int i = 0; i < nheard; i++)
		(void) as_gossip_hear(gossip, here, &heard[i]);
	hash = as_gossip_hash(gossip);
	values[0] = Int64GetDatum(hash);
	nulls[0] = false;
	if (PG_ARGISNULL(2) || hash != PG_GETARG_INT64(2))
	{
		values[1] = PointerGetDatum(as_gossip_clock(gossip));
		nulls[1] = false;
		if (!PG_ARGISNULL(3))
		{
			values[2] = PointerGetDatum(as_opinions_array(newer, as_gossip_newer(gossip, (AsVclock *) PG_DETOAST_DATUM(PG_GETARG_DATUM(3)), newer)));
			nulls[2] = false;
		}
	}
	as_board_unlock();
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

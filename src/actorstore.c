/*-------------------------------------------------------------------------
 *
 * actorstore.c
 *	  Durable actors in PostgreSQL: what the library sets up when it is
 *	  loaded.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include <limits.h>

#include "cdc/commit_signal.h"
#include "cdc/keeper.h"
#include "cdc/slot.h"
#include "cluster/global.h"
#include "cluster/health.h"
#include "cluster/lane.h"
#include "cluster/late_flush.h"
#include "cluster/life.h"
#include "cluster/node.h"
#include "cluster/admission.h"
#include "cluster/mover.h"
#include "cluster/outbox.h"
#include "cluster/peer.h"
#include "cluster/peer_stat.h"
#include "cluster/prepared_files.h"
#include "cluster/registry.h"
#include "cluster/resolver.h"
#include "cluster/waits.h"
#include "compat.h"
#include "miscadmin.h"
#include "runtime/conflict.h"
#include "runtime/deeds.h"
#include "runtime/flow.h"
#include "runtime/lease.h"
#include "runtime/offer.h"
#include "runtime/outgoing.h"
#include "runtime/prepared.h"
#include "runtime/request.h"
#include "runtime/said.h"
#include "runtime/sched.h"
#include "runtime/slot.h"
#include "runtime/stat.h"
#include "runtime/timing.h"
#include "runtime/trace.h"
#include "runtime/turn.h"
#include "runtime/urgent.h"
#include "runtime/waiting.h"
#include "runtime/worker.h"
#include "state/after_commit.h"
#include "state/catalog.h"
#include "state/partition.h"
#include "state/type.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

int			actorstore_max_value_size = 10 * 1024 * 1024;
int			actorstore_place_cache_size = -1;
int			actorstore_cdc_retention = 0;

int			actorstore_workers = 0;
int			actorstore_worker_queue_capacity = 4096;
int			actorstore_global_queue_capacity = 32768;
int			actorstore_max_active_actors = 65536;
int			actorstore_max_spin_cycles = 1000;
int			actorstore_batch_size = 64;
bool		actorstore_enable_work_stealing = true;
bool		actorstore_enable_batching = true;
int			actorstore_mailbox_limit = 65536;
int			actorstore_max_message_size = 1024 * 1024;
int			actorstore_dedup_window = 3600;
int			actorstore_priority_aging = 1000;
int			actorstore_worker_memory_limit = 2 * 1024 * 1024;
int			actorstore_trace_size = 4096;
int			actorstore_log_limit = 10;
bool		actorstore_log_retries = false;
bool		actorstore_log_workers = true;
int			actorstore_message_pool_size = 10000;
int			actorstore_max_open_turns = 8192;
int			actorstore_arena_size = 64 * 1024;

static char *trace_messages = NULL;	/* what is set; see trace.h */

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

void		_PG_init(void);

/* What a message may be, and how actors handle it */
static void
define_message_settings(void)
{
	DefineCustomIntVariable("actorstore.max_message_size",
							"The largest message: its body and headers together.",
							"Measured on the uncompressed jsonb.",
							&actorstore_max_message_size,
							1024 * 1024, 1024, 1024 * 1024 * 1024 / 4,
							PGC_SUSET, GUC_UNIT_BYTE, NULL, NULL, NULL);
	DefineCustomIntVariable("actorstore.mailbox_limit",
							"How many messages may wait for an actor of a type that was not declared.",
							"Declared types have an option of that name.",
							&actorstore_mailbox_limit,
							65536, 1, INT_MAX,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("actorstore.dedup_window",
							"For how long after a message was handled its dedup_key is not sent again.",
							NULL,
							&actorstore_dedup_window,
							3600, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("actorstore.priority_aging",
							"A waiting message counts as one priority higher for each such time.",
							"0 lets the lower priorities wait for ever while there are messages of higher ones.",
							&actorstore_priority_aging,
							1000, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("actorstore.batch_size",
							"How many messages an actor handles in a turn at most.",
							NULL,
							&actorstore_batch_size,
							64, 1, 128,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("actorstore.enable_batching",
							 "Lets turns of several actors share a transaction.",
							 NULL,
							 &actorstore_enable_batching,
							 true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("actorstore.enable_work_stealing",
							 "Lets a worker take actors from the queues of others.",
							 NULL,
							 &actorstore_enable_work_stealing,
							 true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("actorstore.max_spin_cycles",
							"How often a worker looks around before it sleeps.",
							NULL,
							&actorstore_max_spin_cycles,
							1000, 0, 1000000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
}

static bool
check_trace_messages(char **value, void **extra, GucSource source)
{
	uint64		sampled;

	if (!as_trace_parse(*value, &sampled))
	{
		GUC_check_errdetail("It is \"on\", \"off\", or a fraction from 0 to 1.");
		return false;
	}
	*extra = as_guc_malloc(sizeof(uint64));
	if (*extra == NULL)
		return false;
	memcpy(*extra, &sampled, sizeof(uint64));
	return true;
}

static void
assign_trace_messages(const char *value, void *extra)
{
	memcpy(&as_trace_sampled, extra, sizeof(uint64));
}

static void
define_trace_settings(void)
{
	DefineCustomStringVariable("actorstore.trace_messages",
							   "Which messages are followed in the view trace: on, off, or a fraction of them.",
							   NULL,
							   &trace_messages,
							   "off",
							   PGC_SIGHUP, 0, check_trace_messages,
							   assign_trace_messages, NULL);
	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("actorstore.trace_size",
								"How many events of messages are kept.",
								"Rounded up to a power of two; 512 bytes each, in shared memory.",
								&actorstore_trace_size,
								4096, 16, 1 << 20,
								PGC_POSTMASTER, 0, NULL, NULL, NULL);
}

/* What the server's log says */
static void
define_log_settings(void)
{
	DefineCustomIntVariable("actorstore.log_limit",
							"How many lines about messages that fail each process may write to the log in a second.",
							"How many were left out is said later. -1 sets no limit.",
							&actorstore_log_limit,
							10, -1, INT_MAX,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("actorstore.log_retries",
							 "Logs each failed attempt of a message that is tried again.",
							 NULL,
							 &actorstore_log_retries,
							 false,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("actorstore.log_workers",
							 "Logs when a worker begins and ends to serve a database.",
							 NULL,
							 &actorstore_log_workers,
							 true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
}

/* Workers, and the sizes of what they share */
static void
define_scheduler_settings(void)
{
	DefineCustomIntVariable("actorstore.workers",
							"How many processes handle messages, for all databases together.",
							"0 starts one for each core.",
							&actorstore_workers,
							0, 0, 64,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("actorstore.worker_queue_capacity",
							"How many actors may wait in the queue of one worker.",
							"Rounded up to a power of two.",
							&actorstore_worker_queue_capacity,
							4096, 2, 1 << 24,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("actorstore.global_queue_capacity",
							"How many actors of a database may wait in the queue of all workers.",
							"Rounded up to a power of two.",
							&actorstore_global_queue_capacity,
							32768, 2, 1 << 24,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("actorstore.max_active_actors",
							"How many actors with mail are known in shared memory.",
							"Others are found by looking through the mailboxes. 128 bytes each; rounded up to 16 times a power of two.",
							&actorstore_max_active_actors,
							65536, 16, 1 << 24,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("actorstore.worker_memory_limit",
							"How much memory of its own a worker may take.",
							"A handler that wants more gets an error. 0 sets no limit.",
							&actorstore_worker_memory_limit,
							2 * 1024 * 1024, 0, INT_MAX,
							PGC_POSTMASTER, GUC_UNIT_KB, NULL, NULL, NULL);
}

/* What is asked and told stands in shared memory */
static void
define_request_settings(void)
{
	DefineCustomIntVariable("actorstore.message_pool_size",
							"How many requests (ask, tell) may wait, for all databases together.",
							"64 bytes each, in shared memory.",
							&actorstore_message_pool_size,
							10000, 16, 1 << 24,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("actorstore.arena_size",
							"Shared memory for requests and answers that are too large for a cell.",
							NULL,
							&actorstore_arena_size,
							64 * 1024, 1024, MAX_KILOBYTES,
							PGC_POSTMASTER, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("actorstore.max_open_turns",
							"How many turns may be checked out at once, for all databases together.",
							"About 300 bytes each, in shared memory.",
							&actorstore_max_open_turns,
							8192, 16, 1 << 20,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
}

static void
define_settings(void)
{
	DefineCustomIntVariable("actorstore.max_value_size",
							"The largest value that an actor may have.",
							"Measured on the uncompressed jsonb.",
							&actorstore_max_value_size,
							10 * 1024 * 1024, 1024, 1024 * 1024 * 1024 / 4,
							PGC_SUSET, GUC_UNIT_BYTE,
							NULL, NULL, NULL);

	DefineCustomIntVariable("actorstore.cdc_retention",
							"For how long changes are kept for subscriptions that start in the past.",
							"0 keeps none.",
							&actorstore_cdc_retention,
							0, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);

	define_message_settings();
	define_log_settings();
	define_trace_settings();

	/* what shapes shared memory can be set only where there is some */
	if (process_shared_preload_libraries_in_progress)
	{
		define_scheduler_settings();
		define_request_settings();
	}
	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("actorstore.place_cache_size",
								"How many actors the server remembers the place of.",
								"Rounded up to a power of two; 16 bytes each, in shared memory. -1 takes a 32nd of shared_buffers for them, rounded down to a power of two, at most 1 GB.",
								&actorstore_place_cache_size,
								-1, -1, 64 * 1024 * 1024,
								PGC_POSTMASTER, 0,
								NULL, NULL, NULL);
	as_peer_init();
	as_resolver_init();
	as_health_init();
	as_outbox_init();
	as_signing_init();
	as_admission_init();
	as_mover_init();

	/* else there are those that have no use: nobody is to be warned of them in each session */
	if (process_shared_preload_libraries_in_progress)
		MarkGUCPrefixReserved("actorstore");
}

static void
request_shmem(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(as_places_shmem_size());
	RequestAddinShmemSpace(as_commit_signal_shmem_size());
	RequestAddinShmemSpace(as_slots_shmem_size());
	RequestAddinShmemSpace(as_sched_shmem_size());
	RequestAddinShmemSpace(as_homes_shmem_size());
	RequestAddinShmemSpace(as_timing_shmem_size());
	RequestAddinShmemSpace(as_flow_shmem_size());
	RequestAddinShmemSpace(as_urgent_shmem_size());
	RequestAddinShmemSpace(as_waiting_shmem_size());
	RequestAddinShmemSpace(as_stat_shmem_size());
	RequestAddinShmemSpace(as_conflicts_shmem_size());
	RequestAddinShmemSpace(as_trace_shmem_size());
	RequestAddinShmemSpace(as_requests_shmem_size());
	RequestAddinShmemSpace(as_arena_shmem_size());
	RequestAddinShmemSpace(as_offers_shmem_size());
	RequestAddinShmemSpace(as_leases_shmem_size());
	RequestAddinShmemSpace(as_peer_stat_shmem_size());
	RequestAddinShmemSpace(as_lanes_shmem_size());
	RequestAddinShmemSpace(as_health_shmem_size());
	RequestAddinShmemSpace(as_lives_shmem_size());
	RequestAddinShmemSpace(as_waits_shmem_size());
	RequestAddinShmemSpace(as_prepared_shmem_size());
	RequestNamedLWLockTranche("actorstore", 9);
}

static void
start_shmem(void)
{
	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	as_places_shmem_init();
	as_commit_signal_shmem_init();
	as_slots_shmem_init();
	as_sched_shmem_init();
	as_homes_shmem_init();
	as_timing_shmem_init();
	as_flow_shmem_init();
	as_urgent_shmem_init();
	as_waiting_shmem_init();
	as_stat_shmem_init();
	as_conflicts_shmem_init();
	as_trace_shmem_init();
	as_requests_shmem_init();
	as_arena_shmem_init();
	as_offers_shmem_init();
	as_leases_shmem_init();
	as_peer_stat_shmem_init();
	as_lanes_shmem_init();
	as_health_shmem_init();
	as_lives_shmem_init();
	as_prepared_shmem_init();
	as_waits_shmem_init();
	LWLockRelease(AddinShmemInitLock);
}

static void
use_shared_memory(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shmem;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_shmem;
	as_commit_signal_init();
	as_guard_init();
	as_own_state_init();
	as_prepared_files_init();
}

static void
start_workers(void)
{
	if (process_shared_preload_libraries_in_progress)
	{
		as_keeper_init();
		as_launcher_init();
	}
}

void
_PG_init(void)
{
	as_global_init();			/* its callbacks come last */
	as_late_flush_init();		/* and before them what waits */
	define_settings();
	use_shared_memory();
	as_catalog_init();
	as_type_init();
	as_handler_init();
	as_slot_init();
	as_outgoing_init();
	as_timing_init();
	as_flow_init();
	as_said_init();
	as_trace_init();
	as_deeds_init();
	as_after_commit_init();
	as_prepared_init();
	as_node_init();
	as_registry_init();
	start_workers();
}

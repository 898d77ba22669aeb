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
#include "miscadmin.h"
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

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

void		_PG_init(void);

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

	/* what shapes shared memory can be set only where there is some */
	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("actorstore.place_cache_size",
								"How many actors the server remembers the place of.",
								"Rounded up to a power of two; 16 bytes each, in shared memory. -1 takes a 32nd of shared_buffers for them, at most 64 MB.",
								&actorstore_place_cache_size,
								-1, -1, 64 * 1024 * 1024,
								PGC_POSTMASTER, 0,
								NULL, NULL, NULL);
	MarkGUCPrefixReserved("actorstore");
}

static void
request_shmem(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(as_places_shmem_size());
	RequestAddinShmemSpace(as_commit_signal_shmem_size());
}

static void
start_shmem(void)
{
	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	as_places_shmem_init();
	as_commit_signal_shmem_init();
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
}

static void
start_workers(void)
{
	if (process_shared_preload_libraries_in_progress)
		as_keeper_init();
}

void
_PG_init(void)
{
	define_settings();
	use_shared_memory();
	as_catalog_init();
	as_type_init();
	as_slot_init();
	start_workers();
}

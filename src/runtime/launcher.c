/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  Which databases are served, and by how many workers.
 *
 * One process for the server.  Whether a database has the extension can be
 * seen only from within, so a worker is sent to each database that is not
 * known yet: it stays if there is something for it, and else says what it
 * found.  A database that is served has a home (sched.h); the workers are
 * shared out evenly among the homes.  Where more databases want to be served
 * than there are workers, they take turns.
 *
 * The launcher looks again when a worker has ended, when somebody has noted a
 * database (CREATE and DROP EXTENSION, unfence()) or wants one for himself,
 * and every few seconds, as databases come and go without telling.
 *
 * One file of more than 500 lines: the passes of one loop over one table.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/worker.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "compat.h"
#include "lib/nap.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "runtime/report.h"
#include "runtime/sched.h"
#include "runtime/steward.h"
#include "storage/ipc.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define NAP_MS			5000
#define SHORT_NAP_MS	500

/* A worker that ended so soon, saying nothing, is not replaced for as long. */
#define RETRY_MS		1000

/* A database is served so long before another one gets its home. */
#define TURN_MS			3000

/* A worker that was asked for and did not come is given up. */
#define START_MS		30000

typedef enum Standing
{
	UNKNOWN,					/* nobody has looked */
	SERVABLE,
	WITHOUT						/* has no extension, or is fenced */
} Standing;

typedef struct Database
{
	Oid			oid;			/* hash key */
	Standing	standing;
	bool		seen;			/* in pg_database, just now */
	TimestampTz served_at;		/* when it got, or lost, its home */
	TimestampTz not_before;		/* no worker is started earlier */
	TimestampTz asked_at;		/* findings of earlier workers do not count */
} Database;

static HTAB *databases;
static BackgroundWorkerHandle *handles[AS_MAX_WORKERS];
static bool complained = false;
static bool no_process_left;	/* for a worker, in this pass */

/* ---- What databases there are ---- */

static void
see(Oid oid)
{
	bool		found;
	Database   *database = hash_search(databases, &oid, HASH_ENTER, &found);

	if (!found)
	{
		database->standing = UNKNOWN;
		database->served_at = 0;
		database->not_before = 0;
		database->asked_at = 0;
	}
	database->seen = true;
}

static void
read_databases(void)
{
	HASH_SEQ_STATUS i;
	Database   *database;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	hash_seq_init(&i, databases);
	while ((database = hash_seq_search(&i)) != NULL)
		database->seen = false;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		if (form->datallowconn && !form->datistemplate)
			see(form->oid);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();

	hash_seq_init(&i, databases);
	while ((database = hash_seq_search(&i)) != NULL)
	{
		if (!database->seen)
			hash_search(databases, &database->oid, HASH_REMOVE, NULL);
	}
}

static int
home_of(Oid oid)
{
	for (int home = 0; home < as_sched_max_workers(); home++)
	{
		if (pg_atomic_read_u32(&as_home(home)->database) == oid)
			return home;
	}
	return -1;
}

static Database *
database_of(int home)
{
	Oid			oid = pg_atomic_read_u32(&as_home(home)->database);

	return OidIsValid(oid) ?
		hash_search(databases, &oid, HASH_FIND, NULL) : NULL;
}

/* What was known is known no more; its workers, if any, leave first. */
static void
look_again(Database *database)
{
	int			home = home_of(database->oid);

	database->standing = UNKNOWN;
	database->not_before = 0;
	database->asked_at = GetCurrentTimestamp();
	if (home >= 0)
	{
		pg_atomic_write_u32(&as_home(home)->leave, 1);
		as_sched_wake_all(home);
	}
}

static void
read_notes(void)
{
	Oid			notes[AS_MAX_NOTES];
	int			n;
	HASH_SEQ_STATUS i;
	Database   *database;

	if (as_sched_read_notes(notes, &n))
	{
		hash_seq_init(&i, databases);
		while ((database = hash_seq_search(&i)) != NULL)
			look_again(database);
	}
	while (n > 0)
	{
		database = hash_search(databases, &notes[--n], HASH_FIND, NULL);
		if (database != NULL)
			look_again(database);
	}
}

/* ---- Workers ---- */

static void
note_finding(AsWorkerShared *worker)
{
	Database   *database = database_of(pg_atomic_read_u32(&worker->home));
	TimestampTz now = GetCurrentTimestamp();

	if (database == NULL ||
		(TimestampTz) pg_atomic_read_u64(&worker->started_at) <= database->asked_at)
		return;
	switch ((AsFinding) pg_atomic_read_u32(&worker->finding))
	{
		case AS_FOUND_SERVED:
			if (database->standing == UNKNOWN &&
				pg_atomic_read_u32(&as_home(pg_atomic_read_u32(&worker->home))->leave) == 0)
				database->standing = SERVABLE;
			if (!TimestampDifferenceExceeds(pg_atomic_read_u64(&worker->started_at),
											now, RETRY_MS) &&
				pg_atomic_read_u32(&worker->leave) == 0)
				database->not_before = TimestampTzPlusMilliseconds(now, 100);
			break;
		case AS_FOUND_NOTHING:
			database->not_before = TimestampTzPlusMilliseconds(now, RETRY_MS);
			break;
		case AS_FOUND_NO_EXTENSION:
			database->standing = WITHOUT;
			break;
		case AS_FOUND_FENCED:
			if (database->standing != WITHOUT)
				ereport(LOG,
						(errmsg("database with OID %u is a copy: its actors stand still",
								database->oid),
						 errhint("Call actorstore.unfence() there once the original runs no more.")));
			database->standing = WITHOUT;
			break;
	}
}

/* Is the process of a worker gone? */
static bool
has_ended(int number)
{
	AsWorkerShared *worker = as_worker(number);
	pid_t		pid;

	if (handles[number] != NULL)
		return GetBackgroundWorkerPid(handles[number], &pid) == BGWH_STOPPED;

	/* somebody else started it: an earlier launcher */
	if (pg_atomic_read_u32(&worker->status) == AS_WORKER_NONE)
		return true;
	if (pg_atomic_read_u32(&worker->status) == AS_WORKER_READY)
		return BackendPidGetProc(worker->pid) == NULL;
	return TimestampDifferenceExceeds(pg_atomic_read_u64(&worker->started_at),
									  GetCurrentTimestamp(), START_MS);
}

/* Has a worker that has ended done so without being told to? */
static bool
was_to_stay(AsWorkerShared *worker)
{
	AsHomeShared *home = as_home(pg_atomic_read_u32(&worker->home));

	return pg_atomic_read_u32(&worker->finding) == AS_FOUND_SERVED &&
		pg_atomic_read_u32(&worker->leave) == 0 &&
		pg_atomic_read_u32(&home->leave) == 0 &&
		!as_sched_is_barred(pg_atomic_read_u32(&home->database));
}

static bool occupied[AS_MAX_WORKERS];

static void
reap_workers(void)
{
	for (int i = 0; i < as_sched_max_workers(); i++)
	{
		AsWorkerShared *worker = as_worker(i);

		if (!occupied[i])
			occupied[i] = pg_atomic_read_u32(&worker->status) != AS_WORKER_NONE;
		if (!occupied[i] || !has_ended(i))
		{
			if (occupied[i] && pg_atomic_read_u32(&worker->finding) == AS_FOUND_SERVED)
				note_finding(worker);
			continue;
		}
		note_finding(worker);
		if (was_to_stay(worker))
			as_report_restart(i, pg_atomic_read_u32(&as_home(pg_atomic_read_u32(&worker->home))->database));
		if (handles[i] != NULL)
			pfree(handles[i]);
		handles[i] = NULL;
		occupied[i] = false;
		pg_atomic_write_u32(&worker->status, AS_WORKER_NONE);
	}
}

static int
workers_of(int home)
{
	int			n = 0;

	for (int i = 0; i < as_sched_max_workers(); i++)
	{
		if (occupied[i] && pg_atomic_read_u32(&as_worker(i)->home) == (uint32) home)
			n++;
	}
	return n;
}

/* The last home with a steward, or -1. */
static int
last_steward(void)
{
	int			home = as_sched_max_workers() - 1;

	while (home >= 0 && !as_steward_exists(home))
		home--;
	return home;
}

/* Start a worker for a home; false if the server has none to spare. */
static bool
start_worker(int home)
{
	BackgroundWorker registration;
	AsWorkerShared *worker;
	int			number = 0;

	while (number < as_sched_max_workers() && occupied[number])
		number++;
	if (number == as_sched_max_workers())
		return false;
	worker = as_worker(number);
	pg_atomic_write_u32(&worker->home, home);
	pg_atomic_write_u32(&worker->leave, 0);
	pg_atomic_write_u32(&worker->finding, AS_FOUND_NOTHING);
	pg_atomic_write_u64(&worker->started_at, GetCurrentTimestamp());
	pg_atomic_write_u32(&worker->status, AS_WORKER_STARTING);
	as_worker_describe(&registration, "actorstore worker", "as_worker_main",
					   UInt32GetDatum(number));
	snprintf(registration.bgw_name, BGW_MAXLEN, "actorstore worker %d", number);
	registration.bgw_notify_pid = MyProcPid;
	if (RegisterDynamicBackgroundWorker(&registration, &handles[number]))
	{
		occupied[number] = true;
		complained = false;
		return true;
	}
	pg_atomic_write_u32(&worker->status, AS_WORKER_NONE);
	handles[number] = NULL;
	no_process_left = true;
	if (last_steward() >= 0)
		return false;			/* it will make room */
	if (!complained)
		ereport(LOG,
				(errmsg("no background worker is free to handle messages"),
				 errhint("Consider increasing the configuration parameter \"max_worker_processes\".")));
	complained = true;
	return false;
}

static void
stop_worker(int home)
{
	for (int i = as_sched_max_workers() - 1; i >= 0; i--)
	{
		AsWorkerShared *worker = as_worker(i);

		if (occupied[i] && pg_atomic_read_u32(&worker->home) == (uint32) home &&
			pg_atomic_read_u32(&worker->leave) == 0)
		{
			pg_atomic_write_u32(&worker->leave, 1);
			as_sched_wake_all(home);
			return;
		}
	}
}

/* ---- Homes ---- */

static bool
wants_home(Database *database, TimestampTz now)
{
	return database->standing != WITHOUT && database->not_before <= now &&
		!as_sched_is_barred(database->oid) && home_of(database->oid) < 0;
}

static void
take_back_homes(void)
{
	for (int home = 0; home < as_sched_max_workers(); home++)
	{
		Oid			oid = pg_atomic_read_u32(&as_home(home)->database);
		Database   *database = database_of(home);
		bool		leaving = pg_atomic_read_u32(&as_home(home)->leave) != 0;

		if (!OidIsValid(oid) || workers_of(home) > 0 || as_steward_exists(home))
			continue;
		/* it would be given a home again at once, without what hangs there already */
		if (database != NULL && !leaving && !as_sched_is_barred(oid) &&
			(database->standing == SERVABLE ||
			 (database->standing == UNKNOWN && database->not_before <= GetCurrentTimestamp())))
			continue;
		as_home_take_back(home);
		if (database != NULL)
			database->served_at = GetCurrentTimestamp();
	}
}

/* The database that has waited longest for a home. */
static Database *
next_database(TimestampTz now)
{
	HASH_SEQ_STATUS i;
	Database   *database;
	Database   *best = NULL;

	hash_seq_init(&i, databases);
	while ((database = hash_seq_search(&i)) != NULL)
	{
		if (wants_home(database, now) &&
			(best == NULL || database->served_at < best->served_at))
			best = database;
	}
	return best;
}

/* Let the database that was served longest make room. */
static void
make_room(TimestampTz now)
{
	int			best = -1;
	TimestampTz since = now;

	for (int home = 0; home < as_sched_max_workers(); home++)
	{
		Database   *database = database_of(home);

		if (database == NULL || pg_atomic_read_u32(&as_home(home)->leave) != 0)
			return;				/* one is being vacated */
		if (database->served_at < since)
		{
			best = home;
			since = database->served_at;
		}
	}
	if (best < 0 || !TimestampDifferenceExceeds(since, now, TURN_MS))
		return;
	pg_atomic_write_u32(&as_home(best)->leave, 1);
	as_sched_wake_all(best);
}

/* Returns whether somebody waits. */
static bool
give_homes(void)
{
	TimestampTz now = GetCurrentTimestamp();
	Database   *database;

	while ((database = next_database(now)) != NULL)
	{
		int			home = home_of(InvalidOid);

		if (home < 0)
		{
			make_room(now);
			return true;
		}
		as_home_give(home, database->oid);
		database->served_at = now;
	}
	return false;
}

/* Each home its share of the workers; returns whether one could not start. */
static bool
share_workers(void)
{
	int			max = as_sched_max_workers();
	TimestampTz now = GetCurrentTimestamp();
	int			nhomes = 0;
	int			nth = 0;
	bool		short_of_workers = false;

	for (int home = 0; home < max; home++)
		nhomes += database_of(home) != NULL;
	for (int home = 0; home < max; home++)
	{
		Database   *database = database_of(home);
		int			have = workers_of(home);
		int			share;

		if (database == NULL)
			continue;
		share = max / nhomes + (nth++ < max % nhomes);
		if (database->standing == UNKNOWN)
			share = 1;
		if (as_sched_is_barred(database->oid) || database->not_before > now ||
			pg_atomic_read_u32(&as_home(home)->leave) != 0)
			continue;
		for (; have < share; have++)
			short_of_workers = !start_worker(home) || short_of_workers;
		for (; have > share; have--)
			stop_worker(home);
	}
	return short_of_workers;
}

/*
 * Each home that is served its steward, as long as the workers have what they
 * need; returns whether one could not start.
 */
static bool
care_for_stewards(void)
{
	bool		short_of_stewards = false;
	int			last = last_steward();

	for (int home = 0; home < as_sched_max_workers(); home++)
	{
		Database   *database = database_of(home);
		bool		wanted = database != NULL &&
		database->standing == SERVABLE && workers_of(home) > 0 &&
		pg_atomic_read_u32(&as_home(home)->leave) == 0 &&
		!as_sched_is_barred(database->oid);

		if (no_process_left && (home == last || !as_steward_exists(home)))
			wanted = false;
		short_of_stewards = !as_steward_care(home, wanted) || short_of_stewards;
	}
	return short_of_stewards;
}

/* ---- The process ---- */

static bool
is_settling(void)
{
	HASH_SEQ_STATUS i;
	Database   *database;
	bool		settling = false;

	hash_seq_init(&i, databases);
	while ((database = hash_seq_search(&i)) != NULL)
		settling = settling || database->standing == UNKNOWN ||
			database->not_before > GetCurrentTimestamp();
	return settling;
}

void
as_launcher_main(Datum arg)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(Database)};

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	as_lift_transaction_timeout();
	databases = hash_create("actorstore databases", 64, &ctl,
							HASH_ELEM | HASH_BLOBS);
	as_sched_set_launcher();
	for (;;)
	{
		bool		soon;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextSwitchTo(TopMemoryContext);
		read_databases();
		MemoryContextSwitchTo(TopMemoryContext);
		reap_workers();
		read_notes();
		take_back_homes();
		soon = give_homes();
		no_process_left = false;
		soon = share_workers() || soon || is_settling();
		as_sched_set_starved(no_process_left);
		soon = care_for_stewards() || soon;
		(void) as_nap(soon ? SHORT_NAP_MS : NAP_MS, AS_NAP_LAUNCHER_MAIN);
	}
}

void
as_launcher_init(void)
{
	BackgroundWorker launcher = {
		.bgw_name = "actorstore launcher",
		.bgw_type = "actorstore launcher",
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = 1,
		.bgw_library_name = "actorstore",
		.bgw_function_name = "as_launcher_main"
	};

	if (!IsBinaryUpgrade)
		RegisterBackgroundWorker(&launcher);
}

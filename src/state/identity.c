/*-------------------------------------------------------------------------
 *
 * identity.c
 *	  See identity.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/identity.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "storage/fd.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(actorstore_identity_now);
PG_FUNCTION_INFO_V1(actorstore_is_copy);

/* in the data directory: what backup_label is called once it was read */
#define LABEL_FILE	"backup_label.old"

/* what a timeline's history says of a promotion */
#define PROMOTED	"no recovery target specified"

typedef struct Identity
{
	int64		system;
	Oid			database;
	uint32		timeline;
	int64		backup;			/* 0: no base backup */
	int32		era;			/* of a row */
} Identity;

/* Column numbers of actorstore.identity */
enum
{
	COL_SYSTEM = 1,
	COL_DATABASE,
	COL_TIMELINE,
	COL_BACKUP,
	COL_ERA,
	NATTS_IDENTITY = COL_ERA
};

uint32
as_identity_timeline(void)
{
	TimeLineID	timeline;

	if (!RecoveryInProgress())
		return GetWALInsertionTimeLine();
	(void) GetXLogReplayRecPtr(&timeline);
	return timeline;
}

static int64
hash_of_label(void)
{
	char		label[8192];
	FILE	   *file = AllocateFile(LABEL_FILE, PG_BINARY_R);
	size_t		length;

	if (file == NULL)
	{
		if (errno != ENOENT)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not open file \"%s\": %m", LABEL_FILE)));
		return 0;
	}
	length = fread(label, 1, sizeof(label), file);
	FreeFile(file);
	return length == 0 ? 0 :
		DatumGetInt64(hash_any_extended((unsigned char *) label, (int) length, 0));
}

static Identity
now(void)
{
	Identity	identity = {0};

	identity.system = (int64) GetSystemIdentifier();
	identity.database = MyDatabaseId;
	identity.timeline = as_identity_timeline();
	identity.backup = hash_of_label();
	return identity;
}

/* ---- Restored to a point in the past? ---- */

/* A line of a history: the timeline that was left, where, and why. */
static bool
is_restore(const char *line, uint32 since)
{
	unsigned	timeline,
				high,
				low;
	int			reason = 0;

	return sscanf(line, "%u %X/%X %n", &timeline, &high, &low, &reason) >= 3 && reason > 0 &&
		timeline >= since && strncmp(line + reason, PROMOTED, strlen(PROMOTED)) != 0;
}

/* Did somebody choose where recovery ended, on any of the timelines from that one on? */
static bool
was_restored(uint32 since, uint32 timeline)
{
	char		path[MAXPGPATH];
	char		line[MAXPGPATH];
	bool		restored = false;
	FILE	   *file;

	TLHistoryFilePath(path, timeline);
	file = AllocateFile(path, "r");
	if (file == NULL && errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not open file \"%s\": %m", path)));
	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		restored = restored || is_restore(line, since);
	if (file != NULL)
		FreeFile(file);
	return restored;
}

/* ---- The row; a dump brings the original's beside the one of CREATE EXTENSION ---- */

static bool
is_other(const Identity *row, void *arg)
{
	Identity	here;

	if (row->system != (int64) GetSystemIdentifier() || row->database != MyDatabaseId)
		return true;
	if (RecoveryInProgress())
		return false;
	here = now();
	if (here.timeline == row->timeline)
		return here.backup != 0 && here.backup != row->backup;
	return here.timeline < row->timeline || was_restored(row->timeline, here.timeline);
}

static bool
is_older(const Identity *row, void *arg)
{
	return row->timeline < as_identity_timeline();
}

/* Till one is found of which this is true; false if there is none. */
static bool
search_rows(bool (*is_so) (const Identity *row, void *arg), void *arg)
{
	Relation	rel = table_open(as_catalog_relation("identity"), AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	bool		found = false;

	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Datum		values[NATTS_IDENTITY];
		bool		nulls[NATTS_IDENTITY];
		Identity	row;

		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		row.system = DatumGetInt64(values[COL_SYSTEM - 1]);
		row.database = DatumGetObjectId(values[COL_DATABASE - 1]);
		row.timeline = DatumGetUInt32(values[COL_TIMELINE - 1]);
		row.backup = DatumGetInt64(values[COL_BACKUP - 1]);
		row.era = DatumGetInt32(values[COL_ERA - 1]);
		found = is_so(&row, arg);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

bool
as_identity_is_copy(void)
{
	return search_rows(is_other, NULL);
}

void
as_identity_now(Oid *types, Datum *values)
{
	Identity	here = now();

	types[0] = INT8OID;
	values[0] = Int64GetDatum(here.system);
	types[1] = OIDOID;
	values[1] = ObjectIdGetDatum(here.database);
	types[2] = INT4OID;
	values[2] = UInt32GetDatum(here.timeline);
	types[3] = INT8OID;
	values[3] = Int64GetDatum(here.backup);
}

void
as_identity_note_promotion(void)
{
	Oid			types[AS_IDENTITY_COLUMNS];
	Datum		values[AS_IDENTITY_COLUMNS];
	AsAdmin		admin;

	if (!search_rows(is_older, NULL))
		return;
	as_identity_now(types, values);
	as_admin_begin(&admin);
	(void) as_admin_execute("UPDATE actorstore.identity SET timeline = $3, backup = $4, era = era + $3 - timeline"
							" WHERE system_identifier = $1 AND database = $2 AND timeline < $3",
							SPI_OK_UPDATE, AS_IDENTITY_COLUMNS, types, values, NULL);
	as_admin_leave(&admin);
}

/* ---- The era ---- */

typedef struct Era
{
	uint32		timeline;		/* now */
	int32		at_least;		/* by so many later than a row's */
	int32		era;
} Era;

static bool
is_not_last(const Identity *row, void *arg)
{
	Era		   *last = arg;
	int32		since = (int32) (last->timeline - row->timeline);

	last->era = Max(last->era, row->era + Max(since, last->at_least));
	return false;
}

static int32
last_era(int32 at_least)
{
	Era			last = {.timeline = as_identity_timeline(), .at_least = at_least};

	(void) search_rows(is_not_last, &last);
	return last.era;
}

int32
as_identity_era(void)
{
	return last_era(0);
}

int32
as_identity_next_era(void)
{
	return last_era(1);
}

/* ---- SQL ---- */

Datum
actorstore_identity_now(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Oid			types[AS_IDENTITY_COLUMNS];
	Datum		values[AS_IDENTITY_COLUMNS];
	bool		nulls[AS_IDENTITY_COLUMNS] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	as_identity_now(types, values);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

Datum
actorstore_is_copy(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(as_identity_is_copy());
}

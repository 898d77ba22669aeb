/*-------------------------------------------------------------------------
 *
 * actor_row.c
 *	  Rows of actors: made, taken apart, handed out.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/actor.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "common/int.h"
#include "state/catalog.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

void
as_check_value_size(Datum value)
{
	Size		size = toast_raw_datum_size(value) - VARHDRSZ;

	if (size > (Size) actorstore_max_value_size)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("value of an actor is too large"),
				 errdetail("It has %zu bytes; at most %d are allowed.",
						   size, actorstore_max_value_size),
				 errhint("See \"actorstore.max_value_size\".")));
}

static HeapTuple
form_row(AsPartition *partition, text *id, Datum value, int64 version,
		 TimestampTz created_at, TimestampTz updated_at)
{
	Datum		values[Natts_actor];
	bool		nulls[Natts_actor] = {false};

	as_actor_nwrites++;
	as_check_value_size(value);
	values[Anum_actor_type - 1] = PointerGetDatum(partition->type_name);
	values[Anum_actor_id - 1] = PointerGetDatum(id);
	values[Anum_actor_value - 1] = value;
	values[Anum_actor_version - 1] = Int64GetDatum(version);
	values[Anum_actor_created_at - 1] = TimestampTzGetDatum(created_at);
	values[Anum_actor_updated_at - 1] = TimestampTzGetDatum(updated_at);
	return heap_form_tuple(RelationGetDescr(partition->rel), values, nulls);
}

HeapTuple
as_row_first(AsPartition *partition, text *id, Datum value)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();

	return form_row(partition, id, value, 0, now, now);
}

HeapTuple
as_row_next(AsPartition *partition, text *id, HeapTuple old, Datum value)
{
	bool		isnull;
	Datum		created_at = heap_getattr(old, Anum_actor_created_at,
										  RelationGetDescr(partition->rel),
										  &isnull);
	int64		version;

	if (pg_add_s64_overflow(as_row_version(partition, old), 1, &version))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("version of an actor out of range")));
	return form_row(partition, id, value, version,
					DatumGetTimestampTz(created_at),
					GetCurrentTransactionStartTimestamp());
}

int64
as_row_version(AsPartition *partition, HeapTuple row)
{
	bool		isnull;

	return DatumGetInt64(heap_getattr(row, Anum_actor_version,
									  RelationGetDescr(partition->rel),
									  &isnull));
}

Datum
as_row_value(AsPartition *partition, HeapTuple row)
{
	bool		isnull;

	return heap_getattr(row, Anum_actor_value,
						RelationGetDescr(partition->rel), &isnull);
}

Datum
as_actor_datum(AsPartition *partition, HeapTuple row)
{
	/* a partition's columns are those of the table it belongs to */
	TupleDesc	desc = lookup_rowtype_tupdesc(as_catalog()->actor_rowtype, -1);
	Datum		datum = heap_copy_tuple_as_datum(row, desc);

	ReleaseTupleDesc(desc);
	return datum;
}

/*
 * Returns false if unique_check is UNIQUE_CHECK_PARTIAL and another row of
 * the same key may be live.  unchanged: an older version of the row has the
 * same key, so that nbtree may look for duplicates to clean up.
 */
bool
as_index_row(AsPartition *partition, text *id, ItemPointer place,
			 int unique_check, bool unchanged)
{
	Datum		values[2];
	bool		nulls[2] = {false, false};

	values[0] = PointerGetDatum(partition->type_name);
	values[1] = PointerGetDatum(id);

	/* a plain btree on two columns looks at no IndexInfo */
	return index_insert(partition->pkey, values, nulls, place, partition->rel,
						(IndexUniqueCheck) unique_check, unchanged, NULL);
}

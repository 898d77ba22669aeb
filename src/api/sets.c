/*-------------------------------------------------------------------------
 *
 * sets.c
 *	  See sets.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "api/sets.h"

#include "cluster/route.h"
#include "miscadmin.h"
#include "state/owner.h"
#include "utils/snapmgr.h"

/* actors of whom is fetched from memory at once what is remembered of them */
#define EXPECTED_AT_ONCE	16

/* ---- Order ---- */

/* An id in the order in which actors are locked, and where it was given. */
typedef struct SortedId
{
	text	   *id;
	int			place;
} SortedId;

static int
compare_sorted_ids(const void *a, const void *b)
{
	const SortedId *left = a;
	const SortedId *right = b;
	int			result = as_compare_ids(left->id, right->id);

	return result != 0 ? result : left->place - right->place;
}

static SortedId *
sort_ids(text **ids, int n, const int *places)
{
	SortedId   *sorted = palloc(Max(n, 1) * sizeof(SortedId));

	for (int i = 0; i < n; i++)
	{
		sorted[i].place = places == NULL ? i : places[i];
		sorted[i].id = ids[sorted[i].place];
	}
	qsort(sorted, n, sizeof(SortedId), compare_sorted_ids);
	return sorted;
}

/* ---- Reading ---- */

void
as_set_parse_lock(AsSet *set, const char *word)
{
	set->locked = true;
	if (strcmp(word, "share") == 0)
		set->mode = LockTupleShare;
	else if (strcmp(word, "update") == 0)
		set->mode = LockTupleExclusive;
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for lock: \"%s\"", word),
				 errhint("Valid values are \"share\", \"update\" and NULL.")));
}

void
as_set_open(AsSet *set)
{
	AsPartition *partition = &set->partition;

	if (!as_partition_open(partition, set->type,
						   set->locked ? RowShareLock : AccessShareLock))
		return;
	set->is_open = true;
	as_type_check(partition->type, AS_PRIV_READ);
	if (set->locked && set->mode == LockTupleExclusive)
		as_type_check(partition->type, AS_PRIV_WRITE);
	if (set->locked)
		set->rows = palloc0(Max(set->n, 1) * sizeof(HeapTuple));
}

/* Once all are locked, all are as they were read. */
void
as_set_lock(AsSet *set, int n, const int *places)
{
	SortedId   *sorted = sort_ids(set->ids, n, places);

	for (int i = 0; i < n; i++)
	{
		HeapTuple  *row = &set->rows[sorted[i].place];

		CHECK_FOR_INTERRUPTS();
		if (i > 0 && as_compare_ids(sorted[i - 1].id, sorted[i].id) == 0)
			*row = set->rows[sorted[i - 1].place];
		else if (as_actor_lock(&set->partition, sorted[i].id, set->mode))
			*row = ExecCopySlotHeapTuple(set->partition.slot);
	}
	pfree(sorted);
}

void
as_set_push_snapshot(AsSet *set)
{
	if (!set->locked)
		as_partition_push_read_snapshot(&set->partition);
}

static void
expect(const AsSet *set, int place)
{
	int			end = Min(place + EXPECTED_AT_ONCE, set->n);

	for (; place < end; place++)
		as_partition_expect(set->type, set->ids[place]);
}

HeapTuple
as_set_row(AsSet *set, int place)
{
	AsPartition *partition = &set->partition;

	CHECK_FOR_INTERRUPTS();
	if (set->locked)
		return set->rows[place];
	if (place % EXPECTED_AT_ONCE == 0)
		expect(set, place);
	if (!as_partition_find(partition, set->ids[place], GetActiveSnapshot()))
	{
		set->moved = set->moved || as_owner_has_moved(set->type, set->ids[place]);
		if (!set->moved)
			as_route_check_snapshot(set->type, set->ids[place]);
		return NULL;
	}
	return ExecFetchSlotHeapTuple(partition->slot, false, NULL);
}

void
as_set_close(AsSet *set)
{
	if (!set->locked)
		PopActiveSnapshot();
	as_partition_close(&set->partition);
	set->is_open = false;
}

/* ---- Writing ---- */

void
as_many_write(AsManyKind kind, text *type, int n, text **ids, Datum *values)
{
	SortedId   *sorted = sort_ids(ids, n, NULL);
	text	  **sorted_ids = palloc(Max(n, 1) * sizeof(text *));
	Datum	   *sorted_values = palloc(Max(n, 1) * sizeof(Datum));
	AsPartition partition;

	for (int i = 0; i < n; i++)
	{
		sorted_ids[i] = sorted[i].id;
		sorted_values[i] = values[sorted[i].place];
	}
	as_partition_open_for(&partition, type, AS_PRIV_WRITE, true, RowExclusiveLock);
	if (kind == AS_MANY_INSERT)
		as_actor_insert_many(&partition, n, sorted_ids, sorted_values);
	else
		as_actor_put_many(&partition, n, sorted_ids, sorted_values);
	as_partition_close(&partition);
}

bool
as_many_runs_code(text *type)
{
	AsPartition partition;
	bool		plain;

	as_partition_open_for(&partition, type, AS_PRIV_WRITE, true, RowExclusiveLock);
	plain = partition.plain;
	as_partition_close(&partition);
	return !plain;
}

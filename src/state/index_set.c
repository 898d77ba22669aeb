/*-------------------------------------------------------------------------
 *
 * index_set.c
 *	  See index_set.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/index_set.h"

#include "access/genam.h"
#include "catalog/index.h"
#include "compat.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"

/* How often to look for an index that takes another's name just now. */
#define MAX_LOOKS	10

struct AsOtherIndexes
{
	EState	   *estate;
	int			n;
	Relation   *indexes;
	IndexInfo **infos;
	ExprState **predicates;		/* NULL for those of all rows */
};

/* ---- Opening ---- */

/*
 * Has the table the indexes that were known, and no others?  The list is looked at where
 * it stands: a copy and names would cost as much as the rest.
 */
static bool
are_known(Relation rel, const AsIndexNames *names)
{
	if (!rel->rd_indexvalid || list_length(rel->rd_indexlist) != names->n)
		return false;
	for (int i = 0; i < names->n; i++)
	{
		if (list_nth_oid(rel->rd_indexlist, i) != names->all[i])
			return false;
	}
	return true;
}

/* Which of the names is it?  n if none. */
static int
place_of(const char *name, const AsIndexNames *names)
{
	int			i = 0;

	while (i < names->n && strcmp(name, names->names[i]) != 0)
		i++;
	return i;
}

static void
add_other(AsIndexSet *set, Relation index, int most)
{
	AsOtherIndexes *others = set->others;

	if (others == NULL)
	{
		others = set->others = palloc0(sizeof(AsOtherIndexes));
		others->indexes = palloc(sizeof(Relation) * most);
	}
	others->indexes[others->n++] = index;
}

/*
 * The list was made when the table was locked, and whoever drops an index waits for
 * those who have the table locked.
 */
static List *
open_all(AsIndexSet *set, AsIndexNames *names, LOCKMODE lockmode)
{
	List	   *list = RelationGetIndexList(set->rel);
	ListCell   *cell;

	memset(set->known, 0, sizeof(set->known));
	foreach(cell, list)
	{
		Relation	index = index_open(lfirst_oid(cell), lockmode);
		int			place = place_of(RelationGetRelationName(index), names);

		if (place < names->n && set->known[place] == NULL)
		{
			set->known[place] = index;
			names->known[place] = lfirst_oid(cell);
		}
		else if (index->rd_index->indisready)
			add_other(set, index, list_length(list));
		else
			index_close(index, NoLock);
	}
	return list;
}

static void
prepare_others(AsOtherIndexes *others)
{
	others->estate = CreateExecutorState();
	others->infos = palloc(sizeof(IndexInfo *) * others->n);
	others->predicates = palloc0(sizeof(ExprState *) * others->n);
	for (int i = 0; i < others->n; i++)
	{
		others->infos[i] = BuildIndexInfo(others->indexes[i]);
		if (others->infos[i]->ii_Predicate != NIL)
			others->predicates[i] = ExecPrepareQual(others->infos[i]->ii_Predicate,
													others->estate);
	}
}

static const char *
missing_name(const AsIndexSet *set, const AsIndexNames *names)
{
	for (int i = 0; i < set->n; i++)
	{
		if (set->known[i] == NULL)
			return names->names[i];
	}
	return NULL;
}

/* Nothing that was kept holds any more, unless this comes to its end. */
static void
look_at_all(AsIndexSet *set, AsIndexNames *names, LOCKMODE lockmode)
{
	const char *missing;
	List	   *list;

	memset(names->all, 0, sizeof(names->all));
	list = open_all(set, names, lockmode);
	for (int looks = 1; (missing = missing_name(set, names)) != NULL; looks++)
	{
		/* while they were opened, names may have changed from one to another */
		if (looks == MAX_LOOKS)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("index \"actorstore.%s\" does not exist", missing),
					 errhint("Create the extension anew: CREATE EXTENSION actorstore.")));
		as_index_set_close(set);
		list_free(list);
		list = open_all(set, names, lockmode);
	}
	for (int i = 0; i < names->n && list_length(list) == names->n; i++)
		names->all[i] = list_nth_oid(list, i);
	list_free(list);
	if (set->others != NULL)
		prepare_others(set->others);
}

void
as_index_set_open(AsIndexSet *set, Relation rel, AsIndexNames *names, LOCKMODE lockmode)
{
	set->rel = rel;
	set->n = names->n;
	set->others = NULL;
	if (unlikely(!are_known(rel, names)))
	{
		look_at_all(set, names, lockmode);
		return;
	}
	for (int i = 0; i < names->n; i++)
		set->known[i] = index_open(names->known[i], lockmode);
}

void
as_index_set_close(AsIndexSet *set)
{
	for (int i = set->n - 1; i >= 0; i--)
	{
		if (set->known[i] != NULL)
			index_close(set->known[i], NoLock);
	}
	if (set->others == NULL)
		return;
	for (int i = 0; i < set->others->n; i++)
	{
		if (set->others->infos != NULL)
			as_index_insert_cleanup(set->others->indexes[i], set->others->infos[i]);
		index_close(set->others->indexes[i], NoLock);
	}
	if (set->others->estate != NULL)
		FreeExecutorState(set->others->estate);
	set->others = NULL;
}

/* ---- Writing ---- */

static bool
write_other(AsIndexSet *set, int i, TupleTableSlot *slot, bool speculative)
{
	AsOtherIndexes *others = set->others;
	ExprContext *context = GetPerTupleExprContext(others->estate);
	bool		unique = others->indexes[i]->rd_index->indisunique;
	IndexUniqueCheck check = !unique ? UNIQUE_CHECK_NO :
		speculative ? UNIQUE_CHECK_PARTIAL : UNIQUE_CHECK_YES;
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	bool		alone;

	context->ecxt_scantuple = slot;
	if (others->predicates[i] != NULL && !ExecQual(others->predicates[i], context))
		return true;
	FormIndexDatum(others->infos[i], slot, others->estate, values, nulls);
	alone = index_insert(others->indexes[i], values, nulls, &slot->tts_tid, set->rel,
						 check, false, others->infos[i]);
	return check != UNIQUE_CHECK_PARTIAL || alone;
}

bool
as_index_set_write_others(AsIndexSet *set, TupleTableSlot *slot, bool speculative)
{
	bool		alone = true;

	for (int i = 0; alone && i < set->others->n; i++)
		alone = write_other(set, i, slot, speculative);
	ResetPerTupleExprContext(set->others->estate);
	return alone;
}

void
as_index_set_write_summaries(AsIndexSet *set, TupleTableSlot *slot)
{
	for (int i = 0; set->others != NULL && i < set->others->n; i++)
	{
		if (as_index_is_summary(set->others->infos[i]))
			(void) write_other(set, i, slot, false);
	}
	if (set->others != NULL)
		ResetPerTupleExprContext(set->others->estate);
}

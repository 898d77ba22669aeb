/*-------------------------------------------------------------------------
 *
 * conflict.c
 *	  See conflict.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/conflict.h"

#include "lib/key_hash.h"
#include "miscadmin.h"
#include "runtime/stat.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#define MAX_CONFLICTS	100

typedef struct ConflictsShared
{
	LWLock	   *lock;			/* for all that follows */
	AsConflict	actors[MAX_CONFLICTS];
} ConflictsShared;

static ConflictsShared *conflicts = NULL;

Size
as_conflicts_shmem_size(void)
{
	return sizeof(ConflictsShared);
}

void
as_conflicts_shmem_init(void)
{
	bool		found;

	conflicts = ShmemInitStruct("actorstore conflicts", as_conflicts_shmem_size(), &found);
	if (found)
		return;
	memset(conflicts, 0, as_conflicts_shmem_size());
	conflicts->lock = &(GetNamedLWLockTranche("actorstore") + 8)->lock;
}

static bool
is_of(const AsConflict *actor, uint64 key_hash, const AsType *type, text *id)
{
	return actor->key_hash == key_hash && actor->database == MyDatabaseId &&
		actor->owner == type->owner &&
		actor->type_len == type->name_len && actor->id_len == (int) VARSIZE_ANY_EXHDR(id) &&
		memcmp(actor->type, type->name, actor->type_len) == 0 &&
		memcmp(actor->id, VARDATA_ANY(id), actor->id_len) == 0;
}

/* Its place, or the one that it is to have: a free one has the smallest count. */
static AsConflict *
find_place(uint64 key_hash, const AsType *type, text *id)
{
	AsConflict *smallest = &conflicts->actors[0];

	for (int i = 0; i < MAX_CONFLICTS; i++)
	{
		AsConflict *actor = &conflicts->actors[i];

		if (is_of(actor, key_hash, type, id))
			return actor;
		if (actor->count < smallest->count)
			smallest = actor;
	}
	smallest->database = MyDatabaseId;
	smallest->owner = type->owner;
	smallest->key_hash = key_hash;
	smallest->inherited = smallest->count;
	smallest->type_len = type->name_len;
	memcpy(smallest->type, type->name, type->name_len);
	smallest->id_len = VARSIZE_ANY_EXHDR(id);
	memcpy(smallest->id, VARDATA_ANY(id), smallest->id_len);
	return smallest;
}

void
as_conflict_note(AsType *type, text *id)
{
	TimestampTz now = GetCurrentTimestamp();
	uint64		key_hash;
	AsConflict *actor;

	if (conflicts == NULL)
		return;
	as_stat_count_conflict(type);
	key_hash = as_key_hash(type->name, type->name_len, VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
	LWLockAcquire(conflicts->lock, LW_EXCLUSIVE);
	actor = find_place(key_hash, type, id);
	actor->count++;
	actor->last = Max(actor->last, now);
	LWLockRelease(conflicts->lock);
}

void
as_conflicts_forget(const char *type, int type_len)
{
	if (conflicts == NULL)
		return;
	LWLockAcquire(conflicts->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_CONFLICTS; i++)
	{
		AsConflict *actor = &conflicts->actors[i];

		if (actor->database == MyDatabaseId && actor->type_len == type_len &&
			memcmp(actor->type, type, type_len) == 0)
			memset(actor, 0, sizeof(AsConflict));
	}
	LWLockRelease(conflicts->lock);
}

AsConflict *
as_conflicts_copy(int *n)
{
	AsConflict *result = palloc(sizeof(AsConflict) * MAX_CONFLICTS);

	*n = 0;
	if (conflicts == NULL)
		return result;
	LWLockAcquire(conflicts->lock, LW_SHARED);
	for (int i = 0; i < MAX_CONFLICTS; i++)
	{
		if (conflicts->actors[i].database == MyDatabaseId)
			result[(*n)++] = conflicts->actors[i];
	}
	LWLockRelease(conflicts->lock);
	return result;
}

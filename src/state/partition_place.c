/*-------------------------------------------------------------------------
 *
 * partition_place.c
 *	  Where actors' rows were last seen: the map of lib/place_map.h, in shared
 *	  memory, and where in it an actor's words are.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/partition.h"

#include "lib/key_hash.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/shmem.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* words of a backend's own map, where the library is not preloaded */
#define OWN_WORDS	8192

/* limits of what the server's map has: set, or if nobody sets it */
#define MIN_WORDS		2048
#define MAX_AUTO_WORDS	(128 * 1024 * 1024)

/* the setting counts actors whose place and the place before are remembered */
#define WORDS_PER_ACTOR 2

static AsPlaceMapShared *places = NULL;

/*
 * How many words: as set, or as many as a 32nd of shared_buffers holds, which
 * remembers more small actors than the buffers hold.  NBuffers is known by now.
 */
static uint64
shared_words(void)
{
	uint64		words = (uint64) actorstore_place_cache_size * WORDS_PER_ACTOR;

	if (actorstore_place_cache_size >= 0)
		return pg_nextpower2_64(Max(words, MIN_WORDS));
	words = (uint64) NBuffers * BLCKSZ / 32 / sizeof(uint64);
	return pg_prevpower2_64(Min(Max(words, MIN_WORDS), MAX_AUTO_WORDS));
}

Size
as_places_shmem_size(void)
{
	return as_place_map_size(shared_words());
}

void
as_places_shmem_init(void)
{
	bool		found;

	places = ShmemInitStruct("actorstore places", as_places_shmem_size(),
							 &found);
	if (!found)
		as_place_map_init(places, shared_words());
}

static AsPlaceMapShared *
place_map(void)
{
	if (places == NULL)
	{
		places = MemoryContextAlloc(TopMemoryContext,
									as_place_map_size(OWN_WORDS));
		as_place_map_init(places, OWN_WORDS);
	}
	return places;
}

#define GOLDEN_RATIO	UINT64CONST(0x9E3779B97F4A7C15)

/* bits of a key that choose one of the map's pages of 4 kB, not a set in it */
#define PAGE_BITS	UINT64CONST(0x00001FFFFFFFFFC0)

/*
 * The set of words of the actor, which can be told before its table is open.
 *
 * Ids that differ in their last byte only share a page, of 512 words: who looks
 * for many actors that are numbered one after the other would otherwise have
 * the processor look up the address of a page for each.
 */
static uint64
actor_key(const text *type_name, const text *id)
{
	uint32		len = VARSIZE_ANY_EXHDR(id);
	uint32		rest = len > 0 ? len - 1 : 0;
	uint64		page;
	uint64		key;

	page = as_key_hash(VARDATA_ANY(type_name), VARSIZE_ANY_EXHDR(type_name),
					   VARDATA_ANY(id), rest) ^ (MyDatabaseId * GOLDEN_RATIO);
	key = (page ^ (len > 0 ? (unsigned char) VARDATA_ANY(id)[rest] + 1 : 0)) * GOLDEN_RATIO;
	key ^= key >> 32;
	return (page & PAGE_BITS) | (key & ~PAGE_BITS);
}

/* Where the map keeps the place of the actor: tables differ, too, in the tag. */
static uint64
place_key(AsPartition *partition, const text *id)
{
	return actor_key(partition->type_name, id) ^
		((RelationGetRelid(partition->rel) * GOLDEN_RATIO) & AS_PLACE_TAG);
}

void
as_partition_expect(const text *type_name, const text *id)
{
	as_place_map_prefetch(place_map(), actor_key(type_name, id));
}

void
as_partition_remember(AsPartition *partition, const text *id,
					  ItemPointer newest, ItemPointer before)
{
	uint64		key = place_key(partition, id);

	if (before != NULL)
		as_place_map_set(place_map(), key, AS_PLACE_BEFORE,
						 ItemPointerGetBlockNumber(before),
						 ItemPointerGetOffsetNumber(before));
	as_place_map_set(place_map(), key, AS_PLACE_NEWEST,
					 ItemPointerGetBlockNumber(newest),
					 ItemPointerGetOffsetNumber(newest));
}

bool
as_partition_recall(AsPartition *partition, const text *id, AsPlaceAge age,
					ItemPointer place)
{
	uint32		block;
	uint16		offset;

	if (!as_place_map_get(place_map(), place_key(partition, id), age, &block,
						  &offset))
		return false;
	ItemPointerSet(place, block, offset);
	return true;
}

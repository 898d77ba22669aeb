/*-------------------------------------------------------------------------
 *
 * place_map.h
 *	  Where rows were last seen: a fixed array of hints, read and written
 *	  without locks.
 *
 * Finding a row through its index means to walk over every dead version that
 * vacuum may not remove yet.  Whoever remembers where the newest version
 * stood walks over none.  A cell has two words, for the newest version and
 * for the one before it: others do not see a version before its transaction
 * has committed, and never if it aborts, but then they see the one before.
 * A word is
 *
 *		bits 63..48  tag: the upper 16 bits of the key's hash
 *		bits 47..16  block number
 *		bits 15..0   offset number, 0 in an empty word
 *
 * The lower bits of the hash choose a set of AS_PLACE_WAYS cells, which is one
 * cache line; a key has the first cell of its set that holds its tag, in
 * whichever word.  A new key takes an empty cell, or else the one that the bits
 * below the tag choose.  A word is loaded and stored by single atomic
 * instructions and tells by itself whose row it leads to, so readers and writers
 * need no order between words or between them, and a process may die anywhere.
 * Two who put the same key in at once may give it two cells: then all later
 * readers and writers agree on the first one of them, and the second waits to be
 * overwritten.
 *
 * Nothing depends on a hint being right.  It may be stale, belong to a key
 * whose hash shares cell and tag, or point behind the end of the table: the
 * caller compares the key of the row that it finds there, and falls back to
 * the index.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_PLACE_MAP_H
#define AS_PLACE_MAP_H

#include "actorstore.h"

#include "port/atomics.h"

typedef enum AsPlaceAge
{
	AS_PLACE_NEWEST,
	AS_PLACE_BEFORE,
	AS_NUM_PLACES
} AsPlaceAge;

/* cells that a key may be in: together one cache line */
#define AS_PLACE_WAYS	4

typedef struct AsPlaceCellShared
{
	pg_atomic_uint64 words[AS_NUM_PLACES];	/* written by anyone */
} AsPlaceCellShared;

typedef struct AsPlaceMapShared
{
	uint64		mask;			/* number of sets - 1; immutable */
	char		pad[PG_CACHE_LINE_SIZE - sizeof(uint64)];
	AsPlaceCellShared cells[FLEXIBLE_ARRAY_MEMBER];
} AsPlaceMapShared;

/* Bytes that a map of ncells (a power of two, at least AS_PLACE_WAYS) takes. */
static inline Size
as_place_map_size(uint64 ncells)
{
	return offsetof(AsPlaceMapShared, cells) +
		ncells * sizeof(AsPlaceCellShared);
}

/* Make an empty map of ncells in the memory given, that many as above. */
static inline void
as_place_map_init(AsPlaceMapShared *map, uint64 ncells)
{
	Assert(ncells >= AS_PLACE_WAYS && (ncells & (ncells - 1)) == 0);

	map->mask = ncells / AS_PLACE_WAYS - 1;
	for (uint64 i = 0; i < ncells; i++)
	{
		pg_atomic_init_u64(&map->cells[i].words[AS_PLACE_NEWEST], 0);
		pg_atomic_init_u64(&map->cells[i].words[AS_PLACE_BEFORE], 0);
	}
}

static inline bool
as_place_is_of(uint64 word, uint64 hash)
{
	return ((word ^ hash) >> 48) == 0 && (word & 0xFFFF) != 0;
}

/*
 * The cell of the key with this hash: the one that it has, or the one that it
 * would get.
 */
static inline AsPlaceCellShared *
as_place_map_cell(AsPlaceMapShared *map, uint64 hash)
{
	AsPlaceCellShared *set = &map->cells[(hash & map->mask) * AS_PLACE_WAYS];
	AsPlaceCellShared *empty = NULL;

	for (int way = 0; way < AS_PLACE_WAYS; way++)
	{
		uint64		newest = pg_atomic_read_u64(&set[way].words[AS_PLACE_NEWEST]);

		if (as_place_is_of(newest, hash))
			return &set[way];
		if (newest == 0 && empty == NULL)
			empty = &set[way];
	}
	return empty != NULL ? empty : &set[(hash >> 46) % AS_PLACE_WAYS];
}

/*
 * Remember that the newest version of the row of the key with this hash stands
 * at (block, offset).
 */
static inline void
as_place_map_set(AsPlaceMapShared *map, uint64 hash, AsPlaceAge age,
				 uint32 block, uint16 offset)
{
	uint64		word = (hash & UINT64CONST(0xFFFF000000000000)) |
	((uint64) block << 16) | offset;

	pg_atomic_write_u64(&as_place_map_cell(map, hash)->words[age], word);
}

/* Where was that version of the row seen?  False if nobody remembers. */
static inline bool
as_place_map_get(AsPlaceMapShared *map, uint64 hash, AsPlaceAge age,
				 uint32 *block, uint16 *offset)
{
	uint64		word = pg_atomic_read_u64(&as_place_map_cell(map, hash)->words[age]);

	if (!as_place_is_of(word, hash))
		return false;
	*block = (uint32) (word >> 16);
	*offset = (uint16) (word & 0xFFFF);
	return true;
}

#endif							/* AS_PLACE_MAP_H */

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
 * The cell is chosen by the lower bits of the hash; a newer key overwrites an
 * older one.  A word is loaded and stored by single atomic instructions and
 * tells by itself whose row it leads to, so readers and writers need no order
 * between words or between them, and a process may die anywhere.
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

typedef struct AsPlaceCellShared
{
	pg_atomic_uint64 words[AS_NUM_PLACES];	/* written by anyone */
} AsPlaceCellShared;

typedef struct AsPlaceMapShared
{
	uint64		mask;			/* number of cells - 1; immutable */
	AsPlaceCellShared cells[FLEXIBLE_ARRAY_MEMBER];
} AsPlaceMapShared;

/* Bytes that a map of ncells (a power of two) takes. */
static inline Size
as_place_map_size(uint64 ncells)
{
	return offsetof(AsPlaceMapShared, cells) +
		ncells * sizeof(AsPlaceCellShared);
}

/* Make an empty map of ncells (a power of two) in the memory given. */
static inline void
as_place_map_init(AsPlaceMapShared *map, uint64 ncells)
{
	Assert(ncells > 0 && (ncells & (ncells - 1)) == 0);

	map->mask = ncells - 1;
	for (uint64 i = 0; i < ncells; i++)
	{
		pg_atomic_init_u64(&map->cells[i].words[AS_PLACE_NEWEST], 0);
		pg_atomic_init_u64(&map->cells[i].words[AS_PLACE_BEFORE], 0);
	}
}

/*
 * Remember that this version of the row of the key with this hash stands at
 * (block, offset).
 */
static inline void
as_place_map_set(AsPlaceMapShared *map, uint64 hash, AsPlaceAge age,
				 uint32 block, uint16 offset)
{
	uint64		word = (hash & UINT64CONST(0xFFFF000000000000)) |
	((uint64) block << 16) | offset;

	pg_atomic_write_u64(&map->cells[hash & map->mask].words[age], word);
}

/* Where was that version of the row seen?  False if nobody remembers. */
static inline bool
as_place_map_get(AsPlaceMapShared *map, uint64 hash, AsPlaceAge age,
				 uint32 *block, uint16 *offset)
{
	uint64		word = pg_atomic_read_u64(&map->cells[hash & map->mask].words[age]);

	if (((word ^ hash) >> 48) != 0 || (word & 0xFFFF) == 0)
		return false;
	*block = (uint32) (word >> 16);
	*offset = (uint16) (word & 0xFFFF);
	return true;
}

#endif							/* AS_PLACE_MAP_H */

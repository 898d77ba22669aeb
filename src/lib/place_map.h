/*-------------------------------------------------------------------------
 *
 * place_map.h
 *	  Where rows were last seen: a fixed array of hints, read and written
 *	  without locks.
 *
 * Finding a row through its index means to walk over every dead version that
 * vacuum may not remove yet.  Whoever remembers where the newest version
 * stood walks over none.  A key may have two words, for the newest version and
 * for the one before it: others do not see a version before its transaction
 * has committed, and never if it aborts, but then they see the one before.
 * A word is
 *
 *		bits 63..48  tag: the upper 16 bits of the key's hash
 *		bits 47..16  block number
 *		bit  15      age: 0 for the newest version, 1 for the one before
 *		bits 14..0   offset number, 0 in an empty word
 *
 * The lower bits of the hash choose a set of AS_PLACE_WAYS words, which is one
 * cache line; a key has the first word of its set that holds its tag and the
 * age.  A new one takes an empty word, or else the one that the bits below the
 * tag choose, a different one for each age.  So a key that does not change takes
 * one word, and the other is free for another key.
 *
 * A word is loaded and stored by single atomic instructions and tells by itself
 * whose row it leads to, so readers and writers need no order between words, and
 * a process may die anywhere.  Two who put the same key in at once may give it
 * two words: then all later readers and writers agree on the first one of them,
 * and the second waits to be overwritten.
 *
 * Nothing depends on a hint being right.  It may be stale, belong to a key
 * whose hash shares set and tag, or point behind the end of the table: the
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
	AS_PLACE_BEFORE
} AsPlaceAge;

/* words that a key may be in: together one cache line */
#define AS_PLACE_WAYS	8

#define AS_PLACE_TAG	UINT64CONST(0xFFFF000000000000)
#define AS_PLACE_AGE	UINT64CONST(0x8000)
#define AS_PLACE_OFFSET	UINT64CONST(0x7FFF)

typedef struct AsPlaceMapShared
{
	uint64		mask;			/* number of sets - 1; immutable */
	char		pad[PG_CACHE_LINE_SIZE - sizeof(uint64)];
	pg_atomic_uint64 words[FLEXIBLE_ARRAY_MEMBER];	/* written by anyone */
} AsPlaceMapShared;

/* Bytes that a map of nwords (a power of two, at least AS_PLACE_WAYS) takes. */
static inline Size
as_place_map_size(uint64 nwords)
{
	return offsetof(AsPlaceMapShared, words) + nwords * sizeof(pg_atomic_uint64);
}

/* Make an empty map of nwords in the memory given, that many as above. */
static inline void
as_place_map_init(AsPlaceMapShared *map, uint64 nwords)
{
	Assert(nwords >= AS_PLACE_WAYS && (nwords & (nwords - 1)) == 0);

	map->mask = nwords / AS_PLACE_WAYS - 1;
	for (uint64 i = 0; i < nwords; i++)
		pg_atomic_init_u64(&map->words[i], 0);
}

/* The words that the key with this hash may be in */
static inline pg_atomic_uint64 *
as_place_map_words(AsPlaceMapShared *map, uint64 hash)
{
	return &map->words[(hash & map->mask) * AS_PLACE_WAYS];
}

/* Have them brought near: they will be asked for soon. */
static inline void
as_place_map_prefetch(AsPlaceMapShared *map, uint64 hash)
{
	__builtin_prefetch(as_place_map_words(map, hash));
}

/* Tag and age as a word of the key has them */
static inline uint64
as_place_mark(uint64 hash, AsPlaceAge age)
{
	return (hash & AS_PLACE_TAG) | (age == AS_PLACE_BEFORE ? AS_PLACE_AGE : 0);
}

static inline bool
as_place_is_of(uint64 word, uint64 mark)
{
	return ((word ^ mark) & (AS_PLACE_TAG | AS_PLACE_AGE)) == 0 &&
		(word & AS_PLACE_OFFSET) != 0;
}

/*
 * Remember that this version of the row of the key with this hash stands at
 * (block, offset).
 */
static inline void
as_place_map_set(AsPlaceMapShared *map, uint64 hash, AsPlaceAge age,
				 uint32 block, uint16 offset)
{
	pg_atomic_uint64 *words = as_place_map_words(map, hash);
	uint64		mark = as_place_mark(hash, age);
	int			target = ((hash >> 45) ^ age) % AS_PLACE_WAYS;
	bool		has_empty = false;

	for (int way = 0; way < AS_PLACE_WAYS; way++)
	{
		uint64		word = pg_atomic_read_u64(&words[way]);

		if (as_place_is_of(word, mark))
		{
			target = way;
			break;
		}
		if ((word & AS_PLACE_OFFSET) == 0 && !has_empty)
		{
			target = way;
			has_empty = true;
		}
	}
	pg_atomic_write_u64(&words[target],
						mark | ((uint64) block << 16) | (offset & AS_PLACE_OFFSET));
}

/* Where was that version of the row seen?  False if nobody remembers. */
static inline bool
as_place_map_get(AsPlaceMapShared *map, uint64 hash, AsPlaceAge age,
				 uint32 *block, uint16 *offset)
{
	pg_atomic_uint64 *words = as_place_map_words(map, hash);
	uint64		mark = as_place_mark(hash, age);

	for (int way = 0; way < AS_PLACE_WAYS; way++)
	{
		uint64		word = pg_atomic_read_u64(&words[way]);

		if (as_place_is_of(word, mark))
		{
			*block = (uint32) (word >> 16);
			*offset = (uint16) (word & AS_PLACE_OFFSET);
			return true;
		}
	}
	return false;
}

#endif							/* AS_PLACE_MAP_H */

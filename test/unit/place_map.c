/*-------------------------------------------------------------------------
 *
 * place_map.c
 *	  Unit test of src/lib/place_map.h: hints come back whole or not at all.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/place_map.h"

#include <pthread.h>

#include "tap.h"

#define TAG(n) ((uint64) (n) << 48)

static AsPlaceMapShared *
new_map(uint64 nwords)
{
	AsPlaceMapShared *map = malloc(as_place_map_size(nwords));

	memset(map, 0x5a, as_place_map_size(nwords));
	as_place_map_init(map, nwords);
	return map;
}

static bool
is_of_age_at(AsPlaceMapShared *map, uint64 hash, AsPlaceAge age, uint32 block, uint16 offset)
{
	uint32		b = ~block;
	uint16		o = ~offset;

	return as_place_map_get(map, hash, age, &b, &o) && b == block && o == offset;
}

static bool
is_at(AsPlaceMapShared *map, uint64 hash, uint32 block, uint16 offset)
{
	return is_of_age_at(map, hash, AS_PLACE_NEWEST, block, offset);
}

static bool
is_empty(AsPlaceMapShared *map, uint64 hash)
{
	uint32		b;
	uint16		o;

	return !as_place_map_get(map, hash, AS_PLACE_NEWEST, &b, &o);
}

static void
one_by_one(void)
{
	static const uint32 blocks[] = {0, 1, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF};
	static const uint16 offsets[] = {1, 2, 255, 256, 2048, 0x4000, 0x7FFF};
	AsPlaceMapShared *map = new_map(16 * AS_PLACE_WAYS);
	int			wrong = 0;

	for (uint64 i = 0; i < 16; i++)
		wrong += !is_empty(map, i) + !is_empty(map, TAG(0xFFFF) | i);
	ok(wrong == 0, "a new map is empty, for every tag");

	for (size_t b = 0; b < lengthof(blocks); b++)
	{
		for (size_t o = 0; o < lengthof(offsets); o++)
		{
			for (uint64 tag = 0; tag <= 0xFFFF; tag += 0x5555)
			{
				as_place_map_set(map, TAG(tag) | 5, AS_PLACE_NEWEST, blocks[b], offsets[o]);
				as_place_map_set(map, TAG(tag) | 5, AS_PLACE_BEFORE, ~blocks[b], 1);
				wrong += !is_at(map, TAG(tag) | 5, blocks[b], offsets[o]);
				wrong += !is_of_age_at(map, TAG(tag) | 5, AS_PLACE_BEFORE, ~blocks[b], 1);
			}
		}
	}
	ok(wrong == 0, "what is put in comes out, at the limits of block, offset and tag");
	ok(is_empty(map, TAG(0xFFFF) | 4) && is_empty(map, TAG(0xFFFF) | 6), "the neighbours are untouched");

	as_place_map_set(map, TAG(1) | 7, AS_PLACE_NEWEST, 10, 1);
	as_place_map_set(map, TAG(1) | 7, AS_PLACE_NEWEST, 20, 2);
	ok(is_at(map, TAG(1) | 7, 20, 2), "the newer place replaces the older");
	as_place_map_set(map, TAG(2) | 7, AS_PLACE_NEWEST, 30, 3);
	ok(is_at(map, TAG(2) | 7, 30, 3), "another key of the same set");
	ok(is_at(map, TAG(1) | 7, 20, 2), "has a word beside the first");
	ok(is_empty(map, TAG(0) | 7), "and no other tag fits");
	ok(is_at(map, TAG(2) | 7 | 0xFFFFFFFFFF00, 30, 3), "bits of neither set nor tag do not count: a hint may be another key's");
	as_place_map_set(map, TAG(2) | 7, AS_PLACE_NEWEST, 30, 0);
	ok(is_empty(map, TAG(2) | 7), "offset 0, which no row has, empties the word");
	as_place_map_set(map, TAG(2) | 7, AS_PLACE_BEFORE, 40, 4);
	ok(is_empty(map, TAG(2) | 7), "the place before is another word");
	as_place_map_set(map, TAG(2) | 7, AS_PLACE_NEWEST, 41, 5);
	as_place_map_set(map, TAG(3) | 7, AS_PLACE_NEWEST, 50, 5);
	ok(is_of_age_at(map, TAG(2) | 7, AS_PLACE_BEFORE, 40, 4) && is_at(map, TAG(2) | 7, 41, 5), "which the newest does not touch");
	ok(!is_of_age_at(map, TAG(3) | 7, AS_PLACE_BEFORE, 40, 4), "nor lends its tag");
	as_place_map_set(map, 3, AS_PLACE_NEWEST, 0, 1);
	ok(is_at(map, 3, 0, 1), "a hash of small numbers is a hash like any other");
	free(map);
}

/* How many of the keys 1 to n of a set have the place that they were given, how many none? */
static int
count_kept(AsPlaceMapShared *map, int n, int *forgotten)
{
	int			kept = 0;

	*forgotten = 0;
	for (uint64 i = 1; i <= (uint64) n; i++)
	{
		kept += is_at(map, TAG(i) | 2, (uint32) i, 1);
		*forgotten += is_empty(map, TAG(i) | 2);
	}
	return kept;
}

/* A set that is full: a newer key takes a word, and only one. */
static void
full_set(void)
{
	AsPlaceMapShared *map = new_map(16 * AS_PLACE_WAYS);
	int			forgotten;

	for (uint64 i = 1; i <= AS_PLACE_WAYS; i++)
		as_place_map_set(map, TAG(i) | 2, AS_PLACE_NEWEST, (uint32) i, 1);
	ok(count_kept(map, AS_PLACE_WAYS, &forgotten) == AS_PLACE_WAYS, "a set holds %d keys that do not change", AS_PLACE_WAYS);

	as_place_map_set(map, TAG(9) | 2, AS_PLACE_NEWEST, 9, 1);
	ok(is_at(map, TAG(9) | 2, 9, 1), "one more key finds room");
	ok(count_kept(map, AS_PLACE_WAYS, &forgotten) == AS_PLACE_WAYS - 1 && forgotten == 1,
	   "in the place of one other, which is forgotten, not mistaken");

	as_place_map_set(map, TAG(10) | 2, AS_PLACE_BEFORE, 8, 1);
	as_place_map_set(map, TAG(10) | 2, AS_PLACE_NEWEST, 10, 1);
	ok(is_at(map, TAG(10) | 2, 10, 1) && is_of_age_at(map, TAG(10) | 2, AS_PLACE_BEFORE, 8, 1),
	   "both places of a key find room, and neither takes the other's");

	as_place_map_set(map, TAG(10) | 2, AS_PLACE_NEWEST, 10, 0);
	as_place_map_set(map, TAG(11) | 2, AS_PLACE_NEWEST, 11, 1);
	ok(is_at(map, TAG(11) | 2, 11, 1) && is_of_age_at(map, TAG(10) | 2, AS_PLACE_BEFORE, 8, 1) &&
	   count_kept(map, AS_PLACE_WAYS, &forgotten) + is_at(map, TAG(9) | 2, 9, 1) == AS_PLACE_WAYS - 2,
	   "an emptied word is taken before anybody's");
	free(map);
}

static void
sizes(void)
{
	AsPlaceMapShared *one = new_map(AS_PLACE_WAYS);
	AsPlaceMapShared *large = new_map(1 << 20);
	int			wrong = 0;

	ok(as_place_map_size(1 << 20) - as_place_map_size(1 << 19) == (1 << 19) * sizeof(uint64), "eight bytes a word");
	ok(offsetof(AsPlaceMapShared, words) % 64 == 0 && sizeof(pg_atomic_uint64) * AS_PLACE_WAYS == 64, "a set is one cache line");

	as_place_map_set(one, TAG(9) | 123456, AS_PLACE_NEWEST, 1, 1);
	ok(is_at(one, TAG(9) | 654321, 1, 1) && is_empty(one, TAG(8) | 123456), "one set is shared by all");

	/* as many keys as there are words, evenly spread, then all again: nothing lands on another */
	for (uint64 i = 0; i < 1 << 20; i++)
		as_place_map_set(large, TAG(i >> 15) | i, AS_PLACE_NEWEST, (uint32) i, (uint16) (i % 100 + 1));
	for (uint64 i = 0; i < 1 << 20; i++)
		wrong += !is_at(large, TAG(i >> 15) | i, (uint32) i, (uint16) (i % 100 + 1));
	ok(wrong == 0, "a full map gives back each of %d places", 1 << 20);
	free(one);
	free(large);
}

/*
 * Several threads write and read the same few sets.  Block and offset are
 * made of the tag, the age and a number in a way that betrays a word put together from
 * two.
 */
#define THREADS		4
#define TURNS		1000000
#define SETS		4

static AsPlaceMapShared *shared;

static uint16
offset_of(uint64 tag, AsPlaceAge age, uint32 block)
{
	return (uint16) (((tag * 31 + age * 7919 + block * UINT64CONST(2654435761)) >> 7) % 0x7FFF + 1);
}

typedef struct Tally
{
	uint64		seed;
	uint64		found;
	uint64		torn;
} Tally;

static void *
hammer(void *arg)
{
	Tally	   *tally = arg;
	uint64		state = tally->seed;

	for (int i = 0; i < TURNS; i++)
	{
		uint64		tag;
		uint64		hash;
		AsPlaceAge	age;
		uint32		block;
		uint16		offset;

		state = state * UINT64CONST(6364136223846793005) + UINT64CONST(1442695040888963407);
		tag = (state >> 33) % 3;
		hash = TAG(tag) | ((state >> 40) % SETS);
		age = (state >> 45) % 2 == 0 ? AS_PLACE_NEWEST : AS_PLACE_BEFORE;
		block = (uint32) (state >> 20);
		if (i % 2 == 0)
			as_place_map_set(shared, hash, age, block, offset_of(tag, age, block));
		else if (as_place_map_get(shared, hash, age, &block, &offset))
		{
			tally->found++;
			tally->torn += offset != offset_of(tag, age, block);
		}
	}
	return NULL;
}

static void
all_at_once(void)
{
	pthread_t	thread[THREADS];
	Tally		tally[THREADS] = {{0}};
	uint64		found = 0;
	uint64		torn = 0;

	shared = new_map(SETS * AS_PLACE_WAYS);
	for (int i = 0; i < THREADS; i++)
	{
		tally[i].seed = tap_random();
		pthread_create(&thread[i], NULL, hammer, &tally[i]);
	}
	for (int i = 0; i < THREADS; i++)
	{
		pthread_join(thread[i], NULL);
		found += tally[i].found;
		torn += tally[i].torn;
	}
	ok(found > 10000, "places were found while others wrote");
	ok(torn == 0, "none was put together from two");
	free(shared);
}

int
main(void)
{
	one_by_one();
	full_set();
	sizes();
	all_at_once();
	return done();
}

/*-------------------------------------------------------------------------
 *
 * key_hash.c
 *	  Unit test of src/lib/key_hash: XXH64 over the length-prefixed parts.
 *
 * The hash is compared with XXH64 written here anew from its description,
 * which itself is compared with published values, and with values frozen
 * when it was first written: it must never change.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/key_hash.h"

#include "tap.h"

#define P1 UINT64CONST(11400714785074694791)
#define P2 UINT64CONST(14029467366897019727)
#define P3 UINT64CONST(1609587929392839161)
#define P4 UINT64CONST(9650029242287828579)
#define P5 UINT64CONST(2870177450012600261)

static uint64
rotate(uint64 x, int by)
{
	return (x << by) | (x >> (64 - by));
}

static uint64
little_endian(const unsigned char *p, int bytes)
{
	uint64		x = 0;

	for (int i = bytes - 1; i >= 0; i--)
		x = (x << 8) | p[i];
	return x;
}

static uint64
mix_round(uint64 acc, uint64 lane)
{
	return rotate(acc + lane * P2, 31) * P1;
}

static uint64
reference(const unsigned char *p, size_t len)
{
	const unsigned char *end = p + len;
	uint64		h;

	if (len >= 32)
	{
		uint64		v[4] = {P1 + P2, P2, 0, 0 - P1};

		for (; end - p >= 32; p += 32)
			for (int i = 0; i < 4; i++)
				v[i] = mix_round(v[i], little_endian(p + 8 * i, 8));
		h = rotate(v[0], 1) + rotate(v[1], 7) + rotate(v[2], 12) + rotate(v[3], 18);
		for (int i = 0; i < 4; i++)
			h = (h ^ mix_round(0, v[i])) * P1 + P4;
	}
	else
		h = P5;
	h += len;
	for (; end - p >= 8; p += 8)
		h = rotate(h ^ mix_round(0, little_endian(p, 8)), 27) * P1 + P4;
	if (end - p >= 4)
	{
		h = rotate(h ^ (little_endian(p, 4) * P1), 23) * P2 + P3;
		p += 4;
	}
	for (; p < end; p++)
		h = rotate(h ^ (*p * P5), 11) * P1;
	h = (h ^ (h >> 33)) * P2;
	h = (h ^ (h >> 29)) * P3;
	return h ^ (h >> 32);
}

static uint64
expected(const char *type, uint32 type_len, const char *id, uint32 id_len)
{
	unsigned char input[8 + 2 * AS_MAX_NAME_BYTES];
	unsigned char *to = input;

	for (int i = 0; i < 4; i++)
		*to++ = (unsigned char) (type_len >> (8 * i));
	memcpy(to, type, type_len);
	to += type_len;
	for (int i = 0; i < 4; i++)
		*to++ = (unsigned char) (id_len >> (8 * i));
	memcpy(to, id, id_len);
	to += id_len;
	return reference(input, to - input);
}

static uint64
hash(const char *type, const char *id)
{
	return as_key_hash(type, strlen(type), id, strlen(id));
}

static int
compare(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return x < y ? -1 : x > y;
}

int
main(void)
{
	static const char *published[] = {"", "a", "abc", "Nobody inspects the spammish repetition"};
	static const uint64 published_hash[] = {
		UINT64CONST(0xEF46DB3751D8E999), UINT64CONST(0xD24EC4F1A98C6E5B),
		UINT64CONST(0x44BC2CF5AD770999), UINT64CONST(0xFBCEA83C8A378BF1)
	};
	char		type[AS_MAX_NAME_BYTES];
	char		id[AS_MAX_NAME_BYTES];
	int			wrong = 0;
	int			compared = 0;

	for (int i = 0; i < 4; i++)
		ok(reference((const unsigned char *) published[i], strlen(published[i])) == published_hash[i],
		   "the reference knows the published hash of \"%s\"", published[i]);

	/* frozen */
	ok(hash("cart", "a") == UINT64CONST(0x5D6CE812BB599F44), "cart, a");
	ok(hash("airport", "ATL") == UINT64CONST(0xCC04D2694490A92B), "airport, ATL");
	ok(hash("ä", "日本語") == UINT64CONST(0x82AC2D0A38D6D56B), "ä, 日本語");

	/* every length of each part, with bytes of every kind, zero included */
	for (uint32 type_len = 0; type_len <= AS_MAX_NAME_BYTES; type_len += (type_len < 40 ? 1 : 59))
	{
		for (uint32 id_len = 0; id_len <= AS_MAX_NAME_BYTES; id_len += (id_len < 40 ? 1 : 59))
		{
			for (uint32 i = 0; i < type_len; i++)
				type[i] = (char) tap_random();
			for (uint32 i = 0; i < id_len; i++)
				id[i] = (char) tap_random();
			if (as_key_hash(type, type_len, id, id_len) != expected(type, type_len, id, id_len))
				wrong++;
			compared++;
		}
	}
	ok(compared > 2000, "%d pairs of lengths compared", compared);
	ok(wrong == 0, "all as XXH64 has it");
	memset(type, 0xff, sizeof(type));
	memset(id, 0, sizeof(id));
	ok(as_key_hash(type, AS_MAX_NAME_BYTES, id, AS_MAX_NAME_BYTES) == expected(type, AS_MAX_NAME_BYTES, id, AS_MAX_NAME_BYTES),
	   "the longest parts");

	/* what is joined differently is different */
	ok(hash("ab", "c") != hash("a", "bc"), "the border counts");
	ok(hash("a", "b") != hash("b", "a"), "the order counts");
	ok(as_key_hash("a", 1, "\0", 1) != as_key_hash("a", 1, "\0\0", 2), "zero bytes count");
	ok(as_key_hash("a\0", 2, "b", 1) != as_key_hash("a", 1, "\0b", 2), "also at the border");
	ok(hash("a:b", "c") != hash("a", "b:c"), "no separator is special");

	/* spread: the lower bits choose a cell, the upper 16 are its tag */
	{
		enum
		{
			KEYS = 1 << 17
		};
		uint64	   *all = malloc(KEYS * sizeof(uint64));
		int			low[256] = {0};
		int			high[256] = {0};
		int			same = 0;
		int			out_of_range = 0;

		for (int i = 0; i < KEYS; i++)
		{
			char		key[16];

			snprintf(key, sizeof(key), "%d", i);
			all[i] = hash("device", key);
			low[all[i] & 0xff]++;
			high[all[i] >> 56]++;
		}
		/* 512 expected in each; six standard deviations are 136 */
		for (int i = 0; i < 256; i++)
			out_of_range += abs(low[i] - 512) > 136 || abs(high[i] - 512) > 136;
		ok(out_of_range == 0, "consecutive ids are spread evenly by the lowest and by the highest byte");
		qsort(all, KEYS, sizeof(uint64), compare);
		for (int i = 1; i < KEYS; i++)
			same += all[i] == all[i - 1];
		ok(same == 0, "no two of %d share a hash", KEYS);
		free(all);
	}
	return done();
}

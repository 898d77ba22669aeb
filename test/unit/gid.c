/*-------------------------------------------------------------------------
 *
 * gid.c
 *	  Unit test of src/lib/gid: ids that are never made twice, and what is none.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/gid.h"

#include "tap.h"

#define N	100000

static char (*gids)[AS_GID_SIZE];

static int
compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

/*
 * A server that starts again and again and whose xids go back by some each
 * time, with a few participants a transaction.
 */
static void
test_unique(void)
{
	AsGid		parts;
	uint64		xid = 1000;
	int			broken = 0;
	int			repeated = 0;

	memset(&parts, 0, sizeof(parts));
	for (int i = 0; i < UUID_LEN; i++)
		parts.uuid.data[i] = (unsigned char) (i * 17);
	for (int i = 0; i < N; i++)
	{
		AsGid		again;

		if (i % 1000 == 0)
		{
			parts.boot = parts.boot * UINT64CONST(6364136223846793005) + 1442695040888963407;
			parts.boot >>= 1;
			parts.incarnation += i % 7000 == 0;
			xid -= 100;
		}
		if (i % 3 == 0)
			xid++;
		parts.xid = FullTransactionIdFromU64(xid);
		parts.participant = 1 + i % 3;
		as_gid_write(gids[i], &parts);
		memset(&again, 0, sizeof(again));
		if (!as_gid_read(&again, gids[i]) || memcmp(&again, &parts, sizeof(parts)) != 0)
			broken++;
	}
	qsort(gids, N, AS_GID_SIZE, compare);
	for (int i = 1; i < N; i++)
		repeated += strcmp(gids[i - 1], gids[i]) == 0;
	ok(broken == 0, "what is written can be read");
	ok(repeated == 0, "no id is made twice");
}

static void
test_limits(void)
{
	AsGid		parts,
				again;
	char		gid[AS_GID_SIZE];

	memset(&parts, 0xff, sizeof(parts));
	memset(&again, 0, sizeof(again));
	parts.incarnation = PG_INT64_MAX;
	parts.participant = PG_INT32_MAX;
	as_gid_write(gid, &parts);
	ok(strlen(gid) < AS_GID_SIZE - 1, "the longest one has room");
	ok(as_gid_read(&again, gid) && again.boot == PG_UINT64_MAX &&
	   again.incarnation == PG_INT64_MAX && again.participant == PG_INT32_MAX &&
	   U64FromFullTransactionId(again.xid) == PG_UINT64_MAX, "and is read");
}

static void
test_strangers(void)
{
	static const char *const strangers[] = {
		"", "actorstore_", "actorstore of somebody",
		"actorstore_00112233-4455-6677-8899-aabbccddeeff",
		"actorstore_00112233-4455-6677-8899-aabbccddeeff_",
		"actorstore_00112233-4455-6677-8899-aabbccddeeff_1_2_3",
		"actorstore_00112233-4455-6677-8899-aabbccddeeff_1_2_3_",
		"actorstore_00112233-4455-6677-8899-aabbccddeeff_1_2_3_4_",
		"actorstore_00112233-4455-6677-8899-aabbccddeeff_1_2_3_4 ",
		"actorstore_00112233-4455-6677-8899-aabbccddeeff_1_2_3_-4",
		"actorstore_00112233-4455-6677-8899-aabbccddeeff_1_2_ 3_4",
		"actorstore_00112233-4455-6677-8899-aabbccddeeff_1__3_4",
		"actorstore_00112233-4455-6677-8899-aabbccddeeff_1_99999999999999999999_3_4",
		"actorstore_00112233-4455-6677-8899-aabbccddeeff_9223372036854775808_2_3_4",
		"actorstore_00112233-4455-6677-8899-aabbccddeeff_1_2_3_2147483648",
		"actorstore_0011223304455-6677-8899-aabbccddeeff_1_2_3_4",
		"actorstore_0011223x-4455-6677-8899-aabbccddeeff_1_2_3_4",
		"actorstore_00112233-4455-6677-8899-aabbccddeef_1_2_3_4",
		"Actorstore_00112233-4455-6677-8899-aabbccddeeff_1_2_3_4"
	};
	AsGid		parts;
	int			nread = 0;

	for (int i = 0; i < (int) lengthof(strangers); i++)
		nread += as_gid_read(&parts, strangers[i]);
	ok(nread == 0, "what is no id of ours is not read");
	ok(as_gid_read(&parts, "actorstore_00112233-4455-6677-8899-aabbccddeeff_1_2_3_4") &&
	   parts.uuid.data[0] == 0 && parts.uuid.data[1] == 0x11 && parts.uuid.data[15] == 0xff &&
	   parts.incarnation == 1 && parts.boot == 2 && parts.participant == 4, "what is one, is");
}

int
main(void)
{
	gids = malloc((size_t) N * AS_GID_SIZE);
	if (gids == NULL)
		return 1;
	test_unique();
	test_limits();
	test_strangers();
	free(gids);
	return done();
}

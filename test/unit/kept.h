/*-------------------------------------------------------------------------
 *
 * kept.h
 *	  The inputs that fuzzing has kept, and ones made from them.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef KEPT_H
#define KEPT_H

#include <dirent.h>

#include "tap.h"

#define KEPT_BYTES	4096		/* an input has no more */
#define KEPT_INPUTS 1024

typedef struct Kept
{
	size_t		size;
	uint8		bytes[KEPT_BYTES];
} Kept;

static Kept kept[KEPT_INPUTS];
static int	nkept = 0;

static void
read_kept(const char *directory)
{
	DIR		   *entries = opendir(directory);
	struct dirent *entry;

	while (entries != NULL && nkept < KEPT_INPUTS && (entry = readdir(entries)) != NULL)
	{
		char		path[1024];
		FILE	   *file;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		file = fopen(path, "rb");
		if (file == NULL)
			continue;
		kept[nkept].size = fread(kept[nkept].bytes, 1, KEPT_BYTES, file);
		nkept++;
		fclose(file);
	}
	if (entries != NULL)
		closedir(entries);
}

/* The beginning of one and the end of another, with some bytes changed. */
static size_t
make_input(uint8 *bytes)
{
	const Kept *one = &kept[tap_random() % nkept];
	const Kept *other = &kept[tap_random() % nkept];
	size_t		size = tap_random() % (one->size + 1);
	size_t		from = tap_random() % (other->size + 1);
	size_t		more = Min(other->size - from, KEPT_BYTES - size);

	memcpy(bytes, one->bytes, size);
	memcpy(bytes + size, other->bytes + from, more);
	size += more;
	for (uint64 changes = tap_random() % 4; changes > 0 && size > 0; changes--)
		bytes[tap_random() % size] = (uint8) tap_random();
	return size;
}

/* Give all of a directory, and as many made ones, to a fuzzer's function, which aborts where something is wrong. */
static int
try_kept(const char *directory, int least, uint64 made, int (*try_input) (const uint8 *, size_t))
{
	static uint8 bytes[KEPT_BYTES];
	uint64		tried = 0;

	read_kept(directory);
	for (int i = 0; i < nkept; i++)
		(void) try_input(kept[i].bytes, kept[i].size);
	ok(nkept >= least, "%d inputs that fuzzing has kept", nkept);
	for (; tried < made && nkept > 0; tried++)
		(void) try_input(bytes, make_input(bytes));
	ok(tried > 0 && tried == made, "%lu inputs made from them", (unsigned long) tried);
	return done();
}

#endif							/* KEPT_H */

/*-------------------------------------------------------------------------
 *
 * envelope_corpus.c
 *	  Gives to src/lib/envelope what fuzzing has kept (test/fuzz/envelope).
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "../fuzz/envelope.c"

#include <dirent.h>

#include "tap.h"

#define CORPUS	"test/fuzz/envelope"

int
main(void)
{
	DIR		   *directory = opendir(CORPUS);
	struct dirent *entry;
	int			n = 0;

	while (directory != NULL && (entry = readdir(directory)) != NULL)
	{
		char		path[1024];
		static uint8 bytes[65536];
		FILE	   *file;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", CORPUS, entry->d_name);
		file = fopen(path, "rb");
		if (file == NULL)
			continue;
		(void) LLVMFuzzerTestOneInput(bytes, fread(bytes, 1, sizeof(bytes), file));
		fclose(file);
		n++;
	}
	ok(n >= 20, "%d inputs that fuzzing has kept: nothing was read that is not there, and what could be read is the same once written", n);
	return done();
}

/*-------------------------------------------------------------------------
 *
 * envelope_corpus.c
 *	  Gives to src/lib/envelope what fuzzing has kept (test/fuzz/envelope), and
 *	  inputs made from that.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "../fuzz/envelope.c"

#undef printf
#include "kept.h"

int
main(void)
{
	return try_kept("test/fuzz/envelope", 20, tap_times(50000), LLVMFuzzerTestOneInput);
}

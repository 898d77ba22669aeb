/*-------------------------------------------------------------------------
 *
 * sequence_corpus.c
 *	  Gives to src/lib/sequence what fuzzing has kept (test/fuzz/sequence), and
 *	  inputs made from that.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "../fuzz/sequence.c"

#undef printf
#include "kept.h"

int
main(void)
{
	return try_kept("test/fuzz/sequence", 3, tap_times(50000), LLVMFuzzerTestOneInput);
}

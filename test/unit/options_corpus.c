/*-------------------------------------------------------------------------
 *
 * options_corpus.c
 *	  Gives to src/cdc/options what fuzzing has kept (test/fuzz/options), and
 *	  inputs made from that.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "../fuzz/options.c"

#undef printf
#include "kept.h"

int
main(void)
{
	return try_kept("test/fuzz/options", 20, tap_times(50000), LLVMFuzzerTestOneInput);
}

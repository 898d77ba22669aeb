/*-------------------------------------------------------------------------
 *
 * backoff.c
 *	  Unit test of src/lib/backoff.h: waits grow up to their bound, and those of
 *	  many are spread.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/backoff.h"

#include "tap.h"

#define ROUNDS	100000

static void
test_growth(void)
{
	static const int forwarder[] = {50, 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000, 10000};
	static const int probe[] = {100, 200, 400, 800, 1600, 2000, 2000};
	int			ms = 0;
	int			wrong = 0;

	for (size_t i = 0; i < lengthof(forwarder); i++)
		wrong += (ms = as_backoff_next(ms, 50, 10000)) != forwarder[i];
	ok(wrong == 0, "50 ms, twice as long each time, 10 s at most");
	ok(as_backoff_next(0, 50, 10000) == 50, "50 ms again after success");
	ms = 0;
	for (size_t i = 0; i < lengthof(probe); i++)
		wrong += (ms = as_backoff_next(ms, 100, 2000)) != probe[i];
	ok(wrong == 0, "100 ms to 2 s");
	ms = 0;
	for (int i = 0; i < 100; i++)
		ms = as_backoff_next(ms, 1, PG_INT32_MAX);
	ok(ms == PG_INT32_MAX, "no bound is passed");
}

static void
test_spread(void)
{
	int			thirds[3] = {0};
	int			wrong = 0;

	for (int i = 0; i < ROUNDS; i++)
	{
		int			wait = as_backoff_wait(3000, (double) (tap_random() % 1000000) / 1000000);

		if (wait < 1500 || wait > 3000)
			wrong++;
		else
			thirds[Min(2, (wait - 1500) / 500)]++;
	}
	ok(wrong == 0, "at least half of it, and no more than it");
	ok(thirds[0] > ROUNDS * 0.32 && thirds[1] > ROUNDS * 0.32 && thirds[2] > ROUNDS * 0.32,
	   "and evenly in between: %d, %d, %d", thirds[0], thirds[1], thirds[2]);
	ok(as_backoff_wait(0, 0.99) == 0 && as_backoff_wait(1, 0) == 1 && as_backoff_wait(1, 0.99) == 1 &&
	   as_backoff_wait(3, 0) == 2 && as_backoff_wait(3, 0.99) == 3, "a millisecond or none");
}

int
main(void)
{
	test_growth();
	test_spread();
	return done();
}

/*-------------------------------------------------------------------------
 *
 * tap.h
 *	  Assertions of the unit tests, printed as TAP.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef TAP_H
#define TAP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Where assertions are checked, the server has what says that one fails. */
#ifdef USE_ASSERT_CHECKING
void
#if PG_VERSION_NUM >= 160000
ExceptionalCondition(const char *condition, const char *file, int line)
#else
ExceptionalCondition(const char *condition, const char *type, const char *file, int line)
#endif
{
	fprintf(stderr, "# %s:%d: assertion failed: %s\n", file, line, condition);
	abort();
}
#endif

static int	tap_count = 0;
static int	tap_failed = 0;

#define ok(condition, ...) \
	do { \
		int			tap_ok = (condition) ? 1 : 0; \
		printf("%s %d - ", tap_ok ? "ok" : "not ok", ++tap_count); \
		printf(__VA_ARGS__); \
		printf("\n"); \
		if (!tap_ok) \
		{ \
			tap_failed++; \
			printf("# %s:%d: %s\n", __FILE__, __LINE__, #condition); \
		} \
		fflush(stdout); \
	} while (0)

/* The last line of main(). */
static inline int
done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failed == 0 ? 0 : 1;
}

/* Numbers that are the same in every run. */
static uint64 tap_random_state = 0x9E3779B97F4A7C15;

static inline uint64
tap_random(void)
{
	uint64		z = (tap_random_state += 0x9E3779B97F4A7C15);

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
	return z ^ (z >> 31);
}

/*
 * How often to do something that is done many times: more rarely where that
 * takes long, as test/stress/sanitize says by TAP_DIVISOR.
 */
static inline uint64
tap_times(uint64 times)
{
	const char *divisor = getenv("TAP_DIVISOR");

	return divisor == NULL ? times : times / strtoul(divisor, NULL, 10) + 1;
}

/*
 * What a thread does after each failure to get on.  It sleeps now and then:
 * on a busy machine a thread that merely yields gets its turn back very late.
 */
static inline void
tap_rest(uint64 *failures)
{
	if (++*failures % 1024 == 0)
		usleep(1);
}

#endif							/* TAP_H */

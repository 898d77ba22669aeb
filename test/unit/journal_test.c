/*-------------------------------------------------------------------------
 *
 * journal_test.c
 *	  Unit test of src/lib/journal.h: what is read is what was written at that
 *	  position, whole, whoever writes meanwhile.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/journal.h"

#include <pthread.h>

#include "tap.h"

#define MAX_WORDS	64

static AsJournalShared *
new_journal(uint64 capacity, uint64 nwords)
{
	AsJournalShared *journal = aligned_alloc(PG_CACHE_LINE_SIZE,
											 as_journal_size(capacity, nwords));

	memset(journal, 0x5a, as_journal_size(capacity, nwords));
	as_journal_init(journal, capacity, nwords);
	return journal;
}

/* An entry whose words all follow from its first one. */
static void
fill(uint64 *words, uint64 nwords, uint64 first)
{
	for (uint64 i = 0; i < nwords; i++)
		words[i] = first * 1000003 + i;
}

static bool
is_whole(const uint64 *words, uint64 nwords)
{
	for (uint64 i = 1; i < nwords; i++)
	{
		if (words[i] != words[0] + i)
			return false;
	}
	return true;
}

static bool
reads(AsJournalShared *journal, uint64 position, uint64 first)
{
	uint64		words[MAX_WORDS];
	uint64		expected[MAX_WORDS];

	fill(expected, journal->nwords, first);
	return as_journal_read(journal, position, words) &&
		memcmp(words, expected, journal->nwords * sizeof(uint64)) == 0;
}

static bool
writes(AsJournalShared *journal, uint64 first)
{
	uint64		words[MAX_WORDS];

	fill(words, journal->nwords, first);
	return as_journal_write(journal, words);
}

static void
in_turn(uint64 capacity)
{
	AsJournalShared *journal = new_journal(capacity, 5);
	uint64		words[MAX_WORDS];
	int			wrong = 0;

	ok(as_journal_begin(journal) == 0 && as_journal_end(journal) == 0 &&
	   !as_journal_read(journal, 0, words), "%d: empty", (int) capacity);
	for (uint64 i = 0; i < 3 * capacity; i++)
	{
		wrong += !writes(journal, i);
		wrong += !reads(journal, i, i);
		wrong += as_journal_read(journal, i + 1, words);
		wrong += as_journal_end(journal) != i + 1;
		for (uint64 p = as_journal_begin(journal); p <= i; p++)
			wrong += !reads(journal, p, p);
		if (i >= capacity)
			wrong += as_journal_read(journal, i - capacity, words);
	}
	ok(wrong == 0, "%d: the last entries are there, and no others", (int) capacity);
	ok(as_journal_begin(journal) == 2 * capacity, "%d: the first one there is", (int) capacity);
	free(journal);
}

/* Writers that have been stopped. */
static void
stopped(void)
{
	AsJournalShared *journal = new_journal(4, 3);
	uint64		words[MAX_WORDS];

	for (uint64 i = 0; i < 4; i++)
		(void) writes(journal, i);

	/* one that has opened position 4, and goes no further */
	(void) pg_atomic_fetch_add_u64(&journal->next, 1);
	pg_atomic_write_u64(&as_journal_cell(journal, 4)[0], 9);
	ok(!as_journal_read(journal, 4, words) && !as_journal_read(journal, 0, words), "what is being written is not read");
	for (uint64 i = 5; i < 8; i++)
		(void) writes(journal, i);
	ok(!writes(journal, 8), "who comes round to it drops its entry");
	ok(writes(journal, 9) && reads(journal, 9, 9) && reads(journal, 7, 7), "the others go on");

	/* it goes on, too late for anybody */
	pg_atomic_write_u64(&as_journal_cell(journal, 4)[0], 10);
	ok(!as_journal_read(journal, 8, words) && as_journal_read(journal, 4, words), "it is the entry of its own position");
	ok(as_journal_begin(journal) == 6, "which is too old to be looked for");

	/* one that has claimed position 10, and is passed by */
	(void) pg_atomic_fetch_add_u64(&journal->next, 1);
	for (uint64 i = 11; i < 15; i++)
		(void) writes(journal, i);
	pg_atomic_write_u64(&journal->next, 10);
	ok(!writes(journal, 10) && reads(journal, 14, 14), "who comes too late drops its entry");
	free(journal);
}

/* ---- Several at once ---- */

#define WRITERS	3

typedef struct Run
{
	AsJournalShared *journal;
	pg_atomic_uint64 written;
	pg_atomic_uint64 dropped;
	pg_atomic_uint64 writing;
	uint64		each;
} Run;

static void *
write_many(void *arg)
{
	Run		   *run = arg;
	uint64		words[MAX_WORDS];

	for (uint64 i = 0; i < run->each; i++)
	{
		fill(words, run->journal->nwords, i + 1);
		pg_atomic_fetch_add_u64(as_journal_write(run->journal, words) ? &run->written : &run->dropped, 1);
	}
	pg_atomic_fetch_add_u64(&run->writing, -1);
	return NULL;
}

static void
at_once(uint64 capacity, uint64 nwords)
{
	Run			run = {.journal = new_journal(capacity, nwords),.each = tap_times(200000)};
	pthread_t	threads[WRITERS];
	uint64		words[MAX_WORDS];
	uint64		torn = 0,
				left = 0;

	pg_atomic_init_u64(&run.written, 0);
	pg_atomic_init_u64(&run.dropped, 0);
	pg_atomic_init_u64(&run.writing, WRITERS);
	for (int i = 0; i < WRITERS; i++)
		pthread_create(&threads[i], NULL, write_many, &run);
	while (pg_atomic_read_u64(&run.writing) > 0)
	{
		uint64		end = as_journal_end(run.journal);

		for (uint64 p = as_journal_begin(run.journal); p < end; p++)
		{
			if (as_journal_read(run.journal, p, words))
				torn += !is_whole(words, nwords);
		}
	}
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	ok(torn == 0, "%d entries of %d words: all that was read is whole", (int) capacity, (int) nwords);
	ok(pg_atomic_read_u64(&run.written) + pg_atomic_read_u64(&run.dropped) == WRITERS * run.each &&
	   as_journal_end(run.journal) == WRITERS * run.each, "each was written or dropped");
	for (uint64 p = as_journal_begin(run.journal); p < as_journal_end(run.journal); p++)
		left += as_journal_read(run.journal, p, words);
	ok(left <= capacity && (pg_atomic_read_u64(&run.dropped) > 0 || left == capacity), "and the last ones are there");
	ok(writes(run.journal, 7) && reads(run.journal, WRITERS * run.each, 7), "the next one is written and read");
	free(run.journal);
}

int
main(void)
{
	in_turn(1);
	in_turn(2);
	in_turn(64);
	stopped();
	at_once(1, 63);
	at_once(2, 63);
	at_once(64, 63);
	at_once(64, 1);
	return done();
}

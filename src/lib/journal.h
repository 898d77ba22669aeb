/*-------------------------------------------------------------------------
 *
 * journal.h
 *	  The last entries of a journal in shared memory, without locks: anybody
 *	  writes, the oldest one is overwritten, readers see whole entries only.
 *
 * An entry is a fixed number of 64-bit words.  Positions count from the start
 * of the journal's life; position p stands in cell p & mask, whose turn says
 * what it holds:
 *
 *		0			nothing yet
 *		2 p + 1		the entry of p is being written
 *		2 p + 2		the entry of p
 *
 * write:	1. claim	p = next, next + 1, by atomic addition
 *			2. open		compare-and-swap the turn from an even one below 2 p to
 *						2 p + 1
 *			3. words	one after another; barrier
 *			4. close	turn = 2 p + 2
 * read p:	the turn must be 2 p + 2, before the words are copied and after it.
 *
 * Nothing between 2 and 4 raises an error, allocates or serves an interrupt,
 * so an orderly exit leaves no cell open.
 *
 * The races, one by one:
 *
 * A reader copies words while they are overwritten: the turn was changed before
 * the first of them was, so it is another one at the second look.  The words
 * are atomic, so reading them while they change is allowed.
 *
 * A writer is stopped between 1 and 2, and comes back when others have come
 * round to its cell: the turn is above its own, and its entry is dropped.
 *
 * A writer is stopped between 2 and 4: who comes round to the cell finds an odd
 * turn, and drops its entry; nobody waits.  Readers leave the cell out.
 *
 * What is dropped is a gap in the positions, as what has been overwritten is.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_JOURNAL_H
#define AS_JOURNAL_H

#include "actorstore.h"

#include "port/atomics.h"

#ifdef PG_HAVE_ATOMIC_U64_SIMULATION
#error "actorstore needs 64-bit atomic operations: spinlocks in their place would be waited for"
#endif

typedef struct AsJournalShared
{
	uint64		mask;			/* capacity - 1; immutable */
	uint64		nwords;			/* of an entry; immutable */
	char		pad1[PG_CACHE_LINE_SIZE - 2 * sizeof(uint64)];
	pg_atomic_uint64 next;		/* position; by writers */
	char		pad2[PG_CACHE_LINE_SIZE - sizeof(pg_atomic_uint64)];
	pg_atomic_uint64 cells[FLEXIBLE_ARRAY_MEMBER];	/* a turn and the words,
													 * each; by the writer
													 * who has opened it */
} AsJournalShared;

/*
 * Bytes that a journal of capacity entries (a power of two) of nwords words
 * takes.
 */
static inline Size
as_journal_size(uint64 capacity, uint64 nwords)
{
	return TYPEALIGN(PG_CACHE_LINE_SIZE,
					 offsetof(AsJournalShared, cells) +
					 capacity * (nwords + 1) * sizeof(pg_atomic_uint64));
}

/*
 * Make an empty journal in the memory given, before anybody else knows of it.
 */
static inline void
as_journal_init(AsJournalShared *journal, uint64 capacity, uint64 nwords)
{
	Assert(capacity >= 1 && (capacity & (capacity - 1)) == 0);

	journal->mask = capacity - 1;
	journal->nwords = nwords;
	pg_atomic_init_u64(&journal->next, 0);
	for (uint64 i = 0; i < capacity * (nwords + 1); i++)
		pg_atomic_init_u64(&journal->cells[i], 0);
}

static inline pg_atomic_uint64 *
as_journal_cell(AsJournalShared *journal, uint64 position)
{
	return &journal->cells[(position & journal->mask) * (journal->nwords + 1)];
}

/* Write an entry; false if it was dropped. */
static inline bool
as_journal_write(AsJournalShared *journal, const uint64 *words)
{
	uint64		position = pg_atomic_fetch_add_u64(&journal->next, 1);
	pg_atomic_uint64 *cell = as_journal_cell(journal, position);
	uint64		turn = pg_atomic_read_u64(&cell[0]);

	do
	{
		if ((turn & 1) || turn > 2 * position)
			return false;
	} while (!pg_atomic_compare_exchange_u64(&cell[0], &turn, 2 * position + 1));

	/* no word may be seen before the turn that says so */
	pg_write_barrier();
	for (uint64 i = 0; i < journal->nwords; i++)
		pg_atomic_write_u64(&cell[i + 1], words[i]);
	pg_write_barrier();
	pg_atomic_write_u64(&cell[0], 2 * position + 2);
	return true;
}

/* The position that will be written next. */
static inline uint64
as_journal_end(AsJournalShared *journal)
{
	return pg_atomic_read_u64(&journal->next);
}

/* The first position that may still be there. */
static inline uint64
as_journal_begin(AsJournalShared *journal)
{
	uint64		end = as_journal_end(journal);

	return end > journal->mask ? end - journal->mask - 1 : 0;
}

/*
 * Copy the entry of a position; false if it is not there, or not any more, or
 * not yet.
 */
static inline bool
as_journal_read(AsJournalShared *journal, uint64 position, uint64 *words)
{
	pg_atomic_uint64 *cell = as_journal_cell(journal, position);

	if (pg_atomic_read_u64(&cell[0]) != 2 * position + 2)
		return false;
	pg_read_barrier();
	for (uint64 i = 0; i < journal->nwords; i++)
		words[i] = pg_atomic_read_u64(&cell[i + 1]);
	pg_read_barrier();
	return pg_atomic_read_u64(&cell[0]) == 2 * position + 2;
}

#endif							/* AS_JOURNAL_H */

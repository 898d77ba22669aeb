/*-------------------------------------------------------------------------
 *
 * message_id.c
 *	  Message ids: in the order of sends, from blocks that a home has; of a node,
 *	  with its number above.
 *
 * A home's ids come from a block of the sequence that it shares among all
 * backends, by an atomic addition; so whoever sends later gets a higher one.
 * Where there is no home, each call takes a block for itself.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/sched.h"

#include "access/relation.h"
#include "access/xlog.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "storage/bufmgr.h"
#include "storage/lwlock.h"

/*
 * The sequence is advanced by a block at a time.  A block is never used twice:
 * ids are told to clients whose transactions do not wait for the disk (deeds.h),
 * so what says that it is used must be there before.  That it is, is seen by the
 * page: another process may have written of more than its own block.
 */
static int64
next_block(void)
{
	Oid			sequence = as_catalog()->message_number;
	int64		block = nextval_internal(sequence, false);
	Relation	rel = relation_open(sequence, NoLock);
	Buffer		buffer = ReadBuffer(rel, 0);
	XLogRecPtr	lsn;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	lsn = PageGetLSN(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	relation_close(rel, NoLock);
	XLogFlush(lsn);
	return block;
}

/* Where ids come from, as this transaction sees it */
typedef struct IdSource
{
	AsHomeShared *home;
	uint32		epoch;			/* the home's, while it is this database's */
	Oid			sequence;		/* another one after CREATE EXTENSION */
} IdSource;

static bool
is_current(IdSource *source)
{
	pg_read_barrier();
	return pg_atomic_read_u32(&source->home->epoch) == source->epoch &&
		pg_atomic_read_u32(&source->home->id_sequence) == source->sequence;
}

/* Take ids of the block at hand, if it is this source's. */
static bool
ids_from_block(IdSource *source, int n, int64 *first)
{
	AsHomeShared *home = source->home;
	uint64		next = pg_atomic_read_u64(&home->next_id);

	while (is_current(source))
	{
		uint64		limit = pg_atomic_read_u64(&home->id_limit);

		if (next + n > limit)
			return false;
		if (pg_atomic_compare_exchange_u64(&home->next_id, &next, next + n))
		{
			*first = (int64) next;
			return is_current(source);
		}
	}
	return false;
}

/*
 * The sequence is asked without the lock: somebody may be dropping it.  So
 * others may have put a later block in by then; a block that comes too late
 * is left unused, as its ids would be lower than some that were given before.
 */
static bool
ids_from_new_block(IdSource *source, int n, int64 *first)
{
	AsHomeShared *home = source->home;
	int64		block = next_block();
	bool		found;

	LWLockAcquire(as_sched_ids_lock(), LW_EXCLUSIVE);
	found = ids_from_block(source, n, first);
	if (!found && pg_atomic_read_u32(&home->epoch) == source->epoch &&
		(!is_current(source) ||
		 (uint64) block >= pg_atomic_read_u64(&home->id_limit)))
	{
		/* in this order: nobody may see a limit with another block's next */
		pg_atomic_exchange_u64(&home->id_limit, 0);
		pg_atomic_exchange_u32(&home->id_sequence, source->sequence);
		pg_atomic_exchange_u64(&home->next_id, block);
		pg_atomic_exchange_u64(&home->id_limit, block + AS_ID_BLOCK);
		found = ids_from_block(source, n, first);
	}
	LWLockRelease(as_sched_ids_lock());
	return found;
}

int64
as_sched_ids(int n)
{
	Assert(n > 0 && n <= AS_ID_BLOCK);
	for (;;)
	{
		int			number = as_sched_home();
		IdSource	source;
		int64		first;

		if (number < 0)
			return next_block();
		source.home = as_home(number);
		source.sequence = as_catalog()->message_number;
		source.epoch = pg_atomic_read_u32(&source.home->epoch);
		pg_read_barrier();
		if (pg_atomic_read_u32(&source.home->database) != MyDatabaseId)
			continue;
		if (ids_from_block(&source, n, &first) ||
			ids_from_new_block(&source, n, &first))
			return first;
		CHECK_FOR_INTERRUPTS();
	}
}

/* ---- Of nodes ---- */

int16		(*as_message_node) (void) = NULL;

static int64
above(void)
{
	return as_message_node == NULL ? 0 : (int64) as_message_node() << AS_ID_BITS;
}

int64
as_message_id(int64 number)
{
	return above() | number;
}

/* Before this database was a node nothing stood above. */
bool
as_message_number(int64 message_id, int64 *number)
{
	int64		its = message_id & ~((INT64CONST(1) << AS_ID_BITS) - 1);

	*number = message_id - its;
	return its == 0 || its == above();
}

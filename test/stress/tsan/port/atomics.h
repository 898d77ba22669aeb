/*-------------------------------------------------------------------------
 *
 * atomics.h
 *	  PostgreSQL's atomic operations, as ThreadSanitizer understands them.
 *
 * PostgreSQL makes them of assembler and of volatile variables.  What they
 * order is invisible to ThreadSanitizer, which would call all of them races,
 * and it knows no barriers.  Here they promise what PostgreSQL's promise, and
 * not more, so that a barrier that is missing in a structure becomes a report:
 *
 *		read, write				no order
 *		exchange and the like	full barriers
 *		read barrier			who has read what another one published has
 *								seen all before that
 *		write barrier			the next store publishes all before it
 *		memory barrier			both
 *
 * Only the next store, and only the last few reads: PostgreSQL's barriers
 * reach further, but a barrier belongs beside what it orders.
 *
 * What ThreadSanitizer does not check is the order of a store and a read that
 * follows it, as between owner and thief of a deque: it lets the machine do
 * that.  A memory barrier is a real one here, too.
 *
 * With TSAN_WITHOUT_BARRIERS, read and write barriers do nothing, which must
 * make it complain.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATOMICS_H
#define ATOMICS_H

#include <sanitizer/tsan_interface.h>

typedef struct pg_atomic_uint64
{
	volatile uint64 value;
} pg_atomic_uint64;

typedef struct pg_atomic_uint32
{
	volatile uint32 value;
} pg_atomic_uint32;

#define TSAN_READS	4

static __thread volatile void *tsan_reads[TSAN_READS];
static __thread unsigned tsan_read_count = 0;
static __thread bool tsan_publish = false;

static inline void
pg_read_barrier(void)
{
#ifndef TSAN_WITHOUT_BARRIERS
	for (int i = 0; i < TSAN_READS; i++)
	{
		if (tsan_reads[i] != NULL)
			__tsan_acquire((void *) tsan_reads[i]);
		tsan_reads[i] = NULL;
	}
#endif
}

static inline void
pg_write_barrier(void)
{
#ifndef TSAN_WITHOUT_BARRIERS
	tsan_publish = true;
#endif
}

static inline void
pg_memory_barrier(void)
{
	/* nobody else sees this word: it orders nothing but the machine */
	static __thread uint64 own = 0;

	__atomic_fetch_add(&own, 1, __ATOMIC_SEQ_CST);
	pg_read_barrier();
	pg_write_barrier();
}

/* Before anybody else knows of it: an ordinary store. */
static inline void
pg_atomic_init_u64(volatile pg_atomic_uint64 *ptr, uint64 val)
{
	ptr->value = val;
}

static inline uint64
pg_atomic_read_u64(volatile pg_atomic_uint64 *ptr)
{
	tsan_reads[tsan_read_count++ % TSAN_READS] = ptr;
	return __atomic_load_n(&ptr->value, __ATOMIC_RELAXED);
}

static inline void
pg_atomic_write_u64(volatile pg_atomic_uint64 *ptr, uint64 val)
{
	if (tsan_publish)
		__atomic_store_n(&ptr->value, val, __ATOMIC_RELEASE);
	else
		__atomic_store_n(&ptr->value, val, __ATOMIC_RELAXED);
	tsan_publish = false;
}

static inline bool
pg_atomic_compare_exchange_u64(volatile pg_atomic_uint64 *ptr, uint64 *expected, uint64 newval)
{
	return __atomic_compare_exchange_n(&ptr->value, expected, newval, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline uint64
pg_atomic_fetch_add_u64(volatile pg_atomic_uint64 *ptr, int64 add)
{
	return __atomic_fetch_add(&ptr->value, add, __ATOMIC_SEQ_CST);
}

/* The same for 32 bits. */
static inline void
pg_atomic_init_u32(volatile pg_atomic_uint32 *ptr, uint32 val)
{
	ptr->value = val;
}

static inline uint32
pg_atomic_read_u32(volatile pg_atomic_uint32 *ptr)
{
	tsan_reads[tsan_read_count++ % TSAN_READS] = ptr;
	return __atomic_load_n(&ptr->value, __ATOMIC_RELAXED);
}

static inline void
pg_atomic_write_u32(volatile pg_atomic_uint32 *ptr, uint32 val)
{
	if (tsan_publish)
		__atomic_store_n(&ptr->value, val, __ATOMIC_RELEASE);
	else
		__atomic_store_n(&ptr->value, val, __ATOMIC_RELAXED);
	tsan_publish = false;
}

static inline bool
pg_atomic_compare_exchange_u32(volatile pg_atomic_uint32 *ptr, uint32 *expected, uint32 newval)
{
	return __atomic_compare_exchange_n(&ptr->value, expected, newval, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline uint32
pg_atomic_fetch_add_u32(volatile pg_atomic_uint32 *ptr, int32 add)
{
	return __atomic_fetch_add(&ptr->value, add, __ATOMIC_SEQ_CST);
}

static inline uint32
pg_atomic_exchange_u32(volatile pg_atomic_uint32 *ptr, uint32 newval)
{
	return __atomic_exchange_n(&ptr->value, newval, __ATOMIC_SEQ_CST);
}

#endif							/* ATOMICS_H */

/*-------------------------------------------------------------------------
 *
 * prepared.h
 *	  What prepared transactions have to tell once they are committed.
 *
 * Whoever commits a prepared transaction does not know what it has sent or
 * which timers it has set: everything has to be looked through.  So PREPARE notes
 * in shared memory, by its id, whether it has done anything of the kind; one that
 * is not found there may have done anything.  After a restart, a promotion or a
 * crash nothing is known.
 *
 * An id can be used again, and PREPARE lets go of it before we hear that it
 * is over.  Therefore:
 *
 *	- PREPARE takes away what is known of its id before it begins, and puts
 *	  down its xid when it has ended, and what it has to tell;
 *	- what stands there counts only while that xid runs: as long it has the id;
 *	- COMMIT PREPARED looks before, and takes it away after: if another has
 *	  been prepared under that id meanwhile, it is not there any more.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_PREPARED_H
#define AS_PREPARED_H

#include "actorstore.h"

/* What is known of one */
typedef struct AsPrepared
{
	TransactionId xid;
	bool		silent;			/* nothing to tell on this node */
	uint64		sent_low;		/* the least id of its messages for other nodes,
								 * or PG_UINT64_MAX */
} AsPrepared;

extern Size as_prepared_shmem_size(void);
extern void as_prepared_shmem_init(void);

/*
 * To be called once, when the library is loaded, after whatever else notes
 * what a transaction has to tell: its callback comes first.
 */
extern void as_prepared_init(void);

/* The current transaction is about to be prepared under that id. */
extern void as_prepared_begin(const char *gid);

/* What is known of what is prepared under that id?  False: nothing. */
extern bool as_prepared_find(const char *gid, AsPrepared *prepared);

/*
 * Is that known, or was it until it ended: nothing else has been prepared under
 * the id since?
 */
extern bool as_prepared_is(const char *gid, TransactionId xid);

/* The same; it has ended, and nothing is known any more. */
extern bool as_prepared_end(const char *gid, TransactionId xid);

/* What the current transaction has as sent_low (a higher floor knows it). */
extern uint64 (*as_prepared_sent_low) (void);

#endif							/* AS_PREPARED_H */

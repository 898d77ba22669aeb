/*-------------------------------------------------------------------------
 *
 * prepared.h
 *	  Prepared transactions that have nothing to tell.
 *
 * Whoever commits a prepared transaction does not know what it has sent or
 * which timers it has set: everything has to be looked through.  So those that
 * have done nothing of the kind are kept in shared memory, by their ids; one
 * that is not found there may have done anything.  After a restart, a promotion
 * or a crash nothing is known.
 *
 * An id can be used again, and PREPARE lets go of it before we hear that it
 * is over.  Therefore:
 *
 *	- PREPARE takes away what is known of its id before it begins, and puts
 *	  down its xid when it has ended, if it has nothing to tell;
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

extern Size as_prepared_shmem_size(void);
extern void as_prepared_shmem_init(void);

/*
 * To be called once, when the library is loaded, after whatever else notes
 * what a transaction has to tell: its callback comes first.
 */
extern void as_prepared_init(void);

/* The current transaction is about to be prepared under that id. */
extern void as_prepared_begin(const char *gid);

/*
 * Has what is prepared under that id nothing to tell?  Then its xid, else
 * InvalidTransactionId.
 */
extern TransactionId as_prepared_silent(const char *gid);

/*
 * What was prepared under that id has ended; was it that silent xid?  If xid
 * is invalid: no.
 */
extern bool as_prepared_end(const char *gid, TransactionId xid);

#endif							/* AS_PREPARED_H */

/*-------------------------------------------------------------------------
 *
 * waits.h
 *	  Waits for locks in this server: what a look for deadlocks (deadlock.h)
 *	  sees here, and how it ends one.
 *
 * A wait is known by its process, that process' virtual transaction, and its
 * start in microseconds.  The server writes the start down a little after the
 * process is in the lock's queue, and older minor releases leave that of the
 * wait before in place.  So it counts only of a process that sleeps: whoever
 * sleeps for a lock has written the start of this wait.  What the lock manager
 * says of a wait is believed if its process slept, with this start, before and
 * afterwards: two waits of one process do not begin in the same microsecond.
 *
 * To end a wait is to take the process out of the lock's queue with the lock's
 * partition locked, as the server's own look for deadlocks does with its own
 * process: it wakes up with an error, 40P01.  With the partition locked nobody
 * can be granted the lock, so that exactly the wait that is meant is ended, or
 * none: no statement that comes later, as could be by a cancel.
 *
 * The error is said with the cycle as its detail.  Another node may have told
 * us that (local_deadlock_tell) before it ended the wait, here or elsewhere,
 * the error comes over the connection then: it is kept in shared memory for
 * the coordinator's session.  That adds it to the error by a context callback
 * at the bottom of the stack, which is there while a transaction has members;
 * it is put there anew where an error has thrown it away.  Without it the
 * detail is empty, and nothing else is wrong.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_WAITS_H
#define AS_WAITS_H

#include "actorstore.h"
#include "datatype/timestamp.h"
#include "storage/proc.h"

extern Size as_waits_shmem_size(void);
extern void as_waits_shmem_init(void);

/*
 * Does somebody wait for a lock who may be part of a transaction over several
 * nodes, and has begun to after the first moment, not after the second?
 */
extern bool as_waits_exist(TimestampTz after, TimestampTz until);

/* Does a process sleep for a lock, and since when? */
extern bool as_waits_is_sleeping(PGPROC *proc, TimestampTz *start);

/* What ends this transaction as the victim of a deadlock will say why. */
extern void as_waits_explain_errors(void);

#endif							/* AS_WAITS_H */

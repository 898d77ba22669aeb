/*-------------------------------------------------------------------------
 *
 * after_commit.h
 *	  What is to be done once the transaction has committed, and only then.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_AFTER_COMMIT_H
#define AS_AFTER_COMMIT_H

#include "actorstore.h"

/* It must not raise an error. */
typedef void (*AsAfterCommit) (const text *name);

/*
 * Call it with a copy of the name when this transaction has committed, in the order
 * of these calls, while the locks are still held; not if it rolls back, or to a
 * savepoint before.  What is prepared is as good as committed: nobody is told who
 * commits it.
 */
extern void as_after_commit(AsAfterCommit callback, const text *name);

/* To be called once, when the library is loaded. */
extern void as_after_commit_init(void);

#endif							/* AS_AFTER_COMMIT_H */

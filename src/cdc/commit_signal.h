/*-------------------------------------------------------------------------
 *
 * commit_signal.h
 *	  Waiting for somebody to commit.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_COMMIT_SIGNAL_H
#define AS_COMMIT_SIGNAL_H

#include "actorstore.h"

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

/*
 * Wait until there may be WAL on disk beyond the position, or until the
 * deadline; false once that has passed.  May be cancelled.
 */
extern bool as_commit_wait(XLogRecPtr seen, TimestampTz deadline);

/* To be called once, when the library is preloaded. */
extern void as_commit_signal_init(void);
extern Size as_commit_signal_shmem_size(void);
extern void as_commit_signal_shmem_init(void);

#endif							/* AS_COMMIT_SIGNAL_H */

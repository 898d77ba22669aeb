/*-------------------------------------------------------------------------
 *
 * report.h
 *	  What the server's log says of workers and of messages that fail.
 *
 * The texts are fixed: docs/operations.md lists them, so that programs can look
 * for them.  They are in English only where lc_messages is, like all others.
 *
 * Messages that fail by the thousand must not fill the disk: of lines about
 * messages, each process writes at most actorstore.log_limit a second.  How
 * many it has left out it says with the first one of a later second, or when
 * it has nothing else to do.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_REPORT_H
#define AS_REPORT_H

#include "actorstore.h"

#include "runtime/letters.h"
#include "runtime/mailbox.h"

/* A message is put among the dead letters. */
extern void as_report_dead(const AsMessage *message, const AsReason *reason);

/* It has failed, and is tried again after so many microseconds. */
extern void as_report_retry(const AsMessage *message, int max_attempts,
							int64 wait, const ErrorData *error);

/* A message that was told has failed: it is lost. */
extern void as_report_told(const AsMessage *message, const ErrorData *error);

/* Say how many lines were left out, if their second is over. */
extern void as_report_rest(void);

/* A worker begins, or ends, to serve its database. */
extern void as_report_start(int worker);
extern void as_report_stop(int worker);

/* The launcher finds that a worker has gone which was not told to. */
extern void as_report_restart(int worker, Oid database);

#endif							/* AS_REPORT_H */

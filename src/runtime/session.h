/*-------------------------------------------------------------------------
 *
 * session.h
 *	  What handlers get of a worker's session, and what they may not keep.
 *
 * Everything from the first turn of a transaction to the end of its commit
 * runs with the rights of the types' owner, under the search_path of one of
 * his handlers: the handlers, what hangs on their tables, and what they have
 * put off to the commit.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SESSION_H
#define AS_SESSION_H

#include "actorstore.h"

/*
 * Take the owner's rights until the transaction ends, and interrupt the turn
 * when its time (in microseconds) is over.
 */
extern void as_session_begin_turn(Oid owner, int64 timeout);

/* No turn runs any more: nothing is to be interrupted. */
extern void as_session_end_turns(void);

/* Is the turn at hand out of time?  Then this is what a cancel was for. */
extern bool as_session_is_late(void);

#define AS_LATE_MESSAGE	"canceling turn due to turn_timeout"

/* Does the process exit because a handler would not end? */
extern bool as_session_is_overdue(void);

/* Have the transaction use a handler's search_path, to its end. */
extern void as_session_set_path(const char *search_path);

/* The transaction is about to commit: keep its path for the next one. */
extern void as_session_keep_path(void);

/* The transaction has ended: nothing of its handlers may be left. */
extern void as_session_clean(void);

#endif							/* AS_SESSION_H */

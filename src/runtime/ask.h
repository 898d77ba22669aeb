/*-------------------------------------------------------------------------
 *
 * ask.h
 *	  Having an actor handle something now: ask, tell, call.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_ASK_H
#define AS_ASK_H

#include "actorstore.h"

#include "compat.h"
#include "runtime/mailbox.h"
#include "state/type.h"

/*
 * The caller of these has checked the arguments and the right, and filled in
 * type, id, name, body and dedup_key of the message.  All raise VA005 if the
 * actor is paused or stopped, and VA004 if there is no handler.
 */

/*
 * Ask an actor, and wait for the answer, for so many microseconds at most.
 * Returns a jsonb in the current memory context, or 0 for NULL.  VA002 if the
 * time is over, VA001 if there is no room for the request, VA003 if the actor
 * is locked by this transaction, 40P01 if it waits for it in other ways, and
 * whatever the handler raises.
 */
extern Datum as_ask(AsType *type, AsMessage *message, int64 timeout);

/* Tell an actor something.  VA001 if there is no room for it. */
extern void as_tell(AsType *type, AsMessage *message);

/*
 * Run the actor's handler in this transaction.  Returns what as_ask() would.
 * VA003 if the actor is at work further up in the chain of callers.
 */
extern Datum as_call(AsType *type, AsMessage *message);

/* For ask.c and call.c: VA005 or VA004 if the actor will not answer. */
extern void as_check_answers(AsType *type, const AsMessage *message);

/* For those who ask another node. */

/* VA004 if there is no handler for the message. */
extern void as_check_handled(AsType *type, const AsMessage *message);

/* VA003 in a handler. */
extern void as_ask_check_asker(void);

/* VA002 */
as_noreturn extern void as_ask_raise_timed_out(AsType *type, const AsMessage *message);

#endif							/* AS_ASK_H */

/*-------------------------------------------------------------------------
 *
 * settle.h
 *	  The time before this database was a node.
 *
 * Transactions that began then hold no slots (state/owner.h), and may write
 * actors all the same.  As long as there may be such transactions there is a row
 * in actorstore.arrival.  The resolver deletes it when all that ran once this was
 * a node have ended; should slots be given away before that, or before a
 * database that joins others is one of them, all that run are waited for.
 * Later ones hold what they write.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SETTLE_H
#define AS_SETTLE_H

#include "actorstore.h"

/*
 * Wait for all transactions of this database that run now, prepared ones
 * included, but for our own and that of the process given (0: none).  55P03 if
 * that takes longer than actorstore.peer_timeout.
 */
extern void as_settle_wait(int except);

/* The same if that is still to be done, and note that it was. */
extern void as_settle(int except);

/*
 * For the resolver, from time to time: note that it is done once those who ran
 * when this was called first have ended.  So nobody needs to wait, in most cases.
 */
extern void as_settle_look(void);

#endif							/* AS_SETTLE_H */

/*-------------------------------------------------------------------------
 *
 * late_flush.h
 *	  Transactions that are seen before they are flushed, and answered after it.
 *
 * A batch of messages from another node is of use only to the turns that handle
 * them.  Were it flushed before these begin, a message would wait for two flushes in
 * a row where one does: a turn's commit stands behind the batch's in the WAL, and
 * flushes both.  So who stores a batch
 *
 *		1	commits as with synchronous_commit = off: the messages can be seen;
 *		2	has the workers told, as every sender does, its locks being gone;
 *		3	waits until its commit is flushed, and on the standbys that it would have
 *			waited for: a moment for whom it has woken to flush it along, else
 *			it does so itself;
 *		4	and only then answers.
 *
 * CRASHES.  Who has sent the batch keeps it until it has the answer, so nothing is
 * lost: if the server goes down between 1 and 3, batch and number are gone
 * together, and are sent again.  Nothing is done twice: what a turn has
 * committed upon such a message stands behind the batch in the WAL and is gone
 * with it; where it is not, the batch is not, and its number is in the inbox.
 *
 * What such a turn lets others see: by its own commit, after its own flush, or
 * not at all for sure, if it runs without (synchronous_commit = off), as ever.
 * Messages to other nodes wait for a flush of their own (forwarder.c).
 *
 * WHO ELSE READS.  The number in the inbox may be seen before it is safe.  Whoever
 * tells another node of it, in another session than the one that has stored the
 * batch, has all that it sees flushed first: as_flush_what_is_seen().
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_LATE_FLUSH_H
#define AS_LATE_FLUSH_H

#include "actorstore.h"

/*
 * Before all whose callbacks tell others of a commit: callbacks are called in
 * the reverse order.
 */
extern void as_late_flush_init(void);

/* This transaction is flushed late, unless something in it asks for more. */
extern void as_flush_late(void);

/*
 * Who hears that this transaction has committed can rely on all that it has seen:
 * that is flushed, and on the standbys.
 */
extern void as_flush_what_is_seen(void);

#endif							/* AS_LATE_FLUSH_H */

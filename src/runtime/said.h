/*-------------------------------------------------------------------------
 *
 * said.h
 *	  What a handler says of the message at hand: reply(), reject(),
 *	  retry_after(), stop().
 *
 * It stands in the turn (turn.h), and takes effect when the handler has come to
 * its end.  Whatever else a handler does in a subtransaction, a block with an
 * EXCEPTION clause say, is undone if that rolls back; so must be what it has said
 * there.  So whoever says something first has what was said till then kept,
 * with the subtransaction that is to bring it back: as_said_keep().  What is kept
 * hangs on the turn, in its memory, the innermost subtransaction first.  One that
 * commits hands it to its parent.  There is no need to look further than the
 * turns that are at work in this process: with a turn ends what it has said.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SAID_H
#define AS_SAID_H

#include "actorstore.h"

#include "runtime/turn.h"

extern void as_said_init(void);

/* The handler of the turn is about to say something. */
extern void as_said_keep(AsTurn *turn);

#endif							/* AS_SAID_H */

/*-------------------------------------------------------------------------
 *
 * ask_there.h
 *	  call, ask and tell where another node owns the actor.
 *
 * A call is part of the transaction there, as any work on another node
 * (cluster/global.h): what its handler does commits, or is undone, with the
 * caller, and what it sends is handled after that.  The handler cannot call
 * other nodes, so no actor can wait for itself across nodes: the call that
 * would close the circle is refused.
 *
 * ask and tell stand outside of the transaction, there as here.  They use the
 * connection as it is; but where the transaction has work on that node already
 * they ride on its connection, inside it, which they change as little as a
 * local ask would change a local one: the request goes to a worker of that
 * node.  Over there the asker then is the process that holds this
 * transaction's locks: that it would wait for itself is found (VA003), and
 * so are deadlocks, as they are here.
 *
 * An asker that goes away, or is cancelled, ends its connection, or cancels what
 * it has there if it is the transaction's; then nobody waits there any more.
 *
 * What is told leaves at once; nobody waits for an answer, unless inside of a
 * transaction, where an error would otherwise come to the next command.  That
 * there was no room (VA001), or that the actor is stopped (VA005), is not heard.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_ASK_THERE_H
#define AS_ASK_THERE_H

#include "actorstore.h"
#include "cluster/node.h"
#include "runtime/mailbox.h"
#include "state/type.h"

/* As they travel between nodes */
#define AS_QUESTION_CALL	'c'
#define AS_QUESTION_ASK		'a'
#define AS_QUESTION_TELL	't'

typedef struct AsQuestion
{
	char		kind;
	AsType	   *type;
	AsMessage  *message;
	int64		timeout;		/* of ask; microseconds */
} AsQuestion;

/*
 * Does another node own the actor?  Then it is asked, and *answer is what the
 * function returns: 0 for NULL.  The arguments and, as far as they are known
 * here, the rights have been checked.
 */
extern bool as_ask_there(const AsQuestion *question, Datum *answer);

#endif							/* AS_ASK_THERE_H */

/*-------------------------------------------------------------------------
 *
 * fence.h
 *	  A node that was declared lost (force.h) is no node any more, even if it
 *	  comes back, or was never gone.
 *
 * Nor is a primary that has been replaced, though it may not know.
 *
 * A session that a node opens on another says by its uuid whose it is.  If that
 * is one of those that are lost by the epoch in force, each of its commands is
 * refused with VA007, COMMIT and COMMIT PREPARED among them; not so those that
 * only ask who we are, what is in force, and what is known of its transactions.
 * It says by its incarnation, too, which server it is: if a later one of that node is known here, the same
 * commands are refused with 55000.  Whatever it has prepared is its successor's to resolve.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_FENCE_H
#define AS_FENCE_H

#include "actorstore.h"
#include "nodes/parsenodes.h"

/* Raise that if this session is one of a node that is lost, or of a primary that has been replaced. */
extern void as_fence_check_transaction(TransactionStmtKind kind);

/* Before the library is used */
extern void as_fence_init(void);

#endif							/* AS_FENCE_H */

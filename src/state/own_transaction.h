/*-------------------------------------------------------------------------
 *
 * own_transaction.h
 *	  A transaction of its own, for a background process that has none.
 *
 * What is allocated between begin and end belongs to the caller's memory
 * context, not to the transaction.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_OWN_TRANSACTION_H
#define AS_OWN_TRANSACTION_H

#include "actorstore.h"

#include "access/xact.h"
#include "utils/snapmgr.h"

static inline void
as_own_transaction_begin(void)
{
	MemoryContext context = CurrentMemoryContext;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(context);
}

static inline void
as_own_transaction_end(void)
{
	MemoryContext context = CurrentMemoryContext;

	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

#endif							/* AS_OWN_TRANSACTION_H */

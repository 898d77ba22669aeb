/*-------------------------------------------------------------------------
 *
 * hook.h
 *	  Calling an actor's hooks: see lifecycle.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_HOOK_H
#define AS_HOOK_H

#include "runtime/turn.h"

typedef enum AsHookResult
{
	AS_HOOK_RAN,				/* or there is none */
	AS_HOOK_STOPPED,			/* it has called stop() */
	AS_HOOK_FAILED
} AsHookResult;

/*
 * Call the actor's handler for a message of that name, if it has one, in a
 * subtransaction.  What it returns is the new state.  *reason is that of
 * stop(), or what went wrong.  Serialization failures are raised as ever.
 */
extern AsHookResult as_hook_call(AsTurn *turn, const char *name, Datum body,
								 const char **reason);

#endif							/* AS_HOOK_H */

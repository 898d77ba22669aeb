/*-------------------------------------------------------------------------
 *
 * inside.h
 *	  For SQL functions that only a handler may call.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_INSIDE_H
#define AS_INSIDE_H

#include "actorstore.h"

#include "runtime/turn.h"

/* The turn whose handler has called the function: 55000 if none has. */
extern AsTurn *as_need_turn(const char *function);

#endif							/* AS_INSIDE_H */

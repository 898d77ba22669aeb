/*-------------------------------------------------------------------------
 *
 * outside_json.h
 *	  What clients get and give as JSON when they handle turns.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_OUTSIDE_JSON_H
#define AS_OUTSIDE_JSON_H

#include "actorstore.h"

#include "runtime/checkout.h"

/* The messages of a turn as an array of objects, in the current context. */
extern Datum as_outside_messages_json(const AsTurn *turn);

/*
 * An array of objects: messages to be sent.  Raises 22023 if it is anything
 * else; the rights are not checked.
 */
extern void as_outside_parse_sends(Datum sends, AsCompletion *completion);

/* An object: replies by message id.  Raises 22023 if it is anything else. */
extern void as_outside_parse_replies(Datum replies, AsCompletion *completion);

#endif							/* AS_OUTSIDE_JSON_H */

/*-------------------------------------------------------------------------
 *
 * rest.h
 *	  Waiting without a snapshot.
 *
 * A statement has a snapshot as long as it runs, and nobody's dead rows can be
 * removed before that: a client that waits for work would hold back all of the
 * database.  While it waits, it need not, if nobody will look at anything by
 * that snapshot afterwards.  That is so if the statement is a SELECT from the
 * one function that waits, by itself and as the client sent it: no other table
 * or function, no expression that could read one (all are immutable), not in a
 * transaction that goes on, and nobody else has a snapshot registered.
 *
 * The statement keeps the snapshot all the same: only our xmin is gone, which
 * told others what it may see.  Who goes on after the wait takes a new one for
 * all that he reads.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_REST_H
#define AS_REST_H

#include "actorstore.h"

#include "fmgr.h"

/* Is the function, at READ COMMITTED, all that reads anything in its statement? */
extern bool as_rest_is_alone(FunctionCallInfo fcinfo);

/*
 * Such a function waits from now on; then it has to take a new snapshot, whether
 * it reads anything or not.
 */
extern void as_rest_begin(void);

#endif							/* AS_REST_H */

/*-------------------------------------------------------------------------
 *
 * supervise_there.h
 *	  supervise() where actors may live on other nodes: see
 *	  runtime/supervise.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SUPERVISE_THERE_H
#define AS_SUPERVISE_THERE_H

#include "actorstore.h"

#include "runtime/supervise.h"

/*
 * Look at the supervisor and at all who are above it, which stays as it is until
 * the transaction ends: 42P17 if the child is among them.  Sets asked_at, and
 * returns whether the supervisor is stopped.
 */
extern bool as_supervise_climb(AsSupervision *supervision);

/* as_supervise() on the node where the child lives; the rights, as far as they are known here, were checked. */
extern void as_supervise_there(const AsSupervision *supervision);

#endif							/* AS_SUPERVISE_THERE_H */

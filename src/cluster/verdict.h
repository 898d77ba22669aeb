/*-------------------------------------------------------------------------
 *
 * verdict.h
 *	  Transactions over several nodes whose coordinator will never return.
 *
 * Their parts stay prepared: what the coordinator decided only it knew, unless
 * some part was committed already, of which there is a receipt.  So somebody
 * has to say how each ends, on all nodes: all must be reached, and all parts
 * that are prepared end the same way.  What has a receipt anywhere cannot be
 * rolled back.  Whoever is interrupted says the same once more.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_VERDICT_H
#define AS_VERDICT_H

#include "actorstore.h"

/*
 * Commit, or roll back, all parts of the transaction that this global id is a
 * part of; how many were prepared.  22023 if it is none of ours; 55000 if its coordinator is
 * this node, or is to roll back and has a receipt; 55006 if the coordinator
 * answers; 42704 if nothing is prepared; 08006 if a node cannot be reached.
 */
extern int	as_verdict(const char *gid, bool commit);

#endif							/* AS_VERDICT_H */

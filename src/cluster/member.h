/*-------------------------------------------------------------------------
 *
 * member.h
 *	  Nodes come, go, and get other weights.
 *
 * Each change is the next epoch, decided as ballot.h says by a majority of the
 * members, at once: it is not part of the caller's transaction.  Slots that hold
 * nothing move to where the weights want them; the others stay where they are.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_MEMBER_H
#define AS_MEMBER_H

#include "actorstore.h"
#include "lib/slot_map.h"

/*
 * All raise VA009 if no majority can be reached, 42704 for a node that is none
 * of the cluster's.
 */

/*
 * 42710 if there is such a node, 22023 for a conninfo that says a password, 08006
 * if it cannot be reached, 55000 if it cannot be taken in, or if it could not reach
 * this one.
 */
extern void as_member_add(const char *name, const char *conninfo, int weight);

/* 55006 if anything lives on it. */
extern void as_member_remove(const char *name);

extern void as_member_reweight(const char *name, int weight);

/*
 * Whoever has closed slots here for a change is gone: finish it, or have an
 * epoch decided in which all stays as it is.
 */
extern void as_member_unstick(void);

/* 22023 if none has a weight. */
extern void as_member_check_weights(const AsMember *members, int n);

#endif							/* AS_MEMBER_H */

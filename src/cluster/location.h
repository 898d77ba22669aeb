/*-------------------------------------------------------------------------
 *
 * location.h
 *	  In which data centre, and in which rack there, a node is.
 *
 * Both are labels that somebody gives it, by the next epoch, as its weight is.
 * No slot gets another owner by that: only the order of those that would be next
 * changes (as_node_replicas).
 *
 * Like all that is in a proposal they are there as a whole: a proposal that does
 * not speak of them, as one of an extension that did not know them would not, says
 * that no node has any.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_LOCATION_H
#define AS_LOCATION_H

#include "actorstore.h"

/*
 * Each may be NULL: it has none.  55000 where this is no node, 42704 for a node that is none of the cluster's,
 * VA009 if no majority can be reached.
 */
extern void as_location_set(const char *name, text *datacenter, text *rack);

#endif							/* AS_LOCATION_H */

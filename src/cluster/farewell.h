/*-------------------------------------------------------------------------
 *
 * farewell.h
 *	  What a node does with all that it has to do with one that has gone, in the
 *	  transaction that writes down the epoch without it.
 *
 *	- What it has not sent to it yet goes to whoever owns the actors' slots now
 *	  (as_transit_reroute).
 *	- What it has sent, and was not answered for, may have been handled there or
 *	  not: it becomes dead letters here, "node removed"; redrive() sends them
 *	  to where their actors live now.  What was answered for has gone with the
 *	  node.
 *	- How far the node's messages have come here is kept: what it sends should it
 *	  come back is refused, and would be known.
 *	- Actors that watch the node are told $nodedown, unless they were already.
 *	- If the node was declared lost (force.h): actors that are linked to one in
 *	  its slots, or monitor one, are told $exit or $down, reason "nodedown".
 *	- Decisions that wait for its confirmation wait no more (resolve.c).
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_FAREWELL_H
#define AS_FAREWELL_H

#include "actorstore.h"
#include "state/text_query.h"

/* Rows of node_number, node_name, node_uuid; the epoch that is written down. */
extern void as_farewell(const AsRows *gone, text *proposal);

#endif							/* AS_FAREWELL_H */

/*-------------------------------------------------------------------------
 *
 * decision.h
 *	  What is written down of a transaction over several nodes: the decision
 *	  row of its coordinator, the receipts of its participants.  Protocol:
 *	  global.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_DECISION_H
#define AS_DECISION_H

#include "actorstore.h"
#include "access/transam.h"
#include "access/xlogdefs.h"
#include "cluster/node.h"
#include "lib/gid.h"
#include "storage/itemptr.h"

/* Where a decision's row stands, and whose it is */
typedef struct AsDecisionPlace
{
	ItemPointerData row;
	FullTransactionId xid;
} AsDecisionPlace;

/*
 * Insert this transaction's decision row: visible, it says commit.  It is
 * flushed before anybody else can see it, whatever synchronous_commit says.
 */
extern void as_decision_write(FullTransactionId xid, int64 incarnation, int n,
							  const int16 *nodes, char *const *gids, AsDecisionPlace *place);

/* Delete one, unless it is not there any more, or somebody else is at it. */
extern void as_decision_delete(const AsDecisionPlace *place);

/*
 * In a session that another node has opened, just before it prepares its part
 * of a transaction: insert a receipt, which proves, once it can be seen, that
 * the part was committed.  Nothing where the id is none of ours or nothing is
 * going to be prepared; 42501 for who is not the role of other nodes.
 */
extern void as_receipt_write(const char *gid);

/*
 * Have the standbys that synchronous_standby_names asks for flushed all up to
 * there?  True where none are asked for.
 */
extern bool as_sync_acknowledged(XLogRecPtr lsn);

/*
 * Is every transaction over that node over, as far as is known here: confirmed
 * by all its participants, and nothing prepared?  Of this node itself: every one
 * of its own or that it has a part in.  What is lost is left to people.
 */
extern bool as_decision_all_over(int node);

/* From here to its end the transaction waits for its standbys' disks. */
extern void as_sync_require(void);

/*
 * The same where standbys are asked for; else it does not even wait for its own:
 * whoever goes on flushes XactLastCommitEnd before anything depends on it.
 */
extern void as_sync_require_if_replicated(void);

#endif							/* AS_DECISION_H */

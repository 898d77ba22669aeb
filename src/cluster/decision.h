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
#include "utils/uuid.h"

/* the longest global id, with its end */
#define AS_GID_SIZE		128

/* What a global id says. */
typedef struct AsGid
{
	pg_uuid_t	uuid;			/* of the coordinator */
	int64		incarnation;	/* of the coordinator, then */
	uint64		boot;			/* its server's start (life.h) */
	FullTransactionId xid;		/* the coordinator's */
	int			participant;	/* its number among the nodes */
} AsGid;

/* Write a global id into a buffer of AS_GID_SIZE; it is never made again. */
extern void as_gid_write(char *gid, const AsGid *parts);

/* Read one; false if it is none of ours. */
extern bool as_gid_read(AsGid *parts, const char *gid);

/*
 * Insert this transaction's decision row: visible, it says commit.  It is
 * flushed before anybody else can see it, whatever synchronous_commit says.
 */
extern void as_decision_write(FullTransactionId xid, int64 incarnation, int n,
							  const int16 *nodes, char *const *gids);

/*
 * Have the standbys that synchronous_standby_names asks for flushed all up to
 * there?  True where none are asked for.
 */
extern bool as_sync_acknowledged(XLogRecPtr lsn);

/* From here to its end the transaction waits for its standbys' disks. */
extern void as_sync_require(void);

#endif							/* AS_DECISION_H */

/*-------------------------------------------------------------------------
 *
 * gid.h
 *	  Global ids: what a participant's part of a transaction over several nodes
 *	  is prepared under.
 *
 *		actorstore_<coordinator's uuid>_<incarnation>_<boot>_<xid>_<participant>
 *
 * The boot is the number of the coordinator's server's start: an xid that
 * nobody remembers after a crash is used again, under another boot.  An id is
 * written once, stored, and never made again from its parts.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_GID_H
#define AS_GID_H

#include "actorstore.h"
#include "access/transam.h"
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

/* Write a global id into a buffer of AS_GID_SIZE. */
extern void as_gid_write(char *gid, const AsGid *parts);

/* Read one; false if it is none of ours. */
extern bool as_gid_read(AsGid *parts, const char *gid);

#endif							/* AS_GID_H */

/*-------------------------------------------------------------------------
 *
 * seed_place.h
 *	  Places where another node may be, and who is there: see seeds.h.
 *
 * All are knocked at first, many at once, so that those that do not answer cost
 * no more than actorstore.peer_timeout together; who opens is met one after the
 * other, and shows who it is.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SEED_PLACE_H
#define AS_SEED_PLACE_H

#include "actorstore.h"
#include "cluster/seed_address.h"
#include "libpq-fe.h"

typedef enum AsPlaceState
{
	AS_PLACE_UNKNOWN,
	AS_PLACE_UNRESOLVED,		/* there is no such address */
	AS_PLACE_UNREACHABLE,
	AS_PLACE_REFUSED,			/* it is nobody we would speak to */
	AS_PLACE_SELF,
	AS_PLACE_MEMBER
} AsPlaceState;

typedef struct AsSeedPlace
{
	const char *conninfo;
	const AsSeedAddress *seed;	/* NULL: it is from none */
	const char *looked_for;		/* the uuid of the node that should be there; NULL: any */

	/* knocking */
	PGconn	   *conn;
	PostgresPollingStatusType polling;
	bool		opens;

	/* who is there */
	AsPlaceState state;			/* till somebody judges, only what is wrong */
	const char *detail;
	char	   *uuid;			/* NULL: it is no node */
	int64		incarnation;
	char	   *in_force;		/* its epoch, as ballot.h has it */
	int64		epoch;
} AsSeedPlace;

/* Go there; in a process with no transaction. */
extern void as_seed_places_visit(AsSeedPlace *places, int n);

#endif							/* AS_SEED_PLACE_H */

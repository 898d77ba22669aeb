/*-------------------------------------------------------------------------
 *
 * seed_list.h
 *	  Where other nodes may be found, as actorstore.seeds says it.
 *
 * A list, separated by commas:
 *
 *		host, host:port		a name or an IPv4 address
 *		[address]:port		an IPv6 address, the port may be left out
 *		/directory:port		a Unix socket's, likewise
 *		srv:_service._tcp.name	whatever the SRV records of that name say
 *
 * Nothing is looked up, and nothing allocated.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SEED_LIST_H
#define AS_SEED_LIST_H

#include "actorstore.h"

/* longer than any name of the DNS */
#define AS_SEED_HOST_SIZE	256

/* entries of a list, at most */
#define AS_MAX_SEEDS		256

typedef enum AsSeedKind
{
	AS_SEED_HOST,				/* a name or an address */
	AS_SEED_SOCKET,
	AS_SEED_SRV
} AsSeedKind;

typedef struct AsSeed
{
	AsSeedKind	kind;
	char		host[AS_SEED_HOST_SIZE];
	int			port;			/* 0: not said */
} AsSeed;

/*
 * The entry at *at, which then stands behind it.  False at the end of the list,
 * and if the entry is none: then *problem says why, and is NULL otherwise.
 */
extern bool as_seed_next(const char **at, AsSeed *seed, const char **problem);

/* How many entries a list has; -1 if it is none, and *problem says why. */
extern int	as_seed_count(const char *list, const char **problem);

/* Write one as it would stand in a list; as snprintf(). */
extern int	as_seed_print(const AsSeed *seed, char *out, Size size);

#endif							/* AS_SEED_LIST_H */

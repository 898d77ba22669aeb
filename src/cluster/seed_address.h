/*-------------------------------------------------------------------------
 *
 * seed_address.h
 *	  From actorstore.seeds to conninfos.
 *
 * Names are looked up here, each address by itself, and that may take as long
 * as the resolver of libc likes: not for processes that others wait for.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SEED_ADDRESS_H
#define AS_SEED_ADDRESS_H

#include "actorstore.h"
#include "lib/seed_list.h"

/* addresses of all seeds that are tried */
#define AS_MAX_SEED_ADDRESSES	512

typedef struct AsSeedAddress
{
	char	   *seed;			/* the entry */
	char	   *address;		/* "" if none was found */
	char	   *conninfo;		/* NULL then */
	char	   *problem;		/* why */
} AsSeedAddress;

/*
 * All addresses of a list, in the order in which they are to be tried.  They are
 * connected to as the conninfo given says, but for host and port.  Returns how
 * many there are.
 */
extern int	as_seed_addresses(const char *list, const char *conninfo,
							  AsSeedAddress *addresses);

#endif							/* AS_SEED_ADDRESS_H */

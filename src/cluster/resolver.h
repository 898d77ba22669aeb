/*-------------------------------------------------------------------------
 *
 * resolver.h
 *	  The process that finishes transactions over several nodes which others
 *	  have left: see global.h for the protocol, resolve.c for the rules.
 *
 * One for each database that is a node, "actorstore resolver".  Whoever enlists
 * a peer starts it if there is none, as does a peer that says hello; after a
 * restart of the server the workers of the database do.  It looks at all nodes every actorstore.resolver_interval,
 * or when it is poked (life.h).
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_RESOLVER_H
#define AS_RESOLVER_H

#include "actorstore.h"
#include "cluster/peer.h"

/* setting, defined in resolver.c */
extern int	actorstore_resolver_interval;	/* ms */

/* Main function of a background worker */
extern PGDLLEXPORT void as_resolver_main(Datum database);

/* Have it started, unless it runs or starts already. */
extern void as_resolver_start(void);

extern void as_resolver_init(void);

/* The connection of the resolver to a node; NULL, and a line in the log, if it is out of reach. */
extern AsPeer *as_resolver_reach(const AsNode *node);

/*
 * One pass over all nodes; in a process with no transaction.  Returns how many
 * prepared transactions were committed or rolled back.
 */
extern uint64 as_resolve(void);

/* Was some node out of reach in the last one? */
extern bool as_resolve_missed_some(void);

#endif							/* AS_RESOLVER_H */

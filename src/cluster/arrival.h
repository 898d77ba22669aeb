/*-------------------------------------------------------------------------
 *
 * arrival.h
 *	  A database that is about to become a node of a cluster.
 *
 * It is given types, handlers and rights before any slot, and once more with the
 * epoch that makes it a member (registry.h says why), and chooses the uuid that
 * it will be known by: the row in actorstore.arrival.  From then on nobody
 * may use actors here (VA007); those who do just now are waited for before it
 * becomes a member.  Should whoever adds
 * it die once it is decided, it is told later, by the same uuid.  The row
 * goes when it learns the epoch that makes it a member.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_ARRIVAL_H
#define AS_ARRIVAL_H

#include "actorstore.h"

#include "utils/uuid.h"

/* Types, handlers, rights, and which types are paused, as JSON. */
extern text *as_arrival_types(void);

/*
 * Take them, and choose a uuid unless that was done before; false if it was.
 * 55000 if this is a node that has, or had, others, or holds anything of its own;
 * one that was only named by init_node() forgets that; 42883 for a handler
 * that is not there, 42501 for a type of a superuser's, unless the caller is one.
 */
extern bool as_arrival_begin(text *types, pg_uuid_t *uuid);

/*
 * Once that is committed: wait for all transactions that began before (55P03).
 * 55000 if there is anything of its own then.
 */
extern void as_arrival_settle(void);

/* It has come to nothing: this database is what it was. */
extern void as_arrival_leave(void);

/* The uuid chosen; false if there is none. */
extern bool as_arrival_uuid(pg_uuid_t *uuid);

#endif							/* AS_ARRIVAL_H */

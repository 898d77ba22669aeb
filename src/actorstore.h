/*-------------------------------------------------------------------------
 *
 * actorstore.h
 *	  The vocabulary every floor may use: names, limits, settings.
 *
 * An actor is addressed by (actor_type, actor_id), two non-empty texts of at
 * most AS_MAX_NAME_BYTES bytes each.  They are never joined by a separator.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef ACTORSTORE_H
#define ACTORSTORE_H

#include "postgres.h"
#include "fmgr.h"

/* the longest actor_type, actor_id or message name, in bytes */
#define AS_MAX_NAME_BYTES	512

/*
 * Logical messages with this prefix announce that a type becomes "logged" or
 * "unlogged": that word, a blank, and the type.
 */
#define AS_PERSISTENCE_MESSAGE	"actorstore.persistence"

/* settings, defined in actorstore.c */
extern PGDLLIMPORT int actorstore_max_value_size;	/* bytes */
extern PGDLLIMPORT int actorstore_place_cache_size; /* entries */
extern PGDLLIMPORT int actorstore_cdc_retention;	/* seconds; 0: off */

#endif							/* ACTORSTORE_H */

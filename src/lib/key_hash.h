/*-------------------------------------------------------------------------
 *
 * key_hash.h
 *	  The hash of an actor's address: the same on every machine, PostgreSQL
 *	  version and node of a cluster, for ever.
 *
 * It is XXH64 with seed 0 over
 *
 *		uint32 (little-endian) bytes in actor_type, actor_type,
 *		uint32 (little-endian) bytes in actor_id, actor_id
 *
 * so that no two addresses share an input, whatever bytes they hold.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_KEY_HASH_H
#define AS_KEY_HASH_H

#include "actorstore.h"

/*
 * Neither part may exceed AS_MAX_NAME_BYTES.
 */
extern PGDLLEXPORT uint64 as_key_hash(const char *type, uint32 type_len,
						  const char *id, uint32 id_len);

#endif							/* AS_KEY_HASH_H */

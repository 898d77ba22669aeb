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

/* As good as for ever: microseconds that can be added to a time, and doubled. */
#define AS_LONGEST			(PG_INT64_MAX / 4)

/* For whom waits for a latch, which knows no such times: milliseconds, then look again. */
#define AS_LONGEST_NAP_MS	3600000

/*
 * Logical messages with this prefix announce that a type becomes "logged" or
 * "unlogged": that word, a blank, and the type.
 */
#define AS_PERSISTENCE_MESSAGE	"actorstore.persistence"

/* our own SQLSTATEs */
#define AS_ERRCODE_MAILBOX_FULL		MAKE_SQLSTATE('V', 'A', '0', '0', '1')
#define AS_ERRCODE_TIMED_OUT			MAKE_SQLSTATE('V', 'A', '0', '0', '2')
#define AS_ERRCODE_WAITS_ON_ITSELF	MAKE_SQLSTATE('V', 'A', '0', '0', '3')
#define AS_ERRCODE_NO_HANDLER		MAKE_SQLSTATE('V', 'A', '0', '0', '4')
#define AS_ERRCODE_HALTED			MAKE_SQLSTATE('V', 'A', '0', '0', '5')
#define AS_ERRCODE_LEASE_LOST		MAKE_SQLSTATE('V', 'A', '0', '0', '6')
#define AS_ERRCODE_NOT_THE_OWNER		MAKE_SQLSTATE('V', 'A', '0', '0', '7')
#define AS_ERRCODE_NO_MAJORITY		MAKE_SQLSTATE('V', 'A', '0', '0', '9')

/* settings, defined in actorstore.c */
extern PGDLLIMPORT int actorstore_max_value_size;	/* bytes */
extern PGDLLIMPORT int actorstore_place_cache_size; /* entries */
extern PGDLLIMPORT int actorstore_cdc_retention;	/* seconds; 0: off */
extern PGDLLIMPORT int actorstore_workers;	/* 0: one per core */
extern PGDLLIMPORT int actorstore_worker_queue_capacity;
extern PGDLLIMPORT int actorstore_global_queue_capacity;
extern PGDLLIMPORT int actorstore_max_active_actors;
extern PGDLLIMPORT int actorstore_max_spin_cycles;
extern PGDLLIMPORT int actorstore_batch_size;	/* messages in a turn */
extern PGDLLIMPORT bool actorstore_enable_work_stealing;
extern PGDLLIMPORT bool actorstore_enable_batching;
extern PGDLLIMPORT int actorstore_mailbox_limit;	/* of types that have none of their own */
extern PGDLLIMPORT int actorstore_max_message_size; /* bytes */
extern PGDLLIMPORT int actorstore_dedup_window; /* seconds */
extern PGDLLIMPORT int actorstore_trace_size;	/* entries */
extern PGDLLIMPORT int actorstore_log_limit;	/* lines a second */
extern PGDLLIMPORT bool actorstore_log_retries;
extern PGDLLIMPORT bool actorstore_log_workers;
extern PGDLLIMPORT int actorstore_priority_aging;	/* ms; 0: none */
extern PGDLLIMPORT int actorstore_worker_memory_limit;	/* kB; 0: none */
extern PGDLLIMPORT int actorstore_message_pool_size;	/* cells */
extern PGDLLIMPORT int actorstore_max_open_turns;
extern PGDLLIMPORT int actorstore_arena_size;	/* kB */

#endif							/* ACTORSTORE_H */

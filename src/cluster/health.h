/*-------------------------------------------------------------------------
 *
 * health.h
 *	  Which nodes answer.
 *
 * One process for each database that is a node beside others, "actorstore
 * health".  It has a connection of its own to each of its targets
 * (lib/gossip.h), and asks them once in actorstore.heartbeat_interval; an
 * answer is a beat for the target's detector (lib/phi.h).  Targets whose
 * silence is too long by actorstore.phi_threshold are suspected.  Questions
 * and answers carry what the two nodes lack of each other's opinions:
 *
 *		question	hash of what we have heard; our clock too, if it is another one
 *					than the target's, or was not told since; opinions that are
 *					newer than the target's clock, as we know it
 *		answer		its hash, and if it is another one: its clock, and opinions
 *					that are newer than ours
 *
 * so that nodes that agree tell each other a number.  Opinions stand in shared
 * memory, under a lock: sessions of other nodes write what they are told, the
 * process its own.  What it judges stands beside them in words that everybody
 * reads without a lock.
 *
 * A suspicion moves nothing.  Whoever wants to speak to a node that is down and
 * does not even refuse connections is told so at once, instead of waiting; for
 * one that refuses them it is as quick to try.
 *
 * The detector does not mind clocks that are set: it reads one that only goes
 * forward.  Time in which this process itself did not run is no one's silence,
 * and if it is late again and again all others are given more time, up to
 * eight times as much.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_HEALTH_H
#define AS_HEALTH_H

#include "actorstore.h"

#include "lib/gossip.h"
#include "lib/stringinfo.h"
#include "utils/array.h"

/* settings, defined in health.c */
extern int	actorstore_heartbeat_interval;	/* ms; 0: none */
extern int	actorstore_heartbeat_pause; /* ms */
extern double actorstore_phi_threshold;

extern void as_health_init(void);
extern Size as_health_shmem_size(void);
extern void as_health_shmem_init(void);

/* Main function of a background worker */
extern PGDLLEXPORT void as_health_main(Datum database);

/* Start it if it is wanted and does not run; in no transaction. */
extern void as_health_look(void);

/* What is known of a node; AS_HEALTH_UNKNOWN if nobody has looked lately. */
extern AsHealth as_health_of(int16 node);

/* Is it down, and would one wait in vain for it to refuse? */
extern bool as_health_is_silent(int16 node);

/* ---- For health*.c: the board ---- */

typedef enum AsHealthCounter
{
	AS_HEALTH_SENT,				/* questions */
	AS_HEALTH_ANSWERED,
	AS_HEALTH_RETRIES,			/* beats at which there was no answer yet */
	AS_HEALTH_RECONNECTS,		/* connections tried after the first one */
	AS_HEALTH_RECEIVED,			/* questions of theirs */
	AS_HEALTH_NCOUNTERS
} AsHealthCounter;

/* Take the board of this database; false if another process has it. */
extern bool as_board_register(void);

/* May a process be started for it now? */
extern bool as_board_claim_start(void);

/*
 * The opinions of this database's node, under the lock, or NULL if no process
 * has been here.  To be unlocked again soon.
 */
extern AsGossip *as_board_lock(bool exclusive, int16 *self);
extern void as_board_unlock(void);

/* Set by as_board_register()'s caller, under the lock. */
extern void as_board_set_self(int16 self);

/* What is judged of a node, at a time of the clock that only goes forward. */
extern void as_board_set(int16 node, AsHealth health, bool silent, double phi);
extern void as_board_count(int16 node, AsHealthCounter counter);
extern void as_board_add_round_trip(int16 node, int64 us);

/*
 * Opinions as an array of bigint: for each its node, counter, how many it
 * suspects, and those.  Read returns how many there are, at most AS_MAX_NODES, or
 * -1 if it is no such array.
 */
extern ArrayType *as_opinions_array(const AsOpinion *const *opinions, int n);
extern int	as_opinions_read(ArrayType *array, AsOpinion *opinions);

/* The same as text, which needs no transaction. */
extern void as_opinions_print(StringInfo out, const AsOpinion *const *opinions, int n);
extern int	as_opinions_parse(const char *text, AsOpinion *opinions);

#endif							/* AS_HEALTH_H */

/*-------------------------------------------------------------------------
 *
 * stress.h
 *	  Processes that push, pop, take and steal all at once.
 *
 * A dynamic shared memory segment holds a ring, some deques, and seats.  In a
 * seat sits a background worker of one of four roles:
 *
 *		producer	pushes items into the ring, up to its quota
 *		consumer	pops items from the ring and records them
 *		owner		pops items from the ring, keeps them in its deque, and
 *					takes items from there and records them
 *		thief		steals items from all deques and records them
 *
 * Producers have the first seats.  The nth item of the producer in seat p is
 * p * quota + n.  In a deque an entry is an item with a number in front that
 * counts what was kept there.  To record an item is to set its bit, which must
 * not be set yet.
 *
 * All that a worker has to remember is in its seat, and is brought up to date
 * before it looks for interrupts.  So a worker may be terminated, and another
 * one in the same seat goes on.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef STRESS_H
#define STRESS_H

#include "lib/deque.h"
#include "lib/ring.h"

#include "storage/dsm.h"
#include "storage/shm_toc.h"

#define STRESS_MAGIC		0x61637374
#define STRESS_SEATS		16
#define STRESS_DEQUES		4

/* what is where in the segment */
#define STRESS_KEY_SHARED	0
#define STRESS_KEY_RING		1
#define STRESS_KEY_SEEN		2
#define STRESS_KEY_DEQUE	3	/* and following */

typedef enum StressRole
{
	STRESS_PRODUCER,
	STRESS_CONSUMER,
	STRESS_OWNER,
	STRESS_THIEF
} StressRole;

typedef enum StressStop
{
	STRESS_NOWHERE,
	STRESS_ANYWHERE,			/* between two operations */
	STRESS_IN_PUSH,				/* into the ring, claimed, not published */
	STRESS_IN_POP,				/* from the ring, claimed, not freed */
	STRESS_IN_TAKE,				/* from the own deque, bottom lowered */
	STRESS_IN_STEAL				/* from a deque, the item read */
} StressStop;

typedef enum StressState
{
	STRESS_RUNNING,
	STRESS_CLOSING,				/* producers leave */
	STRESS_DRAINING				/* the others leave when all is recorded */
} StressState;

typedef enum StressCount
{
	STRESS_PUSHED,				/* into the ring */
	STRESS_POPPED,				/* from the ring */
	STRESS_KEPT,				/* pushed into a deque */
	STRESS_TAKEN,				/* from the own deque */
	STRESS_STOLEN,				/* from a deque */
	STRESS_RECORDED,
	STRESS_DUPLICATES,
	STRESS_STRANGERS,			/* items that nobody can have pushed */
	STRESS_OUT_OF_ORDER,
	STRESS_FULL,				/* could not push */
	STRESS_EMPTY,				/* could not pop, take or steal */
	STRESS_COUNTS
} StressCount;

/* Written by the worker in the seat, but for stop_at. */
typedef struct StressSeatShared
{
	pg_atomic_uint64 pid;		/* 0: vacant */
	pg_atomic_uint64 arrivals;	/* workers who have sat here */
	pg_atomic_uint64 stop_at;	/* by stress_stop(); taken back by the worker */
	pg_atomic_uint64 counts[STRESS_COUNTS];
	uint64		next_popped[STRESS_SEATS];	/* of each producer, at least */
	uint64		next_stolen[STRESS_DEQUES]; /* of each deque, at least */
	uint64		random;
} StressSeatShared;

typedef struct StressShared
{
	uint64		quota;			/* items of a producer; immutable */
	int			producers;		/* immutable */
	int			deques;			/* immutable */
	pg_atomic_uint64 state;		/* by stress_finish() */
	StressSeatShared seats[STRESS_SEATS];
} StressShared;

/* A process' view of it. */
typedef struct Stress
{
	dsm_segment *segment;
	StressShared *shared;
	AsRingShared *ring;
	AsDequeShared *deques[STRESS_DEQUES];
	pg_atomic_uint64 *seen;		/* a bit for each item; by anyone */
} Stress;

/* What a worker is told. */
typedef struct StressJob
{
	dsm_handle	handle;
	int			seat;
	StressRole	role;
} StressJob;

/* stress.c */
extern void stress_attach(Stress *stress, dsm_handle handle);
extern uint64 stress_sum(Stress *stress, StressCount which);

/* stopped.c: the operations of ring and deque, stopped in the middle */
extern bool stopped_push(AsRingShared *ring, uint64 item, pg_atomic_uint64 *stop_at);
extern bool stopped_pop(AsRingShared *ring, uint64 *item, pg_atomic_uint64 *stop_at);
extern bool stopped_take(AsDequeShared *deque, uint64 *item, pg_atomic_uint64 *stop_at);
extern bool stopped_steal(AsDequeShared *deque, uint64 *item, pg_atomic_uint64 *stop_at);

#endif							/* STRESS_H */

/*-------------------------------------------------------------------------
 *
 * sched.h
 *	  Who runs which actor when: homes, queues of slots, sleeping workers.
 *
 * A HOME is what a database has in shared memory while it is served: a global
 * queue, the set of its sleeping workers, the next message id.  There are as
 * many homes as workers may run, so that each served database can have one
 * worker.  The launcher alone gives homes to databases and takes them back
 * (launcher.c); a home is taken back only when it has no worker.
 *
 * THE WAY OF A HINT.  A backend that has committed messages finds the actor's
 * slot (slot.h), schedules it and queues the slot in the home's global queue,
 * a worker that has done so in its own deque.  A worker takes from its deque,
 * then from the global queue, then steals from the deques of its home's other
 * workers.  A queue that is full drops the hint.
 *
 * DROPPED HINTS.  "lost" is raised, by one, by whoever drops a hint, after the
 * transaction has committed and before it says so to anybody.  A worker that
 * looks through all mailboxes (sweep.c) reads "lost" first and stores what it
 * read in "swept" when it is through.  While the two differ, no new slot
 * trusts that its actor's mailbox is empty.  A fresh home begins with them
 * different.
 *
 * SLEEPING.  A worker that finds nothing sets its bit in "sleepers", looks
 * once more, and waits on its latch.  Whoever has queued something takes one
 * bit out and sets that worker's latch.  Both the setting of the bit and the
 * queueing are followed by a full barrier: either the worker sees the item or
 * the other sees the bit.  Who clears the bit sends the wake-up, so that two
 * items wake two workers.  A worker is known by its pgprocno: PGPROC entries
 * are never freed, so a stale one costs a spurious wake-up.  The one that
 * sleeps till next_due is woken last: its turn may be a long one, and the
 * others would not know when to get up.
 *
 * DUE TIMES.  next_due is a time such that no message that somebody has told
 * us of is due earlier.  It follows the protocol of a slot's lowest position:
 * senders lower it by an atomic minimum after their commit; the worker that
 * looks for what is due takes it out by exchange, looks, and lowers it to what
 * it saw next.  Whoever reads an actor's messages lowers it to those that are
 * not due yet: their time may have been taken out before the clock went back.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SCHED_H
#define AS_SCHED_H

#include "actorstore.h"

#include "datatype/timestamp.h"
#include "lib/deque.h"
#include "lib/ring.h"
#include "port/atomics.h"
#include "runtime/slot.h"
#include "storage/condition_variable.h"

#define AS_MAX_WORKERS	64

/* Ids are taken from the sequence in blocks of so many, its increment. */
#define AS_ID_BLOCK		65536

#define AS_NEVER		PG_UINT64_MAX

typedef struct AsHomeShared
{
	/* written by the launcher */
	pg_atomic_uint32 database;	/* Oid, or 0 */
	pg_atomic_uint32 epoch;		/* grows with each database */

	/* written by the launcher and by who wants the database for itself */
	pg_atomic_uint32 leave;		/* workers are to go */

	/* written by anyone, by atomic operations; each on a line of its own */
	char		pad0[PG_CACHE_LINE_SIZE];
	pg_atomic_uint64 sleepers;	/* bits of workers */
	char		pad1[PG_CACHE_LINE_SIZE];
	pg_atomic_uint64 next_id;	/* the next message id, below id_limit */
	pg_atomic_uint64 id_limit;	/* written under the lock of ids */
	pg_atomic_uint32 id_sequence;	/* the sequence that they are from; same */
	char		pad2[PG_CACHE_LINE_SIZE];
	pg_atomic_uint64 lost;
	pg_atomic_uint64 swept;		/* written by the sweeper */
	pg_atomic_uint64 next_due;	/* TimestampTz, or AS_NEVER */
	pg_atomic_uint32 sweeper;	/* worker that sweeps, + 1 */
	pg_atomic_uint32 timekeeper;	/* worker that sleeps till next_due, + 1 */
	pg_atomic_uint32 offers_gone;	/* 1: a client has to look (offer.h) */
	ConditionVariable room;		/* in a mailbox; senders wait */

	/* counters; written by anyone */
	pg_atomic_uint64 noverflows;	/* hints dropped */
	pg_atomic_uint64 nsweeps;

	/* where the sweep goes on; read and written by the sweeper */
	uint64		sweep_lost;		/* "lost" when it began */
	uint64		sweep_hash;		/* the key to go on from */
	bool		sweep_begun;
} AsHomeShared;

typedef enum AsWorkerStatus
{
	AS_WORKER_NONE,				/* nobody */
	AS_WORKER_STARTING,			/* registered by the launcher */
	AS_WORKER_READY				/* attached */
} AsWorkerStatus;

/* What a worker found in its database */
typedef enum AsFinding
{
	AS_FOUND_NOTHING,			/* it has not got that far */
	AS_FOUND_SERVED,
	AS_FOUND_NO_EXTENSION,
	AS_FOUND_FENCED			/* a copy: see unfence() */
} AsFinding;

typedef struct AsWorkerShared
{
	/* written by the launcher while NONE, by the worker afterwards */
	pg_atomic_uint32 status;
	pg_atomic_uint32 home;
	pg_atomic_uint32 leave;		/* the launcher wants this one to go */
	pg_atomic_uint32 finding;	/* AsFinding, written by the worker */
	int			procno;
	int			pid;

	/* written by the worker; others only look */
	char		pad[PG_CACHE_LINE_SIZE];
	pg_atomic_uint64 nturns;
	pg_atomic_uint64 nmessages;
	pg_atomic_uint64 ncommits;
	pg_atomic_uint64 nfailures;
	pg_atomic_uint64 nsteals;
	pg_atomic_uint64 nsleeps;
	pg_atomic_uint64 current;	/* the slot it runs, or AS_NO_SLOT */
	pg_atomic_uint64 started_at;
} AsWorkerShared;

extern Size as_sched_shmem_size(void);
extern void as_sched_shmem_init(void);

/* The same for homes.c. */
extern Size as_homes_shmem_size(void);
extern void as_homes_shmem_init(void);

/* Is there shared memory, as the library is preloaded? */
extern bool as_sched_active(void);

/* How many workers may run, and so how many homes there are. */
extern int	as_sched_max_workers(void);

/* The same, before there is shared memory. */
extern int	as_sched_workers_wanted(void);

extern PGDLLEXPORT AsHomeShared *as_home(uint32 home);
extern AsWorkerShared *as_worker(uint32 worker);
extern AsDequeShared *as_worker_deque(uint32 worker);
extern AsRingShared *as_home_queue(uint32 home);

/* The home of this database, or -1 if it has none at the moment. */
extern int	as_sched_home(void);

/* ---- For senders ---- */

/* Held to put another block of ids in. */
extern struct LWLock *as_sched_ids_lock(void);

/* Take n (at most AS_ID_BLOCK) consecutive numbers; returns the first. */
extern int64 as_sched_ids(int n);

/*
 * The id of a message with such a number: the same, below the number of this
 * node, if it is one (higher floors know it), so that no two nodes have one id.
 */
#define AS_ID_BITS	48
extern int64 as_message_id(int64 number);
extern int16 (*as_message_node) (void);

/* Its number again; false if another node has made the id. */
extern bool as_message_number(int64 message_id, int64 *number);

/* May a slot claimed now trust that its mailbox is empty? */
extern bool as_sched_is_swept(uint32 home);

/*
 * The actor of that key has mail: a message in the lane at that position, or
 * anywhere if lane < 0.  ref is its slot as the caller knows it, or
 * AS_NO_SLOT; deadline its messages' if the type wants it (urgent.h), or
 * AS_NO_DEADLINE; outside its type as offer.h calls it, if clients handle all
 * that it may get, and the caller knows that no worker has to look, else 0.
 * Never fails; returns the slot.
 */
extern PGDLLEXPORT AsSlotRef as_sched_hint(uint32 home, AsSlotRef ref, uint64 key_hash,
							   int lane, uint64 position, uint64 deadline,
							   uint64 outside);

/*
 * A transaction that has sent messages, none of them below a position, is
 * about to commit, and later has said so to all slots; or has rolled back.
 *
 * In between its messages may be visible, and its hints not there yet: who
 * reads a lane from the position that the slot told, may see a later message
 * of the transaction and not an earlier one.  So readers take the floor into
 * account, once they have their snapshot: the lowest position of those who
 * are committing.
 *
 *		Sender:  says so;  commits;  hints;  says that it is over
 *		Worker:  positions out;  snapshot;  floor;  looks at the slot once more
 *
 * A sender whose commit the snapshot shows has said so before.  If the floor
 * does not tell of it, it was over by then: its positions are in the slot, if
 * they were not among those taken out.  They stay there for the next turn.
 */
extern void as_sched_begin_commit(uint32 home, uint64 position);
extern void as_sched_end_commit(void);
extern uint64 as_sched_commit_floor(uint32 home);

/* A message is due at that time. */
extern void as_sched_lower_due(uint32 home, TimestampTz due);

/* Somebody ought to look through all mailboxes. */
extern void as_sched_lose(uint32 home);

/*
 * Count processes that wait for an answer (1), or no longer (-1).  Where they
 * are so few that processors are left for the workers, they may look for it
 * instead of sleeping.
 */
extern void as_sched_count_asking(int n);
extern bool as_sched_may_look(void);

/* Tell the launcher that something about databases has changed. */
extern void as_sched_tell_launcher(void);

/* ---- For workers ---- */

/* The worker that this process is, or -1. */
extern int	as_sched_self;

/* Take a slot to run; AS_NO_SLOT if there is none. */
extern AsSlotRef as_sched_take(void);

/* Queue a slot that is SCHEDULED. */
extern void as_sched_queue(uint32 home, AsSlotRef ref);

/* The same, behind all others. */
extern void as_sched_queue_last(uint32 home, AsSlotRef ref);

/* Wake a sleeping worker of the home, if there is one. */
extern void as_sched_wake(uint32 home);

/* Wake the worker that sleeps till something is due, or another one. */
extern void as_sched_wake_timekeeper(uint32 home);

/* Wake all workers of a home, asleep or not, and its steward. */
extern void as_sched_wake_all(uint32 home);

/* Wake a worker, if there is one of that number. */
extern void as_sched_wake_worker(uint32 number);

/* Announce sleep, and take it back. */
extern void as_sched_prepare_sleep(void);
extern void as_sched_cancel_sleep(void);

/* Is there anything in the queues?  And more than one slot? */
extern bool as_sched_has_work(void);
extern bool as_sched_has_others(void);

/* ---- For the launcher ---- */

extern void as_sched_set_launcher(void);

/* In its last pass, was there no process for a worker that it wanted? */
extern void as_sched_set_starved(bool starved);
extern bool as_sched_is_starved(void);

/* Give a home to a database; make it nobody's. */
extern void as_home_give(uint32 home, Oid database);
extern void as_home_take_back(uint32 home);

/*
 * Databases whose standing has changed are noted by who changed them, and
 * read by the launcher.  More than fit mean all.
 */
extern void as_sched_note_database(Oid database);
extern bool as_sched_read_notes(Oid *databases, int *n);
#define AS_MAX_NOTES	32

/*
 * While a database is barred, no worker may run in it.  Returns false if too
 * many are barred already.
 */
extern bool as_sched_bar(Oid database);
extern void as_sched_unbar(Oid database);
extern bool as_sched_is_barred(Oid database);

/* How many workers and stewards has the database, starting ones included? */
extern int	as_sched_workers_in(Oid database);

#endif							/* AS_SCHED_H */

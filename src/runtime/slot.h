/*-------------------------------------------------------------------------
 *
 * slot.h
 *	  The active actors: a fixed table in shared memory, used without locks.
 *
 * An actor has a slot while its mailbox may hold something.  The table of
 * messages is the truth; a slot only says that somebody should look there,
 * and from where on.  An idle actor has none.
 *
 * THE STATE WORD.  The lower 8 bits are a status, the upper 32 a generation
 * that grows by one each time the slot is claimed; a reference to a slot is
 * its number and its generation.  All changes are compare-and-swap on the
 * whole word, so nobody changes a slot that has been given to another actor.
 * The 24 bits between count who is about to leave a request: see below.
 *
 *		FREE ------> CLAIMED		whoever needs a slot
 *		CLAIMED ---> IDLE			the same, once the key is in
 *		IDLE ------> CLAIMED		whoever needs a slot and finds none FREE, or
 *									wants to know whether this one is needed
 *		SCHEDULED -> CLAIMED		whoever cannot queue it, and then
 *		CLAIMED ---> FREE			once the sweep is called for; IDLE if the
 *									slot remembers failures
 *		IDLE ------> SCHEDULED		whoever has mail; who wins queues the slot
 *		SCHEDULED -> RUNNING		the worker that took it from a queue
 *		RUNNING ---> AGAIN			whoever has mail meanwhile
 *		RUNNING ---> IDLE, FREE		the worker; FREE if it saw the mailbox empty
 *		AGAIN -----> SCHEDULED		the worker, which queues it once more
 *		RUNNING ---> SCHEDULED		the worker, if it left something to do
 *		IDLE, SCHEDULED -> RUNNING	who has checked the actor's turn out (lease.h)
 *		IDLE ------> RUNNING		who has sent mail that he offers himself, for a
 *									moment (lease.h)
 *
 * THE LOWEST POSITIONS.  low[lane] is a position (see mailbox.h) such that
 * every visible message of the lane, and every one that becomes visible
 * without anybody saying so here, stands at it or above.  A sender whose
 * transaction has committed lowers it by an atomic minimum, sets the lane's
 * bit, and then changes the status, in this order.  The worker, RUNNING,
 * takes bits and positions out by exchange (leaving none, and AS_NO_POSITION)
 * before it takes the snapshot that it reads the mailbox with.  Afterwards it
 * puts the lowest position that it has left unhandled back, again by an
 * atomic minimum: nothing that a sender put in meanwhile is ever lost.
 *
 *		Sender:  commit;  low := min;  bit;  status
 *		Worker:  status := RUNNING;  bits out;  low out;  snapshot;  read
 *
 * (Between a sender's commit and its minimum its messages may be seen already:
 * as_sched_begin_commit() says what keeps them in order then.)
 *
 * If the sender's minimum comes before the worker's exchange, its commit came
 * before the worker's snapshot, which sees the message.  If it comes after,
 * it stays in the slot, and the sender's change of the status, later still,
 * finds RUNNING and makes it AGAIN.  The message may be handled by then; a
 * look for nothing is all that costs.
 *
 * A FRESH SLOT is empty, and its claimant's message is the first that it
 * knows of.  That is right only if no older message of the actor waits
 * unknown to any slot, which holds because a slot is freed by a worker that
 * saw the mailbox empty after taking the positions, unless
 *
 *	- a hint was dropped, as the table or a queue was full, or nobody has
 *	  looked through the mailboxes since the server started: the caller knows
 *	  (sched.h) and says so, or
 *	- two processes claim a slot for one actor at the same time.  A claimant
 *	  looks through its set once more after publishing its key: each
 *	  compare-and-swap is a full barrier, so at least one of the two sees the
 *	  other.
 *
 *	- a slot was taken from an actor with mail that waits for a time, or for
 *	  resume().  See below.
 *
 * Such a slot starts unknown: all positions from 0 on, in all lanes.  Two
 * slots of one actor are harmless otherwise: the lock on the actor's row
 * decides, and the worker whose messages were taken meanwhile finds none.  But
 * each knows of some messages only, and a later one of those must not overtake
 * an earlier one of the other's.  So a worker that has its snapshot looks
 * whether its slot is the only one, and else reads from the beginning.  (The
 * other one was published before any message that it knows of was committed.
 * If it has been given up by then, so have all these messages, or their
 * senders have said so again here.)
 *
 * GIVING UP SLOTS.  An actor whose mailbox is not empty keeps its slot, IDLE,
 * while it is paused, waits for the time of a next attempt, or has delayed
 * messages or uncommitted senders.  Nobody needs that slot: who resumes makes
 * the mailboxes be looked through, who serves what is due says so, senders say
 * so when they commit.  So a claimant that finds no FREE slot in its set takes
 * an IDLE one, by making it CLAIMED, of a new generation: a sender that has
 * just put a position in finds it gone, and says so again elsewhere.  What
 * the new owner then finds in the slot decides what the actor's next slot may
 * trust.  With positions left, messages wait unknown to any slot: a flag of
 * the set is raised, for ever, that lets all slots claimed in it start
 * unknown.  With a depth, the same for the depth alone.  No claimant for the
 * old actor misses the flag: it looks through its set after publishing its own
 * key.  If it sees the slot still IDLE, it has a rival; if CLAIMED, the same;
 * if later, the flag was raised before, and is read after.
 *
 * A sender that rolls back leaves a slot that may have been claimed for it
 * alone.  It makes it CLAIMED, of the same generation, and looks: if no
 * positions are left, the slot is FREE, as a worker would have left it; else
 * it is queued, and a worker will look.
 *
 * REQUESTS that live in shared memory only (request.h) hang on the slot
 * itself, and must never be on that of another actor.  Who leaves one counts
 * himself into the state word, pushes the request to the list, and counts
 * himself out in the same step that asks for a turn.  While anybody is counted
 * in, the slot is not given up: who would make it FREE, or CLAIMED, leaves it
 * IDLE, as the one who is counted in will ask for a turn.
 *
 *		Poster:  counted in;  push;  counted out and status
 *		Worker:  RUNNING;  takes requests;  sees none left;  FREE, if none is
 *				 counted in
 *
 * A push that the worker did not see came from one who was still counted in
 * (and the step to FREE fails), or had asked for a turn by then (RUNNING has
 * become AGAIN).  Requests that a worker has taken off the list and not
 * handled yet are "pending", the oldest first; only who runs the slot looks
 * there.  A slot with requests is never left FREE by a worker, and IDLE only
 * while it is offered (offer.h).  Such a slot is not given up.
 *
 * DEPTH counts the messages in the mailbox, those of uncommitted senders
 * included (see outgoing.c).  It is a bound for senders and decides nothing
 * else.  While it is not known, nobody counts: the first sender sets it to
 * the number of rows that it sees.
 *
 * A process that dies orderly gives its RUNNING slots back first (worker.c);
 * one that does not takes all of shared memory with it.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SLOT_H
#define AS_SLOT_H

#include "actorstore.h"

#include "port/atomics.h"

#ifdef PG_HAVE_ATOMIC_U64_SIMULATION
#error "actorstore needs 64-bit atomic operations"
#endif

/* one lane for each priority */
#define AS_LANES		10
#define AS_ALL_LANES	((1 << AS_LANES) - 1)

#define AS_NO_POSITION	PG_UINT64_MAX

/* After so many in a row a turn has failed. */
#define AS_MAX_CONFLICTS	20

typedef enum AsSlotStatus
{
	AS_FREE,
	AS_CLAIMED,
	AS_IDLE,
	AS_SCHEDULED,
	AS_RUNNING,
	AS_AGAIN
} AsSlotStatus;

typedef struct AsSlotShared
{
	/* written by anyone, by compare-and-swap */
	pg_atomic_uint64 state;

	/* written by the claimant, before the slot is IDLE */
	pg_atomic_uint64 key_hash;
	pg_atomic_uint32 home;

	/* written by anyone */
	pg_atomic_uint32 lanes;		/* bits of lanes that have a position */
	pg_atomic_uint32 depth;
	pg_atomic_uint32 depth_known;
	pg_atomic_uint32 doubts;	/* of the first slot of a set: for all of it */
	pg_atomic_uint32 requests;	/* list of cells, the newest first (pool.h) */
	pg_atomic_uint64 low[AS_LANES];

	/* read and written by the worker while RUNNING */
	uint16		careful;		/* so many messages to be run one a turn */
	uint8		conflicts;		/* serialization failures in a row, up to 255 */
	uint8		deaths;			/* workers that exited in its turns */
	uint32		pending;		/* first pending request's cell + 1, or 0 */
} AsSlotShared;

/* A reference to a slot as it stands in queues: generation, number. */
typedef uint64 AsSlotRef;

#define AS_NO_SLOT				PG_UINT64_MAX
#define as_slot_ref(number, generation) \
	(((uint64) (generation) << 32) | (number))
#define as_ref_number(ref)		((uint32) (ref))
#define as_ref_generation(ref)	((uint32) ((ref) >> 32))

/*
 * What a worker has taken out of a slot, and puts back what is left of.
 */
typedef struct AsPositions
{
	uint32		lanes;
	uint64		low[AS_LANES];
} AsPositions;

extern Size as_slots_shmem_size(void);
extern void as_slots_shmem_init(void);

/*
 * The slot of the actor with that key in that home, claimed if it has none;
 * AS_NO_SLOT if it has none and there is no room.  unknown: if claimed, it
 * must not trust that the mailbox is empty.
 */
extern PGDLLEXPORT AsSlotRef as_slot_claim(uint32 home, uint64 key_hash, bool unknown);

/* The same, but AS_NO_SLOT if it has none. */
extern AsSlotRef as_slot_find(uint32 home, uint64 key_hash);

/* Does the reference still mean the actor that it was made for? */
extern bool as_slot_is_current(AsSlotRef ref);

/* Is it another actor's by now? */
extern bool as_slot_is_anothers(AsSlotRef ref);

/* The slot itself.  Only who runs it may look at its last part. */
extern PGDLLEXPORT AsSlotShared *as_slot(AsSlotRef ref);

/* Say that messages wait in a lane from this position on. */
extern PGDLLEXPORT void as_slot_lower(AsSlotRef ref, int lane, uint64 position);

/* The same for all lanes from the beginning. */
extern void as_slot_lower_all(AsSlotRef ref);

/*
 * Ask for a turn.  Returns true if the caller must queue the slot, false if
 * that is done, or the worker that runs it will; *gone if the slot is another
 * actor's by now.
 */
extern bool as_slot_schedule(AsSlotRef ref, bool *gone);

/*
 * Be counted in, to leave a request; false if the slot is another actor's by
 * now.  Nothing may come between this and being counted out that could raise
 * an error or wait.  The latter asks for a turn; it returns true if the caller
 * must queue the slot.
 */
extern bool as_slot_pin(AsSlotRef ref);
extern bool as_slot_unpin(AsSlotRef ref);

/* A worker took the slot from a queue: run it?  Takes the positions out. */
extern bool as_slot_run(AsSlotRef ref, AsPositions *positions);

/*
 * The same for a slot that was offered to others (offer.h), whether it waits
 * for a worker to look at it again or not.  False if a worker is at it, who then
 * looks once more, or if it is another actor's by now.
 */
extern bool as_slot_take(AsSlotRef ref, AsPositions *positions);

/* Is the slot IDLE?  It may be something else at once. */
extern bool as_slot_is_resting(AsSlotRef ref);

/*
 * Run a slot that is IDLE, and leave in it what it holds, so as to offer it.
 * False if it is not.
 */
extern bool as_slot_seize(AsSlotRef ref);

/*
 * Who runs the slot has offered it: it is IDLE, though there are messages or
 * requests.  False, and it is still RUNNING, if somebody has called meanwhile.
 */
extern bool as_slot_rest(AsSlotRef ref);

/* Are there requests in a slot that we run, or may there be? */
extern bool as_slot_has_requests(AsSlotRef ref);

/* Has anybody called, while we run it? */
extern bool as_slot_is_called(AsSlotRef ref);

/* Has it any positions? */
extern bool as_slot_has_mail(AsSlotRef ref);

/* The position of a lane as it is in the slot now. */
extern uint64 as_slot_low(AsSlotRef ref, int lane);

/* Is it the only slot of its actor? */
extern bool as_slot_is_alone(AsSlotRef ref);

/* Put positions back. */
extern void as_slot_put_back(AsSlotRef ref, const AsPositions *positions);

/*
 * The worker is done.  more: there is something to do at once; empty: the
 * mailbox was seen empty.  Returns true if the caller must queue the slot.
 */
extern bool as_slot_done(AsSlotRef ref, bool more, bool empty);

/*
 * A sender has given its room back: is the slot of any use?  Returns true if
 * the caller must queue it, so that a worker sees.
 */
extern bool as_slot_release(AsSlotRef ref);

/*
 * There is no queue for a slot that is SCHEDULED: keep everybody from it, and
 * then, when somebody is sure to look through all mailboxes, let it go.  False
 * if there is nothing to let go, as somebody else will queue it.
 */
extern bool as_slot_hold(AsSlotRef ref);
extern void as_slot_let_go(AsSlotRef ref);

/* Count messages in or out. */
extern void as_slot_add_depth(AsSlotRef ref, int n);

/* Count messages out of an actor's mailbox; returns its slot, if it has one. */
extern AsSlotRef as_slot_count_out(uint32 home, uint64 key_hash, int n);

/* An actor has mail, but needs no slot for it: its next one is to count it. */
extern void as_slot_doubt_depth(uint32 home, uint64 key_hash);

/*
 * Messages have come or gone and nobody told the slots which: what they know
 * of their mailboxes is not to be trusted.
 */
extern void as_slots_doubt(uint32 home);

/*
 * Give all slots of a home back.  None of its workers may be left.  Calls back
 * for each slot before it is free, to be rid of its requests.
 */
extern void as_slots_forget(uint32 home, void (*forget) (AsSlotShared *slot));

/* How many slots there are; known before they are. */
extern uint32 as_slots_number(void);

/* A reference to the slot of that number, as it is now. */
extern PGDLLEXPORT AsSlotRef as_slot_by_number(uint32 n);

/* How many slots there are, and how many of them are in use, by status. */
extern uint32 as_slots_count(uint32 *by_status);

/* The n-th slot of all, if it is the home's and IDLE; else AS_NO_SLOT. */
extern AsSlotRef as_slot_idle(uint32 n, uint32 home);

#endif							/* AS_SLOT_H */

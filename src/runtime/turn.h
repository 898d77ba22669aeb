/*-------------------------------------------------------------------------
 *
 * turn.h
 *	  Turns: an actor handles some of its messages.
 *
 * A turn reads messages of one actor, locks the actor's row (or its key, if
 * it has no row yet), calls a handler for each message, writes the state once
 * and deletes the messages.  Turns of several actors may share a transaction;
 * they then belong to types of one owner.
 *
 * REQUESTS (request.h) are handled in the same turns, before the messages
 * that stand in the mailbox.  A turn of nothing but requests begins without a
 * lock, with the state that a fresh snapshot shows, so that requests which
 * change nothing write nothing.  As soon as a handler has returned a state or
 * written anything, the actor is locked, and the version that was locked must
 * be the one that was read; otherwise the transaction is rolled back and the
 * requests are handled again, with the lock from the start.  Their answers are
 * given once the transaction has committed.
 *
 * INLINE: call() runs a handler in the transaction of its caller, which may be
 * a handler itself (call.c).  Its turn has one message and no slot.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_TURN_H
#define AS_TURN_H

#include "actorstore.h"

#include "fmgr.h"
#include "runtime/letters.h"
#include "runtime/mailbox.h"
#include "runtime/request.h"
#include "runtime/slot.h"
#include "state/partition.h"
#include "storage/lock.h"

/* the most messages that the settings allow for a turn */
#define AS_MAX_BATCH	128

typedef enum AsVerdict
{
	AS_VERDICT_NONE,
	AS_VERDICT_REJECT,			/* reject() was called */
	AS_VERDICT_RETRY			/* retry_after() was called */
} AsVerdict;

/*
 * A function that handlers' messages are answered with, known for the length of
 * a transaction.  It is busy while it is called: who finds it so gets another.
 */
typedef struct AsOpenFunction
{
	FmgrInfo	info;
	MemoryContext context;		/* it is in, with all it has */
	bool		busy;
} AsOpenFunction;

/* What a handler says of the message at hand */
typedef struct AsSaying
{
	AsVerdict	verdict;
	char	   *reject_reason;
	int64		retry_after;	/* microseconds */
	char	   *stop_reason;	/* NULL: stop() was not called */
	bool		replied;		/* reply() was called */
	Datum		reply;			/* with this jsonb; 0: NULL */
} AsSaying;

/* The same as it was before a subtransaction (said.h) */
typedef struct AsSaid AsSaid;

typedef struct AsTurn
{
	/* what the slot said */
	AsSlotRef	ref;
	uint64		key_hash;
	AsPositions taken;
	uint64		deadline;		/* see urgent.h */
	int64		lease;			/* it is checked out as that turn (checkout.h); 0:
								 * not */

	/* what was read */
	int			nmessages;
	int			nrequests;		/* of those, the first ones */
	AsMessage  *messages;		/* in the order to be handled in */
	AsAnswer   *answers;		/* to the requests; NULL: none yet */
	AsPositions left;			/* where to go on afterwards */
	uint64		left_deadline;	/* of what is left; see urgent.h */
	bool		more;			/* there is something to handle at once */
	bool		empty;			/* nothing else is in the mailbox */
	bool		delayed_known;	/* and it was seen how many are delayed: */
	int			ndelayed;
	bool		parked;			/* till there is room for it (flow.h) */
	uint64		outside_type;	/* a client is to handle it (checkout.h) */
	int			outside_lane;
	bool		leased;			/* one is at it (lease.h) */

	/* while it runs */
	AsType	   *type;
	AsPartition *partition;
	AsHalt		halt;			/* not AS_PAUSED */
	bool		exited;			/* in this turn: what follows waits */
	int			at;				/* the message at hand */
	AsHandler  *handler;		/* that is called for it */
	uint64		handlers_loaded;	/* when it was found: see AsType */
	AsOpenFunction *called;		/* its function, while it is at work */
	struct AsTurn *caller;		/* whose handler has called this one */
	int64		version;		/* of the state at the beginning; -1: none */
	Datum		state;			/* 0: there is none */
	HeapTuple	row;			/* that it was read from, if still the newest */
	bool		exists;			/* the actor has a row */
	bool		locked;			/* the row, or the key, is */
	ItemPointerData place;		/* of the version read, if it is not */
	TransactionId made_by;		/* who made that version */
	bool		changed;		/* the state is to be written */
	bool		inserting;		/* it is being written for the first time */
	bool		created;		/* it has been written for the first time */
	bool		redo;			/* a handler got an error that begins it again */
	AsSaying	says;
	AsSaid	   *said;			/* before, if it was said in a subtransaction */
	AsBlockerKind blocker_kind; /* who has locked the actor */
	TransactionId blocker;

	/* what it did */
	uint64		number;			/* see trace.h; 0: none */
	int			nhandled;		/* messages that have left the mailbox */
	int			nburied;		/* of those, how many are dead letters */
	TimestampTz started_at;
	TimestampTz ended_at;
} AsTurn;

/* The turn whose handler runs in this process, or NULL. */
extern AsTurn *as_turn_current;

static inline AsMessage *
as_turn_message(void)
{
	return &as_turn_current->messages[as_turn_current->at];
}

/* How many of the messages that were handled stood in the mailbox? */
static inline int
as_turn_nmail(const AsTurn *turn)
{
	return turn->nhandled - Min(turn->nhandled, turn->nrequests);
}

/* ---- turn_read.c ---- */

/*
 * Read up to max requests and messages of the actor that are to be handled
 * now, in the current memory context; fills in the second part.  The mailbox
 * is opened if it is needed.
 */
extern void as_turn_read(AsTurn *turn, AsMailbox *mailbox, int max);

/*
 * The mailbox is empty now, but for what is delayed or not committed yet, and
 * its depth says that there is something, or is not known: count what is
 * delayed.  Else the next slot of the actor would take it for empty, or this
 * one would be kept for what is not there.
 */
extern void as_turn_count_delayed(AsTurn *turn, AsMailbox *mailbox);

/*
 * Instead of the mail that was read, have the first message of the system that
 * waits; false if there is none to be handled now.
 */
extern bool as_turn_read_system(AsTurn *turn, AsMailbox *mailbox);

/* Is the actor AS_DOWN? */
extern bool as_turn_is_down(const AsTurn *turn);

/* The messages from number from on are not to be handled after all. */
extern void as_turn_leave(AsTurn *turn, int from);

/* Nothing was handled after all: go on from where the turn began. */
extern void as_turn_unread(AsTurn *turn);

/* ---- turn_actor.c ---- */

/* The partition of the type, opened once in a transaction. */
extern AsPartition *as_turn_open_partition(AsType *type);

/* A function, looked up once in a transaction. */
extern AsOpenFunction *as_turn_open_function(Oid function);

/*
 * The turn's call has failed, if there was one, and the transaction goes on: its
 * function is not called again, as nobody knows what it was at.
 */
extern void as_turn_forget_function(AsTurn *turn);

/* Close what turns of the transaction have opened. */
extern void as_turn_close(void);

/* Lock the key of an actor that has no row; wait or not. */
/*
 * Hold the actor's slot (state/owner.h); false if it is another node's, or about
 * to be.
 */
extern bool as_turn_hold(const AsTurn *turn);

extern bool as_turn_lock_key(uint64 key_hash, bool wait);

/* The lock of as_turn_lock_key(). */
extern void as_turn_key_tag(uint64 key_hash, LOCKTAG *tag);

/* Lock the actor and take its state; false if somebody else has locked it. */
extern bool as_turn_lock(AsTurn *turn);

/* Take its state without a lock, and remember which version that was. */
extern void as_turn_look(AsTurn *turn);

/* Lock the actor after all; 40001 if it has changed since we looked. */
extern void as_turn_lock_late(AsTurn *turn);

/* A handler has written actors itself, maybe its own: take the state again. */
extern void as_turn_take_state_again(AsTurn *turn);

/* Write the state, if it has changed. */
extern void as_turn_write_state(AsTurn *turn);

/* ---- turn_answer.c ---- */

/* Have room for an answer to each request. */
extern void as_turn_need_answers(AsTurn *turn);

/* All requests of the turn get an error for an answer. */
extern void as_turn_refuse(AsTurn *turn, int sqlerrcode, const char *message);

/* The answers are not given after all. */
extern void as_turn_discard_answers(AsTurn *turn);

/* ---- turn_run.c ---- */

typedef enum AsTurnResult
{
	AS_TURN_RAN,
	AS_TURN_BUSY,				/* somebody has locked the actor */
	AS_TURN_OTHER_OWNER,		/* and so not in this transaction */
	AS_TURN_PARKED,				/* its type has no room for it (flow.h) */
	AS_TURN_OUTSIDE,			/* it is to be offered to clients (checkout.h) */
	AS_TURN_LEASED				/* a client has checked it out */
} AsTurnResult;

/*
 * Handle the messages that were read.  *owner is that of the transaction's
 * other turns, or InvalidOid, and is set.
 */
extern AsTurnResult as_turn_run(AsTurn *turn, AsMailbox *mailbox, Oid *owner);

/* ---- turn_handle.c ---- */

/*
 * How many messages, from that at hand on, one call handles: more than one
 * where the handler takes many, and nothing else is to be said of any of them.
 */
extern int	as_turn_gather(AsTurn *turn);

/*
 * Handle so many messages, of which the last one is at hand, or see that nobody
 * can.  What must outlive them goes into the context given.
 */
extern void as_turn_handle(AsTurn *turn, AsMessage *messages, int n,
						   MemoryContext context);

/*
 * The same of a request.  One with a dedup_key that was handled before gets
 * the answer of that time.
 */
extern void as_turn_handle_request(AsTurn *turn, AsMessage *message,
								   MemoryContext context);

/*
 * Nobody will ever handle the message: it goes to the dead letters, or raises
 * an error for who waits for it.
 */
extern void as_turn_bury(AsTurn *turn, AsMessage *message, const char *reason,
						 int sqlerrcode, const char *error);

/* An error context callback: says which message of the turn is at hand. */
extern void as_turn_describe_message(void *turn);

/*
 * Call a handler for the message at hand, in two steps: the first one
 * prepares for it what must not be undone with it.  What the call returns is
 * the new state, in the context given.
 */
extern void as_turn_prepare(AsTurn *turn, AsHandler *handler);
extern void as_turn_call(AsTurn *turn, AsHandler *handler, Oid function,
						 MemoryContext context);

/* Raised to roll a message back whose handler asked for it. */
#define AS_ERRCODE_VERDICT	MAKE_SQLSTATE('V', 'A', '0', '9', '9')

/*
 * Run the handler of an inline turn's message, of a type that is known; the
 * actor must be locked.  Writes its state.
 */
extern void as_turn_run_inline(AsTurn *turn, AsPartition *partition);


/* ---- own_state.c ---- */

/* To be called once, when the library is preloaded. */
extern void as_own_state_init(void);

/* ---- turn_fail.c ---- */

/*
 * A transaction has failed in which only the one message was to be handled:
 * count the attempt and make the message wait, or bury it.
 */
extern void as_turn_failed(AsTurn *turn, ErrorData *error);

/* ---- turn.c ---- */

/* Take slots from the queues and run them in one transaction; false: none. */
extern bool as_turn_transaction(void);

/* The process exits: give back what it runs. */
extern void as_turn_exit(void);

#endif							/* AS_TURN_H */

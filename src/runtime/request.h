/*-------------------------------------------------------------------------
 *
 * request.h
 *	  Requests that live in shared memory only: what is asked and told.
 *
 * A request is a cell of 64 bytes from a fixed pool.  Its words (type, id,
 * message, body) stand in the cell if they are short, else in the arena, a DSA
 * of bounded size.  It hangs on the slot of its actor (slot.h, lib/pool.h), and
 * a worker handles it in a turn, beside the actor's mail.  What was told is
 * given up when it has been handled; what was asked gets its answer in place
 * of its words, once the turn has committed.
 *
 * THE STATUS of a cell says who lets go of it:
 *
 *		TOLD		nobody waits: whoever is done with it frees it
 *		WAITING ->	ANSWERED	by the worker; the asker frees it
 *		WAITING ->	RETURNED	nobody has handled it, and nobody will: likewise
 *		WAITING ->	ABANDONED	by the asker, who has gone; whoever finds it on
 *								the list of the slot frees it
 *		WAITING ->	WITHDRAWN	the same, and it must have no effect: the asker
 *								would have waited for himself
 *
 * The last four are compare-and-swap from WAITING, so exactly one of the two
 * comes second, sees it, and frees the cell.  Before ANSWERED the answer is
 * written, which is the worker's alone until then.  All of a cell but its
 * status, and who runs it, is written by whoever owns it: the asker before it
 * is pushed, the worker afterwards, and the asker again once it has an answer.
 *
 * The asker sleeps on its latch; it looks at the status after each wake-up.
 * The worker sets the latch of a PGPROC by number: they are never freed, so a
 * stale number costs a spurious wake-up.
 *
 * WHO IS WAITED FOR.  So that PostgreSQL's deadlock detector sees what an
 * asker waits for, each cell has a word that the worker which handles it
 * writes its pgprocno to, and one for the transaction that holds a lock on the
 * actor, where that is what the request waits for.  Both are hints.
 *
 * A HOME may be taken back, and given to another database, between finding it
 * and hanging a request there.  So each request says whose it is, and a worker
 * that finds one of another database returns it.
 *
 * A process that exits leaves its request as an asker who gives up does
 * (ask.c), and gives back what it runs as any worker does (turn.c).
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_REQUEST_H
#define AS_REQUEST_H

#include "actorstore.h"

#include "datatype/timestamp.h"
#include "lib/pool.h"
#include "runtime/answer.h"
#include "runtime/mailbox.h"
#include "runtime/slot.h"

typedef enum AsRequestStatus
{
	AS_REQUEST_TOLD,
	AS_REQUEST_WAITING,
	AS_REQUEST_ANSWERED,
	AS_REQUEST_RETURNED,
	AS_REQUEST_ABANDONED,
	AS_REQUEST_WITHDRAWN
} AsRequestStatus;

typedef struct AsCellShared
{
	pg_atomic_uint32 status;	/* by either side, by compare-and-swap */
	pg_atomic_uint32 runner;	/* pgprocno + 1 of its worker, or 0 */
	TimestampTz sent_at;
	uint32		procno:24;		/* of the asker; as many as MAX_BACKENDS_BITS */
	uint32		form:8;
	uint32		type_len:10;	/* bytes; names have at most 512 */
	uint32		id_len:10;
	uint32		name_len:10;
	Oid			database;
	uint32		size;			/* of all words, or of the answer */
	AsCellBytes content;
} AsCellShared;

/* Who holds the lock that a request waits for; a hint */
typedef enum AsBlockerKind
{
	AS_BLOCKED_NOT,
	AS_BLOCKED_BY_XID,
	AS_BLOCKED_BY_MULTI,		/* a multixact */
	AS_BLOCKED_BY_KEY			/* the lock on the key of a missing actor */
} AsBlockerKind;

extern Size as_requests_shmem_size(void);
extern void as_requests_shmem_init(void);

/* How many cells there are, and how many of them are in the pool. */
extern uint32 as_requests_size(void);
extern uint32 as_requests_free(void);

/* How many requests that were told have been lost, and how many handled. */
extern void as_requests_count_told(uint64 *handled, uint64 *lost);

/* ---- Who asks and tells ---- */

/*
 * Make a request of a message's type, id, name, body and dedup_key.  Returns
 * its cell, or AS_POOL_NONE if the pool or the arena is full; *arena says
 * which.
 */
extern PGDLLEXPORT uint32 as_request_make(const AsMessage *message, bool asks,
							  bool *arena);

/*
 * Hang it on its actor's slot in the home, and see that a worker comes.  False
 * if there is no slot for it now.
 */
extern PGDLLEXPORT bool as_request_post(uint32 home, uint64 key_hash, uint32 cell);

/* How it stands. */
extern PGDLLEXPORT AsRequestStatus as_request_status(uint32 cell);

/* The asker goes; the cell is no longer its own. */
extern void as_request_abandon(uint32 cell);

/*
 * The same before the asker lets go of its lock on the actor: whoever locks the
 * actor afterwards does not handle the request.  False if it is not WAITING any
 * more: then nothing has been done.
 */
extern bool as_request_withdraw(uint32 cell);

/*
 * Copy the answer of an ANSWERED request, whose cell can be freed then; to be
 * read by as_answer_read().
 */
extern char *as_request_copy_answer(uint32 cell, uint8 *form);

/* A cell that was not posted, or was RETURNED, goes back. */
extern PGDLLEXPORT void as_request_free(uint32 cell);

/* The pgprocno of who handles it, or -1. */
extern int	as_request_runner(uint32 cell);

/* What holds its actor. */
extern AsBlockerKind as_request_blocker(uint32 cell, TransactionId *xid);

/* ---- Workers ---- */

/*
 * Read up to max requests of a slot that we run, the oldest first, in the
 * current memory context.  They stay pending.  Returns how many.
 */
extern int	as_requests_read(AsSlotRef ref, AsMessage *messages, int max);

/* The first n pending requests were handled: here are their answers. */
extern void as_requests_answer(AsSlotRef ref, AsAnswer *answers, int n);

/*
 * Copy the first n pending requests of a slot that we run again, whether anybody
 * waits for them still or not.
 */
extern void as_requests_copy(AsSlotRef ref, AsMessage *messages, int n);

/* They were not, for now.  blocker: who has locked the actor. */
extern void as_requests_leave(const AsMessage *messages, int n,
							  AsBlockerKind kind, TransactionId blocker);

/* Does anybody wait for the answer of a request that was read? */
extern bool as_request_is_asked(const AsMessage *message);

/* Under the actor's lock: must it not be handled? */
extern bool as_request_is_withdrawn(const AsMessage *message);

/*
 * The first n pending requests of a slot may be handled yet, by a client that
 * nobody can tell of: let them go.  The slot must be the caller's.  Never fails.
 */
extern void as_requests_fail(AsSlotShared *slot, int n);

/* Who handles the first n pending requests of a slot that we run? */
extern void as_requests_note_runner(AsSlotRef ref, int n, int procno);

/*
 * No worker will come to a slot: return what is asked, drop what is told.  The
 * slot must be the caller's (CLAIMED).  Never fails.
 */
extern void as_requests_return(AsSlotShared *slot);

#endif							/* AS_REQUEST_H */

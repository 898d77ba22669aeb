/*-------------------------------------------------------------------------
 *
 * outgoing.h
 *	  What the current transaction has sent, and what becomes of it when the
 *	  transaction ends.
 *
 * At commit each actor that was sent something gets a hint (sched.h).  A
 * sender reserves room in the mailbox when it sends: the slot's depth counts
 * the message from then on, and gives it back if the transaction, or the
 * subtransaction, rolls back.  PREPARE TRANSACTION gives it back as well, as
 * nobody would tell us how it ends; the messages are counted again if the
 * slot is fresh by then.  Room that has gone with its slot is not counted in
 * the next one: a worker may have handled the messages before we get there,
 * and would never count them out.  Better let a few too many in.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_OUTGOING_H
#define AS_OUTGOING_H

#include "actorstore.h"

#include "datatype/timestamp.h"
#include "runtime/mailbox.h"

/* To be called once, when the library is loaded. */
extern void as_outgoing_init(void);

/*
 * Reserve room for a message of an actor, whose mailbox may hold limit.
 * False if it is full.  *mine is then how many of those in it the current
 * transaction has sent.
 */
extern bool as_outgoing_reserve(AsMailbox *mailbox, uint64 key_hash,
								int limit, int *mine);

/* How many messages has it reserved room for in the mailbox of that key? */
extern int	as_outgoing_reserved(uint64 key_hash);

/*
 * A message with room reserved (or none needed) stands in a lane at a
 * position; a delayed one, or one with a time, is due then.
 */
extern void as_outgoing_note(uint64 key_hash, int lane, int64 position,
							 TimestampTz due);

/* What is known of a type whose messages are all handled outside */
typedef struct AsOutside
{
	uint64		type;			/* what it is called in offer.h */
	uint64		lost;			/* of sched.h, before its handlers were looked up */
} AsOutside;

/* The same message, which is to be handled outside. */
extern void as_outgoing_note_outside(uint64 key_hash, const AsOutside *outside);

/* The same message, of a type that wants the nearest deadline first. */
extern void as_outgoing_note_deadline(uint64 key_hash, TimestampTz expires_at);

/* A waiting message was deleted: at commit the mailbox has more room. */
extern void as_outgoing_note_cancelled(uint64 key_hash);

/* At commit, let a worker look through all mailboxes. */
extern void as_outgoing_note_sweep(void);

/* The same, as messages were deleted that nobody has counted. */
extern void as_outgoing_note_doubt(void);

/* At commit, the launcher is to look at this database. */
extern void as_outgoing_note_database(void);

/* Has the current transaction nothing of all that to tell at commit? */
extern bool as_outgoing_is_silent(void);

#endif							/* AS_OUTGOING_H */

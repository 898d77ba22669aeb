/*-------------------------------------------------------------------------
 *
 * letters.h
 *	  Where messages are remembered beside the mailboxes: dead letters and
 *	  deduplication keys.
 *
 * Both are rare beside messages, and are written by SQL.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_LETTERS_H
#define AS_LETTERS_H

#include "actorstore.h"

#include "runtime/mailbox.h"

/* Why a message could not be handled */
typedef struct AsReason
{
	const char *reason;			/* a word or two of ours */
	int			sqlerrcode;		/* 0: none */
	const char *error;			/* NULL: none */
	const char *detail;
	const char *context;
} AsReason;

/* Put a message among the dead letters. */
extern void as_letter_bury(AsMessage *message, const AsReason *reason);

/*
 * Claim a deduplication key for a message.  If another message has it, false
 * and that message's id in *first.  Waits for a transaction that has claimed
 * the key and not ended yet.
 */
extern bool as_dedup_claim(const AsMessage *message, int64 *first);

/* Is the request's key taken by another message, or was not long ago? */
extern bool as_dedup_is_taken(const AsMessage *request);

/*
 * The same for a request, which gets an id.  If the key is taken, false and
 * the first one's answer in *reply (0: NULL); 55000 if that was sent and waits.
 */
extern bool as_dedup_claim_request(AsMessage *request, Datum *reply);

/*
 * The message with a key was handled, or died: its time runs from now.  reply
 * is what it was answered, or 0.
 */
extern void as_dedup_handled(const AsMessage *message, Datum reply);

/* The message was cancelled: its key is free. */
extern void as_dedup_release(const AsMessage *message);

/* Forget some keys whose time is over; true if there may be more. */
extern bool as_dedup_purge(void);

#endif							/* AS_LETTERS_H */

/*-------------------------------------------------------------------------
 *
 * envelope.h
 *	  Messages on their way to another node, as bytes.
 *
 * An envelope is a head of AS_ENVELOPE_HEAD bytes and a body.  All numbers are
 * little-endian.
 *
 *		0	4	"ASME"
 *		4	1	version, 1
 *		5	1	flags: 1, the body is compressed (pglz)
 *		6	2	0
 *		8	4	messages in it
 *		12	4	bytes of the body, as it stands here
 *		16	4	bytes of the body, not compressed
 *		20	4	CRC-32C of the 20 bytes before this, and of the body as it
 *				stands here
 *
 * The body is one message after the other:
 *
 *		8	its id
 *		8	sent_at, 8 due, 8 expires_at: microseconds since 2000-01-01; 0: none
 *		1	priority, 1 kind
 *		then AS_ENVELOPE_TEXTS texts, each 4 bytes of length, and so many bytes;
 *		a length of 0xFFFFFFFF: none
 *
 * Who reads trusts none of it: every length is compared with what is there
 * before it is used, and nothing is taken from a body whose sum is wrong.  A
 * version that is not known is refused; a kind is the reader's business.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_ENVELOPE_H
#define AS_ENVELOPE_H

#include "actorstore.h"

#include "lib/stringinfo.h"

#define AS_ENVELOPE_HEAD	24
#define AS_ENVELOPE_VERSION	1

/* bodies from here on are compressed, if that makes them shorter */
#define AS_ENVELOPE_COMPRESS	1024

/* no body is longer */
#define AS_ENVELOPE_MAX		(512 * 1024 * 1024)

typedef enum AsEnvelopeText
{
	AS_TEXT_ACTOR_TYPE,
	AS_TEXT_ACTOR_ID,
	AS_TEXT_NAME,
	AS_TEXT_BODY,
	AS_TEXT_HEADERS,
	AS_TEXT_SENDER_TYPE,
	AS_TEXT_SENDER_ID,
	AS_TEXT_DEDUP_KEY,
	AS_ENVELOPE_TEXTS
} AsEnvelopeText;

typedef struct AsLetter
{
	int64		id;
	int64		sent_at;
	int64		due;
	int64		expires_at;
	uint8		priority;
	uint8		kind;
	const char *texts[AS_ENVELOPE_TEXTS];	/* not terminated; NULL: none */
	uint32		lengths[AS_ENVELOPE_TEXTS];
} AsLetter;

/* Append a message to a body. */
extern void as_envelope_add(StringInfo body, const AsLetter *letter);

/* Append the envelope of a body with so many messages. */
extern void as_envelope_seal(StringInfo envelope, const StringInfo body,
							 uint32 nletters);

typedef struct AsEnvelope
{
	uint32		nletters;
	const char *at;				/* of the body */
	const char *end;
	char	   *opened;			/* the body, if it was compressed: palloc'd */
} AsEnvelope;

/*
 * Open an envelope; what is wrong with it, or NULL.  Its bytes must stay where
 * they are as long as its messages are used.
 */
extern const char *as_envelope_open(AsEnvelope *envelope, const char *bytes,
									Size length);

/*
 * The next message, to be called nletters times; what is wrong, or NULL.  The
 * last one must end where the body does.
 */
extern const char *as_envelope_next(AsEnvelope *envelope, AsLetter *letter);

#endif							/* AS_ENVELOPE_H */

/*-------------------------------------------------------------------------
 *
 * signing.h
 *	  Batches of messages that show who has made them.
 *
 * The nodes of a cluster can share a key.  A batch is then signed each time
 * that it is sent, and a signature holds for one batch, from one node to one
 * other one.  A signed envelope is
 *
 *		0	4	"ASME"
 *		4	1	version, 2
 *		5	3	0
 *		8	8	which key: the first bytes of the key's SHA-256
 *		16	32	HMAC-SHA-256, by that key, of the 16 bytes before this; the
 *				receiver's uuid and the sender's (16 bytes each); the sender's
 *				incarnation, the batch's number and the sender's epoch (8 bytes
 *				each, little-endian); and all that follows
 *		48		an envelope of version 1 (lib/envelope.h)
 *
 * so that a node that does not sign sends what it always did, and one of a
 * version that cannot check refuses what is signed, until it can.
 *
 * Keys stand in the file actorstore.message_key_file, one a line, in hexadecimal
 * digits, of 32 to 64 bytes; what begins with # is a comment.  The first one signs, one or
 * two are accepted: so keys can be changed one node after the other.  The file
 * is looked at each time, and read again when it has changed.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SIGNING_H
#define AS_SIGNING_H

#include "actorstore.h"

#include "utils/uuid.h"

#define AS_SIGNED_HEAD		48
#define AS_SIGNED_VERSION	2

/* What a signature holds for */
typedef struct AsSigned
{
	pg_uuid_t	receiver;
	pg_uuid_t	sender;
	int64		incarnation;
	int64		batch;
	int64		epoch;
} AsSigned;

/* Define the settings. */
extern void as_signing_init(void);

/*
 * In a transaction: an envelope the way it is to be sent, signed, in the current
 * memory context, if that is wanted, else as it is.  F0000 if the keys cannot be
 * read.
 */
extern const bytea *as_signing_sign(const AsSigned *what, const bytea *envelope);

/*
 * Look at what came, and set *bytes and *length to the envelope of version 1 in
 * it; why it is refused, or NULL.  F0000 if the keys cannot be read.
 */
extern const char *as_signing_check(const AsSigned *what, const char **bytes,
									Size *length);

#endif							/* AS_SIGNING_H */

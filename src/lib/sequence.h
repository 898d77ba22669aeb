/*-------------------------------------------------------------------------
 *
 * sequence.h
 *	  The position of a change in a node's stream of changes.
 *
 * A sequence is the end LSN of the transaction's commit record and the
 * number of the change in the transaction, counted from 0.  As text it is
 *
 *		XXXXXXXXXXXXXXXX-NNNNNNNN
 *
 * in upper-case hexadecimal digits, so that the order of the texts (C
 * collation) is the order of the changes.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SEQUENCE_H
#define AS_SEQUENCE_H

#include "actorstore.h"

#define AS_SEQUENCE_LEN 25		/* bytes of text, without a final zero */

typedef struct AsSequence
{
	uint64		lsn;
	uint32		number;
} AsSequence;

/* Write the text, not zero-terminated, into a buffer of AS_SEQUENCE_LEN. */
extern void as_sequence_print(AsSequence sequence, char *text);

/* Read a text; false if it is no sequence. */
extern bool as_sequence_parse(const char *text, Size len,
							  AsSequence *sequence);

static inline int
as_sequence_compare(AsSequence a, AsSequence b)
{
	if (a.lsn != b.lsn)
		return a.lsn < b.lsn ? -1 : 1;
	if (a.number != b.number)
		return a.number < b.number ? -1 : 1;
	return 0;
}

#endif							/* AS_SEQUENCE_H */

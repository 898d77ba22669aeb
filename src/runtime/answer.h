/*-------------------------------------------------------------------------
 *
 * answer.h
 *	  The words of requests, and the answers to them, in shared memory.
 *
 * Both are a few bytes that stand in the request's cell (request.h), or, if
 * they are more, in the arena: a DSA of bounded size in the server's own
 * shared memory.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_ANSWER_H
#define AS_ANSWER_H

#include "actorstore.h"

#include "utils/dsa.h"

/* bytes of a cell for words, or an answer */
#define AS_CELL_BYTES	32

/* What stands in a cell's bytes */
#define AS_FORM_IN_ARENA	1	/* not the bytes, but where they are */
#define AS_FORM_DEDUP		2	/* the words begin with a dedup_key's length */
#define AS_FORM_NULL		4	/* the answer is NULL */
#define AS_FORM_ERROR		8	/* the answer is an error */

typedef union AsCellBytes
{
	char		bytes[AS_CELL_BYTES];
	dsa_pointer place;
} AsCellBytes;

/* An answer in the making: it is no cell's yet. */
typedef struct AsAnswer
{
	uint8		form;
	uint32		size;
	AsCellBytes content;
} AsAnswer;

extern Size as_arena_shmem_size(void);
extern void as_arena_shmem_init(void);

/* Have the arena at hand, for callers that may not fail later. */
extern void as_arena_attach(void);

/*
 * Find room for size bytes, in content itself or in the arena, and say which
 * in *form.  Returns where to write them; NULL if the arena is full.
 */
extern char *as_bytes_put(AsCellBytes *content, uint8 *form, Size size);

/* Where they are; and be rid of them. */
extern char *as_bytes_get(AsCellBytes *content, uint8 form);
extern void as_bytes_free(AsCellBytes *content, uint8 form);

/*
 * Make an answer of a jsonb, or of NULL (0), or of an error.  The former
 * raises VA001 if the arena is full; the latter is cut short.
 */
extern void as_answer_make(AsAnswer *answer, Datum value);
extern void as_answer_make_error(AsAnswer *answer, const ErrorData *error);

/* An answer that is not given after all. */
extern void as_answer_discard(AsAnswer *answer);

/* Read a copy of an answer: a jsonb, or 0 for NULL; raises an error's. */
extern Datum as_answer_read(char *copy, uint8 form);

#endif							/* AS_ANSWER_H */

/*-------------------------------------------------------------------------
 *
 * errand.h
 *	  What is to be done with one actor's state, here or on the node that owns
 *	  it.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_ERRAND_H
#define AS_ERRAND_H

#include "actorstore.h"

#include "state/actor.h"

/* As they travel between nodes */
typedef enum AsErrandKind
{
	AS_ERRAND_GET = 'g',
	AS_ERRAND_INSERT = 'i',
	AS_ERRAND_UPDATE = 'u',
	AS_ERRAND_PATCH = 'm',
	AS_ERRAND_PUT = 'p',
	AS_ERRAND_DELETE = 'd'
} AsErrandKind;

typedef struct AsErrand
{
	AsErrandKind	kind;
	const char *function;		/* its SQL function, for messages */
	text	   *type;
	text	   *id;
	FunctionCallInfo call;		/* which returns what became of it; or NULL */
	AsWrite		write;			/* what to write; its row is the result */

	/* done here */
	AsPartition partition;
	bool		is_open;

	/* done there: the row */
	bool		is_there;
	Datum		columns[Natts_actor];
} AsErrand;

/*
 * Do it, wherever the actor lives, in this transaction.  23505, 42501, 42704,
 * 40001 and what the other node may raise; but that the actor is missing, or
 * has another version than expected, is told.  To be ended.
 */
extern AsOutcome as_errand_do(AsErrand *errand);

/* The same where this node is known to be the owner. */
extern AsOutcome as_errand_do_here(AsErrand *errand);

/* Close what was opened; what the errand's row refers to is still there. */
extern void as_errand_end(AsErrand *errand);

/* Its row as a datum of type actorstore.actor. */
extern Datum as_errand_actor(AsErrand *errand);

/* Columns of the row */
extern int64 as_errand_version(AsErrand *errand);
extern Datum as_errand_value(AsErrand *errand);

/*
 * 42501 if this node knows the type, and that the current role lacks the
 * privilege.  The owner decides, but what is known need not be sent.
 */
extern void as_errand_check_right(text *type, AsPrivilege privilege);

/* How another node answers local_state(); a row may follow. */
#define AS_ANSWER_DONE			'+'
#define AS_ANSWER_MISSING		'-'
#define AS_ANSWER_MISMATCH		'!'
#define AS_ANSWER_NOT_MINE		'?'

#endif							/* AS_ERRAND_H */

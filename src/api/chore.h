/*-------------------------------------------------------------------------
 *
 * chore.h
 *	  What is done with an actor beside its state and its messages: on the node
 *	  that owns it; and with all actors of a type, on all nodes.
 *
 * It is part of the transaction, as any work on other nodes (cluster/route.h).
 * What concerns a whole type goes to one node after the other, in the order
 * of their numbers, each of which must know the same nodes: two who do so at once
 * meet on the first one.  If one does not, all is undone and done once more.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_CHORE_H
#define AS_CHORE_H

#include "actorstore.h"

#include "cluster/node.h"
#include "state/type.h"

/* As they travel between nodes */
typedef enum AsChoreKind
{
	AS_CHORE_PAUSE = 'p',
	AS_CHORE_RESUME = 'r',		/* result: whether there was something */
	AS_CHORE_REDRIVE = 'd',		/* amount: at most so many, 0: all; result: how many */
	AS_CHORE_PURGE = 'x',		/* amount: before that time; result: how many */
	AS_CHORE_JOIN = 'j',		/* group, owner, amount: see groups.c */
	AS_CHORE_LEAVE = 'l',		/* group; result: whether it was in it */
	AS_CHORE_UNSUPERVISE = 'u'	/* result: whether it had a supervisor */
} AsChoreKind;

typedef struct AsChore
{
	AsChoreKind kind;
	text	   *type;
	text	   *id;				/* NULL: all */
	int64		amount;
	text	   *group;
	text	   *owner;			/* name of a role */
} AsChore;

/*
 * Do it with one actor, wherever it lives.  The arguments and, as far as they
 * are known here, the rights have been checked.
 */
extern int64 as_chore_do(const AsChore *chore);

/* The same on all nodes; returns the sum of the results. */
extern int64 as_chore_do_everywhere(const AsChore *chore);

/*
 * Each other node, and this one (NULL), in the order of their numbers; returns
 * how many there are.
 */
extern int	as_chore_nodes(const AsNode **nodes);

/* For what goes to all of them: VA007 unless they know the same nodes. */
extern void as_chore_check_epoch(bool same);

/*
 * They do not: learn from that one (NULL: it was this one that did not) what it
 * knows.  VA007 after some tries: epochs may come faster, as in a rebalance, and
 * each node that is asked may know another one.
 */
extern void as_chore_learn(int tries, const AsNode *refuser);

/* ---- Here, by kind ---- */

extern int64 as_pause_here(const AsChore *chore);
extern int64 as_resume_here(const AsChore *chore);
extern int64 as_redrive_here(const AsChore *chore);
extern int64 as_purge_here(const AsChore *chore);
extern int64 as_join_here(const AsChore *chore);
extern int64 as_leave_here(const AsChore *chore);
extern int64 as_unsupervise_here(const AsChore *chore);

#endif							/* AS_CHORE_H */

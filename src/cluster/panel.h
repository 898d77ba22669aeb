/*-------------------------------------------------------------------------
 *
 * panel.h
 *	  The members of the epoch in force, asked all at once.
 *
 * This node is asked like the others, over a connection to itself: what it
 * answers must be kept even if the caller's transaction is not.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_PANEL_H
#define AS_PANEL_H

#include "actorstore.h"
#include "cluster/peer.h"

typedef struct AsPanel
{
	int			n;
	AsNode		members[AS_MAX_NODES];
	AsPeer	   *peers[AS_MAX_NODES];	/* NULL: out of reach */
	bool		asked[AS_MAX_NODES];	/* in the last flight */
} AsPanel;

/*
 * Connect to all members that can be reached.  Their connections are kept open
 * until as_panel_close(), which must be called even after an error.
 */
extern void as_panel_open(AsPanel *panel);
extern void as_panel_close(AsPanel *panel);

/*
 * Ask those for whom whom[] is true, or all if it is NULL, and wait for the
 * answers, at most so many milliseconds.  Who does not answer is out of reach
 * from then on.
 */
extern void as_panel_ask(AsPanel *panel, const bool *whom, int timeout,
						 const char *sql, int nvalues,
						 const char *const *values);

/* What a member has answered; NULL if it was not asked, or threw an error. */
extern PGresult *as_panel_answer(AsPanel *panel, int i);

/* Throw a member's error, if one has answered with any; says how many answered. */
extern int	as_panel_throw(AsPanel *panel);

/* The connection to a node; NULL if it cannot be reached, or is not who it should be. */
extern AsPeer *as_panel_reach(const AsNode *node);

#endif							/* AS_PANEL_H */

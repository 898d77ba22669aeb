/*-------------------------------------------------------------------------
 *
 * supervise.h
 *	  Supervisors: who restarts whom, when, and in what order.
 *
 * actorstore.supervisor and actorstore.child say what was asked for; only
 * supervise() and unsupervise() write them (and a supervisor that lets a
 * temporary child go).  All else happens in turns of the supervisor and of its
 * children, by messages of the system (lifecycle.h):
 *
 *		child		exits, says $child (why) to its supervisor
 *		supervisor	counts, and says $restart to the child; or, if others are
 *					to stop first, writes down steps, and takes one at a time
 *		child		restarts, says $started; or, told $shutdown, exits, and
 *					says $terminated
 *
 * STEPS (actorstore.supervision_step) are what a supervisor has still to do,
 * in order: "stop" or "start" a child, and wait until it says so; "exit", to
 * tell of its own exit, once its children have stopped; "tell", to answer its
 * own supervisor's step; and, after all those, "report", an exit that it was
 * told of meanwhile, and "start_all", once it was revived.  The first step is
 * the one under way.  A step is written, sent and taken away in turns of the
 * supervisor, so a restart half done goes on after a crash.
 *
 * A child that exits by itself while it has a step is not reported: the step
 * will find it stopped, or restart it.
 *
 * A supervisor that has exited goes on with its steps; nothing else that its
 * children say to it matters then.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SUPERVISE_H
#define AS_SUPERVISE_H

#include "runtime/lifecycle.h"

typedef struct AsChild
{
	text	   *parent_type;
	text	   *parent_id;
	text	   *restart;		/* permanent, transient, temporary */
	bool		keep_state;
	text	   *strategy;
	int64		number;			/* its place among its siblings */
} AsChild;

/* An actor as a child; NULL if it has no supervisor. */
extern AsChild *as_child_find(text *type, text *id);

/* Is a child that exits so to be restarted, as far as it is concerned? */
extern bool as_child_is_to_restart(const AsChild *child, const char *reason,
								   bool gave_up);

/*
 * The actor of the turn exits.  If it has children, they are stopped first,
 * and its exit is told when that is done: true.
 */
extern bool as_supervise_exit(AsTurn *turn, const AsExit *how);

/* Tell its supervisor, if it has one, that the actor has exited. */
extern void as_supervise_report(AsTurn *turn, const AsExit *how);

/* What supervise() and unsupervise() do once everything was checked. */
typedef struct AsSupervision
{
	text	   *parent_type;
	text	   *parent_id;
	text	   *child_type;
	text	   *child_id;
	text	   *strategy;
	text	   *max_restarts;	/* all as text */
	text	   *period;
	text	   *keep_state;
	text	   *restart;
} AsSupervision;

extern void as_supervise_lock(void);	/* before anything is checked */
extern void as_supervise(const AsSupervision *supervision);
extern bool as_unsupervise(text *child_type, text *child_id);

/* The actor was stopped, and goes on: if it has children, they are started. */
extern void as_supervise_revived(text *type, text *id);

/* See as_life_handle(). */
extern bool as_supervise_handle_child(AsTurn *turn, AsMessage *message);
extern bool as_supervise_handle_done(AsTurn *turn, AsMessage *message);
extern bool as_supervise_handle_restart(AsTurn *turn, AsMessage *message);
extern bool as_supervise_handle_shutdown(AsTurn *turn, AsMessage *message);
extern bool as_supervise_handle_released(AsTurn *turn, AsMessage *message);
extern bool as_supervise_handle_adopted(AsTurn *turn, AsMessage *message);
extern bool as_supervise_handle_revived(AsTurn *turn, AsMessage *message);
extern bool as_supervise_handle_advance(AsTurn *turn, AsMessage *message);

/* The type's actors are about to go, as children and as supervisors. */
extern void as_supervise_type_drops(text *type);

/* See as_life_nobody(). */
extern void as_supervise_nobody(const AsMessage *message);

/* ---- Between supervise.c, supervise_steps.c and supervise_tree.c ---- */

/* Has the supervisor of the turn steps to take before it may take reports? */
extern bool as_steps_pending(AsTurn *turn);

/* Has it one for that child? */
extern bool as_steps_pending_for(AsTurn *turn, text *type, text *id);

/* Write steps: all children are stopped, the last one first; or started. */
extern void as_steps_stop_all(AsTurn *turn);
extern void as_steps_start_all(AsTurn *turn);

/* Those from number on are stopped, but for the one that has exited, and started. */
extern void as_steps_restart_from(AsTurn *turn, const AsChild *child,
								  text *type, text *id, const char *reason);

/* Any other step; child may be NULL. */
typedef struct AsStep
{
	const char *action;
	text	   *child_type;
	text	   *child_id;
	const char *reason;
	int64		answers;		/* the step of its own supervisor's, or 0 */
	bool		ordered;
	bool		gave_up;
	TimestampTz at;				/* when the child exited */
} AsStep;

extern void as_steps_add(AsTurn *turn, const AsStep *step);

/* A child has exited: decide. */
extern void as_supervise_decide(AsTurn *turn, const AsStep *report);

/* Forget what has become pointless as the supervisor exits. */
extern void as_steps_give_up(AsTurn *turn);

/* The child has done what the step asked for. */
extern void as_steps_done(AsTurn *turn, int64 step);

/* Take the steps that need not wait. */
extern void as_steps_advance(AsTurn *turn);

/* Messages to children and supervisors */
extern void as_say_restart(text *type, text *id, int64 step, const char *reason);
extern void as_say_shutdown(text *type, text *id, int64 step, bool final);
extern void as_say_done(text *type, text *id, const char *name, int64 step);

#endif							/* AS_SUPERVISE_H */

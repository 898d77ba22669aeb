/*-------------------------------------------------------------------------
 *
 * supervise.h
 *	  Supervisors: who restarts whom, when, and in what order.
 *
 * A RELATION between a supervisor and a child is two rows of the same number:
 *
 *		actorstore.child		the child's; of the two it decides whether the
 *								relation is there; also what was asked for it
 *		actorstore.supervised	the supervisor's, beside the one in
 *								actorstore.supervisor, which is all its children's
 *
 * supervise() and unsupervise() write them, and a supervisor that lets a
 * temporary child go, and that child.  All else happens in turns of the
 * supervisor and of its children, by messages of the system (lifecycle.h):
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
 * ON SEVERAL NODES each row is where its actor lives, and moves with it, steps and
 * the times of restarts included.  The supervisor alone decides, in its turns; so
 * decisions are serial wherever the children are.
 *
 *	- supervise() writes on the child's node, as part of the caller's transaction:
 *	  the child's row, and $adopt, which has all that was asked for; by that the
 *	  supervisor writes its own rows.  So it never knows of a relation whose child's
 *	  row is not committed, and a child that does not know a relation which its
 *	  supervisor names (in $restart, $shutdown, $kept) has it no more: it says $left,
 *	  and the supervisor forgets it, and does not wait for it; or says it again, if there
 *	  is another relation between the two by now.  Where both
 *	  live on one node the transaction writes both rows, and says $adopted.
 *
 *	- A child that moves may overtake what it sent before.  So $child says all that
 *	  $adopt does, and makes the supervisor's row if need be; $adopt is answered
 *	  with $kept, in case the relation has ended meanwhile.  Of what was asked
 *	  for, the latest by asked_at stands, a time of the supervisor's node; number, which
 *	  orders siblings, is the first such time.
 *
 *	- A tree stays a tree.  That an actor has a supervisor is written on its node,
 *	  under that node's lock on the tree, and looked at under the same lock, kept
 *	  till the transaction ends.  supervise() goes from the supervisor upwards, from
 *	  node to node, and then to the child.  Of two that would make a circle
 *	  together, each would have looked at the row that the other one writes: one of
 *	  them waits, or they wait for each other, and one is the victim
 *	  (cluster/deadlock.h).  A node that is out of reach, or whose lock is held
 *	  by a transaction in doubt, cannot be looked at: 08006, or a wait.
 *
 *	- A node that is down is no exit: its actors live on when it is back.  What
 *	  is said to them waits in the outbox, and whoever waits for a step goes on waiting:
 *	  to restart elsewhere what may still be alive would make two of it.
 *
 *	- With a node that is removed by force its actors are lost, and so are the
 *	  relations that they had (as_supervise_lost()).
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SUPERVISE_H
#define AS_SUPERVISE_H

#include "lib/json_object.h"
#include "runtime/lifecycle.h"

typedef struct AsChild
{
	text	   *parent_type;
	text	   *parent_id;
	text	   *restart;		/* permanent, transient, temporary */
	bool		keep_state;
	text	   *strategy;
	int64		number;			/* its place among its siblings */
	int64		relation;
} AsChild;

/* An actor of this node as a child; NULL if it has no supervisor. */
extern AsChild *as_child_find(text *type, text *id);

/* A child of the turn's actor, as that knows it; NULL if it is none. */
extern AsChild *as_child_of(AsTurn *turn, text *type, text *id);

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
	int64		asked_at;		/* on the supervisor's node */
} AsSupervision;

extern void as_supervise_lock(void);	/* before anything is checked */

/* 42P17 if the child is above the parent, by what is known on this node. */
extern void as_supervise_check_circle(const AsSupervision *supervision);

/* The same error, for whoever knows how: "(t, a) supervises (t, b)". */
as_noreturn extern void as_supervise_refuse_circle(const AsSupervision *supervision,
												   const char *chain);

/* The latest asked_at, or number of a child, that a supervisor of this node knows. */
extern int64 as_supervise_asked_last(text *type, text *id);

/* This node holds the child's slot. */
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
extern bool as_supervise_handle_adopt(AsTurn *turn, AsMessage *message);
extern bool as_supervise_handle_kept(AsTurn *turn, AsMessage *message);
extern bool as_supervise_handle_left(AsTurn *turn, AsMessage *message);
extern bool as_supervise_handle_revived(AsTurn *turn, AsMessage *message);
extern bool as_supervise_handle_advance(AsTurn *turn, AsMessage *message);

/* The type's actors are about to go, as children and as supervisors. */
extern void as_supervise_type_drops(text *type);

/* See as_life_nobody(). */
extern void as_supervise_nobody(const AsMessage *message);

/* See as_life_objection(): what was asked for, in a body from another node. */
extern bool as_supervise_is_asked(Datum body);

/*
 * The actors in slots, as for as_links_lost(), are lost.  Supervisors here have such
 * children no more; children here of such supervisors have none any more.
 */
extern void as_supervise_lost(text *slots);

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

/* Messages to children and supervisors; 0 for a relation: whatever there is. */
extern void as_say_restart(text *type, text *id, int64 relation, int64 step,
						   const char *reason);
extern void as_say_shutdown(text *type, text *id, int64 relation, int64 step,
							bool final);
extern void as_say_released(text *type, text *id, int64 relation, bool forget);
extern void as_say_done(const AsChild *child, const char *name, int64 step);

extern void as_say_left(text *parent_type, text *parent_id, text *type, text *id,
						int64 relation);

/*
 * Does the supervisor of the turn have the relation that the body of a $child or
 * $adopt is about?  If not, it has from now on, if the body says all of it.
 */
extern bool as_supervise_knows(AsTurn *turn, Datum body);

/* What was asked for an actor of this node, as a child; for the body of a message. */
extern void as_supervise_add_asked(AsJson *json, text *type, text *id);

#endif							/* AS_SUPERVISE_H */

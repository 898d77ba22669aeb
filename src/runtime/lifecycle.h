/*-------------------------------------------------------------------------
 *
 * lifecycle.h
 *	  How actors begin, restart and end, and who is told.
 *
 * EACH ACTOR CHANGES IN ITS OWN TURN ONLY.  Whatever one actor's life means
 * to another one goes there as a message of the system: durable, sent by the
 * transaction that causes it, handled under the receiver's own lock, in the
 * order sent, before any older mail.  Nobody locks two actors, so nothing
 * here can deadlock, and a crash loses nothing: what has happened and who is
 * still to be told are rows of one transaction.  So it does not matter which
 * of them live on other nodes, but for who sees whose rows (links.h).
 *
 * Messages of the system have names that begin with "$".  Five of them an
 * actor may have handlers for, beside "$stop" and the like:
 *
 *		$start			to a spawned actor
 *		$down			a monitored actor has exited
 *		$exit			a linked one has; without a handler, so does this one
 *
 * The others are handled by the files that send them:
 *
 *		$failed			to itself: a message was given up (turn_fail.c)
 *		$monitor, $demonitor, $link, $linked, $unlink	links.c
 *		$child, $terminated, $started				supervise.c, to a supervisor
 *		$restart, $shutdown, $released, $kept		supervise.c, to a child
 *		$adopted, $revived, $advance				supervise.c, to a supervisor
 *		$adopt, $left								supervise_relation.c, to one
 *
 * HOOKS ($stop, $pre_restart, $post_restart) are called within the turn that
 * causes them, each in a subtransaction: one that fails leaves nothing behind
 * but a line in the log, and what was to happen happens.  ($post_restart
 * alone decides: an actor that cannot begin again exits.)
 *
 * TO EXIT an actor calls $stop, is halted, leaves its groups, has its own
 * children stopped if it is a supervisor, and then tells those who watch it,
 * those linked to it, and its supervisor.  If that may restart it, it is
 * AS_DOWN and its mail waits; else it is AS_STOPPED.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_LIFECYCLE_H
#define AS_LIFECYCLE_H

#include "actorstore.h"

#include "runtime/turn.h"

/*
 * Signals go out whatever actorstore.max_message_size is: nobody could exit else.
 * So what is longer of a reason is cut, and nothing that the system says is larger.
 */
#define AS_MAX_REASON			4096	/* bytes */
#define AS_MAX_SYSTEM_MESSAGE	(64 * 1024) /* bytes, of body and headers */

typedef struct AsExit
{
	const char *reason;
	bool		ordered;		/* by its supervisor */
	int64		step;			/* of the supervisor's, that waits for it */
	bool		final;			/* ordered, and not to be restarted */
	bool		gave_up;		/* its children have failed too often */
} AsExit;

/*
 * A message of the system is at hand.  True if that was all; false if the
 * actor's handler is to be called for it.
 */
extern bool as_life_handle(AsTurn *turn, AsMessage *message);

/* The handler at hand has called stop(). */
extern void as_life_stop(AsTurn *turn);

/* The actor exits; what is left of its turn waits. */
extern void as_life_exit(AsTurn *turn, const AsExit *how);

/* Tell everybody that it has exited. */
extern void as_life_announce(AsTurn *turn, const AsExit *how);

/*
 * The actor begins again: $pre_restart, the state given at spawn() (or the
 * one that it has), $post_restart.  Returns why it must exit, or NULL.
 */
extern const char *as_life_restart(AsTurn *turn, const char *reason,
								   bool keep_state);

/*
 * A message of the turn was given up: do what the type says.  The message's
 * row is deleted.
 */
extern void as_life_exhausted(AsTurn *turn, AsMailbox *mailbox,
							  const ErrorData *error);

/*
 * Why a message of the system that has come from another node cannot be handled;
 * NULL if it can.  None of those who handle it look again.
 */
extern const char *as_life_objection(const AsMessage *message);

/* May such a message never be given up? */
extern bool as_life_must_be_handled(AsTurn *turn, const AsMessage *message);

/* A message of the system that a handler has failed is given up. */
extern void as_life_given_up(const AsMessage *message);

/* Remember the state given to an actor at spawn(); and say $start to it. */
extern void as_life_spawned(text *type, text *id, Datum state);
extern void as_life_say_start(text *type, text *id);

/* Is the actor of the turn there, for those who want to know of its exit? */
extern bool as_life_exists(AsTurn *turn);

/* Is that a reason to exit for which nobody has to worry? */
extern bool as_life_is_normal(const char *reason);
extern bool as_life_is_shutdown(const char *reason);

/*
 * Around the dropping of a type, whose rights were checked: tell those who
 * have to do with its actors.
 */
extern void as_life_type_drops(text *type);
extern void as_life_type_dropped(text *type);

/* A message of the system whose type was dropped: the actor is not there. */
extern void as_life_nobody(const AsMessage *message);

/* ---- system.c ---- */

/*
 * Send a message of the system; nothing happens if there is no such type.
 * Returns its id.  body and headers may be 0.
 */
extern int64 as_system_send(text *type, text *id, const char *name, Datum body,
							Datum headers);

/*
 * The same from an actor that need not be the turn's, nor be there any more.  A
 * message whose body names an actor that it speaks for is from that one: other
 * nodes take no other (as_life_objection).
 */
extern int64 as_system_send_from(text *sender_type, text *sender_id, text *type,
								 text *id, const char *name, Datum body,
								 Datum headers);

/* Does an actor live on another node?  Is this database a node at all? */
extern bool as_lives_elsewhere(const text *type, const text *id);
extern bool as_is_in_node(void);

/*
 * SQL: is the actor whose address is in these columns in a slot of $1, one
 * character each, '1' for those that are lost with the node that had them?
 */
#define AS_IS_LOST(type, id) \
	"substr($1, actorstore.slot_of(" type ", " id ") + 1, 1) = '1'"

/* The actor of the turn. */
#define as_turn_type_name(turn)	((turn)->messages[0].actor_type)
#define as_turn_id(turn)		((turn)->messages[0].actor_id)

/* What may stand in the supervision log */
typedef struct AsLogLine
{
	text	   *parent_type;	/* NULL: none */
	text	   *parent_id;
	text	   *child_type;
	text	   *child_id;
	const char *event;
	const char *reason;			/* NULL: none */
	text	   *strategy;		/* NULL: none */
	int64		restarts;		/* within the supervisor's period; 0: none */
} AsLogLine;

extern void as_system_log(const AsLogLine *line);

#endif							/* AS_LIFECYCLE_H */

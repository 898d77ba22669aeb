/*-------------------------------------------------------------------------
 *
 * route.h
 *	  Actors of other nodes.
 *
 * Who is asked for an actor looks up its owner.  Where that is another node, it
 * sends one command there, a call of one local_* function, and the owner does
 * what it would do for a client of its own:
 *
 *		coordinator								owner
 *
 *		checks the arguments, and the rights
 *		as far as it knows the type
 *		(BEGIN, savepoints: global.h)
 *		SELECT actorstore.local_...(
 *			caller's name, epoch, ...)	-->		becomes the caller (caller.h)
 *												is the actor mine?
 *												checks the rights, does it
 *										<--		what became of it
 *
 * What became of it is a value (an outcome, the row), not an error, as far as
 * the local function knows it: the error is raised here, and the part of the
 * transaction there stays whole.  Other errors arrive as they were raised.
 *
 * If the owner says that the actor is not its own, one of the two has an older
 * map of slots than the other.  An owner that is told of an epoch that it does not
 * know first fetches it: it waits, for actorstore.peer_timeout at most, for its
 * resolver, which asks the other nodes (catch_up.h).  A coordinator asks the node
 * that has refused for the number of its epoch, has its resolver fetch it from there,
 * and sends the command once more to whom the actor belongs then; then VA007.
 *
 * Reads that lock nothing, under READ COMMITTED, see what is committed when
 * they are carried out, wherever they stand in a transaction.  So, unless the
 * transaction has work on that node already, which they must see, they are no
 * part of it: one round trip on the connection as it is, nothing to begin, to
 * keep, or to end there.  Nothing is promised that such a read would have to be
 * alive for when the transaction commits: who needs that takes locks.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_ROUTE_H
#define AS_ROUTE_H

#include "actorstore.h"
#include "cluster/peer.h"
#include "compat.h"

/* Are there other nodes, that actors may live on? */
#define as_route_is_needed()	as_node_has_others()

/* The node that owns the actor, if it is another one; else NULL. */
extern const AsNode *as_route_find(const text *type, const text *id);

/* The same for whoever writes: NULL says that this node also holds its slot (state/owner.h). */
extern const AsNode *as_route_find_held(const text *type, const text *id);

/*
 * For the local_* functions: may this node do something with the actor, for
 * somebody who knows the map of that number?
 */
extern bool as_route_is_mine(const text *type, const text *id, int64 epoch);

/* The same for what all nodes do: is that the map in force here? */
extern bool as_route_knows(int64 epoch);

/* The map in force now is the one by which nodes are asked from now on. */
extern void as_route_look(void);

/*
 * That node has said that an actor is not its own: look whose it is.  If it knows
 * a newer epoch than this one, that is fetched, within actorstore.peer_timeout.
 * VA007 if it knows an older one only.
 */
extern void as_route_learn(const AsNode *asked);

/*
 * For whoever has found no actor here by the snapshot of its transaction, above
 * READ COMMITTED: 40001 if that shows another owner of its slot, as the actor may
 * have come from there since.
 */
extern void as_route_check_snapshot(const text *type, const text *id);

/* Nobody says that it is his: VA007. */
as_noreturn extern void as_route_refuse(void);

/* The number of the map in force, for a local_* function. */
extern char *as_route_epoch_text(void);

/*
 * The connection for a command, with the session's settings queued: of the
 * transaction if it is a write, or must be part of it.  0A000 for a command
 * that another node has called.
 */
extern AsPeer *as_route_begin(const AsNode *node, bool is_read);

/* The same for the command that the transaction ends with (global.h). */
extern AsPeer *as_route_begin_last(const AsNode *node);

/*
 * The same for what is no part of the transaction, but must not wait for what
 * the transaction has locked there: its connection, if it has one there.
 */
extern AsPeer *as_route_begin_outside(const AsNode *node);

/* Wait for the flights of these peers, launched (NULL ones are left out). */
extern void as_route_wait(AsPeer *const *peers, int n);

/* The same for one peer, till the deadline at most (0: none). */
extern void as_route_wait_until(AsPeer *peer, TimestampTz deadline);

/*
 * Go on as soon as the flight, launched, has left: nobody waits for the answer.
 * 08006 if the connection breaks before that.
 */
extern void as_route_send_off(AsPeer *peer);

/* An error has come in between: let nobody work for nobody. */
extern void as_route_abandon(AsPeer *const *peers, int n);

/* Actors that live on one node, as places in an array of ids. */
typedef struct AsRouteGroup
{
	const AsNode *node;			/* NULL: this one */
	int			n;
	int		   *places;			/* ascending */
} AsRouteGroup;

/*
 * Divide actors by the nodes they live on; the groups are in the order of the
 * nodes' numbers, which is the same for everybody, and none is empty.  Returns
 * how many there are.
 */
extern int	as_route_divide(const text *type, int n, text **ids,
							AsRouteGroup **groups);

#endif							/* AS_ROUTE_H */

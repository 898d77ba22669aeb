/*-------------------------------------------------------------------------
 *
 * node.h
 *	  Which nodes there are, which one this is, and who owns an actor.
 *
 * A database becomes a node by init_node().  actorstore.node has a row for
 * each node, actorstore.epoch one for each map of slots (lib/slot_map.h): the
 * one with the highest number is in force.  Every backend keeps both in
 * memory; whoever changes the tables makes all of them read anew, by a trigger
 * and the relation cache's own messages.
 *
 * A node is known by its uuid, which no other database ever has, and its
 * incarnation, which rises whenever the database is another copy of itself
 * than before: its lower 32 bits are the server's timeline, which rises at
 * every promotion and recovery to a point in time; unfence() raises the upper
 * ones.  A copy that is fenced is no node.
 *
 * What these functions return stays valid until the transaction ends.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_NODE_H
#define AS_NODE_H

#include "actorstore.h"

#include "lib/spread.h"
#include "utils/uuid.h"

typedef struct AsNode
{
	int16		number;
	const char *name;
	const char *conninfo;		/* how to reach it: its detour (seeds.h), if it
								 * has one; may be NULL for this one */
	int32		weight;
	pg_uuid_t	uuid;
	int64		incarnation;
	const char *datacenter;		/* both may be NULL */
	const char *rack;
	AsLocation	location;		/* what stands for the two */
} AsNode;

/* To be called once, when the library is loaded. */
extern void as_node_init(void);

/* This node; NULL if this database is none, or is fenced. */
extern const AsNode *as_node_self(void);

/* The same; raises 55000 instead. */
extern const AsNode *as_node_need_self(void);

/* Another one, or this one, or NULL. */
extern const AsNode *as_node_by_number(int number);
extern const AsNode *as_node_by_name(const char *name);

/* The same; VA007 if it has gone meanwhile. */
extern const AsNode *as_node_need_number(int number);

/* The same; 42704 if there is none. */
extern const AsNode *as_node_need(const char *name);

/* The uuid of this node as it was last read, as text; empty if it was none.  Reads nothing. */
extern const char *as_node_uuid_peek(void);

/* The same of its incarnation; 0 if it was none. */
extern int64 as_node_incarnation_peek(void);

/* Is there any node that was declared lost (force.h)? */
extern bool as_node_some_are_lost(void);

/* Has a node of this uuid been declared lost (force.h)? */
extern bool as_node_is_lost(const pg_uuid_t *uuid);

/* Is this database a node beside others? */
extern bool as_node_has_others(void);

/* For this session: how this node is reached, as long as nobody has said it. */
extern void as_node_suppose_conninfo(const char *conninfo);

/* All of them, by number. */
extern int	as_node_count(void);
extern const AsNode *as_node_nth(int n);

/* The node that owns an actor; NULL where there are no nodes. */
extern const AsNode *as_node_owner(uint64 key_hash);

/*
 * The node that has the actor: its owner, but where giver or taker know that its slot has
 * been handed over, before the epoch is in force that says so (transit.h).
 */
extern const AsNode *as_node_holder(uint64 key_hash);

/* Is the slot on its way to this node, which has not taken it yet? */
extern bool as_node_comes(uint64 key_hash);

/*
 * The first max nodes for an actor: its owner, then those that would own it
 * next, but of different data centres and racks first (lib/spread.h).  Returns
 * how many there are.
 */
extern int	as_node_replicas(uint64 key_hash, const AsNode **replicas, int max);

/* The map in force: the number of each slot's owner. */
extern void as_node_owners(int16 *owners);

/* The number of the map in force; 0 where there is none. */
extern int64 as_node_epoch(void);

/* How a slot is in transit (transit.h); 0: it is not. */
extern char as_node_transit(int slot);

/* What routes is no more for parallel workers (parallel_mark.c). */
extern void as_node_restrict_parallel(void);

#endif							/* AS_NODE_H */

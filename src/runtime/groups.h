/*-------------------------------------------------------------------------
 *
 * groups.h
 *	  Named groups of actors.
 *
 * A group belongs to the role that made the first member join, until the last
 * one has left: only who has that role's rights may let others join or leave.
 * Otherwise anybody could have himself sent what is meant for the others, or
 * bar them from being sent anything.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_GROUPS_H
#define AS_GROUPS_H

#include "actorstore.h"

#include "state/type.h"

/*
 * Let an actor join or leave a group; false if it was, or was not, in it.
 * 42501 if the group is somebody else's; whose actor it is may always let it
 * leave.
 */
extern bool as_group_join(text *group, text *type, text *id);
extern bool as_group_leave(text *group, const AsType *actor_type, text *type,
						   text *id);

/*
 * Where members may be in several databases: let an actor join if somebody in this
 * one is in the group, who then stays in it till this transaction ends; false
 * if nobody is.
 */
extern bool as_group_join_others(text *group, text *type, text *id, bool *joined);

/*
 * Else, whoever wants to make one join here, or asks whose it is, comes one at a
 * time; the owner by what is in this database, or InvalidOid.
 */
extern Oid	as_group_lock(text *group);

/* Then, let one join a group of that owner. */
extern bool as_group_join_first(text *group, text *type, text *id, Oid owner);

/* A member's address */
typedef struct AsGroupMember
{
	text	   *type;
	text	   *id;
} AsGroupMember;

/* The members in this database that have not exited; how many? */
extern int	as_group_members(text *group, AsGroupMember **members);

/*
 * Send a message to each of some members, in the order of their addresses, once
 * each; returns how many were sent.  check raises an error if a type must not
 * be sent anything.
 */
extern int64 as_group_send(AsGroupMember *members, int n, text *message, Datum body,
						   void (*check) (text *type));

/* The actor exits: it leaves all groups. */
extern void as_groups_leave(text *type, text *id);

#endif							/* AS_GROUPS_H */

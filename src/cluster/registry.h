/*-------------------------------------------------------------------------
 *
 * registry.h
 *	  Types, their handlers and rights are the same on all members.
 *
 * A change of them is made by the transaction of its caller on every member of
 * the epoch in force, or on none (08006 if one cannot be reached).  Each member
 * makes it with its own local function, as the role of the caller's name:
 * owners and grantees travel by name, handlers by signature.  A new type must
 * have the same owner everywhere: a superuser can declare one only where the
 * nodes log in as a superuser of the same name (42501).
 *
 * Order: the member with the lowest number first, then all others at once,
 * this one among them.  Two changes on two nodes meet there, at the lock on
 * actorstore.type (or at the row of the type, for one that is declared by its
 * first use), and the second waits for the first one's end before it has
 * locked anything elsewhere.
 *
 * A node that joins is told the types by a member that has the new epoch in
 * force, together with the epoch, and that member reads them under its lock on
 * actorstore.type, which it takes first (as_registry_lock).  A change holds one
 * that conflicts on each member, to its end, and each member, once it has it,
 * refuses a change whose caller knows an older epoch than it does (VA007).  So either
 * the change has ended on the member that tells, and the new node is told of
 * it, or it comes after the new epoch and includes the new node, or is
 * refused.
 *
 * Where there are no other members, it is a change of this database alone.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_REGISTRY_H
#define AS_REGISTRY_H

#include "actorstore.h"
#include "state/type_ddl.h"

/* The kinds, as they travel */
#define AS_CHANGE_CREATE	"create"
#define AS_CHANGE_ALTER		"alter"
#define AS_CHANGE_DROP		"drop"
#define AS_CHANGE_DECLARE	"declare"	/* by its first use */
#define AS_CHANGE_HANDLER	"handler"
#define AS_CHANGE_GRANT		"grant"
#define AS_CHANGE_REVOKE	"revoke"

typedef struct AsChange
{
	const char *kind;
	text	   *type;
	AsTypeOptions options;		/* create, alter; all NULL otherwise */
	bool		events;			/* drop */
	text	   *message;		/* handler */
	Oid			handler;		/* InvalidOid removes it */
	const char *search_path;
	Oid			grantee;		/* grant, revoke; InvalidOid for PUBLIC */
	int			privileges;		/* of AsPrivilege */
} AsChange;

/* A change with nothing in it yet. */
extern void as_change_init(AsChange *change, const char *kind, text *type);

/* Make it, on all members. */
extern void as_registry_change(AsChange *change);

/*
 * Make it here, for a member that knows this epoch.  for_superuser says that the
 * current role stands for one of another node, and may declare types.
 */
extern void as_registry_take(AsChange *change, int64 epoch, bool for_superuser);

/* Wait for changes that are under way here, and let none begin: see above. */
extern void as_registry_lock(void);

/* To be called once, when the library is loaded. */
extern void as_registry_init(void);

#endif							/* AS_REGISTRY_H */

/*-------------------------------------------------------------------------
 *
 * type.h
 *	  Actor types as every call needs them: a cache over actorstore.type.
 *
 * The tables actorstore.type and actorstore.type_grant are the truth.  A
 * backend reads a type's rows once and keeps what it read until one of the
 * tables changes: a trigger on them sends a relation cache invalidation, so
 * that every other backend sees the change at its next statement, and this
 * one at its next command.  The same for actorstore.halted, where only what a type
 * says of that is read again.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_TYPE_H
#define AS_TYPE_H

#include "actorstore.h"

#include "access/transam.h"
#include "utils/snapshot.h"

/* What a role may be granted on a type */
typedef enum AsPrivilege
{
	AS_PRIV_READ = 1 << 0,
	AS_PRIV_WRITE = 1 << 1,
	AS_PRIV_SEND = 1 << 2,
	AS_PRIV_ASK = 1 << 3,
	AS_PRIV_SERVE = 1 << 4
} AsPrivilege;

typedef struct AsGrant
{
	Oid			grantee;		/* InvalidOid for PUBLIC */
	int			privileges;		/* of AsPrivilege */
} AsGrant;

/* What becomes of a message to a full mailbox */
typedef enum AsOnFull
{
	AS_FULL_ERROR,
	AS_FULL_WAIT,
	AS_FULL_DROP
} AsOnFull;

/* What becomes of an actor that could not handle a message */
typedef enum AsOnExhausted
{
	AS_EXHAUSTED_GO_ON,			/* the message is a dead letter, that is all */
	AS_EXHAUSTED_RESTART,
	AS_EXHAUSTED_PAUSE,
	AS_EXHAUSTED_STOP,
	AS_EXHAUSTED_ESCALATE
} AsOnExhausted;

/* Who answers a message; see handler_find.c. */
typedef struct AsHandler
{
	text	   *message;
	char	   *signature;
	char	   *search_path;	/* that was in force when it was set */
	uint64		resolved;		/* when the function was looked up */
	Oid			function;
	bool		sees_states;	/* it has looked at actors' states itself */
	bool		writes_states;	/* it has written actors of its type itself */
	bool		outside;		/* it is not to be called: see AS_OUTSIDE */
	bool		takes_many;		/* its second argument is an array of bodies */
} AsHandler;

typedef struct AsType
{
	/* immutable */
	uint32		hash;
	int			name_len;
	char	   *name;			/* not zero-terminated */

	/* false after an invalidation; what follows is then read again */
	bool		valid;

	bool		exists;
	bool		declared;		/* has a partition of its own */
	Oid			owner;
	Oid			relation;		/* the partition its actors live in */
	TransactionId changed_by;	/* who wrote its row in actorstore.type */
	int			ngrants;
	AsGrant    *grants;

	int			mailbox_limit;	/* 0: that of the setting */
	AsOnFull	on_full;
	int			max_attempts;
	int64		backoff;		/* microseconds, as the next two */
	int64		backoff_max;
	int64		turn_timeout;
	AsOnExhausted on_exhausted;
	double		rate_limit;		/* messages a second; 0: no limit */
	int			max_concurrency;	/* 0: no limit */
	bool		order_by_deadline;

	/* read when first asked for */
	bool		has_handlers;	/* have they been read? */
	int			nhandlers;
	AsHandler  *handlers;
	int			noutside;		/* of them, so many are outside */
	int			ntake_many;		/* and so many take many bodies */
	uint64		handlers_loaded;	/* how often they were read */
	bool		has_halted;		/* have the next two been read? */
	bool		paused;			/* the whole type */
	bool		some_halted;	/* actors of it are paused or stopped */

	int			stat;			/* number of its statistics + 1; see stat.c */
} AsType;

/* The handler of messages that are handled outside of the database. */
#define AS_OUTSIDE		"actorstore.outside(pg_catalog.jsonb,pg_catalog.jsonb)"

/* To be called once, when the library is loaded. */
extern void as_type_init(void);

/*
 * The type of that name, or NULL if there is none.  Sees what others have
 * committed by now.  The struct stays where it is; what it says may change
 * whenever a relation is locked.
 */
extern AsType *as_type_find(const text *name);

/* Does the snapshot show a type of that name? */
extern bool as_type_in_snapshot(const text *name, Snapshot snapshot);

/* The same as as_type_find(), but an unknown type raises 42704. */
extern AsType *as_type_get(const text *name);

/*
 * The same, but an unknown type is declared implicitly: owned by the current
 * role, its actors in actorstore.undeclared.  Without CREATE on the database
 * it raises 42704.
 */
extern AsType *as_type_get_or_declare(text *name);

/*
 * Make that declaration, if there is no such type yet: in this database, or
 * wherever it has to be.  42704 without CREATE on the database, unless it is
 * done anyway.
 */
extern void as_type_declare(text *name, bool anyway);
extern PGDLLIMPORT void (*as_type_declare_hook) (text *name);

/*
 * Does the current role own the type (or stand for its owner, or is a
 * superuser)?
 */
extern bool as_type_is_mine(const AsType *type);

/* Does the current role hold the privilege? */
extern bool as_type_has(const AsType *type, AsPrivilege privilege);

/* Raise 42501 unless it does. */
extern void as_type_check(const AsType *type, AsPrivilege privilege);

/* Raise 42501 unless the current role owns the type. */
extern void as_type_check_owner(const AsType *type);

/* Raise 22023 unless the name may name a type or an actor. */
extern void as_check_name(const char *what, const text *name);

/*
 * The handler of that message, or the one of "*", or NULL if there is none.
 * Good until the next call or invalidation.
 */
extern AsHandler *as_handler_find(AsType *type, const text *message);

/*
 * The function of a handler: 42883 if it does not exist, 42501 if the type's
 * owner may not trust it.
 */
extern Oid	as_handler_function(const AsType *type, AsHandler *handler);

/* The function of that signature, or InvalidOid. */
extern Oid	as_handler_lookup(const char *signature);

/* May the type's owner trust the function's owner? */
extern bool as_handler_is_trusted(const AsType *type, Oid function);

/* To be called once, when the library is loaded. */
extern void as_handler_init(void);

typedef enum AsHalt
{
	AS_NOT_HALTED,
	AS_PAUSED,					/* its mail waits */
	AS_STOPPED,					/* its mail goes to the dead letters */
	AS_DOWN						/* it has exited; its mail waits until its
								 * supervisor says what becomes of it */
} AsHalt;

/* Is the actor paused, or its type, or has it exited? */
extern AsHalt as_actor_halt(AsType *type, const text *name, const text *id);

/* A copy of the type's name, zero-terminated, for messages. */
extern char *as_type_name(const AsType *type);

/* The name of a privilege, and back: 22023 if there is none of that name. */
extern const char *as_privilege_name(AsPrivilege privilege);
extern AsPrivilege as_privilege_parse(const char *name);

#endif							/* AS_TYPE_H */

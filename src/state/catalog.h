/*-------------------------------------------------------------------------
 *
 * catalog.h
 *	  The extension's own objects: their OIDs, and SQL run as their owner.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_CATALOG_H
#define AS_CATALOG_H

#include "actorstore.h"

#include "executor/spi.h"

/* Column numbers of actorstore.type */
#define Anum_type_actor_type	1
#define Anum_type_owner			2
#define Anum_type_declared		3
#define Anum_type_partition		4
#define Anum_type_mailbox_limit	6
#define Anum_type_on_full		7
#define Anum_type_max_attempts	8
#define Anum_type_backoff		9
#define Anum_type_backoff_max	10
#define Anum_type_turn_timeout	11
#define Anum_type_on_exhausted	12
#define Anum_type_rate_limit	13
#define Anum_type_max_concurrency	14
#define Anum_type_order_by_deadline	15

/* Column numbers of actorstore.handler */
#define Anum_handler_actor_type	1
#define Anum_handler_message	2
#define Anum_handler_function	3
#define Anum_handler_search_path	4

/* Column numbers of actorstore.halted */
#define Anum_halted_actor_type	1
#define Anum_halted_actor_id	2
#define Anum_halted_stopped		3
#define Anum_halted_restarting	4

/* Column numbers of actorstore.type_grant */
#define Anum_grant_actor_type	1
#define Anum_grant_grantee		2
#define Anum_grant_privilege	3

typedef struct AsCatalog
{
	Oid			schema;			/* actorstore */
	Oid			owner;			/* owner of the tables */
	Oid			actor;			/* partitioned table actorstore.actor */
	Oid			actor_rowtype;	/* its row type */
	Oid			undeclared;		/* its default partition */
	Oid			type;			/* actorstore.type */
	Oid			grants;			/* actorstore.type_grant */
	Oid			handler;		/* actorstore.handler */
	Oid			halted;			/* actorstore.halted */
	Oid			halted_actor;	/* the view on it; see as_catalog_tell_halted() */
	Oid			message;		/* actorstore.message */
	Oid			message_number; /* sequence of message ids */
	Oid			lease;			/* actorstore.lease */
	Oid			timer;			/* actorstore.timer */
	Oid			decision;		/* actorstore.decision */
	Oid			receipt;		/* actorstore.receipt */
} AsCatalog;

/*
 * The OIDs in this database; none of indexes, which REINDEX CONCURRENTLY changes.
 * Valid until the next call.  Raises 55000 if the extension's tables are gone.
 */
extern const AsCatalog *as_catalog(void);

/* The relation of that name in the extension's schema, or InvalidOid. */
extern Oid	as_catalog_relation(const char *name);

/*
 * Is this (or may it be) one of the tables that say which types there are?
 * Reads no catalog.
 */
extern bool as_catalog_is_registry(Oid relation);

/*
 * Everybody reads anew which actors are paused or stopped.  That comes to pass often:
 * so it is said of the view on actorstore.halted, which hardly anybody opens.  Were it
 * said of the table, everybody would have to make its entry in the relation cache anew.
 */
extern void as_catalog_tell_halted(void);

/* Is (or may) it be that which is said? */
extern bool as_catalog_is_halted(Oid relation);

/* To be called once, when the library is loaded. */
extern void as_catalog_init(void);

/*
 * Between these two, SQL runs through SPI as the owner of the extension's
 * tables, under a search_path and settings that no user controls.  An error
 * in between restores everything by itself.  Afterwards every backend, this
 * one at the next command, reads the types anew.
 */
typedef struct AsAdmin
{
	Oid			user;
	int			sec_context;
	int			guc_level;
} AsAdmin;

extern void as_admin_begin(AsAdmin *admin);
extern void as_admin_end(AsAdmin *admin);

/* The same, where nothing that types are made of was changed. */
extern void as_admin_leave(AsAdmin *admin);

/*
 * Run one statement of the kind given (SPI_OK_...) with parameters; returns
 * the number of rows.  It sees every committed row; where the transaction's
 * own snapshot does not (REPEATABLE READ and above), changing such a row
 * raises 40001.
 */
extern uint64 as_admin_execute(const char *sql, int expected, int nargs,
							   Oid *types, Datum *values, const char *nulls);

/*
 * The same for one that is run so often that its plan is kept, in *plan, NULL at
 * first: a variable for each text.  It never reads a whole table where an index
 * will do, as tables that are empty when it is planned may grow.
 */
extern uint64 as_admin_execute_kept(SPIPlanPtr *plan, const char *sql, int expected,
									int nargs, Oid *types, Datum *values,
									const char *nulls);

/* Run a utility statement put together by psprintf(). */
extern void as_admin_utility(const char *fmt,...) pg_attribute_printf(1, 2);

#endif							/* AS_CATALOG_H */

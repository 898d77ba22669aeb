/*-------------------------------------------------------------------------
 *
 * type_ddl.h
 *	  Declaring, changing and dropping actor types, their handlers and rights.
 *
 * Each of these checks that the current role may do it (42501), and leaves
 * the change to the current transaction.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_TYPE_DDL_H
#define AS_TYPE_DDL_H

#include "actorstore.h"

#include "state/type.h"

/* The options of create_type() and alter_type(), in their order */
typedef enum AsTypeOption
{
	AS_OPT_PERSISTENCE,
	AS_OPT_MAILBOX_LIMIT,
	AS_OPT_ON_FULL,
	AS_OPT_MAX_ATTEMPTS,
	AS_OPT_BACKOFF,
	AS_OPT_BACKOFF_MAX,
	AS_OPT_TURN_TIMEOUT,
	AS_OPT_ON_EXHAUSTED,
	AS_OPT_RATE_LIMIT,
	AS_OPT_MAX_CONCURRENCY,
	AS_OPT_ORDER_BY_DEADLINE,
	AS_NUM_OPTIONS
} AsTypeOption;

/* NULL options keep what is, or take the default */
typedef struct AsTypeOptions
{
	Datum		values[AS_NUM_OPTIONS];
	bool		nulls[AS_NUM_OPTIONS];
} AsTypeOptions;

/* The types of the options' values */
extern const Oid as_option_types[AS_NUM_OPTIONS];

/* anyway says that the right to create in the database is not asked for */
extern void as_type_create(text *name, AsTypeOptions *options, bool anyway);
extern void as_type_alter(text *name, AsTypeOptions *options);
extern void as_type_drop(text *name, bool events);

/* Raise 22023 for a value that an option cannot have. */
extern void as_type_check_options(AsTypeOptions *options);

/* Write the options given into the type's row; inside as_admin_begin(). */
extern void as_type_store_options(text *name, AsTypeOptions *options);

/* handler = InvalidOid removes the handler; it runs under search_path */
extern void as_type_set_handler(text *name, text *message, Oid handler,
								const char *search_path);

/* privileges is a set of AsPrivilege; grantee = InvalidOid means PUBLIC */
extern void as_type_grant(text *name, Oid grantee, int privileges);
extern void as_type_revoke(text *name, Oid grantee, int privileges);

/*
 * Lock all types against other changes until the end of the transaction, and
 * check that the current role owns this one.  42704 if there is no such type.
 */
extern AsType *as_type_lock(text *name);

/* The qualified, quoted name of the table that the type's actors live in. */
extern char *as_partition_name(const AsType *type);

/* Is there such a role (or InvalidOid, PUBLIC)?  It may have been dropped. */
extern bool as_role_exists(Oid role);

/*
 * Only the owner of a table, schema or function that has just been made has rights on it,
 * and PUBLIC those on a function: take back what ALTER DEFAULT PRIVILEGES has given others.
 * False if there were none but those that the server gives.
 */
extern bool as_undo_default_privileges(Oid class, Oid object);

/* Grant or revoke SELECT on that table; between as_admin_begin() and _end() */
extern void as_partition_grant(const AsType *type, Oid grantee, bool grant);

#endif							/* AS_TYPE_DDL_H */

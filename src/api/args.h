/*-------------------------------------------------------------------------
 *
 * args.h
 *	  Checked arguments of the SQL functions.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_ARGS_H
#define AS_ARGS_H

#include "actorstore.h"

#include "datatype/timestamp.h"

/* An actor_type or actor_id: 22023 if it is NULL, empty or too long. */
extern text *as_arg_type(FunctionCallInfo fcinfo, int n);
extern text *as_arg_id(FunctionCallInfo fcinfo, int n);

/* 42501 for others; no function of theirs is read-only, or for parallel workers. */
extern void as_only_superusers(const char *function);

/* The same, of what is not undone with the transaction: 25001 in one. */
extern void as_begin_change(const char *function);

/* The name of a node to be: 22004 if it is NULL, 22023 if it cannot be one. */
extern text *as_arg_node_name(FunctionCallInfo fcinfo, int n);

/* A label of a node, or NULL: 22023 if it cannot be one. */
extern text *as_arg_label(FunctionCallInfo fcinfo, int n, const char *what);

/* The name of a message, not one of the system's: 22023. */
extern text *as_arg_message(FunctionCallInfo fcinfo, int n);

/* The same for a name that comes otherwise. */
extern void as_check_message(const text *name);

/* A value: 22004 if it is NULL, 54000 if it is too large. */
extern Datum as_arg_value(FunctionCallInfo fcinfo, int n);

/* A version: 22004 if it is NULL. */
extern int64 as_arg_version(FunctionCallInfo fcinfo, int n);

/* Raise 22004 for a NULL argument. */
extern void as_reject_null(FunctionCallInfo fcinfo, int n, const char *what);

/*
 * How long an interval is that begins now, in microseconds: 22004 if it is NULL,
 * 22023 if it is negative.  One that has no end (PostgreSQL 17), or is as good as
 * that, is so long that a time can still be added to it.
 */
extern int64 as_arg_span(FunctionCallInfo fcinfo, int n, const char *what);

/*
 * A message's expires_at, as messages have it: 0 is never.  So the moment that is 0
 * itself is the next one, and what has no beginning the first time there is.
 */
extern TimestampTz as_expires_at(TimestampTz given);

/*
 * The ids in a text[], each checked, in the order given; *n is their number.
 * 22004 for a NULL array, 22023 for one of several dimensions.
 */
extern text **as_arg_ids(FunctionCallInfo fcinfo, int n, int *nids);

/* The same for a jsonb[]; it must have nids elements: 22023. */
extern Datum *as_arg_values(FunctionCallInfo fcinfo, int n, int nids);

#endif							/* AS_ARGS_H */

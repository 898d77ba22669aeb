/*-------------------------------------------------------------------------
 *
 * args.c
 *	  See args.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "api/args.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "cluster/global.h"
#include "miscadmin.h"
#include "state/actor.h"
#include "state/type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static text *
arg_name(FunctionCallInfo fcinfo, int n, const char *what)
{
	text	   *name;

	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be NULL", what)));
	name = PG_GETARG_TEXT_PP(n);
	as_check_name(what, name);
	return name;
}

text *
as_arg_type(FunctionCallInfo fcinfo, int n)
{
	return arg_name(fcinfo, n, "actor_type");
}

text *
as_arg_id(FunctionCallInfo fcinfo, int n)
{
	return arg_name(fcinfo, n, "actor_id");
}

void
as_check_message(const text *name)
{
	as_check_name("message", name);
	if (VARDATA_ANY(name)[0] == '$')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid message: \"%s\"", text_to_cstring(name)),
				 errdetail("Names that begin with \"$\" are kept for messages of the system.")));
}

text *
as_arg_message(FunctionCallInfo fcinfo, int n)
{
	text	   *name = arg_name(fcinfo, n, "message");

	as_check_message(name);
	return name;
}

void
as_reject_null(FunctionCallInfo fcinfo, int n, const char *what)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be NULL", what)));
}

Datum
as_arg_value(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the value of an actor must not be NULL"),
				 errhint("JSON null is a value: 'null'::jsonb.")));
	as_check_value_size(PG_GETARG_DATUM(n));
	return PG_GETARG_DATUM(n);
}

int64
as_arg_version(FunctionCallInfo fcinfo, int n)
{
	as_reject_null(fcinfo, n, "expected_version");
	return PG_GETARG_INT64(n);
}

static Datum *
arg_array(FunctionCallInfo fcinfo, int n, const char *what, Oid type,
		  bool **nulls, int *nelems)
{
	ArrayType  *array;
	Datum	   *elems;

	as_reject_null(fcinfo, n, what);
	array = PG_GETARG_ARRAYTYPE_P(n);
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a one-dimensional array", what)));
	deconstruct_array(array, type, -1, false, TYPALIGN_INT, &elems, nulls,
					  nelems);
	return elems;
}

int64
as_arg_span(FunctionCallInfo fcinfo, int n, const char *what)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz end;

	as_reject_null(fcinfo, n, what);
	end = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												  TimestampTzGetDatum(now),
												  PG_GETARG_DATUM(n)));
	if (end < now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be negative", what)));
	return Min(end - now, AS_LONGEST);
}

TimestampTz
as_expires_at(TimestampTz given)
{
	if (TIMESTAMP_IS_NOEND(given))
		return 0;
	return given == 0 ? 1 : Max(given, MIN_TIMESTAMP);
}

text **
as_arg_ids(FunctionCallInfo fcinfo, int n, int *nids)
{
	bool	   *nulls;
	Datum	   *elems = arg_array(fcinfo, n, "actor_ids", TEXTOID, &nulls, nids);
	text	  **ids = palloc(Max(*nids, 1) * sizeof(text *));

	for (int i = 0; i < *nids; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("actor_id must not be NULL")));
		ids[i] = DatumGetTextPP(elems[i]);
		as_check_name("actor_id", ids[i]);
	}
	return ids;
}

Datum *
as_arg_values(FunctionCallInfo fcinfo, int n, int nids)
{
	bool	   *nulls;
	int			nvalues;
	Datum	   *values = arg_array(fcinfo, n, "new_values", JSONBOID, &nulls,
								   &nvalues);

	if (nvalues != nids)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("actor_ids and new_values must have the same length"),
				 errdetail("There are %d ids and %d values.", nids, nvalues)));
	for (int i = 0; i < nvalues; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("the value of an actor must not be NULL")));
		as_check_value_size(values[i]);
	}
	return values;
}

/* What stands in logs and names of connections. */
static void
check_short_name(const text *name, const char *what, const char *hint)
{
	const unsigned char *bytes = (const unsigned char *) VARDATA_ANY(name);
	int			len = VARSIZE_ANY_EXHDR(name);

	if (len == 0 || len >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must have 1 to %d bytes", what, NAMEDATALEN - 1),
				 hint == NULL ? 0 : errhint("%s", hint)));
	for (int i = 0; i < len; i++)
	{
		if (bytes[i] < ' ' || bytes[i] == 0x7f)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s must not contain control characters", what)));
	}
}

text *
as_arg_node_name(FunctionCallInfo fcinfo, int n)
{
	text	   *name;

	as_reject_null(fcinfo, n, "node_name");
	name = PG_GETARG_TEXT_PP(n);
	check_short_name(name, "node_name", NULL);
	return name;
}

text *
as_arg_label(FunctionCallInfo fcinfo, int n, const char *what)
{
	text	   *label;

	if (PG_ARGISNULL(n))
		return NULL;
	label = PG_GETARG_TEXT_PP(n);
	check_short_name(label, what, "NULL says that there is none.");
	return label;
}

void
as_only_superusers(const char *function)
{
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only superusers may call %s", function)));
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
}

void
as_begin_change(const char *function)
{
	as_only_superusers(function);
	PreventInTransactionBlock(true, function);
	if (as_global_is_used())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s cannot be part of a transaction that works on other nodes",
						function)));
}

/*-------------------------------------------------------------------------
 *
 * handler.c
 *	  For the benchmarks of queues: a handler in C, and marks of commits.
 *
 * bench_count(state, body) is a handler that counts messages in the state,
 * bench_nothing(state, body) one that does nothing.
 *
 * bench_mark(n) says when the transaction that calls it has committed: the
 * server's monotonic clock, right after others can see the commit.  All
 * sides call it, in the transactions of senders and of consumers, so none
 * pays for being watched more than another.  The marks stand in a file of
 * the data directory: bench_marks(n) returns the first n of them, in
 * microseconds, 0 where there is none, and bench_forget_marks() empties it.
 * bench_mark_at(n, us) writes down a time that somebody else has taken from
 * the same clock.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(bench_nothing);
PG_FUNCTION_INFO_V1(bench_count);
PG_FUNCTION_INFO_V1(bench_mark);
PG_FUNCTION_INFO_V1(bench_mark_at);
PG_FUNCTION_INFO_V1(bench_marks);
PG_FUNCTION_INFO_V1(bench_forget_marks);

#define MAX_PENDING 4096

static int64 pending[MAX_PENDING];
static int	npending = 0;
static int	marks = -1;

/* ---- The handlers ---- */

Datum
bench_nothing(PG_FUNCTION_ARGS)
{
	PG_RETURN_NULL();
}

Datum
bench_count(PG_FUNCTION_ARGS)
{
	int64		count = 0;
	JsonbParseState *state = NULL;
	JsonbValue	key = {.type = jbvString};
	JsonbValue	value = {.type = jbvNumeric};

	key.val.string.val = "count";
	key.val.string.len = strlen("count");
	if (!PG_ARGISNULL(0))
	{
		JsonbValue	found;

		if (getKeyJsonValueFromContainer(&PG_GETARG_JSONB_P(0)->root,
										 key.val.string.val,
										 key.val.string.len, &found) &&
			found.type == jbvNumeric)
			count = DatumGetInt64(DirectFunctionCall1(numeric_int8,
													  NumericGetDatum(found.val.numeric)));
	}
	value.val.numeric = int64_to_numeric(count + 1);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	(void) pushJsonbValue(&state, WJB_KEY, &key);
	(void) pushJsonbValue(&state, WJB_VALUE, &value);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/* ---- Marks ---- */

static void
at_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && npending > 0)
	{
		struct timespec now;
		int64		us;

		clock_gettime(CLOCK_MONOTONIC, &now);
		us = now.tv_sec * INT64CONST(1000000) + now.tv_nsec / 1000;
		for (int i = 0; i < npending; i++)
		{
			if (pwrite(marks, &us, sizeof(us), pending[i] * sizeof(us)) != sizeof(us))
				elog(WARNING, "could not write a mark: %m");
		}
	}
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		npending = 0;
}

static void
open_marks(void)
{
	if (marks >= 0)
		return;

	/* the server's processes have the data directory as their own */
	marks = open("bench_marks", O_RDWR | O_CREAT, 0600);
	if (marks < 0)
		elog(ERROR, "could not open bench_marks: %m");
	RegisterXactCallback(at_end, NULL);
}

Datum
bench_mark(PG_FUNCTION_ARGS)
{
	open_marks();
	if (npending == MAX_PENDING)
		elog(ERROR, "too many marks in a transaction");
	pending[npending++] = PG_GETARG_INT64(0);
	PG_RETURN_VOID();
}

Datum
bench_mark_at(PG_FUNCTION_ARGS)
{
	int64		us = PG_GETARG_INT64(1);

	open_marks();
	if (pwrite(marks, &us, sizeof(us), PG_GETARG_INT64(0) * sizeof(us)) != sizeof(us))
		elog(ERROR, "could not write a mark: %m");
	PG_RETURN_VOID();
}

Datum
bench_marks(PG_FUNCTION_ARGS)
{
	int			n = PG_GETARG_INT32(0);
	int64	   *us = palloc0(n * sizeof(int64));
	Datum	   *values = palloc(n * sizeof(Datum));

	open_marks();
	if (pread(marks, us, n * sizeof(int64), 0) < 0)
		elog(ERROR, "could not read bench_marks: %m");
	for (int i = 0; i < n; i++)
		values[i] = Int64GetDatum(us[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(values, n, INT8OID, sizeof(int64),
										  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

Datum
bench_forget_marks(PG_FUNCTION_ARGS)
{
	open_marks();
	if (ftruncate(marks, 0) != 0)
		elog(ERROR, "could not empty bench_marks: %m");
	PG_RETURN_VOID();
}

/*-------------------------------------------------------------------------
 *
 * type_options.c
 *	  The options of create_type() and alter_type().
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/type_ddl.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "state/catalog.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

const Oid	as_option_types[AS_NUM_OPTIONS] =
{TEXTOID, INT4OID, TEXTOID, INT4OID, INTERVALOID, INTERVALOID,
INTERVALOID, TEXTOID, FLOAT8OID, INT4OID, BOOLOID};

static void
check_word(const char *option, Datum value, const char *const *words)
{
	char	   *word = TextDatumGetCString(value);
	StringInfoData hint;

	initStringInfo(&hint);
	for (int i = 0; words[i] != NULL; i++)
	{
		if (strcmp(word, words[i]) == 0)
			return;
		appendStringInfo(&hint, "%s\"%s\"", i == 0 ? "" : ", ", words[i]);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for %s: \"%s\"", option, word),
			 errhint("Valid values are: %s.", hint.data)));
}

static void
check_positive_int(const char *option, Datum value)
{
	if (DatumGetInt32(value) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be at least 1", option)));
}

static void
check_positive_interval(const char *option, Datum value)
{
	Interval	zero = {0};

	if (!DatumGetBool(DirectFunctionCall2(interval_gt, value,
										  IntervalPGetDatum(&zero))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be greater than zero", option)));
}

/* 0 stands for no limit. */
static void
check_limits(AsTypeOptions *options)
{
	double		rate;

	if (!options->nulls[AS_OPT_RATE_LIMIT])
	{
		rate = DatumGetFloat8(options->values[AS_OPT_RATE_LIMIT]);
		if (isnan(rate) || isinf(rate) || rate < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("rate_limit must not be negative or infinite"),
					 errhint("To set no limit, use 0.")));
	}
	if (!options->nulls[AS_OPT_MAX_CONCURRENCY] &&
		DatumGetInt32(options->values[AS_OPT_MAX_CONCURRENCY]) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_concurrency must not be negative"),
				 errhint("To set no limit, use 0.")));
}

void
as_type_check_options(AsTypeOptions *options)
{
	static const char *const persistences[] = {"logged", "unlogged", NULL};
	static const char *const on_full[] = {"error", "wait", "drop", NULL};
	static const char *const on_exhausted[] =
	{"dead_letter", "restart", "pause", "stop", "escalate", NULL};

#define GIVEN(option) (!options->nulls[option])
#define VALUE(option) (options->values[option])
	if (GIVEN(AS_OPT_PERSISTENCE))
		check_word("persistence", VALUE(AS_OPT_PERSISTENCE), persistences);
	if (GIVEN(AS_OPT_MAILBOX_LIMIT))
		check_positive_int("mailbox_limit", VALUE(AS_OPT_MAILBOX_LIMIT));
	if (GIVEN(AS_OPT_ON_FULL))
		check_word("on_full", VALUE(AS_OPT_ON_FULL), on_full);
	if (GIVEN(AS_OPT_MAX_ATTEMPTS))
		check_positive_int("max_attempts", VALUE(AS_OPT_MAX_ATTEMPTS));
	if (GIVEN(AS_OPT_BACKOFF))
		check_positive_interval("backoff", VALUE(AS_OPT_BACKOFF));
	if (GIVEN(AS_OPT_BACKOFF_MAX))
		check_positive_interval("backoff_max", VALUE(AS_OPT_BACKOFF_MAX));
	if (GIVEN(AS_OPT_TURN_TIMEOUT))
		check_positive_interval("turn_timeout", VALUE(AS_OPT_TURN_TIMEOUT));
	if (GIVEN(AS_OPT_ON_EXHAUSTED))
		check_word("on_exhausted", VALUE(AS_OPT_ON_EXHAUSTED), on_exhausted);
	check_limits(options);
}

void
as_type_store_options(text *name, AsTypeOptions *options)
{
	Oid			types[1 + AS_NUM_OPTIONS] = {TEXTOID};
	Datum		values[1 + AS_NUM_OPTIONS];
	char		nulls[1 + AS_NUM_OPTIONS];

	values[0] = PointerGetDatum(name);
	nulls[0] = ' ';
	for (int i = 0; i < AS_NUM_OPTIONS; i++)
	{
		types[1 + i] = as_option_types[i];
		values[1 + i] = options->values[i];
		nulls[1 + i] = options->nulls[i] ? 'n' : ' ';
	}
	as_admin_execute("UPDATE actorstore.type SET"
					 " persistence = coalesce($2, persistence),"
					 " mailbox_limit = coalesce($3, mailbox_limit),"
					 " on_full = coalesce($4, on_full),"
					 " max_attempts = coalesce($5, max_attempts),"
					 " backoff = coalesce($6, backoff),"
					 " backoff_max = coalesce($7, backoff_max),"
					 " turn_timeout = coalesce($8, turn_timeout),"
					 " on_exhausted = coalesce($9, on_exhausted),"
					 " rate_limit = nullif(coalesce($10, rate_limit), 0),"
					 " max_concurrency = nullif(coalesce($11, max_concurrency), 0),"
					 " order_by_deadline = coalesce($12, order_by_deadline)"
					 " WHERE actor_type = $1",
					 SPI_OK_UPDATE, 1 + AS_NUM_OPTIONS, types, values, nulls);

	if (as_admin_execute("SELECT FROM actorstore.type"
						 " WHERE actor_type = $1 AND backoff > backoff_max",
						 SPI_OK_SELECT, 1, types, values, NULL) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("backoff must not be greater than backoff_max")));
}

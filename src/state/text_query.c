/*-------------------------------------------------------------------------
 *
 * text_query.c
 *	  See text_query.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/text_query.h"

#include "catalog/pg_type.h"
#include "state/catalog.h"
#include "state/own_transaction.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#define MAX_ARGS	12

static void
copy_rows(AsRows *rows, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	rows->nrows = (int) SPI_processed;
	rows->ncolumns = SPI_tuptable->tupdesc->natts;
	rows->cells = palloc(Max(rows->nrows * rows->ncolumns, 1) * sizeof(text *));
	for (int row = 0; row < rows->nrows; row++)
	{
		for (int column = 0; column < rows->ncolumns; column++)
		{
			bool		isnull;
			Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
											  SPI_tuptable->tupdesc,
											  column + 1, &isnull);

			rows->cells[row * rows->ncolumns + column] =
				isnull ? NULL : DatumGetTextPCopy(value);
		}
	}
	MemoryContextSwitchTo(old);
}

typedef struct Kept
{
	const char *sql;			/* hash key */
	SPIPlanPtr	plan;
} Kept;

/* Stays where it is until the process ends. */
static SPIPlanPtr *
kept_plan(const char *sql)
{
	static HTAB *plans = NULL;
	Kept	   *kept;
	bool		found;

	if (plans == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(const char *), .entrysize = sizeof(Kept)};

		plans = hash_create("actorstore plans", 64, &control, HASH_ELEM | HASH_BLOBS);
	}
	kept = hash_search(plans, &sql, HASH_ENTER, &found);
	if (!found)
		kept->plan = NULL;
	return &kept->plan;
}

static int
query(AsRows *rows, int expected, const char *sql, bool keep, int nargs, text **args)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			types[MAX_ARGS];
	Datum		values[MAX_ARGS];
	char		nulls[MAX_ARGS];
	AsAdmin		admin;
	int			n;

	Assert(nargs <= MAX_ARGS);
	for (int i = 0; i < nargs; i++)
	{
		types[i] = TEXTOID;
		values[i] = PointerGetDatum(args[i]);
		nulls[i] = args[i] == NULL ? 'n' : ' ';
	}
	as_admin_begin(&admin);
	n = (int) (keep ? as_admin_execute_kept(kept_plan(sql), sql, expected, nargs, types, values, nulls) :
			   as_admin_execute(sql, expected, nargs, types, values, nulls));
	if (rows != NULL)
		copy_rows(rows, context);
	as_admin_leave(&admin);
	return n;
}

int
as_text_query(AsRows *rows, int expected, const char *sql, int nargs, text **args)
{
	return query(rows, expected, sql, false, nargs, args);
}

int
as_text_query_kept(AsRows *rows, int expected, const char *sql, int nargs, text **args)
{
	return query(rows, expected, sql, true, nargs, args);
}

int
as_text_query_alone(AsRows *rows, int expected, const char *sql, int nargs,
					text **args)
{
	int			n;

	as_own_transaction_begin();
	n = as_text_query(rows, expected, sql, nargs, args);
	as_own_transaction_end();
	return n;
}

int64
as_cell_int(const AsRows *rows, int row, int column)
{
	text	   *cell = as_cell(rows, row, column);

	return cell == NULL ? 0 :
		DatumGetInt64(DirectFunctionCall1(int8in,
										  CStringGetDatum(text_to_cstring(cell))));
}

bool
as_cell_bool(const AsRows *rows, int row, int column)
{
	text	   *cell = as_cell(rows, row, column);

	return cell != NULL && VARDATA_ANY(cell)[0] == 't';
}

text *
as_int_text(int64 value)
{
	return cstring_to_text(psprintf(INT64_FORMAT, value));
}

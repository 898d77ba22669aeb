/*-------------------------------------------------------------------------
 *
 * text_query.h
 *	  SQL on the extension's tables where ease counts for more than speed.
 *
 * All parameters and all columns are text; the SQL says what they are cast
 * to.  It runs as the owner of the tables (catalog.h).
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_TEXT_QUERY_H
#define AS_TEXT_QUERY_H

#include "actorstore.h"

typedef struct AsRows
{
	int			nrows;
	int			ncolumns;
	text	  **cells;			/* row by row; NULL for NULL */
} AsRows;

/*
 * Run one statement of the kind given (SPI_OK_...); what it returns, if it
 * returns rows, goes into *rows (if that is not NULL), in the current memory
 * context.  Returns the number of rows.  A column that is cast to text keeps
 * its name, and ORDER BY of the bare name sorts that text (10 before 2): say
 * ORDER BY t.column.
 */
extern int	as_text_query(AsRows *rows, int expected, const char *sql,
						  int nargs, text **args);

/*
 * The same, and its plan is kept (catalog.h): for what is looked up by a key, again
 * and again.  The SQL is a literal; its address is what the plan is found by.
 */
extern int	as_text_query_kept(AsRows *rows, int expected, const char *sql,
							   int nargs, text **args);

/* as_text_query() as a transaction of its own, in a process that has none. */
extern int	as_text_query_alone(AsRows *rows, int expected, const char *sql,
								int nargs, text **args);

static inline text *
as_cell(const AsRows *rows, int row, int column)
{
	return rows->cells[row * rows->ncolumns + column];
}

/* A column that is a number or a boolean. */
extern int64 as_cell_int(const AsRows *rows, int row, int column);
extern bool as_cell_bool(const AsRows *rows, int row, int column);

/* A number as a parameter. */
extern text *as_int_text(int64 value);

#endif							/* AS_TEXT_QUERY_H */

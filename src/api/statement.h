/*-------------------------------------------------------------------------
 *
 * statement.h
 *	  The statements of execute_on_nodes: what they may be, and how they are
 *	  executed here.
 *
 * Parameters are text and take the types that the statement gives them; one
 * that it gives none is text.  Plain statements (SELECT, INSERT, UPDATE,
 * DELETE, MERGE) are kept with their plans, as PREPARE would keep them: the
 * same text usually comes again.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_STATEMENT_H
#define AS_STATEMENT_H

#include "actorstore.h"

typedef struct AsStatement AsStatement;

/*
 * The statement of that text; 42601 if it is not exactly one, 0A000 if it
 * cannot be executed.  Good till the next call.
 */
extern AsStatement *as_statement_get(const char *sql);

/* Is it SELECT, INSERT, UPDATE, DELETE or MERGE?  Is it SELECT? */
extern bool as_statement_is_plain(const AsStatement *statement);
extern bool as_statement_is_select(const AsStatement *statement);

/*
 * Does it, executed here, certainly change rows of one table and do nothing
 * else, now or at the end of the transaction: nothing of a user's is called
 * that could write, or read on another node?  False also where that is not
 * known yet, as before the first execution.  (Whatever claims to be IMMUTABLE
 * and is not gets 55000 when it comes to another node.)
 */
extern bool as_statement_is_closed(const AsStatement *statement);

/*
 * Execute it here, as the caller; params may hold NULL for NULL.  Returns how
 * many rows it has read or changed.
 */
extern int64 as_statement_execute(AsStatement *statement, int nparams,
								  char *const *params);

#endif							/* AS_STATEMENT_H */

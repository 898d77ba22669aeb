/*-------------------------------------------------------------------------
 *
 * table_name.h
 *	  The name of the table that holds a type's actors.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_TABLE_NAME_H
#define AS_TABLE_NAME_H

#include "actorstore.h"

/*
 * Write a table name for the actor type into name, a buffer of NAMEDATALEN.
 *
 * attempt 0 gives actor_<type>, and true, where the type is an ordinary
 * lower-case identifier that fits; false means that there is no such name.
 * Higher attempts always give a name made of the type's letters and digits
 * and a hash that depends on the attempt: the caller tries on until one is
 * free.
 */
extern bool as_table_name(const char *type, uint32 type_len, uint32 attempt,
						  char *name);

#endif							/* AS_TABLE_NAME_H */

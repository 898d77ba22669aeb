/*-------------------------------------------------------------------------
 *
 * json_text.h
 *	  jsonb as text, appended fast.
 *
 * The text is that of jsonb's output function.  Writing it is most of what
 * an event costs, and core writes strings character by character.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_JSON_TEXT_H
#define AS_JSON_TEXT_H

#include "actorstore.h"

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

/* Append the text of a jsonb value of about estimated_len bytes. */
extern void as_json_append(StringInfo out, JsonbContainer *value,
						   Size estimated_len);

/* Append a string as JSON, in quotes. */
extern void as_json_append_string(StringInfo out, const char *string,
								  Size len);

#endif							/* AS_JSON_TEXT_H */

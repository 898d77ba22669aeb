/*-------------------------------------------------------------------------
 *
 * json_object.h
 *	  Small JSON objects as values of jsonb: put together, and looked into.
 *
 *		AsJson		json;
 *
 *		as_json_begin(&json);
 *		as_json_text(&json, "reason", reason);
 *		body = as_json_end(&json);
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_JSON_OBJECT_H
#define AS_JSON_OBJECT_H

#include "postgres.h"

#include "utils/jsonb.h"

typedef struct AsJson
{
	JsonbParseState *state;
} AsJson;

/* Begin an object; keys are strings that live until its end. */
extern void as_json_begin(AsJson *json);

/* A string, or null for NULL */
extern void as_json_text(AsJson *json, const char *key, const text *value);
extern void as_json_string(AsJson *json, const char *key, const char *value);
extern void as_json_int(AsJson *json, const char *key, int64 value);
extern void as_json_bool(AsJson *json, const char *key, bool value);

/* Any jsonb, or null for 0 */
extern void as_json_value(AsJson *json, const char *key, Datum value);

/* The object, in the current memory context. */
extern Datum as_json_end(AsJson *json);

/*
 * What stands in an object under a key: NULL, 0 or false if it is no object,
 * or has no string, integer or true there.
 */
extern text *as_json_get_text(Datum object, const char *key);
extern int64 as_json_get_int(Datum object, const char *key);
extern bool as_json_get_bool(Datum object, const char *key);

#endif							/* AS_JSON_OBJECT_H */

/*-------------------------------------------------------------------------
 *
 * json_object.c
 *	  See json_object.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/json_object.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

void
as_json_begin(AsJson *json)
{
	json->state = NULL;
	(void) pushJsonbValue(&json->state, WJB_BEGIN_OBJECT, NULL);
}

static void
push(AsJson *json, const char *key, JsonbValue *value)
{
	JsonbValue	name;

	name.type = jbvString;
	name.val.string.val = unconstify(char *, key);
	name.val.string.len = strlen(key);
	(void) pushJsonbValue(&json->state, WJB_KEY, &name);
	(void) pushJsonbValue(&json->state, WJB_VALUE, value);
}

static void
push_bytes(AsJson *json, const char *key, const char *bytes, int len)
{
	JsonbValue	value = {.type = jbvNull};

	if (bytes != NULL)
	{
		value.type = jbvString;
		value.val.string.val = unconstify(char *, bytes);
		value.val.string.len = len;
	}
	push(json, key, &value);
}

void
as_json_text(AsJson *json, const char *key, const text *value)
{
	if (value == NULL)
		push_bytes(json, key, NULL, 0);
	else
		push_bytes(json, key, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

void
as_json_string(AsJson *json, const char *key, const char *value)
{
	push_bytes(json, key, value, value == NULL ? 0 : strlen(value));
}

void
as_json_int(AsJson *json, const char *key, int64 value)
{
	JsonbValue	number;

	number.type = jbvNumeric;
	number.val.numeric = int64_to_numeric(value);
	push(json, key, &number);
}

void
as_json_bool(AsJson *json, const char *key, bool value)
{
	JsonbValue	boolean;

	boolean.type = jbvBool;
	boolean.val.boolean = value;
	push(json, key, &boolean);
}

void
as_json_value(AsJson *json, const char *key, Datum value)
{
	JsonbValue	any = {.type = jbvNull};

	if (value != (Datum) 0)
		JsonbToJsonbValue(DatumGetJsonbP(value), &any);

	/* a scalar stands in an array of its own */
	if (value != (Datum) 0 && JB_ROOT_IS_SCALAR(DatumGetJsonbP(value)))
		(void) JsonbExtractScalar(&DatumGetJsonbP(value)->root, &any);
	push(json, key, &any);
}

Datum
as_json_end(AsJson *json)
{
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&json->state,
														   WJB_END_OBJECT,
														   NULL)));
}

static JsonbValue *
find(Datum object, const char *key, JsonbValue *space)
{
	Jsonb	   *jsonb;

	if (object == (Datum) 0)
		return NULL;
	jsonb = DatumGetJsonbP(object);
	if (!JB_ROOT_IS_OBJECT(jsonb))
		return NULL;
	return getKeyJsonValueFromContainer(&jsonb->root, key, strlen(key), space);
}

text *
as_json_get_text(Datum object, const char *key)
{
	JsonbValue	space;
	JsonbValue *value = find(object, key, &space);

	if (value == NULL || value->type != jbvString)
		return NULL;
	return cstring_to_text_with_len(value->val.string.val,
									value->val.string.len);
}

int64
as_json_get_int(Datum object, const char *key)
{
	JsonbValue	space;
	JsonbValue *value = find(object, key, &space);

	if (value == NULL || value->type != jbvNumeric)
		return 0;
	return DatumGetInt64(DirectFunctionCall1(numeric_int8,
											 NumericGetDatum(value->val.numeric)));
}

bool
as_json_get_bool(Datum object, const char *key)
{
	JsonbValue	space;
	JsonbValue *value = find(object, key, &space);

	return value != NULL && value->type == jbvBool && value->val.boolean;
}

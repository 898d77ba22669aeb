/*-------------------------------------------------------------------------
 *
 * json_text.c
 *	  See json_text.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cdc/json_text.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

static void
append_escaped(StringInfo out, char c)
{
	switch (c)
	{
		case '\b':
			appendBinaryStringInfo(out, "\\b", 2);
			break;
		case '\f':
			appendBinaryStringInfo(out, "\\f", 2);
			break;
		case '\n':
			appendBinaryStringInfo(out, "\\n", 2);
			break;
		case '\r':
			appendBinaryStringInfo(out, "\\r", 2);
			break;
		case '\t':
			appendBinaryStringInfo(out, "\\t", 2);
			break;
		case '"':
			appendBinaryStringInfo(out, "\\\"", 2);
			break;
		case '\\':
			appendBinaryStringInfo(out, "\\\\", 2);
			break;
		default:
			appendStringInfo(out, "\\u%04x", (unsigned char) c);
	}
}

static inline bool
needs_escape(char c)
{
	return (unsigned char) c < ' ' || c == '"' || c == '\\';
}

void
as_json_append_string(StringInfo out, const char *string, Size len)
{
	const char *end = string + len;

	/* room for a string without anything to escape, and both quotes */
	enlargeStringInfo(out, len + 2);
	out->data[out->len++] = '"';
	while (string < end)
	{
		const char *run = string;

		while (string < end && !needs_escape(*string))
			string++;
		appendBinaryStringInfo(out, run, string - run);
		if (string < end)
			append_escaped(out, *string++);
	}
	appendStringInfoCharMacro(out, '"');
}

static void
append_scalar(StringInfo out, JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			appendBinaryStringInfo(out, "null", 4);
			break;
		case jbvString:
			as_json_append_string(out, value->val.string.val,
								  value->val.string.len);
			break;
		case jbvNumeric:
			{
				char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out,
																	   NumericGetDatum(value->val.numeric)));

				appendStringInfoString(out, text);
				pfree(text);
				break;
			}
		case jbvBool:
			if (value->val.boolean)
				appendBinaryStringInfo(out, "true", 4);
			else
				appendBinaryStringInfo(out, "false", 5);
			break;
		default:
			elog(ERROR, "unknown jsonb scalar type");
	}
}

void
as_json_append(StringInfo out, JsonbContainer *value, Size estimated_len)
{
	JsonbIterator *it = JsonbIteratorInit(value);
	JsonbIteratorToken token;
	JsonbValue	v;
	bool		first = true;	/* of an array or object */
	bool		raw_scalar = false;

	enlargeStringInfo(out, estimated_len);
	while ((token = JsonbIteratorNext(&it, &v, false)) != WJB_DONE)
	{
		switch (token)
		{
			case WJB_BEGIN_ARRAY:
				if (!first)
					appendBinaryStringInfo(out, ", ", 2);
				raw_scalar = v.val.array.rawScalar;
				if (!raw_scalar)
					appendStringInfoCharMacro(out, '[');
				first = true;
				break;
			case WJB_BEGIN_OBJECT:
				if (!first)
					appendBinaryStringInfo(out, ", ", 2);
				appendStringInfoCharMacro(out, '{');
				first = true;
				break;
			case WJB_KEY:
				if (!first)
					appendBinaryStringInfo(out, ", ", 2);
				as_json_append_string(out, v.val.string.val,
									  v.val.string.len);
				appendBinaryStringInfo(out, ": ", 2);

				/* its value follows without a comma */
				first = true;
				break;
			case WJB_VALUE:
				append_scalar(out, &v);
				first = false;
				break;
			case WJB_ELEM:
				if (!first)
					appendBinaryStringInfo(out, ", ", 2);
				append_scalar(out, &v);
				first = false;
				break;
			case WJB_END_ARRAY:
				if (!raw_scalar)
					appendStringInfoCharMacro(out, ']');
				raw_scalar = false;
				first = false;
				break;
			case WJB_END_OBJECT:
				appendStringInfoCharMacro(out, '}');
				first = false;
				break;
			default:
				elog(ERROR, "unknown jsonb iterator token");
		}
	}
}

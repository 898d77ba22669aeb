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
#include "utils/memutils.h"
#include "utils/numeric.h"

/* The same byte in all eight places of a word */
#define BYTES(b)	(UINT64CONST(0x0101010101010101) * (b))

/* Room for n more bytes, and where they go. */
static inline char *
reserve(StringInfo out, Size n)
{
	if (unlikely((Size) (out->maxlen - out->len) <= n))
		enlargeStringInfo(out, (int) Min(n, MaxAllocSize));
	return out->data + out->len;
}

static inline void
wrote_to(StringInfo out, char *end)
{
	out->len = (int) (end - out->data);
}

static inline void
append_bytes(StringInfo out, const char *bytes, Size n)
{
	char	   *to = reserve(out, n);

	memcpy(to, bytes, n);
	wrote_to(out, to + n);
}

/* ---- Strings ---- */

static void
append_escaped(StringInfo out, char c)
{
	switch (c)
	{
		case '\b':
			append_bytes(out, "\\b", 2);
			break;
		case '\f':
			append_bytes(out, "\\f", 2);
			break;
		case '\n':
			append_bytes(out, "\\n", 2);
			break;
		case '\r':
			append_bytes(out, "\\r", 2);
			break;
		case '\t':
			append_bytes(out, "\\t", 2);
			break;
		case '"':
			append_bytes(out, "\\\"", 2);
			break;
		case '\\':
			append_bytes(out, "\\\\", 2);
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

/* Is any of the eight bytes zero? */
static inline bool
has_zero(uint64 word)
{
	return ((word - BYTES(1)) & ~word & BYTES(0x80)) != 0;
}

/* Does any of the eight bytes need to be escaped? */
static inline bool
word_needs_escape(uint64 word)
{
	return ((word - BYTES(0x20)) & ~word & BYTES(0x80)) != 0 ||
		has_zero(word ^ BYTES('"')) || has_zero(word ^ BYTES('\\'));
}

void
as_json_append_string(StringInfo out, const char *string, Size len)
{
	const char *end = string + len;
	char	   *to = reserve(out, len + 2);

	*to++ = '"';
	for (;;)
	{
		uint64		word;

		while (end - string >= (ptrdiff_t) sizeof(word))
		{
			memcpy(&word, string, sizeof(word));
			if (word_needs_escape(word))
				break;
			memcpy(to, &word, sizeof(word));
			string += sizeof(word);
			to += sizeof(word);
		}
		while (string < end && !needs_escape(*string))
			*to++ = *string++;
		if (string == end)
			break;
		wrote_to(out, to);
		append_escaped(out, *string++);
		to = reserve(out, (end - string) + 1);
	}
	*to++ = '"';
	wrote_to(out, to);
}

/* ---- Numbers ---- */

/*
 * How a number of not too many digits is stored: a word of sign, scale and
 * weight, then digits to the base of 10,000.  numeric_out() takes as long as
 * all the rest of a value of ordinary size.
 */
#define SHORT_MASK			0xC000
#define SHORT_MARK			0x8000
#define SHORT_NEGATIVE		0x2000
#define SHORT_SCALE(word)	(((word) >> 7) & 0x3F)
#define SHORT_WEIGHT(word)	(((word) & 0x40 ? ~0x3F : 0) | ((word) & 0x3F))
#define DIGIT_WIDTH			4

static inline char *
put_digit(char *to, int digit)
{
	to[0] = '0' + digit / 1000;
	to[1] = '0' + digit / 100 % 10;
	to[2] = '0' + digit / 10 % 10;
	to[3] = '0' + digit % 10;
	return to + DIGIT_WIDTH;
}

/* The first digit: without zeros in front. */
static inline char *
put_first_digit(char *to, int digit)
{
	char		four[DIGIT_WIDTH];
	int			skip = digit < 10 ? 3 : digit < 100 ? 2 : digit < 1000 ? 1 : 0;

	put_digit(four, digit);
	memcpy(to, four + skip, DIGIT_WIDTH - skip);
	return to + DIGIT_WIDTH - skip;
}

static void
append_short_number(StringInfo out, Numeric number, uint16 word)
{
	const int16 *digits = (const int16 *) (VARDATA(number) + sizeof(word));
	int			ndigits = (int) ((VARSIZE(number) - VARHDRSZ - sizeof(word)) / sizeof(int16));
	int			weight = SHORT_WEIGHT(word);
	int			scale = SHORT_SCALE(word);
	char	   *to = reserve(out, (Max(weight, 0) + 1) * DIGIT_WIDTH + scale +
							 DIGIT_WIDTH + 2);

#define DIGIT(d) ((d) >= 0 && (d) < ndigits ? digits[d] : 0)
	if (word & SHORT_NEGATIVE)
		*to++ = '-';
	if (weight < 0)
		*to++ = '0';
	for (int d = 0; d <= weight; d++)
		to = d == 0 ? put_first_digit(to, DIGIT(d)) : put_digit(to, DIGIT(d));
	if (scale > 0)
	{
		char	   *fraction = ++to;

		to[-1] = '.';
		for (int d = weight + 1; to < fraction + scale; d++)
			to = put_digit(to, DIGIT(d));
		to = fraction + scale;
	}
#undef DIGIT
	wrote_to(out, to);
}

static void
append_number(StringInfo out, Numeric number)
{
	uint16		word;
	char	   *text;

	memcpy(&word, VARDATA(number), sizeof(word));
	if ((word & SHORT_MASK) == SHORT_MARK)
	{
		append_short_number(out, number, word);
		return;
	}
	text = DatumGetCString(DirectFunctionCall1(numeric_out,
											   NumericGetDatum(number)));
	append_bytes(out, text, strlen(text));
	pfree(text);
}

/* ---- Containers ---- */

static void append_container(StringInfo out, const JsonbContainer *container);

/* The entry of a container whose data are at base + offset. */
static inline void
append_entry(StringInfo out, JEntry entry, const char *base, uint32 offset,
			 uint32 len)
{
	if (JBE_ISSTRING(entry))
		as_json_append_string(out, base + offset, len);
	else if (JBE_ISNUMERIC(entry))
		append_number(out, (Numeric) (base + INTALIGN(offset)));
	else if (JBE_ISNULL(entry))
		append_bytes(out, "null", 4);
	else if (JBE_ISBOOL_TRUE(entry))
		append_bytes(out, "true", 4);
	else if (JBE_ISBOOL_FALSE(entry))
		append_bytes(out, "false", 5);
	else
		append_container(out,
						 (const JsonbContainer *) (base + INTALIGN(offset)));
}

static inline uint32
entry_len(JEntry entry, uint32 offset)
{
	return JBE_HAS_OFF(entry) ? JBE_OFFLENFLD(entry) - offset :
		JBE_OFFLENFLD(entry);
}

static void
append_array(StringInfo out, const JsonbContainer *array)
{
	uint32		n = array->header & JB_CMASK;
	bool		scalar = (array->header & JB_FSCALAR) != 0;
	const char *base = (const char *) &array->children[n];
	uint32		offset = 0;

	if (!scalar)
		append_bytes(out, "[", 1);
	for (uint32 i = 0; i < n; i++)
	{
		JEntry		entry = array->children[i];
		uint32		len = entry_len(entry, offset);

		if (i > 0)
			append_bytes(out, ", ", 2);
		append_entry(out, entry, base, offset, len);
		offset += len;
	}
	if (!scalar)
		append_bytes(out, "]", 1);
}

/* The keys stand first, all of them, and then the values. */
static void
append_object(StringInfo out, const JsonbContainer *object)
{
	uint32		n = object->header & JB_CMASK;
	const char *base = (const char *) &object->children[2 * n];
	uint32		key_offset = 0;
	uint32		offset = n > 0 ? getJsonbOffset(object, n) : 0;

	append_bytes(out, "{", 1);
	for (uint32 i = 0; i < n; i++)
	{
		JEntry		entry = object->children[n + i];
		uint32		key_len = entry_len(object->children[i], key_offset);
		uint32		len = entry_len(entry, offset);

		if (i > 0)
			append_bytes(out, ", ", 2);
		as_json_append_string(out, base + key_offset, key_len);
		append_bytes(out, ": ", 2);
		append_entry(out, entry, base, offset, len);
		key_offset += key_len;
		offset += len;
	}
	append_bytes(out, "}", 1);
}

static void
append_container(StringInfo out, const JsonbContainer *container)
{
	check_stack_depth();
	if (container->header & JB_FOBJECT)
		append_object(out, container);
	else
		append_array(out, container);
}

void
as_json_append(StringInfo out, JsonbContainer *value, Size estimated_len)
{
	reserve(out, estimated_len);
	append_container(out, value);
	out->data[out->len] = '\0';
}

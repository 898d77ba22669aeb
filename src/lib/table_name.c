/*-------------------------------------------------------------------------
 *
 * table_name.c
 *	  See table_name.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/table_name.h"

#include "lib/key_hash.h"

#define PREFIX		"actor_"
#define PREFIX_LEN	(sizeof(PREFIX) - 1)
#define HASH_DIGITS 16

static bool
is_lower_letter(char c)
{
	return (c >= 'a' && c <= 'z') || c == '_';
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_plain_identifier(const char *type, uint32 len)
{
	if (len == 0 || len > NAMEDATALEN - 1 - PREFIX_LEN)
		return false;
	for (uint32 i = 0; i < len; i++)
	{
		if (!is_lower_letter(type[i]) && !is_digit(type[i]))
			return false;
	}
	return true;
}

bool
as_table_name(const char *type, uint32 type_len, uint32 attempt, char *name)
{
	char	   *to = name;
	char	   *limit = name + NAMEDATALEN - 1 - 1 - HASH_DIGITS;
	char		attempt_text[16];
	int			attempt_len;

	memcpy(to, PREFIX, PREFIX_LEN);
	to += PREFIX_LEN;

	if (attempt == 0)
	{
		if (!is_plain_identifier(type, type_len))
			return false;
		memcpy(to, type, type_len);
		to[type_len] = '\0';
		return true;
	}

	for (uint32 i = 0; i < type_len && to < limit; i++)
	{
		char		c = type[i];

		if (c >= 'A' && c <= 'Z')
			c += 'a' - 'A';
		if (is_lower_letter(c) || is_digit(c))
			*to++ = c;
	}
	attempt_len = snprintf(attempt_text, sizeof(attempt_text), "%u", attempt);
	snprintf(to, HASH_DIGITS + 2, "_%016llx",
			 (unsigned long long) as_key_hash(type, type_len,
											  attempt_text, attempt_len));
	return true;
}

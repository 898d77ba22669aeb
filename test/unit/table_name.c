/*-------------------------------------------------------------------------
 *
 * table_name.c
 *	  Unit test of src/lib/table_name: safe, unique names for tables.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/table_name.h"

#include "tap.h"

/* The name, or NULL if there is none at this attempt; checks its form. */
static int	malformed = 0;

static const char *
name_of(const char *type, size_t len, uint32 attempt)
{
	static char buffers[4][NAMEDATALEN + 16];
	static int	next = 0;
	char	   *buffer = buffers[next++ % 4];
	size_t		length;

	memset(buffer, '#', NAMEDATALEN + 16);
	if (!as_table_name(type, (uint32) len, attempt, buffer))
		return NULL;

	for (int i = NAMEDATALEN; i < NAMEDATALEN + 16; i++)
		malformed += buffer[i] != '#';
	if (memchr(buffer, '\0', NAMEDATALEN) == NULL)
	{
		malformed++;
		return "";
	}
	length = strlen(buffer);
	malformed += strncmp(buffer, "actor_", 6) != 0 || length < 7;
	malformed += strspn(buffer, "abcdefghijklmnopqrstuvwxyz0123456789_") != length;
	return buffer;
}

static bool
plain(const char *type, const char *wanted)
{
	const char *name = name_of(type, strlen(type), 0);

	return name != NULL && strcmp(name, wanted) == 0;
}

static bool
not_plain(const char *type)
{
	return name_of(type, strlen(type), 0) == NULL;
}

static bool
different(const char *type, uint32 attempt, const char *other, uint32 other_attempt)
{
	const char *one = name_of(type, strlen(type), attempt);
	const char *two = name_of(other, strlen(other), other_attempt);

	return one != NULL && two != NULL && strcmp(one, two) != 0;
}

static int
compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

int
main(void)
{
	char		long_type[AS_MAX_NAME_BYTES];

	/* ordinary identifiers */
	ok(plain("cart", "actor_cart"), "cart");
	ok(plain("with_underscore", "actor_with_underscore"), "an underscore");
	ok(plain("x1", "actor_x1"), "a digit");
	ok(plain("1", "actor_1"), "a digit at the start: behind the prefix it is one in the middle");
	ok(plain("_", "actor__"), "nothing else");
	ok(plain("select", "actor_select"), "a key word");
	memset(long_type, 'x', sizeof(long_type));
	ok(name_of(long_type, NAMEDATALEN - 1 - 6, 0) != NULL, "the longest that fits");
	ok(name_of(long_type, NAMEDATALEN - 6, 0) == NULL, "one more does not");
	ok(name_of(long_type, sizeof(long_type), 0) == NULL, "nor does the longest type");

	/* the rest */
	ok(not_plain("Cart"), "upper case");
	ok(not_plain("with space"), "a space");
	ok(not_plain(" "), "nothing but a space");
	ok(not_plain("ä"), "another alphabet");
	ok(not_plain("a-b"), "a hyphen");
	ok(not_plain("a\"b"), "a double quote");
	ok(not_plain("a'b"), "a quote");
	ok(not_plain("a.b"), "a dot");
	ok(not_plain("a\nb"), "a line break");
	ok(not_plain("a$b"), "a dollar");
	ok(not_plain("a\\b"), "a backslash");
	ok(not_plain(""), "nothing");
	ok(name_of("a\0b", 3, 0) == NULL, "a zero byte");

	/* higher attempts */
	ok(different("cart", 1, "cart", 2) && different("cart", 2, "cart", 3), "each attempt is another");
	ok(different("cart", 0, "cart", 1), "and not the plain name");
	ok(different("cart", 1, "Cart", 1), "case counts");
	ok(different("a b", 1, "ab", 1) && different("a b", 1, "a-b", 1), "what is left out counts");
	ok(different("", 1, " ", 1) && different(" ", 1, "  ", 1), "also where nothing is left");
	ok(strcmp(name_of("a b", 3, 1), name_of("a b", 3, 1)) == 0, "the same is the same");
	ok(strncmp(name_of("Orders 2026", 11, 1), "actor_orders2026_", 17) == 0, "the letters and digits may be recognised");

	/* many, of all lengths and bytes, and such as differ in their end only */
	{
		enum
		{
			TYPES = 100000
		};
		char		(*names)[NAMEDATALEN] = malloc(TYPES * NAMEDATALEN);
		char		type[AS_MAX_NAME_BYTES];
		int			missing = 0;
		int			twice = 0;

		for (int i = 0; i < TYPES; i++)
		{
			int			len = 12 + (int) (tap_random() % (AS_MAX_NAME_BYTES - 11));
			const char *name;

			for (int j = 0; j < len; j++)
				type[j] = i % 3 == 0 ? (char) tap_random() : i % 3 == 1 ? 'x' : ' ';
			snprintf(type + len - 9, 10, "%09d", i);
			name = name_of(type, len, 1 + i % 7);
			missing += name == NULL;
			strcpy(names[i], name == NULL ? "" : name);
		}
		qsort(names, TYPES, NAMEDATALEN, compare);
		for (int i = 1; i < TYPES; i++)
			twice += strcmp(names[i], names[i - 1]) == 0;
		ok(missing == 0, "there is always a name");
		ok(twice == 0, "no two of %d types share one", TYPES);
		free(names);
	}
	for (uint32 attempt = 1; attempt < 1000; attempt++)
		(void) name_of(long_type, sizeof(long_type), attempt);
	(void) name_of("x", 1, PG_UINT32_MAX);
	ok(malformed == 0, "each is a lower-case identifier that fits its buffer");
	return done();
}

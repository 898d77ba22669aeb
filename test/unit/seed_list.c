/*-------------------------------------------------------------------------
 *
 * seed_list.c
 *	  Unit test of src/lib/seed_list: what is a list of seeds, and what is none.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/seed_list.h"

#include "tap.h"

/* The list as it is understood, with the kind of each entry in front; or what is wrong. */
static const char *
read_list(const char *list)
{
	static char out[4096];
	const char *at = list;
	const char *problem;
	AsSeed		seed;
	int			n = as_seed_count(list, &problem);
	int			length = 0;

	if (n < 0)
		return problem;
	out[0] = '\0';
	for (int i = 0; i < n; i++)
	{
		if (!as_seed_next(&at, &seed, &problem))
			return "less than was counted";
		length += snprintf(out + length, sizeof(out) - length, "%s%c", i == 0 ? "" : " ", "hsr"[seed.kind]);
		length += as_seed_print(&seed, out + length, sizeof(out) - length);
	}
	return out;
}

static const struct
{
	const char *list;
	const char *expected;
}			cases[] =
{
	{"", ""},
	{" \t\n", ""},
	{"db1", "hdb1"},
	{"db1:5433", "hdb1:5433"},
	{" db1 , db2:1 ,db3.example.org:65535", "hdb1 hdb2:1 hdb3.example.org:65535"},
	{"10.0.0.1:5432,10.0.0.1:5432", "h10.0.0.1:5432 h10.0.0.1:5432"},
	{"[::1]", "h[::1]"},
	{"[fe80::1%eth0]:5432", "h[fe80::1%eth0]:5432"},
	{"/run/postgresql,/tmp:5433", "s/run/postgresql s/tmp:5433"},
	{"srv:_actorstore._tcp.example.org", "rsrv:_actorstore._tcp.example.org"},
	{",", "An entry is empty."},
	{"db1,", "An entry is empty."},
	{"db1, ", "An entry is empty."},
	{",db1", "An entry is empty."},
	{"db1,,db2", "An entry is empty."},
	{"db1:", "A port is missing behind a colon."},
	{":5432", "A host is missing."},
	{"srv:5432", "hsrv:5432"},
	{"srv:", "A port is missing behind a colon."},
	{"srv:actorstore", "A port is a number."},
	{"[]:5432", "In brackets stands an IPv6 address."},
	{"[db1]:5432", "In brackets stands an IPv6 address."},
	{"db1:0", "A port is between 1 and 65535."},
	{"db1:65536", "A port is between 1 and 65535."},
	{"db1:99999999999999999999", "A port is between 1 and 65535."},
	{"db1:-1", "A port is a number."},
	{"db1:54x", "A port is a number."},
	{"db1: 5432", "A port is a number."},
	{"::1", "An IPv6 address stands in brackets."},
	{"db1:5432:5433", "An IPv6 address stands in brackets."},
	{"[::1", "A bracket is not closed."},
	{"[::1]5432", "Behind a bracket there can be a colon and a port."},
	{"[::1]:", "A port is missing behind a colon."},
	{"db1 db2", "A host has a character in it that none has."},
	{"db1;db2", "A host has a character in it that none has."},
	{"host=db1", "A host has a character in it that none has."},
	{"db1' password='x", "A host has a character in it that none has."},
	{"postgresql://db1/d", "A port is a number."},
	{"d\xc3\xbc", "A host has a character in it that none has."},
	{"srv:_a:5432", "A host has a character in it that none has."},
	{"/a b", "A host has a character in it that none has."},
};

static void
test_limits(void)
{
	static char list[8192];
	const char *problem;

	memset(list, 'a', AS_SEED_HOST_SIZE - 1);
	ok(as_seed_count(list, &problem) == 1, "a name of 255 bytes");
	list[AS_SEED_HOST_SIZE - 1] = 'a';
	ok(as_seed_count(list, &problem) == -1, "and one that is longer: %s", problem);
	list[0] = '\0';
	for (int i = 0; i < AS_MAX_SEEDS; i++)
		strcat(list, i == 0 ? "a" : ",a");
	ok(as_seed_count(list, &problem) == AS_MAX_SEEDS, "as many as there may be");
	strcat(list, ",a");
	ok(as_seed_count(list, &problem) == -1, "and one more: %s", problem);
}

/* Whatever stands there, each entry is read once, and nothing behind the end. */
static void
test_garbage(void)
{
	static const char pieces[] = "a1:,[]/%. \t=-_srv:\x7f\xff'";
	uint64		times = tap_times(300000);
	uint64		wrong = 0;

	for (uint64 i = 0; i < times; i++)
	{
		int			length = (int) (tap_random() % 24);
		char	   *list = malloc(length + 1);
		const char *at = list;
		const char *problem;
		AsSeed		seed;
		int			n = 0;

		for (int j = 0; j < length; j++)
			list[j] = pieces[tap_random() % (sizeof(pieces) - 1)];
		list[length] = '\0';
		while (as_seed_next(&at, &seed, &problem) && n <= length)
		{
			char		text[AS_SEED_HOST_SIZE + 32];
			const char *again = text;
			AsSeed		copy;

			as_seed_print(&seed, text, sizeof(text));
			wrong += !as_seed_next(&again, &copy, &problem) || memcmp(&seed, &copy, sizeof(seed)) != 0;
			n++;
		}
		wrong += n > length || at > list + length;
		free(list);
	}
	ok(wrong == 0, "what was read and written is read the same again, %llu lists", (unsigned long long) times);
}

int
main(void)
{
	for (size_t i = 0; i < lengthof(cases); i++)
		ok(strcmp(read_list(cases[i].list), cases[i].expected) == 0, "\"%s\": %s", cases[i].list, read_list(cases[i].list));
	test_limits();
	test_garbage();
	return done();
}

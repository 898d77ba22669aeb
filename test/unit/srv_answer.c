/*-------------------------------------------------------------------------
 *
 * srv_answer.c
 *	  Unit test of src/lib/srv_answer: answers of the DNS, whole, cut short at
 *	  each byte, bent, and made by chance; and the order of what they say.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/srv_answer.h"

#include "tap.h"

#define MAX_ANSWER	4096
#define MAX_RECORDS	64

typedef struct Answer
{
	unsigned char bytes[MAX_ANSWER];
	int			length;
} Answer;

/* ---- Writing one ---- */

static void
put8(Answer *answer, int value)
{
	answer->bytes[answer->length++] = (unsigned char) value;
}

static void
put16(Answer *answer, int value)
{
	put8(answer, value >> 8);
	put8(answer, value & 0xff);
}

/* Labels, with dots in between; a name that ends in "@" goes on with the question's. */
static void
put_name(Answer *answer, const char *name)
{
	while (*name != '\0' && *name != '@')
	{
		int			length = (int) strcspn(name, ".@");

		put8(answer, length);
		for (int i = 0; i < length; i++)
			put8(answer, name[i]);
		name += length + (name[length] == '.');
	}
	if (*name == '@')
		put16(answer, 0xc00c);
	else
		put8(answer, 0);
}

static void
begin(Answer *answer, int nanswers)
{
	memset(answer, 0, sizeof(Answer));
	put16(answer, 1);
	put16(answer, 0x8180);
	put16(answer, 1);
	put16(answer, nanswers);
	put16(answer, 0);
	put16(answer, 0);
	put_name(answer, "_actorstore._tcp.test");
	put16(answer, 33);
	put16(answer, 1);
}

static int
begin_record(Answer *answer, int type, int class)
{
	put16(answer, 0xc00c);
	put16(answer, type);
	put16(answer, class);
	put16(answer, 0);
	put16(answer, 60);
	put16(answer, 0);
	return answer->length;
}

static void
end_record(Answer *answer, int start)
{
	int			length = answer->length - start;

	answer->bytes[start - 2] = (unsigned char) (length >> 8);
	answer->bytes[start - 1] = (unsigned char) length;
}

static void
add_srv(Answer *answer, int priority, int weight, int port, const char *target)
{
	int			start = begin_record(answer, 33, 1);

	put16(answer, priority);
	put16(answer, weight);
	put16(answer, port);
	put_name(answer, target);
	end_record(answer, start);
}

static void
add_other(Answer *answer, int type, int class)
{
	int			start = begin_record(answer, type, class);

	put16(answer, 0x7f00);
	put16(answer, 0x0001);
	end_record(answer, start);
}

/* ---- Reading it ---- */

/* In memory of exactly that size, so that a sanitizer sees whoever reads on. */
static int
read_cut(const unsigned char *bytes, int length, AsSrvRecord *records)
{
	unsigned char *copy = malloc(Max(length, 1));
	int			n;

	memcpy(copy, bytes, length);
	n = as_srv_read(copy, length, records, MAX_RECORDS);
	free(copy);
	return n;
}

static bool
is(const AsSrvRecord *record, int priority, int weight, int port, const char *target)
{
	return record->priority == priority && record->weight == weight && record->port == port &&
		strcmp(record->target, target) == 0;
}

static bool
are_sound(const AsSrvRecord *records, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (memchr(records[i].target, '\0', AS_SEED_HOST_SIZE) == NULL || records[i].target[0] == '\0' ||
			records[i].port == 0 || strpbrk(records[i].target, " '\\=/:,%\n") != NULL)
			return false;
	}
	return n >= -1 && n <= MAX_RECORDS;
}

static void
make_good(Answer *answer)
{
	begin(answer, 6);
	add_srv(answer, 10, 60, 5432, "db1.test");
	add_other(answer, 1, 1);
	add_srv(answer, 10, 40, 5433, "db2@");
	add_srv(answer, 20, 0, 65535, "db_3-x.test");
	add_other(answer, 33, 3);
	add_srv(answer, 0, 0, 5434, "db4.test");
}

static void
test_good(void)
{
	static Answer answer;
	AsSrvRecord records[MAX_RECORDS];

	make_good(&answer);
	ok(read_cut(answer.bytes, answer.length, records) == 4, "four records among others");
	ok(is(&records[0], 10, 60, 5432, "db1.test"), "the first one");
	ok(is(&records[1], 10, 40, 5433, "db2._actorstore._tcp.test"), "a name that is compressed");
	ok(is(&records[2], 20, 0, 65535, "db_3-x.test"), "the highest port");
	ok(is(&records[3], 0, 0, 5434, "db4.test"), "zeros");
	ok(as_srv_read(answer.bytes, answer.length, records, 2) == 2 && is(&records[1], 10, 40, 5433, "db2._actorstore._tcp.test"), "no more than there is room for");
	begin(&answer, 0);
	ok(read_cut(answer.bytes, answer.length, records) == 0, "no record");
}

static void
test_useless(void)
{
	static const char *const targets[] = {"", "a b.test", "a'b.test", "a\\b.test", "-a.test", "a\nb.test", "a/b.test", "d\xc3\xbc.test"};
	static Answer answer;
	AsSrvRecord records[MAX_RECORDS];

	for (size_t i = 0; i < lengthof(targets); i++)
	{
		begin(&answer, 2);
		add_srv(&answer, 1, 1, 5432, targets[i]);
		add_srv(&answer, 1, 1, 5432, "good.test");
		ok(read_cut(answer.bytes, answer.length, records) == 1 && is(&records[0], 1, 1, 5432, "good.test"), "left out: target %zu", i);
	}
	begin(&answer, 1);
	add_srv(&answer, 1, 1, 0, "db1.test");
	ok(read_cut(answer.bytes, answer.length, records) == 0, "left out: port 0");
}

static void
test_damaged(void)
{
	static Answer answer;
	AsSrvRecord records[MAX_RECORDS];
	int			wrong = 0;
	int			start;

	make_good(&answer);
	for (int length = 0; length < answer.length; length++)
		wrong += read_cut(answer.bytes, length, records) != -1;
	ok(wrong == 0, "cut short at each byte: cannot be read");

	for (int rdlen = 0; rdlen <= 6; rdlen++)
	{
		begin(&answer, 1);
		start = begin_record(&answer, 33, 1);
		for (int i = 0; i < rdlen; i++)
			put8(&answer, 1);
		end_record(&answer, start);
		ok(read_cut(answer.bytes, answer.length, records) == -1, "a record of %d bytes", rdlen);
	}

	begin(&answer, 1);
	add_srv(&answer, 1, 1, 5432, "db1.test");
	answer.bytes[answer.length - 10] = 0xc0;
	answer.bytes[answer.length - 9] = (unsigned char) (answer.length - 10);
	ok(read_cut(answer.bytes, answer.length, records) == -1, "a name that leads back to itself");
	answer.bytes[answer.length - 10] = 0xff;
	answer.bytes[answer.length - 9] = 0xff;
	ok(read_cut(answer.bytes, answer.length, records) == -1, "a name that leads beyond the end");

	begin(&answer, 1);
	start = begin_record(&answer, 33, 1);
	put16(&answer, 1);
	put16(&answer, 1);
	put16(&answer, 5432);
	put_name(&answer, "db1.test");
	put8(&answer, 0);
	end_record(&answer, start);
	ok(read_cut(answer.bytes, answer.length, records) == -1, "a record that is longer than its name");

	begin(&answer, 500);
	add_srv(&answer, 1, 1, 5432, "db1.test");
	ok(read_cut(answer.bytes, answer.length, records) == -1, "fewer records than are announced");
	begin(&answer, MAX_RECORDS + 8);
	for (int i = 0; i < MAX_RECORDS + 8; i++)
		add_srv(&answer, i, i, 5432, "d@");
	ok(read_cut(answer.bytes, answer.length, records) == MAX_RECORDS, "more records than there is room for");
}

/* Bytes of a good one are changed; and bytes that come by chance. */
static void
test_garbage(void)
{
	static Answer good;
	static Answer answer;
	AsSrvRecord records[MAX_RECORDS];
	uint64		times = tap_times(400000);
	uint64		wrong = 0;

	make_good(&good);
	for (uint64 i = 0; i < times; i++)
	{
		answer = good;
		for (int j = 0; j <= (int) (i % 6); j++)
			answer.bytes[tap_random() % good.length] = (unsigned char) tap_random();
		wrong += !are_sound(records, read_cut(answer.bytes, (int) (tap_random() % 4 == 0 ? tap_random() % good.length : (uint64) good.length), records));
		if (i % 4 != 0)
			continue;
		for (int j = 12; j < good.length; j++)
			answer.bytes[j] = (unsigned char) tap_random();
		wrong += !are_sound(records, read_cut(answer.bytes, good.length, records));
	}
	ok(wrong == 0, "%llu answers that are bent or made by chance", (unsigned long long) times);
}

/* ---- Order ---- */

static double
draw(void)
{
	return (double) (tap_random() >> 11) / 9007199254740992.0;
}

static void
test_order(void)
{
	static const int weights[] = {0, 10, 30, 60};
	int			first[4] = {0};
	int			rounds = (int) tap_times(20000);
	int			wrong = 0;

	for (int i = 0; i < rounds; i++)
	{
		AsSrvRecord records[6];
		int			seen = 0;

		memset(records, 0, sizeof(records));
		for (int j = 0; j < 4; j++)
		{
			records[j].priority = 10;
			records[j].weight = (uint16) weights[j];
			records[j].port = (uint16) j;
		}
		records[4].priority = 5;
		records[4].port = 4;
		records[5].priority = 65535;
		records[5].port = 5;
		as_srv_order(records, 6, draw);
		for (int j = 0; j < 6; j++)
			seen |= 1 << records[j].port;
		wrong += seen != 63 || records[0].port != 4 || records[5].port != 5;
		first[records[1].port & 3]++;
	}
	ok(wrong == 0, "by priority, and all of them");
	ok(first[3] > rounds * 0.56 && first[3] < rounds * 0.64, "the weight of 60 is first in %d of %d", first[3], rounds);
	ok(first[2] > rounds * 0.26 && first[2] < rounds * 0.34, "that of 30 in %d", first[2]);
	ok(first[1] > rounds * 0.07 && first[1] < rounds * 0.13, "that of 10 in %d", first[1]);
	as_srv_order(NULL, 0, draw);
}

int
main(void)
{
	test_good();
	test_useless();
	test_damaged();
	test_garbage();
	test_order();
	return done();
}

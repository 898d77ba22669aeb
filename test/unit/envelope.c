/*-------------------------------------------------------------------------
 *
 * envelope.c
 *	  Unit test of src/lib/envelope: what goes in comes out, and nothing else
 *	  does, whatever the bytes are.
 *
 * The second half is hostile: each prefix, each bit turned, and many thousands
 * of random changes whose checksum was made right again, so that they get as
 * far as the parser.  All texts that it hands out must lie inside of the bytes
 * that it was given, or that it has made.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/envelope.h"

#include "port/pg_crc32c.h"
#include "tap.h"

#define ROUNDS	((int) tap_times(200000))

static uint32
random_number(uint32 below)
{
	return (uint32) (tap_random() % below);
}

/* ---- What goes in comes out ---- */

static void
set_text(AsLetter *letter, int text, const char *value)
{
	letter->texts[text] = value;
	letter->lengths[text] = value == NULL ? 0 : (uint32) strlen(value);
}

static void
make_letter(AsLetter *letter, int number, const char *body)
{
	memset(letter, 0, sizeof(AsLetter));
	letter->id = ((int64) 3 << 48) + number;
	letter->sent_at = INT64CONST(-77) - number;
	letter->due = number % 2 == 0 ? 0 : PG_INT64_MAX;
	letter->expires_at = PG_INT64_MIN;
	letter->priority = (uint8) (number % 10);
	letter->kind = (uint8) (number % 256);
	set_text(letter, AS_TEXT_ACTOR_TYPE, "cart");
	set_text(letter, AS_TEXT_ACTOR_ID, number % 3 == 0 ? "" : "c-42");
	set_text(letter, AS_TEXT_NAME, "add");
	set_text(letter, AS_TEXT_BODY, body);
	set_text(letter, AS_TEXT_SENDER_TYPE, number % 2 == 0 ? NULL : "user");

	/* as timers have them */
	set_text(letter, AS_TEXT_HEADERS, number % 2 == 0 ? NULL : "{\"due\": 831600000000000, \"missed\": 0, \"recurs\": false}");
	set_text(letter, AS_TEXT_DEDUP_KEY, number % 2 == 0 ? NULL : "remind");
}

static bool
same(const AsLetter *a, const AsLetter *b)
{
	if (a->id != b->id || a->sent_at != b->sent_at || a->due != b->due ||
		a->expires_at != b->expires_at || a->priority != b->priority || a->kind != b->kind)
		return false;
	for (int i = 0; i < AS_ENVELOPE_TEXTS; i++)
	{
		if ((a->texts[i] == NULL) != (b->texts[i] == NULL) ||
			a->lengths[i] != b->lengths[i] ||
			(a->texts[i] != NULL && memcmp(a->texts[i], b->texts[i], a->lengths[i]) != 0))
			return false;
	}
	return true;
}

static void
make_envelope(StringInfo envelope, int n, const char *body)
{
	StringInfoData bodies;
	AsLetter	letter;

	initStringInfo(&bodies);
	for (int i = 0; i < n; i++)
	{
		make_letter(&letter, i, body);
		as_envelope_add(&bodies, &letter);
	}
	initStringInfo(envelope);
	as_envelope_seal(envelope, &bodies, n);
	pfree(bodies.data);
}

static bool
comes_back(const StringInfo bytes, int n, const char *body)
{
	AsEnvelope	envelope;
	AsLetter	expected;
	AsLetter	letter;
	bool		all = as_envelope_open(&envelope, bytes->data, bytes->len) == NULL &&
		envelope.nletters == (uint32) n;

	for (int i = 0; all && i < n; i++)
	{
		make_letter(&expected, i, body);
		all = as_envelope_next(&envelope, &letter) == NULL && same(&letter, &expected);
	}
	if (envelope.opened != NULL)
		pfree(envelope.opened);
	return all;
}

static void
test_round_trips(void)
{
	StringInfoData envelope;
	char	   *noise = palloc(5001);

	make_envelope(&envelope, 1, NULL);
	ok(comes_back(&envelope, 1, NULL), "one message without a body");
	ok(envelope.data[5] == 0, "is not compressed");
	pfree(envelope.data);

	make_envelope(&envelope, 500, "{\"n\": 1}");
	ok(comes_back(&envelope, 500, "{\"n\": 1}"), "500 messages");
	ok(envelope.data[5] == 1 && envelope.len < 500 * 20, "are compressed");
	pfree(envelope.data);

	for (int i = 0; i < 5000; i++)
		noise[i] = (char) (1 + random_number(255));
	noise[5000] = '\0';
	make_envelope(&envelope, 1, noise);
	ok(comes_back(&envelope, 1, noise), "what cannot be compressed");
	ok(envelope.data[5] == 0, "is not");
	pfree(envelope.data);
	pfree(noise);
}

/* ---- What is wrong is refused ---- */

static void
make_sum_right(char *bytes, int length)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, bytes, 20);
	COMP_CRC32C(crc, bytes + AS_ENVELOPE_HEAD, length - AS_ENVELOPE_HEAD);
	FIN_CRC32C(crc);
	for (int i = 0; i < 4; i++)
		bytes[20 + i] = (char) (crc >> (8 * i));
}

static bool
lies_inside(const AsEnvelope *envelope, const AsLetter *letter, const char *bytes, int length)
{
	const char *start = envelope->opened != NULL ? envelope->opened : bytes;
	const char *end = envelope->opened != NULL ? envelope->end : bytes + length;

	for (int i = 0; i < AS_ENVELOPE_TEXTS; i++)
	{
		if (letter->texts[i] != NULL &&
			(letter->texts[i] < start || letter->texts[i] + letter->lengths[i] > end))
			return false;
	}
	return true;
}

/* Read all that can be; returns whether the whole of it was good. */
static bool
read_all(const char *bytes, int length, bool *inside)
{
	AsEnvelope	envelope;
	AsLetter	letter;
	bool		good = as_envelope_open(&envelope, bytes, length) == NULL;

	while (good && envelope.nletters > 0)
	{
		good = as_envelope_next(&envelope, &letter) == NULL;
		*inside = *inside && (!good || lies_inside(&envelope, &letter, bytes, length));
	}
	if (envelope.opened != NULL)
		pfree(envelope.opened);
	return good;
}

/* In memory that ends where they do, for valgrind and the like. */
static char *
copy_of(const char *bytes, int length)
{
	char	   *copy = malloc(length == 0 ? 1 : length);

	memcpy(copy, bytes, length);
	return copy;
}

static void
test_damage(int n, const char *what)
{
	StringInfoData envelope;
	bool		inside = true;
	int			taken = 0;

	make_envelope(&envelope, n, "{\"some\": \"body\"}");
	for (int length = 0; length < envelope.len; length++)
	{
		char	   *copy = copy_of(envelope.data, length);

		taken += read_all(copy, length, &inside);
		free(copy);
	}
	ok(taken == 0, "no prefix of %s is taken for it", what);

	for (int bit = 0; bit < 8 * envelope.len; bit++)
	{
		char	   *copy = copy_of(envelope.data, envelope.len);

		copy[bit / 8] ^= (char) (1 << (bit % 8));
		taken += read_all(copy, envelope.len, &inside);
		free(copy);
	}
	ok(taken == 0, "no bit of %s can be turned", what);
	ok(inside, "and nothing was read that is not there");
	pfree(envelope.data);
}

static void
test_malice(int n, const char *what)
{
	StringInfoData envelope;
	bool		inside = true;
	int			taken = 0;

	make_envelope(&envelope, n, "{\"some\": \"body\"}");
	for (int round = 0; round < ROUNDS; round++)
	{
		int			length = envelope.len - (random_number(4) == 0 ? random_number(envelope.len - AS_ENVELOPE_HEAD) : 0);
		char	   *copy = copy_of(envelope.data, length);

		for (int i = random_number(6); i >= 0; i--)
			copy[random_number(length)] = random_number(3) == 0 ? (char) 0xFF : (char) random_number(256);
		if (random_number(8) != 0)
		{
			/* its head says that all is well */
			memcpy(copy, envelope.data, 8);
			for (int i = 0; i < 4; i++)
				copy[12 + i] = (char) ((length - AS_ENVELOPE_HEAD) >> (8 * i));
		}
		make_sum_right(copy, length);
		taken += read_all(copy, length, &inside);
		free(copy);
	}
	ok(inside, "%s, %d times changed by somebody who knows the checksum: nothing was read that is not there", what, ROUNDS);
	ok(taken > 0 && taken < ROUNDS, "some of it had still a form (%d)", taken);
	pfree(envelope.data);
}

static void
test_lies(void)
{
	StringInfoData envelope;
	AsEnvelope	opened;

	make_envelope(&envelope, 2, "1");
	envelope.data[8] = 0;
	make_sum_right(envelope.data, envelope.len);
	ok(as_envelope_open(&opened, envelope.data, envelope.len) != NULL, "an envelope without messages");
	envelope.data[8] = 1;
	make_sum_right(envelope.data, envelope.len);
	ok(as_envelope_open(&opened, envelope.data, envelope.len) == NULL &&
	   as_envelope_next(&opened, &(AsLetter) {0}) != NULL, "a message more than it says");
	envelope.data[4] = 2;
	make_sum_right(envelope.data, envelope.len);
	ok(as_envelope_open(&opened, envelope.data, envelope.len) != NULL, "a version to come");
	envelope.data[4] = 1;
	envelope.data[5] = 1;
	memset(envelope.data + 16, 0x1F, 4);
	make_sum_right(envelope.data, envelope.len);
	ok(as_envelope_open(&opened, envelope.data, envelope.len) != NULL, "a body that would fill the memory");
	pfree(envelope.data);
}

int
main(void)
{
	test_round_trips();
	test_damage(1, "an envelope");
	test_damage(60, "a compressed one");
	test_malice(3, "an envelope");
	test_malice(60, "a compressed one");
	test_lies();
	return done();
}

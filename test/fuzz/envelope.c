/*-------------------------------------------------------------------------
 *
 * envelope.c
 *	  What a fuzzer gives to src/lib/envelope (make fuzz).
 *
 * Each input is read twice: as it is, and with a head that is made right (magic,
 * version, length, checksum), as whoever means harm would do it, so that the
 * parser behind the head sees it.  All texts must lie in the body; and what
 * can be read must be the same after it was written and read once more.
 * test/unit/envelope_corpus.c gives the same to the inputs that are kept.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/envelope.c"

extern int	LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

static void
must(bool what)
{
	if (!what)
		abort();
}

static void
look_at(const AsEnvelope *envelope, const char *start, const AsLetter *letter)
{
	for (int i = 0; i < AS_ENVELOPE_TEXTS; i++)
	{
		if (letter->texts[i] == NULL)
			must(letter->lengths[i] == 0);
		else
			must(letter->texts[i] >= start && letter->texts[i] + letter->lengths[i] <= envelope->end);
	}
}

/* Read all; returns whether the whole of it was good, and then its messages, written anew. */
static bool
read_all(const char *bytes, size_t size, StringInfo body, uint32 *nletters)
{
	AsEnvelope	envelope;
	AsLetter	letter;
	bool		good = as_envelope_open(&envelope, bytes, size) == NULL;
	const char *start = envelope.at;

	*nletters = envelope.nletters;
	while (good && envelope.nletters > 0)
	{
		good = as_envelope_next(&envelope, &letter) == NULL;
		if (good)
		{
			look_at(&envelope, start, &letter);
			as_envelope_add(body, &letter);
		}
	}
	if (envelope.opened != NULL)
		pfree(envelope.opened);
	return good;
}

static void
try(const char *bytes, size_t size)
{
	StringInfoData body;
	StringInfoData envelope;
	StringInfoData again;
	uint32		n;
	uint32		m;

	initStringInfo(&body);
	if (read_all(bytes, size, &body, &n))
	{
		initStringInfo(&envelope);
		initStringInfo(&again);
		as_envelope_seal(&envelope, &body, n);
		must(read_all(envelope.data, envelope.len, &again, &m));
		must(m == n && again.len == body.len && memcmp(again.data, body.data, body.len) == 0);
		pfree(envelope.data);
		pfree(again.data);
	}
	pfree(body.data);
}

static void
make_head_right(char *bytes, size_t size)
{
	uint32		length = (uint32) (size - AS_ENVELOPE_HEAD);
	pg_crc32c	sum;

	memcpy(bytes, "ASME\001", 5);
	for (int i = 0; i < 4; i++)
		bytes[12 + i] = (char) (length >> (8 * i));
	INIT_CRC32C(sum);
	COMP_CRC32C(sum, bytes, 20);
	COMP_CRC32C(sum, bytes + AS_ENVELOPE_HEAD, length);
	FIN_CRC32C(sum);
	for (int i = 0; i < 4; i++)
		bytes[20 + i] = (char) (sum >> (8 * i));
}

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	char	   *copy = calloc(1, size == 0 ? 1 : size);	/* ends where it does */

	if (size > 0)
		memcpy(copy, data, size);
	try(copy, size);
	if (size >= AS_ENVELOPE_HEAD)
	{
		make_head_right(copy, size);
		try(copy, size);
	}
	free(copy);
	return 0;
}

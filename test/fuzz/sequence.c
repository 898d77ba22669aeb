/*-------------------------------------------------------------------------
 *
 * sequence.c
 *	  What a fuzzer gives to src/lib/sequence (make fuzz).
 *
 * Each input is read as it is, and its first 25 bytes, made digits and a
 * hyphen, once more; and the same with one of these bytes as it was.  A text that is a sequence is the one text of it: printed,
 * it is the same.  Two are ordered as their texts are.
 * test/unit/sequence_corpus.c gives the same to the inputs that are kept.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/sequence.c"

extern int	LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

static void
must(bool what)
{
	if (!what)
		abort();
}

/* By another way than the parser's. */
static bool
is_sequence(const char *text, size_t size)
{
	if (size != AS_SEQUENCE_LEN)
		return false;
	for (size_t i = 0; i < size; i++)
	{
		if (text[i] == '\0' || strchr(i == 16 ? "-" : "0123456789ABCDEF", text[i]) == NULL)
			return false;
	}
	return true;
}

static bool
try(const char *text, size_t size, AsSequence *sequence)
{
	char		again[AS_SEQUENCE_LEN];
	bool		good = as_sequence_parse(text, size, sequence);

	must(good == is_sequence(text, size));
	if (good)
	{
		as_sequence_print(*sequence, again);
		must(memcmp(again, text, sizeof(again)) == 0);
	}
	return good;
}

static int
sign(int n)
{
	return (n > 0) - (n < 0);
}

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	char	   *copy = calloc(1, size == 0 ? 1 : size);	/* ends where it does */
	char		made[AS_SEQUENCE_LEN];
	char		bent[AS_SEQUENCE_LEN];
	AsSequence	sequence;
	AsSequence	other;

	if (size > 0)
		memcpy(copy, data, size);
	if (size >= AS_SEQUENCE_LEN)
	{
		for (int i = 0; i < AS_SEQUENCE_LEN; i++)
			made[i] = i == LSN_DIGITS ? '-' : "0123456789ABCDEF"[data[i] % 16];
		must(try(made, sizeof(made), &other));
		memcpy(bent, made, sizeof(made));
		bent[data[0] % AS_SEQUENCE_LEN] = (char) data[1];
		(void) try(bent, sizeof(bent), &sequence);
	}
	if (try(copy, size, &sequence))
		must(sign(as_sequence_compare(sequence, other)) == sign(memcmp(copy, made, sizeof(made))));
	free(copy);
	return 0;
}

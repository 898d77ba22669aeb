/*-------------------------------------------------------------------------
 *
 * sequence.c
 *	  The sequence of a change: printed, read, ordered.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/sequence.h"

#undef printf
#include "tap.h"

static bool
prints(uint64 lsn, uint32 number, const char *expected)
{
	AsSequence	sequence = {lsn, number};
	char		text[AS_SEQUENCE_LEN + 1] = {0};

	as_sequence_print(sequence, text);
	return strcmp(text, expected) == 0;
}

static bool
parses(const char *text, uint64 lsn, uint32 number)
{
	AsSequence	sequence = {~lsn, ~number};

	return as_sequence_parse(text, strlen(text), &sequence) &&
		sequence.lsn == lsn && sequence.number == number;
}

static bool
refuses(const char *text)
{
	AsSequence	sequence;

	return !as_sequence_parse(text, strlen(text), &sequence);
}

int
main(void)
{
	static const AsSequence ascending[] = {
		{0, 0}, {0, 1}, {0, 0xFFFFFFFF}, {1, 0}, {0x9, 5}, {0xA, 5}, {0xF, 5},
		{0x10, 0}, {0x100000000, 0}, {0x100000000, 0x80000000},
		{0x7FFFFFFFFFFFFFFF, 0}, {0x8000000000000000, 0},
		{0xFFFFFFFFFFFFFFFF, 0xFFFFFFFF}
	};
	int			wrong = 0;

	ok(prints(0, 0, "0000000000000000-00000000"), "the least one");
	ok(prints(0x0123456789ABCDEF, 0xFEDCBA98, "0123456789ABCDEF-FEDCBA98"), "every digit");
	ok(prints(UINT64CONST(0xFFFFFFFFFFFFFFFF), 0xFFFFFFFF, "FFFFFFFFFFFFFFFF-FFFFFFFF"), "the greatest one");
	ok(parses("0123456789ABCDEF-FEDCBA98", 0x0123456789ABCDEF, 0xFEDCBA98), "read back");

	for (size_t i = 0; i < lengthof(ascending); i++)
	{
		char		left[AS_SEQUENCE_LEN];

		as_sequence_print(ascending[i], left);
		for (size_t j = 0; j < lengthof(ascending); j++)
		{
			char		right[AS_SEQUENCE_LEN];
			int			by_text;
			int			by_value = as_sequence_compare(ascending[i], ascending[j]);

			as_sequence_print(ascending[j], right);
			by_text = memcmp(left, right, AS_SEQUENCE_LEN);
			wrong += (by_text < 0) != (i < j) || (by_text > 0) != (i > j);
			wrong += (by_value < 0) != (i < j) || (by_value > 0) != (i > j);
		}
	}
	ok(wrong == 0, "the order of the texts is that of the changes");

	ok(refuses(""), "nothing is no sequence");
	ok(refuses("0123456789ABCDEF-FEDCBA9"), "nor one that is too short");
	ok(refuses("0123456789ABCDEF-FEDCBA988"), "or too long");
	ok(refuses("0123456789ABCDEF_FEDCBA98"), "or without a hyphen");
	ok(refuses("0123456789abcdef-FEDCBA98"), "or in lower case, which sorts elsewhere");
	ok(refuses("0123456789ABCDEG-FEDCBA98") && refuses("0123456789ABCDEF-FEDCBA9 "), "or of other characters");
	return done();
}

/*-------------------------------------------------------------------------
 *
 * sequence.c
 *	  See sequence.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/sequence.h"

#define LSN_DIGITS		16
#define NUMBER_DIGITS	8

static void
print_hex(uint64 value, int digits, char *text)
{
	for (int i = digits - 1; i >= 0; i--)
	{
		text[i] = "0123456789ABCDEF"[value & 0xF];
		value >>= 4;
	}
}

static bool
parse_hex(const char *text, int digits, uint64 *value)
{
	*value = 0;
	for (int i = 0; i < digits; i++)
	{
		char		c = text[i];

		if (c >= '0' && c <= '9')
			*value = *value << 4 | (uint64) (c - '0');
		else if (c >= 'A' && c <= 'F')
			*value = *value << 4 | (uint64) (c - 'A' + 10);
		else
			return false;
	}
	return true;
}

void
as_sequence_print(AsSequence sequence, char *text)
{
	print_hex(sequence.lsn, LSN_DIGITS, text);
	text[LSN_DIGITS] = '-';
	print_hex(sequence.number, NUMBER_DIGITS, text + LSN_DIGITS + 1);
}

bool
as_sequence_parse(const char *text, Size len, AsSequence *sequence)
{
	uint64		number;

	if (len != AS_SEQUENCE_LEN || text[LSN_DIGITS] != '-' ||
		!parse_hex(text, LSN_DIGITS, &sequence->lsn) ||
		!parse_hex(text + LSN_DIGITS + 1, NUMBER_DIGITS, &number))
		return false;
	sequence->number = (uint32) number;
	return true;
}

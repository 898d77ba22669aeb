/*-------------------------------------------------------------------------
 *
 * envelope.c
 *	  See envelope.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/envelope.h"

#include "common/pg_lzcompress.h"
#include "port/pg_crc32c.h"

#define FLAG_COMPRESSED		1
#define NO_TEXT				0xFFFFFFFFU
#define FIXED_BYTES			(4 * 8 + 2)

/* Where the numbers stand in the head */
#define AT_VERSION			4
#define AT_FLAGS			5
#define AT_NLETTERS			8
#define AT_LENGTH			12
#define AT_RAW_LENGTH		16
#define AT_SUM				20

static const char magic[4] = {'A', 'S', 'M', 'E'};

/* ---- Numbers ---- */

static void
put_number(char *at, uint64 value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		at[i] = (char) (value >> (8 * i));
}

static uint64
get_number(const char *at, int bytes)
{
	uint64		value = 0;

	for (int i = 0; i < bytes; i++)
		value |= (uint64) (unsigned char) at[i] << (8 * i);
	return value;
}

static void
append_number(StringInfo to, uint64 value, int bytes)
{
	char		number[8];

	put_number(number, value, bytes);
	appendBinaryStringInfo(to, number, bytes);
}

/* Of the head, but for the sum itself, and the body. */
static uint32
checksum(const char *head, const char *body, Size length)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, head, AT_SUM);
	COMP_CRC32C(crc, body, length);
	FIN_CRC32C(crc);
	return crc;
}

/* ---- Writing ---- */

void
as_envelope_add(StringInfo body, const AsLetter *letter)
{
	append_number(body, (uint64) letter->id, 8);
	append_number(body, (uint64) letter->sent_at, 8);
	append_number(body, (uint64) letter->due, 8);
	append_number(body, (uint64) letter->expires_at, 8);
	append_number(body, letter->priority, 1);
	append_number(body, letter->kind, 1);
	for (int i = 0; i < AS_ENVELOPE_TEXTS; i++)
	{
		if (letter->texts[i] == NULL)
			append_number(body, NO_TEXT, 4);
		else
		{
			append_number(body, letter->lengths[i], 4);
			appendBinaryStringInfo(body, letter->texts[i], letter->lengths[i]);
		}
	}
}

void
as_envelope_seal(StringInfo envelope, const StringInfo body, uint32 nletters)
{
	char	   *head;
	char	   *compressed = NULL;
	int32		length = body->len;

	if (body->len >= AS_ENVELOPE_COMPRESS)
	{
		compressed = palloc(PGLZ_MAX_OUTPUT(body->len));
		length = pglz_compress(body->data, body->len, compressed,
							   PGLZ_strategy_default);
		if (length < 0 || length >= body->len)
		{
			pfree(compressed);
			compressed = NULL;
			length = body->len;
		}
	}
	enlargeStringInfo(envelope, AS_ENVELOPE_HEAD + length);
	head = envelope->data + envelope->len;
	memset(head, 0, AS_ENVELOPE_HEAD);
	memcpy(head, magic, sizeof(magic));
	head[AT_VERSION] = AS_ENVELOPE_VERSION;
	head[AT_FLAGS] = compressed != NULL ? FLAG_COMPRESSED : 0;
	put_number(head + AT_NLETTERS, nletters, 4);
	put_number(head + AT_LENGTH, length, 4);
	put_number(head + AT_RAW_LENGTH, body->len, 4);
	memcpy(head + AS_ENVELOPE_HEAD, compressed != NULL ? compressed : body->data, length);
	put_number(head + AT_SUM, checksum(head, head + AS_ENVELOPE_HEAD, length), 4);
	envelope->len += AS_ENVELOPE_HEAD + length;
	envelope->data[envelope->len] = '\0';
	if (compressed != NULL)
		pfree(compressed);
}

/* ---- Reading ---- */

const char *
as_envelope_open(AsEnvelope *envelope, const char *bytes, Size length)
{
	Size		stored;
	Size		raw;

	memset(envelope, 0, sizeof(AsEnvelope));
	if (length < AS_ENVELOPE_HEAD)
		return "it is shorter than its head";
	if (memcmp(bytes, magic, sizeof(magic)) != 0)
		return "it is none of ours";
	if (bytes[AT_VERSION] != AS_ENVELOPE_VERSION)
		return "its version is not known";
	stored = get_number(bytes + AT_LENGTH, 4);
	raw = get_number(bytes + AT_RAW_LENGTH, 4);
	if (stored != length - AS_ENVELOPE_HEAD)
		return "its length is another one than it says";
	if (checksum(bytes, bytes + AS_ENVELOPE_HEAD, stored) != get_number(bytes + AT_SUM, 4))
		return "its checksum is wrong";
	if (raw > AS_ENVELOPE_MAX)
		return "its body is too long";
	envelope->nletters = (uint32) get_number(bytes + AT_NLETTERS, 4);
	if (envelope->nletters == 0)
		return "no message is in it";
	envelope->at = bytes + AS_ENVELOPE_HEAD;
	if ((bytes[AT_FLAGS] & FLAG_COMPRESSED) == 0)
	{
		if (raw != stored)
			return "its body has another length than it says";
		envelope->end = envelope->at + stored;
		return NULL;
	}
	/* no byte of it becomes more than some 200 */
	if (raw / 300 > stored)
		return "its body cannot have been compressed so well";
	envelope->opened = palloc(raw + 1);
	if (pglz_decompress(envelope->at, (int32) stored, envelope->opened, (int32) raw, true) != (int32) raw)
		return "its body cannot be decompressed";
	envelope->at = envelope->opened;
	envelope->end = envelope->at + raw;
	return NULL;
}

const char *
as_envelope_next(AsEnvelope *envelope, AsLetter *letter)
{
	const char *at = envelope->at;

	if (envelope->end - at < FIXED_BYTES)
		return "a message is cut short";
	letter->id = (int64) get_number(at, 8);
	letter->sent_at = (int64) get_number(at + 8, 8);
	letter->due = (int64) get_number(at + 16, 8);
	letter->expires_at = (int64) get_number(at + 24, 8);
	letter->priority = (uint8) at[32];
	letter->kind = (uint8) at[33];
	at += FIXED_BYTES;
	for (int i = 0; i < AS_ENVELOPE_TEXTS; i++)
	{
		uint32		length;

		if (envelope->end - at < 4)
			return "a text is cut short";
		length = (uint32) get_number(at, 4);
		at += 4;
		letter->texts[i] = NULL;
		letter->lengths[i] = 0;
		if (length == NO_TEXT)
			continue;
		if ((Size) (envelope->end - at) < length)
			return "a text is cut short";
		letter->texts[i] = at;
		letter->lengths[i] = length;
		at += length;
	}
	envelope->at = at;
	if (--envelope->nletters == 0 && at != envelope->end)
		return "something follows its last message";
	return NULL;
}

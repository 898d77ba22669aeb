/*-------------------------------------------------------------------------
 *
 * gid.c
 *	  See gid.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/gid.h"

#define PREFIX "actorstore_"
#define UUID_LENGTH 36

/* An underscore and a decimal number; returns their end.  Each transaction over several nodes writes some. */
static char *
write_number(char *end, uint64 number)
{
	char		digits[20];
	int			n = 0;

	do
		digits[n++] = (char) ('0' + number % 10);
	while ((number /= 10) != 0);
	*end++ = '_';
	while (n > 0)
		*end++ = digits[--n];
	return end;
}

void
as_gid_write(char *gid, const AsGid *parts)
{
	static const char digits[] = "0123456789abcdef";
	char	   *end = gid + strlen(PREFIX);

	memcpy(gid, PREFIX, strlen(PREFIX));
	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*end++ = '-';
		*end++ = digits[parts->uuid.data[i] >> 4];
		*end++ = digits[parts->uuid.data[i] & 15];
	}
	end = write_number(end, (uint64) parts->incarnation);
	end = write_number(end, parts->boot);
	end = write_number(end, U64FromFullTransactionId(parts->xid));
	*write_number(end, (uint64) parts->participant) = '\0';
}

static int
hex_digit(char c)
{
	return isdigit((unsigned char) c) ? c - '0' :
		c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
read_uuid(pg_uuid_t *uuid, const char *text)
{
	for (int i = 0, n = 0; i < UUID_LENGTH; i++)
	{
		int			high,
					low;

		if (i == 8 || i == 13 || i == 18 || i == 23)
		{
			if (text[i] != '-')
				return false;
			continue;
		}
		high = hex_digit(text[i++]);
		low = hex_digit(text[i]);
		if (high < 0 || low < 0)
			return false;
		uuid->data[n++] = (unsigned char) (high << 4 | low);
	}
	return true;
}

/* A decimal number and what ends it. */
static bool
read_number(const char **text, uint64 *number, char end)
{
	char	   *rest;

	if (!isdigit((unsigned char) **text))
		return false;
	errno = 0;
	*number = strtou64(*text, &rest, 10);
	if (errno != 0 || *rest != end)
		return false;
	*text = rest + 1;
	return true;
}

bool
as_gid_read(AsGid *parts, const char *gid)
{
	size_t		length = strlen(PREFIX);
	uint64		incarnation,
				xid,
				participant;

	if (strncmp(gid, PREFIX, length) != 0 || strlen(gid) < length + UUID_LENGTH + 1 ||
		strlen(gid) >= AS_GID_SIZE || !read_uuid(&parts->uuid, gid + length) ||
		gid[length + UUID_LENGTH] != '_')
		return false;
	gid += length + UUID_LENGTH + 1;
	if (!read_number(&gid, &incarnation, '_') || incarnation > PG_INT64_MAX ||
		!read_number(&gid, &parts->boot, '_') || !read_number(&gid, &xid, '_') ||
		!read_number(&gid, &participant, '\0') || participant > PG_INT32_MAX)
		return false;
	parts->incarnation = (int64) incarnation;
	parts->xid = FullTransactionIdFromU64(xid);
	parts->participant = (int) participant;
	return true;
}

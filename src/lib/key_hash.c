/*-------------------------------------------------------------------------
 *
 * key_hash.c
 *	  See key_hash.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/key_hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static char *
put_part(char *to, const char *data, uint32 len)
{
	to[0] = (char) (len & 0xff);
	to[1] = (char) ((len >> 8) & 0xff);
	to[2] = (char) ((len >> 16) & 0xff);
	to[3] = (char) ((len >> 24) & 0xff);
	memcpy(to + 4, data, len);
	return to + 4 + len;
}

uint64
as_key_hash(const char *type, uint32 type_len, const char *id, uint32 id_len)
{
	char		input[2 * (sizeof(uint32) + AS_MAX_NAME_BYTES)];
	char	   *end;

	Assert(type_len <= AS_MAX_NAME_BYTES && id_len <= AS_MAX_NAME_BYTES);

	end = put_part(input, type, type_len);
	end = put_part(end, id, id_len);
	return XXH64(input, end - input, 0);
}

/*-------------------------------------------------------------------------
 *
 * same_text.h
 *	  Are two texts the same, byte by byte?
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SAME_TEXT_H
#define AS_SAME_TEXT_H

#include "actorstore.h"

#include "compat.h"

/* Both are plain: neither compressed nor stored elsewhere. */
static inline bool
as_same_text(const text *a, const text *b)
{
	Assert(!VARATT_IS_EXTERNAL(a) && !VARATT_IS_COMPRESSED(a));
	Assert(!VARATT_IS_EXTERNAL(b) && !VARATT_IS_COMPRESSED(b));

	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

#endif							/* AS_SAME_TEXT_H */

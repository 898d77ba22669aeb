/*-------------------------------------------------------------------------
 *
 * wal_ahead.h
 *	  Much WAL, written so that others hardly wait for it.
 *
 * Whoever commits waits until all WAL up to his commit is on disk, whoever has
 * written it.  So who writes thousands of rows in one transaction, as those do who
 * move actors (haul.h), holds up all others at three points, and does beforehand
 * what would be done there:
 *
 *	- Megabytes that nobody has flushed yet are flushed by the next one who commits:
 *	  as_wal_pace() flushes them a piece at a time.
 *	- At the end of a segment the next one is made, a file of zeros, if there is none
 *	  to be used again, and nobody can commit meanwhile: as_wal_pace() makes it
 *	  while the one before is being filled.
 *	- The first change of a page after a checkpoint takes all of the page along.
 *	  Who is about to change many pages, and must be quick then, has them written
 *	  before: as_wal_write_page().
 *
 * If it turns out to be for nothing, no harm is done.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_WAL_AHEAD_H
#define AS_WAL_AHEAD_H

#include "actorstore.h"

#include "storage/buf.h"
#include "utils/relcache.h"

/* For whoever has written rows, and will write more; with no page locked. */
extern void as_wal_pace(void);

/*
 * Would the next change of this page take all of it along?  Then do that now, and
 * return true: its LSN is another one.  It is pinned, and not locked.
 */
extern bool as_wal_write_page(Relation rel, Buffer buffer);

#endif							/* AS_WAL_AHEAD_H */

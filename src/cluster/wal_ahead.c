/*-------------------------------------------------------------------------
 *
 * wal_ahead.c
 *	  See wal_ahead.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/wal_ahead.h"

#include <unistd.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xloginsert.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "utils/rel.h"

/* Flushed at a time: what a disk takes in about as fast as a single commit */
#define PIECE_BYTES		(256 * 1024)

static void
make_segment(XLogSegNo number)
{
	static XLogSegNo made = 0;
	int			file;

	if (made == number)
		return;
	made = number;
	file = XLogFileInit(number, GetWALInsertionTimeLine());
	if (file >= 0)
		close(file);
}

void
as_wal_pace(void)
{
	static XLogRecPtr flushed = InvalidXLogRecPtr;
	XLogSegNo	current;

	if (XactLastRecEnd < flushed + PIECE_BYTES)
		return;
	XLByteToSeg(XactLastRecEnd, current, wal_segment_size);
	make_segment(current + 1);
	XLogFlush(XactLastRecEnd);
	flushed = XactLastRecEnd;
}

/*
 * GetFullPageWriteInfo() would not know by which checkpoint: this process may have
 * written nothing yet.
 */
bool
as_wal_write_page(Relation rel, Buffer buffer)
{
	if (!fullPageWrites || !RelationNeedsWAL(rel) || BufferGetLSNAtomic(buffer) > GetRedoRecPtr())
		return false;
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	START_CRIT_SECTION();
	MarkBufferDirty(buffer);
	(void) log_newpage_buffer(buffer, true);
	END_CRIT_SECTION();
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	return true;
}

/*-------------------------------------------------------------------------
 *
 * prepared_files.h
 *	  What is prepared outlives a checkpoint that was not finished.
 *
 * A checkpoint writes what was prepared before it into files of pg_twophase.
 * If the server crashes before its end, recovery begins at the checkpoint
 * before, removes the files of transactions that this one has not seen, and
 * takes these transactions from WAL.  So it is with a base backup that has
 * got files of a later checkpoint, and with a standby's restartpoints.
 *
 * PostgreSQL 17 and 18 fail to remove such a file: they look for it under a
 * name of the epoch before, as their function for names takes every xid
 * above the next one for an old one.  "removing future two-phase state file",
 * says the log, and "could not remove file".  As redo reaches the record of
 * the transaction, nextXid has grown, the file is found by its right name,
 * and the record is skipped, as what has a file has been restored from it.
 * It has not: the transaction, which a coordinator may have committed
 * elsewhere, is lost.
 *
 * So these files are removed here, when redo begins: after recovery has
 * restored what it will from files, before the first record is replayed.
 * nextXid is then the checkpoint's, noted after it had chosen where redo
 * begins.  A transaction with that xid or a later one was not prepared before,
 * and is in the WAL that follows.
 *
 * Works only with the library preloaded.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_PREPARED_FILES_H
#define AS_PREPARED_FILES_H

extern void as_prepared_files_init(void);

#endif							/* AS_PREPARED_FILES_H */

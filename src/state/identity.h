/*-------------------------------------------------------------------------
 *
 * identity.h
 *	  Is this database the one that its actors ran in last, or a copy?
 *
 * The row in actorstore.identity is dumped and copied with all the rest:
 *
 *	- system identifier and database: another one after pg_restore elsewhere,
 *	  CREATE DATABASE ... TEMPLATE, pg_upgrade;
 *	- backup: a hash of the file backup_label.old, which a server that was
 *	  restored from a base backup has from its first start on: another one on
 *	  the same timeline is a copy of the files;
 *	- timeline: a higher one is a promotion, or a recovery to a point in the
 *	  past; the timeline's history says which.  A promoted standby is the
 *	  original now: the row is brought up to date by the first who looks.
 *
 * The row counts how often another server went on with what one knew, too: the
 * era.  What a server gave out last, a standby need not know when it is
 * promoted; so the era stands above the numbers that must never come again.  It
 * grows as the timeline does, written down or not: a standby of a standby that
 * was promoted and lost is not of the same era.
 *
 * A copy of the files of a server that was stopped, or of its volume, looks the
 * same as the original.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_IDENTITY_H
#define AS_IDENTITY_H

#include "actorstore.h"

/* In a transaction, with the extension there.  On a standby nothing but the first is looked at. */
extern bool as_identity_is_copy(void);

/* What the row should say here and now: int8, oid, int4, int8. */
#define AS_IDENTITY_COLUMNS	4
extern void as_identity_now(Oid *types, Datum *values);

/*
 * The era that it is now, and the one that unfence() begins.  0: there was no
 * promotion yet.
 */
extern int32 as_identity_era(void);
extern int32 as_identity_next_era(void);

/* Not a copy: write down a promotion, if there was one.  Not on a standby. */
extern void as_identity_note_promotion(void);

/* The timeline that is written, or replayed, now. */
extern uint32 as_identity_timeline(void);

#endif							/* AS_IDENTITY_H */

/*-------------------------------------------------------------------------
 *
 * keeper.h
 *	  The past that new subscriptions may start from, and what the slots of
 *	  subscriptions leave behind.
 *
 * Functions marked (SPI) run statements through an SPI connection of the
 * caller's, as a superuser.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_CDC_KEEPER_H
#define AS_CDC_KEEPER_H

#include "actorstore.h"

#include "access/xlogdefs.h"
#include "compat.h"
#include "datatype/timestamp.h"

/*
 * Make a temporary slot that begins where the oldest WAL kept begins; false
 * if none is kept (SPI).
 */
extern bool as_keeper_copy(const char *slot);

/*
 * A position before which nothing was committed at this time or later;
 * invalid if the time lies too far back (SPI).
 */
extern XLogRecPtr as_keeper_position_at(TimestampTz time);

/* Raise 22023 for a start that lies before what is kept (SPI). */
extern as_noreturn void as_keeper_raise_too_old(const char *start);

/*
 * Drop the slots of this database whose subscription was never committed, or
 * is gone, as after a crash (SPI).
 */
extern void as_keeper_sweep(void);

/* To be called once, when the library is preloaded: starts the launcher. */
extern void as_keeper_init(void);

/* Entry points of background workers */
extern PGDLLEXPORT void as_keeper_launcher_main(Datum arg);
extern PGDLLEXPORT void as_keeper_main(Datum database);

#endif							/* AS_CDC_KEEPER_H */

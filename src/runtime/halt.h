/*-------------------------------------------------------------------------
 *
 * halt.h
 *	  Paused and stopped actors.
 *
 * A paused actor, or each of a paused type, keeps its mail waiting; the mail
 * of a stopped one goes to the dead letters, unless its supervisor may restart
 * it: then it waits.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_HALT_H
#define AS_HALT_H

#include "actorstore.h"

#include "state/type.h"

/* Pause or stop an actor, or pause a type (id NULL). */
extern void as_halt(text *type, text *id, AsHalt halt, const char *reason);

/* The actor that waited to be restarted is stopped. */
extern void as_halt_for_good(text *type, text *id);

/* It goes on, in its own turn; false if it was not halted. */
extern bool as_halt_end(text *type, text *id);

/*
 * Let it go on; false if it was not halted.  Its mail is looked at when the
 * transaction has committed.
 */
extern bool as_unhalt(text *type, text *id);

#endif							/* AS_HALT_H */

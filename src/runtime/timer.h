/*-------------------------------------------------------------------------
 *
 * timer.h
 *	  Timers that are set: the rows of actorstore.timer.
 *
 * A timer has a name, of its actor's, and the time that it is due next.  One
 * that recurs also has the grid of its times: the n-th is START + n * EVERY,
 * so that the end of a month, or an hour that a day does not have, is no loss
 * to the times after it.  Days and months are those of the time zone that it
 * was set in.
 *
 * Nothing but timer.c knows the table's columns and indexes, but for SQL that
 * drops a type.  Two indexes: by key, and by due time and a hash of the key
 * that tells timers of one time apart: a reader goes on where he stopped.
 *
 * Under an old snapshot dead versions of a timer that is set again and again
 * stay in the index by key.  Entries of one key stand in the order of their
 * places, and as the dead leave no room the newest has the last: a timer is
 * looked for from the end.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_TIMER_H
#define AS_TIMER_H

#include "actorstore.h"

#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "state/index_set.h"
#include "storage/itemptr.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

/* What becomes of firings that nobody was there for */
typedef enum AsMissed
{
	AS_MISSED_ONCE,				/* one for all of them */
	AS_MISSED_ALL,				/* each, late */
	AS_MISSED_SKIP				/* none */
} AsMissed;

typedef struct AsTimer
{
	text	   *actor_type;
	text	   *actor_id;
	text	   *name;
	text	   *message;
	Datum		body;			/* jsonb; 0 for NULL */
	TimestampTz due;
	int32		spread;			/* hash of the key */
	AsMissed	missed;

	/* of a timer that recurs */
	Interval   *every;			/* NULL: it does not */
	TimestampTz start;
	int64		nth;			/* of the time that comes after "due" */
	text	   *time_zone;		/* NULL: EVERY has neither days nor months */

	ItemPointerData place;		/* once it was read */
} AsTimer;

typedef struct AsTimers
{
	Relation	rel;
	AsIndexSet	indexes;		/* these, and maybe others */
	Relation	by_key;
	Relation	by_due;
	TupleTableSlot *slot;		/* for rows that are read */
} AsTimers;

/* Open the table and its indexes; the locks stay until the transaction ends. */
extern void as_timers_open(AsTimers *timers, LOCKMODE lockmode);
extern void as_timers_close(AsTimers *timers);

/*
 * Set a timer: all but spread and place are given.  One of the same name is
 * replaced; waits for others who do the same.
 */
extern void as_timer_set(AsTimers *timers, AsTimer *timer);

/* Delete a timer; false if there is none of that name. */
extern bool as_timer_cancel(AsTimers *timers, text *actor_type, text *actor_id,
							text *name);

/* ---- For who fires them ---- */

/* A place in the order of due times */
typedef struct AsTimerPosition
{
	TimestampTz due;
	int32		spread;
} AsTimerPosition;

/*
 * Read up to max timers that the active snapshot sees and that are due by a
 * time, from a position on.  Returns how many, and in *next the position of
 * the first one that was left, or DT_NOEND.
 */
extern int	as_timers_read(AsTimers *timers, const AsTimerPosition *from,
						   TimestampTz by, AsTimer *found, int max,
						   AsTimerPosition *next);

/*
 * Delete a timer that was read, or give it its next due time and nth.  Wait
 * for nobody: false if somebody has changed it, or is about to.
 */
extern bool as_timer_delete(AsTimers *timers, AsTimer *timer);
extern bool as_timer_advance(AsTimers *timers, AsTimer *timer,
							 TimestampTz due, int64 nth);

#endif							/* AS_TIMER_H */

/*-------------------------------------------------------------------------
 *
 * slot.h
 *	  Logical slots of this database, read and dropped from within.
 *
 * Who may do so is the caller's affair: none of these asks for the rights
 * that PostgreSQL's own functions ask for.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_CDC_SLOT_H
#define AS_CDC_SLOT_H

#include "actorstore.h"

#include "access/xlogdefs.h"
#include "cdc/decode.h"
#include "nodes/pg_list.h"

typedef enum AsSlotState
{
	AS_SLOT_MISSING,			/* or of another database or plugin */
	AS_SLOT_LOST,				/* the WAL that it needs has been removed */
	AS_SLOT_UNGUARDED,			/* another server was the primary meanwhile */
	AS_SLOT_READY
} AsSlotState;

/* What the names of all slots of a database's subscriptions begin with. */
extern char *as_slot_prefix(Oid database);

/* A new name for a slot of this database, which nobody can guess. */
extern char *as_slot_new_name(void);

/*
 * Lock what belongs to a slot until the end of the transaction; false if
 * somebody else has it.  The slot need not be there.
 */
extern bool as_slot_lock(const char *slot);

/* What there is of that name; *confirmed, if not NULL, gets its position. */
extern AsSlotState as_slot_state(const char *slot, XLogRecPtr *confirmed);

typedef struct AsSlotRead
{
	const char *slot;
	List	   *options;		/* for the output plugin, of DefElem */
	AsEventSink sink;
	void	   *sink_arg;

	/*
	 * How many events the sink has taken; it counts.  Reading ends with the
	 * transaction in which enough is reached.
	 */
	int64		taken;
	int64		enough;

	TimestampTz deadline;		/* wait so long for the first event */

	/*
	 * May the slot's position move to where nothing has been taken yet?  What
	 * lies behind it cannot be read again.
	 */
	bool		may_confirm;
	bool		confirm_durably;	/* to disk before as_slot_read() returns */
} AsSlotRead;

/*
 * Read committed changes from the slot's position on.  The slot must be
 * AS_SLOT_READY; if another process uses it: 55006.
 */
extern void as_slot_read(AsSlotRead *read);

/*
 * A slot that was made as a temporary one is kept if the current
 * (sub)transaction commits, and dropped if it does not.
 */
extern void as_slot_keep_at_commit(const char *slot);

/*
 * Drop a slot, if it is there and no process uses it, when the current
 * transaction has committed.
 */
extern void as_slot_drop_at_commit(const char *slot);

/* Drop a slot at once if it is there; 55006 if another process uses it. */
extern void as_slot_drop(const char *slot);

/* Let go, and drop, a temporary slot that an error has left half made. */
extern void as_slot_abandon(const char *slot);

/*
 * The names of all slots of a database's subscriptions, as a list of C
 * strings, without those that a process uses.
 */
extern List *as_slots_idle(Oid database);

/* To be called once, when the library is loaded. */
extern void as_slot_init(void);

#endif							/* AS_CDC_SLOT_H */

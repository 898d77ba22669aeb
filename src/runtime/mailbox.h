/*-------------------------------------------------------------------------
 *
 * mailbox.h
 *	  Waiting messages: the rows of actorstore.message.
 *
 * A message stands in a lane of its actor, one for each priority, at a
 * position; a lane is read in the order of positions.  The position of a
 * message is its id, so that messages are read in the order they were sent
 * in.  A delayed message waits in a lane that nobody reads (its priority plus
 * AS_DELAYED_LANE) and takes a new position in its own when it is due.  A
 * message that has failed keeps its place, with the time of its next attempt
 * as "due", and holds back those behind it.
 *
 * Rows are found by the hash of their actor's address; where two addresses
 * share a hash, the caller tells them apart.
 *
 * Rows are read and written by the table and index access methods; nothing
 * but this file knows the table's columns and indexes.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_MAILBOX_H
#define AS_MAILBOX_H

#include "actorstore.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "state/index_set.h"
#include "storage/itemptr.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#define AS_DELAYED_LANE		16

typedef struct AsMessage
{
	int64		message_id;
	text	   *actor_type;
	text	   *actor_id;
	text	   *name;
	Datum		body;			/* jsonb; 0 for NULL */
	uint64		key_hash;
	int64		position;
	int			priority;
	int			lane;
	int			attempts;
	TimestampTz sent_at;
	TimestampTz due;			/* 0: at once */
	TimestampTz expires_at;		/* 0: never */
	Datum		headers;		/* jsonb; 0 for NULL */
	text	   *sender_type;	/* NULL: not sent by an actor */
	text	   *sender_id;
	text	   *dedup_key;

	ItemPointerData place;		/* once it was read */
	uint32		cell;			/* of a request + 1 (request.h); 0: a row */
	bool		asked;			/* a request whose answer somebody waited for */
	bool		given_up;		/* dead, or failed for good; see trace.h */
} AsMessage;

/*
 * Is this a message of the system?  Nobody else may send one of such a name;
 * they all have this priority, and come before what is older.
 */
#define AS_SYSTEM_PRIORITY	0

/*
 * Where, in their lane, stands what an actor is to do before all else ($failed).
 * Where that cannot be done yet, all its mail waits.
 */
#define AS_FIRST_POSITION	1

static inline bool
as_is_system(const text *name)
{
	return VARDATA_ANY(name)[0] == '$';
}

typedef struct AsMailbox
{
	Relation	rel;
	AsIndexSet	indexes;		/* these, and maybe others */
	Relation	by_key;
	Relation	by_due;
	Relation	later;			/* by id, those with a time */
	TupleTableSlot *slot;		/* for rows that are read */
	IndexScanDesc scan;			/* on by_key, or NULL */

	/* rows that the scan has passed over: dead to all, or just gone */
	int			ndead;
	int			ngone;

	bool		at_keys;		/* the scan goes from key to key */
} AsMailbox;

/* Open the table and its indexes; the locks stay until the transaction ends. */
extern void as_mailbox_open(AsMailbox *mailbox, LOCKMODE lockmode);
extern void as_mailbox_close(AsMailbox *mailbox);

/* Insert messages. */
extern void as_mailbox_insert(AsMailbox *mailbox, AsMessage *messages, int n);

/*
 * Read up to max messages of a key that the active snapshot sees, in the
 * lanes from first_lane to last_lane, in the order of lanes and positions;
 * not below position if it is one lane.  The messages are in the current
 * memory context; returns how many, and in *end whether there are no more.
 */
extern int	as_mailbox_read(AsMailbox *mailbox, uint64 key_hash,
							int first_lane, int last_lane, uint64 position,
							AsMessage *messages, int max, bool *end);

/*
 * How many messages has the key that the active snapshot sees, up to max, in
 * all lanes from the first one given on?
 */
extern int	as_mailbox_count(AsMailbox *mailbox, uint64 key_hash,
							 int first_lane, int max);

/* Delete a message that was read; false if somebody else did. */
extern bool as_mailbox_delete(AsMailbox *mailbox, const AsMessage *message);

/*
 * Replace a message that was read by what it is now: attempts, due, lane and
 * position may have changed.  False if somebody else changed or deleted it.
 */
extern bool as_mailbox_replace(AsMailbox *mailbox, AsMessage *message);

/* The message at a place, if it is there still; without looking for it. */
extern bool as_mailbox_fetch(AsMailbox *mailbox, const ItemPointerData *place,
							 int64 message_id, AsMessage *message);

/* Find and lock a message by its id; false if there is none. */
extern bool as_mailbox_find(AsMailbox *mailbox, int64 message_id,
							AsMessage *message);

/*
 * Call back for messages with a time, in the order of times, from a time on.
 * It returns false to end this.  Memory is reset after each.
 */
typedef bool (*AsMessageCallback) (AsMessage *message, void *arg);
extern void as_mailbox_scan_due(AsMailbox *mailbox, TimestampTz from,
								AsMessageCallback callback, void *arg);

/*
 * Call back for each message, key by key.  That is what the index by key
 * still has, which workers keep small, while the table has room for millions
 * that were handled.  The message is valid until the callback returns.
 */
extern void as_mailbox_scan_all(AsMailbox *mailbox,
								AsMessageCallback callback, void *arg);

/*
 * The first message of the first key that has any, from a key on (keys are
 * ordered as signed numbers); false if there is none.  If it is delayed, all
 * of the key's messages are.  Looked at with one snapshot and nothing else read
 * from the mailbox in between, each key may be the one behind the last one
 * found: that is found without looking for it from the root of the index.
 * as_mailbox_end_keys() ends this; none was begun: it does nothing.
 */
extern bool as_mailbox_next_key(AsMailbox *mailbox, uint64 from,
								AsMessage *first);
extern void as_mailbox_end_keys(AsMailbox *mailbox);

/* Copy the message at hand in the mailbox's slot. */
extern void as_mailbox_take(AsMailbox *mailbox, AsMessage *message);

#endif							/* AS_MAILBOX_H */

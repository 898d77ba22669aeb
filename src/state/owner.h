/*-------------------------------------------------------------------------
 *
 * owner.h
 *	  May this node do something in an actor's name?
 *
 * An actor lives in a slot (lib/slot_map.h), and a node writes actors of its own
 * slots only.  That a slot is one's own must stay so until the transaction
 * ends: whoever writes an actor, locks it, or writes in its name, HOLDS ITS SLOT
 * first.
 *
 *		to hold:		lock the slot (shared, as an advisory lock of a class of
 *						our own, kept by PREPARE TRANSACTION); then read
 *						what others have changed by now; then look whether the
 *						slot is ours, and open.
 *		to give away:	close the slot, and commit that; then wait for all that
 *						hold it; then look whether it is empty
 *						(cluster/give.h).
 *
 * So whoever has looked before the slot was closed is waited for, and whoever
 * comes later sees that it is.  Closed slots are closed to actors that are not
 * there yet: one that is there keeps its slot from being given away.
 *
 * A transaction locks so many slots at most; from then on it locks all of them
 * at once, and whoever gives slots away waits for that, too.
 *
 * A slot that is not empty is frozen while what is in it moves to another node
 * (cluster/transit.h): nobody holds it, also for actors that are there.  Once that
 * has been handed over it is the other node's, here and there.
 *
 * Whoever only puts messages on their way to an actor locks its slot, too, be it
 * his own or another node's, before he looks where they go.
 *
 * Where this database is no node all of this is the look at one variable.
 * Before it became one, nobody held slots: whoever gives slots away
 * for the first time waits for all transactions that there are.
 *
 * Whose the slots are is known further up (cluster/node.h), which hands in the
 * functions to ask.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_OWNER_H
#define AS_OWNER_H

#include "actorstore.h"

typedef enum AsSlotState
{
	AS_SLOT_OURS,
	AS_SLOT_CLOSED,				/* ours, but about to be given away */
	AS_SLOT_FROZEN,				/* the same, with all that is in it */
	AS_SLOT_FOREIGN
} AsSlotState;

typedef struct AsOwnerSource
{
	/* is this a node, or about to become one?  Sets as_owner_applies. */
	bool		(*applies) (void);
	AsSlotState (*look) (int slot);

	/* is it one no more, or not yet? */
	bool		(*is_outside) (void);

	/* raise VA007; type and id may be NULL */
	void		(*refuse) (int slot, const text *type, const text *id);
} AsOwnerSource;

/* Set by the mover alone, while it puts what was kept behind what it moves: frozen slots are open to it. */
extern bool as_owner_moves;

/* To be set once, when the library is loaded. */
extern const AsOwnerSource *as_owner_source;

/* False: this database is known to be no node. */
extern bool as_owner_applies;

/*
 * Hold the slot of a key, to the end of the transaction; false if it is not
 * ours, or closed.
 */
extern bool as_owner_hold_slot(uint64 key_hash);

static inline bool
as_owner_hold(uint64 key_hash)
{
	return likely(!as_owner_applies) || as_owner_hold_slot(key_hash);
}

/*
 * The same, for an actor of which something is there already: closed will do.
 */
extern bool as_owner_hold_old_slot(uint64 key_hash);

static inline bool
as_owner_hold_old(uint64 key_hash)
{
	return likely(!as_owner_applies) || as_owner_hold_old_slot(key_hash);
}

extern void as_owner_keep_slot(const text *type, const text *id);

static inline void
as_owner_keep(const text *type, const text *id)
{
	if (unlikely(as_owner_applies))
		as_owner_keep_slot(type, id);
}

/* Hold the slot of an actor, or raise VA007. */
extern void as_owner_need_slot(const text *type, const text *id);

static inline void
as_owner_need(const text *type, const text *id)
{
	if (unlikely(as_owner_applies))
		as_owner_need_slot(type, id);
}

/* The same; false if it cannot be had. */
extern bool as_owner_try_slot(const text *type, const text *id);

static inline bool
as_owner_try(const text *type, const text *id)
{
	return likely(!as_owner_applies) || as_owner_try_slot(type, id);
}

/* VA007 if this node does not own the actor by now; holds nothing. */
extern void as_owner_check_slot(const text *type, const text *id);

static inline void
as_owner_check(const text *type, const text *id)
{
	if (unlikely(as_owner_applies))
		as_owner_check_slot(type, id);
}

/* VA007 if this database was a node, or is about to become one. */
extern void as_owner_check_outside(void);

static inline void
as_owner_check_member(void)
{
	if (unlikely(as_owner_applies))
		as_owner_check_outside();
}

/* For whoever sends: lock the slot, and read what others have changed by now. */
extern void as_owner_lock_to_send(uint64 key_hash);

/*
 * For whoever has read without a lock, and found nothing: may that be because
 * the actor has moved?  Waits while its slot is frozen.
 */
extern bool as_owner_has_moved_slot(const text *type, const text *id);

static inline bool
as_owner_has_moved(const text *type, const text *id)
{
	return unlikely(as_owner_applies) && as_owner_has_moved_slot(type, id);
}

/*
 * Lock a slot so that nobody holds it, nor sends to it, till the end of the
 * transaction; false if somebody does, and does not end within lock_timeout.
 */
extern bool as_owner_lock_alone(int slot, bool wait);

/* For whoever has closed a slot: wait for all that hold it. */
extern void as_owner_wait(int slot);

/* The same, for those that hold all slots at once. */
extern void as_owner_wait_for_many(void);

/*
 * Does nobody hold a slot now?  For whoever has frozen it: others look at it and
 * wait, and as_owner_wait() would wait for these.
 */
extern bool as_owner_is_free(int slot);

#endif							/* AS_OWNER_H */

/*-------------------------------------------------------------------------
 *
 * outgoing.c
 *	  See outgoing.h.
 *
 * The entries stand in the order in which they were made, so those of a
 * subtransaction that ends are the last ones.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/outgoing.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "runtime/sched.h"
#include "runtime/urgent.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

typedef struct Outgoing
{
	uint64		key_hash;
	SubTransactionId subid;
	int			before;			/* an earlier entry of the key, or -1 */
	AsSlotRef	ref;			/* where room was reserved */
	int			reserved;
	int			counted;		/* let in by counting rows, in that command */
	CommandId	counted_in;
	int			cancelled;		/* to be counted out at commit */
	uint32		lanes;			/* with messages in them */
	uint64		position;		/* none of them is below */
	uint64		deadline;		/* the nearest of theirs; see urgent.h */
	int			nmessages;		/* that it is about */
	int			noutside;		/* of them, so many are to be handled outside */
	uint64		outside;		/* their type, as offer.h calls it */
} Outgoing;

typedef struct LastEntry
{
	uint64		key_hash;
	int			last;			/* the last entry of that key */
	char		status;
} LastEntry;

#define SH_PREFIX		lasthash
#define SH_ELEMENT_TYPE	LastEntry
#define SH_KEY_TYPE		uint64
#define SH_KEY			key_hash
#define SH_HASH_KEY(tb, key)	((uint32) ((key) ^ ((key) >> 32)))
#define SH_EQUAL(tb, a, b)		((a) == (b))
#define SH_SCOPE		static inline
#define SH_DEFINE
#define SH_DECLARE
#include "lib/simplehash.h"

/* all in TopTransactionContext */
static Outgoing *entries = NULL;
static int	nentries = 0;
static int	allocated = 0;
static lasthash_hash *last_entries = NULL;
static TimestampTz next_due = 0;	/* of all, or 0 */
static uint64 outside_lost = PG_UINT64_MAX;	/* "lost", when handlers were looked up first */
static bool want_sweep = false;
static bool want_doubt = false;
static bool changed_database = false;
static bool is_committing = false;	/* and has said so (sched.h) */
static bool has_committed = false;

/* The entry of the key in the current subtransaction, made if need be. */
static Outgoing *
entry_of(uint64 key_hash)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	LastEntry  *last;
	Outgoing   *entry;
	bool		found;

	/* a batch to one actor */
	if (nentries > 0 && entries[nentries - 1].key_hash == key_hash &&
		entries[nentries - 1].subid == subid)
		return &entries[nentries - 1];
	if (last_entries == NULL)
		last_entries = lasthash_create(TopTransactionContext, 16, NULL);
	last = lasthash_insert(last_entries, key_hash, &found);
	if (found && last->last >= 0 && entries[last->last].subid == subid)
		return &entries[last->last];

	if (!found)
		last->last = -1;
	if (nentries == allocated)
	{
		int			n = Max(16, 2 * allocated);

		entries = entries == NULL ?
			MemoryContextAlloc(TopTransactionContext, n * sizeof(Outgoing)) :
			repalloc_huge(entries, n * sizeof(Outgoing));
		allocated = n;
	}
	entry = &entries[nentries];
	memset(entry, 0, sizeof(Outgoing));
	entry->key_hash = key_hash;
	entry->subid = subid;
	entry->before = last->last;
	entry->ref = AS_NO_SLOT;
	entry->position = AS_NO_POSITION;
	entry->deadline = AS_NO_DEADLINE;
	last->last = nentries++;
	return entry;
}

/* ---- Room ---- */

/* How many rows there are, by counting. */
static int
count_rows(AsMailbox *mailbox, uint64 key_hash, int limit)
{
	int			n;

	PushActiveSnapshot(GetLatestSnapshot());
	n = as_mailbox_count(mailbox, key_hash, 0, limit);
	PopActiveSnapshot();
	return n;
}

int
as_outgoing_reserved(uint64 key_hash)
{
	LastEntry  *last = last_entries == NULL ? NULL :
	lasthash_lookup(last_entries, key_hash);
	int			n = 0;

	for (int i = last == NULL ? -1 : last->last; i >= 0; i = entries[i].before)
		n += entries[i].reserved;
	return n;
}

/*
 * Where no slot knows the depth: count the rows, and those messages that the
 * current command has let in and not inserted yet.
 */
static bool
has_room_by_rows(AsMailbox *mailbox, Outgoing *entry, int limit)
{
	CommandId	command = GetCurrentCommandId(false);

	if (entry->counted_in != command)
		entry->counted = 0;
	if (entry->counted >= limit ||
		count_rows(mailbox, entry->key_hash, limit - entry->counted) >=
		limit - entry->counted)
		return false;
	entry->counted++;
	entry->counted_in = command;
	return true;
}

bool
as_outgoing_reserve(AsMailbox *mailbox, uint64 key_hash, int limit, int *mine)
{
	int			home = as_sched_home();
	Outgoing   *entry = entry_of(key_hash);
	AsSlotShared *slot;
	uint32		unknown = 0;

	*mine = 0;
	if (home < 0)
		return has_room_by_rows(mailbox, entry, limit);
	if (entry->ref == AS_NO_SLOT || !as_slot_is_current(entry->ref))
	{
		entry->reserved = 0;	/* it has gone with the slot */
		entry->ref = as_slot_claim(home, key_hash, !as_sched_is_swept(home));
	}
	if (entry->ref == AS_NO_SLOT)
		return has_room_by_rows(mailbox, entry, limit);

	slot = as_slot(entry->ref);
	if (pg_atomic_read_u32(&slot->depth_known) == 0)
	{
		int			n = count_rows(mailbox, key_hash, limit + 1);

		if (pg_atomic_compare_exchange_u32(&slot->depth_known, &unknown, 1))
			pg_atomic_write_u32(&slot->depth, n);
	}
	if ((int) pg_atomic_fetch_add_u32(&slot->depth, 1) >= limit)
	{
		as_slot_add_depth(entry->ref, -1);
		*mine = as_outgoing_reserved(key_hash);
		return false;
	}
	entry->reserved++;
	return true;
}

void
as_outgoing_note(uint64 key_hash, int lane, int64 position, TimestampTz due)
{
	if (due != 0 && (next_due == 0 || due < next_due))
		next_due = due;
	if (lane < AS_DELAYED_LANE)
	{
		Outgoing   *entry = entry_of(key_hash);

		entry->lanes |= 1U << lane;
		entry->position = Min(entry->position, (uint64) position);
		entry->nmessages++;
	}
}

void
as_outgoing_note_outside(uint64 key_hash, const AsOutside *outside)
{
	Outgoing   *entry = entry_of(key_hash);

	entry->noutside++;
	entry->outside = outside->type;
	if (outside->lost < outside_lost)
		outside_lost = outside->lost;
}

void
as_outgoing_note_deadline(uint64 key_hash, TimestampTz expires_at)
{
	Outgoing   *entry = entry_of(key_hash);

	entry->deadline = Min(entry->deadline, as_deadline_of(expires_at));
}

void
as_outgoing_note_cancelled(uint64 key_hash)
{
	entry_of(key_hash)->cancelled++;
}

void
as_outgoing_note_sweep(void)
{
	want_sweep = true;
}

void
as_outgoing_note_doubt(void)
{
	want_sweep = want_doubt = true;
}

void
as_outgoing_note_database(void)
{
	changed_database = true;
}

/* ---- The end of the transaction ---- */

/* The memory goes with the transaction. */
static void
forget(void)
{
	entries = NULL;
	nentries = 0;
	allocated = 0;
	last_entries = NULL;
	next_due = 0;
	outside_lost = PG_UINT64_MAX;
	want_sweep = false;
	want_doubt = false;
	if (is_committing)
		as_sched_end_commit();
	is_committing = false;
	has_committed = false;
	changed_database = false;
}

/* Let go of a slot that nobody may need any more. */
static void
release(AsSlotRef ref)
{
	int			home = as_sched_home();

	if (as_slot_release(ref) && home >= 0)
		as_sched_queue(home, ref);
}

static void
give_back(Outgoing *entry)
{
	if (entry->ref == AS_NO_SLOT || !as_slot_is_current(entry->ref))
		return;
	if (entry->reserved > 0)
		as_slot_add_depth(entry->ref, -entry->reserved);
	release(entry->ref);
}

/*
 * Whose type's clients handle all of it, as far as we know?  Not if that may have
 * changed since we looked: who has set a handler has all mailboxes looked through.
 */
static uint64
outside_of(const Outgoing *entry, uint32 home)
{
	if (entry->noutside == 0 || entry->noutside < entry->nmessages ||
		outside_lost != pg_atomic_read_u64(&as_home(home)->lost))
		return 0;
	return entry->outside;
}

/* Nothing here may fail: the transaction has committed. */
static void
send_hints(void)
{
	int			home = as_sched_home();

	if (changed_database)
		as_sched_note_database(MyDatabaseId);
	if (home < 0)
		return;
	for (int i = 0; i < nentries; i++)
	{
		Outgoing   *entry = &entries[i];
		AsSlotRef	ref = entry->ref;
		uint64		outside = outside_of(entry, home);

		for (int lane = 0; lane < AS_LANES; lane++)
		{
			if (entry->lanes & (1U << lane))
				ref = as_sched_hint(home, ref, entry->key_hash, lane,
									entry->position, entry->deadline, outside);
		}
		if (entry->cancelled > 0)
		{
			ref = as_slot_count_out(home, entry->key_hash, entry->cancelled);
			if (ref != AS_NO_SLOT)
				release(ref);
		}
	}
	if (next_due != 0)
		as_sched_lower_due(home, next_due);
	if (want_sweep)
		as_sched_lose(home);
	if (want_doubt)
		as_slots_doubt(home);
}

/* The lowest position of all messages sent. */
static uint64
lowest_position(void)
{
	uint64		lowest = AS_NO_POSITION;

	for (int i = 0; i < nentries; i++)
		lowest = Min(lowest, entries[i].position);
	return lowest;
}

bool
as_outgoing_is_silent(void)
{
	return nentries == 0 && next_due == 0 && !want_sweep && !want_doubt &&
		!changed_database;
}

static void
end_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (nentries > 0 && as_sched_home() >= 0)
			{
				as_sched_begin_commit(as_sched_home(), lowest_position());
				is_committing = true;
			}
			break;
		case XACT_EVENT_COMMIT:
			has_committed = true;
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			for (int i = 0; i < nentries; i++)
				give_back(&entries[i]);
			forget();
			break;
		default:
			break;
	}
}

/*
 * The hints go out once the locks are gone and others have been told of what
 * is invalid: a worker that follows them knows of handlers that were set, and
 * actors that were resumed, by the same transaction.
 */
static void
release_resources(ResourceReleasePhase phase, bool is_commit,
				  bool is_top_level, void *arg)
{
	if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_commit ||
		!is_top_level || !has_committed)
		return;
	if (nentries > 0 || next_due != 0 || want_sweep || changed_database)
		send_hints();
	forget();
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId subid,
				   SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (int i = nentries - 1; i >= 0 && entries[i].subid == subid; i--)
			entries[i].subid = parent;
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (nentries > 0 && entries[nentries - 1].subid == subid)
		{
			Outgoing   *entry = &entries[--nentries];

			give_back(entry);
			lasthash_lookup(last_entries, entry->key_hash)->last = entry->before;
		}
	}
}

void
as_outgoing_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterResourceReleaseCallback(release_resources, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}

/*-------------------------------------------------------------------------
 *
 * turn_read.c
 *	  Which messages of an actor are to be handled now, and in what order.
 *
 * The lanes are read in the order of priorities, each from the position that
 * the slot knew.  So that the last ones do not starve, a message that has
 * waited counts as one of a higher priority: one step for each
 * actorstore.priority_aging.  What the system says comes before all that.  A
 * lane whose first message has a time in the future waits for it; all of them
 * wait for what the actor is to do before all else (AS_FIRST_POSITION).
 *
 * Requests come first, so that who waits for an answer does not wait for all
 * mail; where there is mail, they get half of the turn at most.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/turn.h"

#include "lib/same_text.h"
#include "port/pg_bitutils.h"
#include "runtime/lease.h"
#include "runtime/sched.h"
#include "runtime/trail.h"
#include "runtime/urgent.h"
#include "utils/timestamp.h"

typedef struct Lane
{
	AsMessage  *messages;
	int			n;
	int			next;			/* the first one not taken */
	bool		end;			/* the lane holds no more */
	bool		blocked;		/* the next one is not due yet */
} Lane;

/*
 * Room to read the messages of a lane into, one more than a turn takes.  It is
 * kept: most turns are short, and what they keep is in a list of its size.
 */
static AsMessage *
room_for_lane(int lane)
{
	static AsMessage *room[AS_LANES];

	if (room[lane] == NULL)
		room[lane] = MemoryContextAlloc(TopMemoryContext,
										(AS_MAX_BATCH + 1) * sizeof(AsMessage));
	return room[lane];
}

void
as_turn_unread(AsTurn *turn)
{
	turn->left = turn->taken;
	turn->more = true;
	turn->empty = false;
	turn->nhandled = 0;
	as_turn_discard_answers(turn);
}

static void
need_mailbox(AsMailbox *mailbox)
{
	if (mailbox->rel == NULL)
		as_mailbox_open(mailbox, RowExclusiveLock);
}

/* What is left of a lane goes on at that position. */
static void
set_left(AsTurn *turn, int lane, int64 position)
{
	turn->left.lanes |= 1U << lane;
	turn->left.low[lane] = (uint64) position;
	turn->empty = false;
}

/* The same, at its first message not taken. */
static void
set_left_at(AsTurn *turn, const AsMessage *message)
{
	set_left(turn, message->lane, message->position);
	turn->left_deadline = Min(turn->left_deadline,
							  as_deadline_of(message->expires_at));
}

static bool
same_actor(const AsMessage *a, const AsMessage *b)
{
	return as_same_text(a->actor_type, b->actor_type) &&
		as_same_text(a->actor_id, b->actor_id);
}

/*
 * Is it to be handled later?  Its time may have come already, and the clock have
 * gone back since: then nobody would look for it any more.
 */
static bool
is_for_later(const AsMessage *message, TimestampTz now)
{
	if (message->due <= now)
		return false;
	as_sched_lower_due(as_sched_home(), message->due);
	return true;
}

/* Nothing else is handled before this one. */
static bool
comes_first(const AsMessage *message)
{
	return message->lane == AS_SYSTEM_PRIORITY &&
		message->position == AS_FIRST_POSITION;
}

/* The messages from that one on stay where they are. */
void
as_turn_leave(AsTurn *turn, int from)
{
	for (int i = Max(from, turn->nrequests); i < turn->nmessages; i++)
	{
		AsMessage  *message = &turn->messages[i];

		if ((turn->left.lanes & (1U << message->lane)) == 0 ||
			turn->left.low[message->lane] > (uint64) message->position)
			set_left_at(turn, message);
	}
	turn->nmessages = Min(turn->nmessages, from);
	turn->nrequests = Min(turn->nrequests, from);
}

/*
 * Of the messages read, leave out what is delayed, which comes last; returns how
 * many stay.  How many are delayed is known if the scan came to the end.
 */
static int
leave_delayed(AsTurn *turn, const AsMessage *messages, int n, bool *end)
{
	int			left = n;

	while (left > 0 && messages[left - 1].lane >= AS_DELAYED_LANE)
		left--;
	turn->delayed_known = *end;
	turn->ndelayed = n - left;
	*end = *end || left < n;
	return left;
}

/*
 * The slot knows nothing: one scan through all lanes, in their order, and those
 * of what is delayed behind them.  Where it ends early, the lanes behind stay
 * unknown.
 */
static void
read_unknown(AsTurn *turn, AsMailbox *mailbox, int max, TimestampTz now)
{
	AsMessage  *messages = palloc((max + 1) * sizeof(AsMessage));
	bool		end;
	int			n = as_mailbox_read(mailbox, turn->key_hash, 0,
									2 * AS_DELAYED_LANE - 1, 0, messages,
									max + 1, &end);
	uint32		blocked = 0;
	int			unknown_from = AS_LANES;

	n = leave_delayed(turn, messages, n, &end);
	turn->messages = palloc(Max(n, 1) * sizeof(AsMessage));
	if (n > 0 && comes_first(&messages[0]) && is_for_later(&messages[0], now))
	{
		for (int lane = 0; lane < AS_LANES; lane++)
			set_left(turn, lane, 0);
		return;
	}
	for (int i = 0; i < n; i++)
	{
		AsMessage  *message = &messages[i];

		if (blocked & (1U << message->lane))
			continue;
		if (is_for_later(message, now))
		{
			blocked |= 1U << message->lane;
			set_left_at(turn, message);
		}
		else if (turn->nmessages == max ||
				 (turn->nmessages > 0 &&
				  !same_actor(message, &turn->messages[0])))
		{
			/* the next turn begins here */
			if ((turn->left.lanes & (1U << message->lane)) == 0)
				set_left_at(turn, message);
			turn->more = true;
		}
		else
			turn->messages[turn->nmessages++] = *message;
	}
	if (!end && n > 0)
	{
		/* the lane that the scan stopped in goes on where it stopped */
		unknown_from = messages[n - 1].lane + 1;
		if ((turn->left.lanes & (1U << messages[n - 1].lane)) == 0)
			set_left_at(turn, &messages[n - 1]);
		turn->more = turn->more || blocked == 0 ||
			(blocked & (1U << messages[n - 1].lane)) == 0;
	}
	for (int lane = unknown_from; lane < AS_LANES; lane++)
		set_left(turn, lane, 0);
	if (unknown_from < AS_LANES)
		turn->more = true;
}

/* The priority that a message counts as by now. */
static int64
aged_priority(const AsMessage *message, TimestampTz now)
{
	int64		age = Max(now - Max(message->sent_at, message->due), 0);

	if (as_is_system(message->name))
		return PG_INT64_MIN;
	if (actorstore_priority_aging == 0)
		return message->priority;
	return message->priority - age / (actorstore_priority_aging * INT64CONST(1000));
}

/* The lane that the next message comes from, or -1. */
static int
next_lane(AsTurn *turn, Lane *lanes, TimestampTz now)
{
	int			best = -1;
	int64		best_priority = 0;

	for (uint32 rest = turn->taken.lanes; rest != 0; rest &= rest - 1)
	{
		int			lane = pg_rightmost_one_pos32(rest);
		AsMessage  *message = &lanes[lane].messages[lanes[lane].next];
		int64		priority;

		if (lanes[lane].next == lanes[lane].n || lanes[lane].blocked)
			continue;
		priority = aged_priority(message, now);
		if (best < 0 || priority < best_priority)
		{
			best = lane;
			best_priority = priority;
		}
	}
	return best;
}

/* Take the messages in the order that they are to be handled in. */
static void
merge_lanes(AsTurn *turn, Lane *lanes, int max, TimestampTz now)
{
	while (turn->nmessages < max)
	{
		int			lane = next_lane(turn, lanes, now);
		AsMessage  *message;

		if (lane < 0)
			break;
		message = &lanes[lane].messages[lanes[lane].next];
		if (is_for_later(message, now))
		{
			if (comes_first(message))
			{
				for (int all = 0; all < AS_LANES; all++)
					lanes[all].blocked = true;
				break;
			}
			lanes[lane].blocked = true;
			continue;
		}
		if (turn->nmessages > 0 && !same_actor(message, &turn->messages[0]))
		{
			/* that of another actor with this hash waits for the next turn */
			lanes[lane].blocked = true;
			turn->more = true;
			continue;
		}
		turn->messages[turn->nmessages++] = *message;
		lanes[lane].next++;
	}
}

static void
read_known(AsTurn *turn, AsMailbox *mailbox, int max, TimestampTz now)
{
	Lane		lanes[AS_LANES];
	uint64		floor = as_sched_commit_floor(as_sched_home());
	int			nread = 0;

	if (!as_slot_is_alone(turn->ref))
		floor = 0;

	for (uint32 rest = turn->taken.lanes; rest != 0; rest &= rest - 1)
	{
		int			lane = pg_rightmost_one_pos32(rest);
		uint64		from;
		uint64		start;

		memset(&lanes[lane], 0, sizeof(Lane));
		lanes[lane].end = true;
		if (turn->taken.low[lane] == AS_NO_POSITION)
			continue;

		/* one more than we take, to know whether there is more */
		lanes[lane].messages = room_for_lane(lane);
		from = Min(Min(turn->taken.low[lane], floor),
				   as_slot_low(turn->ref, lane));
		start = as_trail_start(mailbox->rel, turn->key_hash, lane, from);
		lanes[lane].n = as_mailbox_read(mailbox, turn->key_hash, lane, lane,
										start, lanes[lane].messages, max + 1,
										&lanes[lane].end);
		as_trail_note(turn->key_hash, lane, from, lanes[lane].n,
					  mailbox->ndead, mailbox->ngone);
		nread += lanes[lane].n;
	}
	turn->messages = palloc(Max(Min(nread, max), 1) * sizeof(AsMessage));
	merge_lanes(turn, lanes, max, now);
	for (uint32 rest = turn->taken.lanes; rest != 0; rest &= rest - 1)
	{
		int			lane = pg_rightmost_one_pos32(rest);

		if (lanes[lane].next == lanes[lane].n && lanes[lane].end)
			continue;
		Assert(lanes[lane].next < lanes[lane].n);
		set_left_at(turn, &lanes[lane].messages[lanes[lane].next]);
		if (!lanes[lane].blocked &&
			lanes[lane].messages[lanes[lane].next].due <= now)
			turn->more = true;
	}
}

static void
read_mail(AsTurn *turn, AsMailbox *mailbox, int max)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		unknown = (turn->taken.lanes == AS_ALL_LANES);

	need_mailbox(mailbox);
	turn->nmessages = 0;
	turn->left.lanes = 0;
	turn->more = false;
	turn->empty = true;
	turn->delayed_known = false;
	turn->left_deadline = AS_DEADLINE_NEVER;
	for (int lane = 0; unknown && lane < AS_LANES; lane++)
		unknown = (turn->taken.low[lane] == 0);
	if (unknown)
		read_unknown(turn, mailbox, max, now);
	else
		read_known(turn, mailbox, max, now);
}

/* Read requests of one actor; returns how many. */
static int
read_requests(AsTurn *turn, AsMessage **requests, int max)
{
	AsSlotShared *slot = as_slot(turn->ref);
	int			n;

	if (slot->pending == 0 && pg_atomic_read_u32(&slot->requests) == 0)
		return 0;
	*requests = palloc(max * sizeof(AsMessage));
	if (turn->lease != 0 && !as_lease_lock(turn->key_hash, turn->lease))
		return 0;
	n = as_requests_read(turn->ref, *requests, max);
	if (turn->lease != 0)
		as_lease_unlock();

	/* those of another actor with this hash wait for the next turn */
	for (int i = 1; i < n; i++)
	{
		if (!same_actor(&(*requests)[i], &(*requests)[0]))
			return i;
	}
	return n;
}

/* Put the requests in front of the mail that was read. */
static void
put_in_front(AsTurn *turn, AsMessage *requests, int n)
{
	AsMessage  *both;

	if (turn->nmessages > 0 && !same_actor(&turn->messages[0], &requests[0]))
	{
		as_turn_leave(turn, 0);
		turn->more = true;
	}
	both = requests;
	if (turn->nmessages > 0)
	{
		both = palloc((n + turn->nmessages) * sizeof(AsMessage));
		memcpy(both, requests, n * sizeof(AsMessage));
		memcpy(both + n, turn->messages, turn->nmessages * sizeof(AsMessage));
	}
	turn->messages = both;
	turn->nmessages += n;
	turn->nrequests = n;
}

void
as_turn_read(AsTurn *turn, AsMailbox *mailbox, int max)
{
	AsMessage  *requests = NULL;
	int			nrequests;

	turn->nrequests = 0;
	turn->nmessages = 0;
	nrequests = read_requests(turn, &requests,
							  turn->taken.lanes == 0 ? max : Max(max / 2, 1));
	if (turn->taken.lanes == 0)
	{
		turn->left.lanes = 0;
		turn->more = false;
		turn->empty = true;
	}
	else if (nrequests < max)
		read_mail(turn, mailbox, max - nrequests);
	if (nrequests > 0)
		put_in_front(turn, requests, nrequests);
}

/*
 * Of the mail only what the system says is to be handled, one message at a
 * time: look for it in its lane, and leave everything else where it is.
 */
bool
as_turn_read_system(AsTurn *turn, AsMailbox *mailbox)
{
	int			max = AS_MAX_BATCH;
	AsMessage  *found = palloc((turn->nrequests + 1) * sizeof(AsMessage));
	AsMessage  *messages = palloc(max * sizeof(AsMessage));
	TimestampTz now = GetCurrentTimestamp();
	uint64		from = 0;
	bool		end = false;

	memcpy(found, turn->messages, Max(turn->nrequests, 1) * sizeof(AsMessage));
	as_turn_unread(turn);
	turn->messages = found;
	turn->nmessages = turn->nrequests;
	turn->more = false;
	need_mailbox(mailbox);
	while (!end)
	{
		int			n = as_mailbox_read(mailbox, turn->key_hash,
										AS_SYSTEM_PRIORITY, AS_SYSTEM_PRIORITY,
										from, messages, max, &end);

		for (int i = 0; i < n; i++)
		{
			from = (uint64) messages[i].position + 1;
			if (!as_is_system(messages[i].name) ||
				!same_actor(&messages[i], &found[0]) ||
				is_for_later(&messages[i], now))
				continue;
			found[turn->nmessages++] = messages[i];
			turn->more = true;
			return true;
		}
	}
	return false;
}

void
as_turn_count_delayed(AsTurn *turn, AsMailbox *mailbox)
{
	AsSlotShared *slot = as_slot(turn->ref);
	bool		known = pg_atomic_read_u32(&slot->depth_known) != 0;
	int			ndelayed;

	if (!turn->empty ||
		(known && (int) pg_atomic_read_u32(&slot->depth) <= as_turn_nmail(turn)))
		return;
	if (turn->delayed_known)
		ndelayed = turn->ndelayed;
	else
	{
		need_mailbox(mailbox);
		ndelayed = as_mailbox_count(mailbox, turn->key_hash, AS_DELAYED_LANE,
									PG_INT32_MAX);
	}
	pg_atomic_write_u32(&slot->depth, ndelayed + as_turn_nmail(turn));
	pg_write_barrier();
	pg_atomic_write_u32(&slot->depth_known, 1);
}

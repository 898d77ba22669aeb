/*-------------------------------------------------------------------------
 *
 * give.c
 *	  See give.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/give.h"

#include "cluster/fault.h"
#include "cluster/force.h"
#include "cluster/peer.h"
#include "cluster/settle.h"
#include "cluster/transit.h"
#include "executor/spi.h"
#include "lib/slot_map.h"
#include "state/owner.h"
#include "state/text_query.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* Whoever closed slots is gone after so many times actorstore.peer_timeout. */
#define STUCK_TIMEOUTS	6

/* Look again so soon whether a frozen slot is free */
#define FROZEN_NAP_MS	1

/* ---- Who gives ---- */

void
as_give_find(text *proposal, const AsNode *members, int n, bool *gives)
{
	int16		now[AS_SLOTS];
	int16		next[AS_SLOTS];

	as_node_owners(now);
	as_ballot_owners(proposal, next);
	for (int i = 0; i < n; i++)
	{
		gives[i] = false;
		for (int slot = 0; slot < AS_SLOTS && !gives[i]; slot++)
			gives[i] = now[slot] == members[i].number && next[slot] != now[slot];
		gives[i] = gives[i] && !as_force_is_lost_by(proposal, &members[i].uuid);
	}
}

/* ---- Slots that hold something ---- */

#define ACTORS_OF(table) \
	" UNION ALL SELECT actor_type, actor_id FROM actorstore." table

void
as_give_occupied(bool *occupied)
{
	AsRows		rows;

	as_text_query(&rows, SPI_OK_SELECT,
				  "SELECT DISTINCT actorstore.slot_of(a.actor_type, a.actor_id)::text FROM ("
				  "SELECT actor_type, actor_id FROM actorstore.actor"
				  ACTORS_OF("message") ACTORS_OF("timer") ACTORS_OF("dead_message") ACTORS_OF("dedup")
				  ACTORS_OF("lease") ACTORS_OF("spawned") ACTORS_OF("link") ACTORS_OF("monitor") ACTORS_OF("watcher")
				  ACTORS_OF("supervisor") ACTORS_OF("supervised") ACTORS_OF("child") ACTORS_OF("supervision_step")
				  ACTORS_OF("supervision_restart") ACTORS_OF("group_member")
				  ACTORS_OF("halted WHERE actor_id <> ''") ") AS a",
				  0, NULL);
	memset(occupied, 0, AS_SLOTS * sizeof(bool));
	for (int i = 0; i < rows.nrows; i++)
		occupied[as_cell_int(&rows, i, 0)] = true;
}

/* ---- Closing ---- */

void
as_give_close(int64 epoch, int64 ballot, text *proposal, AsVote *vote)
{
	text	   *args[4] = {as_int_text(epoch), as_int_text(ballot), proposal};

	if (!as_ballot_is_next(epoch, vote))
		return;
	as_ballot_check_epoch(epoch, proposal);
	args[3] = as_int_text(as_node_need_self()->number);
	as_transit_check(proposal);
	vote->agreed = as_text_query(NULL, SPI_OK_UPDATE,
								 "UPDATE actorstore.ballot AS b SET closed_by = promised, closed_at = clock_timestamp(),"
								 " closing = ARRAY(SELECT n.place - 1 FROM unnest(string_to_array($3::jsonb ->> 'owners', ',')::int[],"
								 " (SELECT e.owners FROM actorstore.epoch AS e ORDER BY e.epoch DESC LIMIT 1))"
								 " WITH ORDINALITY AS n (owner, owner_now, place)"
								 " WHERE n.owner_now = $4::int AND n.owner <> $4::int)"
								 " WHERE b.epoch = $1::bigint AND b.promised = $2::bigint",
								 4, args) > 0;
	as_ballot_read(epoch, vote);
}

void
as_give_withdraw(int64 epoch, int64 ballot)
{
	text	   *args[2] = {as_int_text(epoch), as_int_text(ballot)};

	as_ballot_lock();
	as_text_query(NULL, SPI_OK_UPDATE,
				  "UPDATE actorstore.ballot SET closing = '{}', closed_by = NULL,"
				  " closed_at = CASE WHEN given <> '{}' THEN closed_at END"
				  " WHERE epoch = $1::bigint AND closed_by = $2::bigint",
				  2, args);
}

/* ---- Consent ---- */

/* The slots that this ballot has closed. */
static void
read_closing(int64 epoch, int64 ballot, AsRows *slots)
{
	text	   *args[2] = {as_int_text(epoch), as_int_text(ballot)};

	as_text_query(slots, SPI_OK_SELECT,
				  "SELECT s::text FROM actorstore.ballot, unnest(closing) AS s"
				  " WHERE epoch = $1::bigint AND closed_by = $2::bigint",
				  2, args);
}

/* For those who hold more slots than stand in their locks; till when for the others. */
static TimestampTz
begin_wait(int timeout)
{
	TimestampTz deadline = as_peer_deadline(timeout);
	text	   *args[1] = {as_int_text(timeout)};

	as_text_query(NULL, SPI_OK_SELECT, "SELECT set_config('lock_timeout', $1 || 'ms', true)", 1, args);
	as_owner_wait_for_many();
	return deadline;
}

void
as_give_wait(const int *slots, int n, int timeout)
{
	TimestampTz deadline = begin_wait(timeout);

	for (int i = 0; i < n; i++)
	{
		if (GetCurrentTimestamp() >= deadline)
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("slots of node \"%s\" are held by transactions for too long",
							as_node_need_self()->name)));
		as_owner_wait(slots[i]);
	}
}

void
as_give_wait_frozen(const int *slots, int n, int timeout)
{
	TimestampTz deadline = begin_wait(timeout);

	for (int i = 0; i < n; i++)
	{
		while (!as_owner_is_free(slots[i]))
		{
			if (GetCurrentTimestamp() >= deadline)
				ereport(ERROR,
						(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
						 errmsg("slot %d of node \"%s\" is held by a transaction for too long",
								slots[i], as_node_need_self()->name)));
			as_peer_nap(FROZEN_NAP_MS, AS_NAP_SLOT);
		}
	}
}

/*
 * Nobody can come any more, and all have gone: what is there now is all.  What
 * was in slots that are handed over is gone already.
 */
static void
check_empty(const int *slots, int n)
{
	bool		occupied[AS_SLOTS];
	bool		read = false;

	for (int i = 0; i < n; i++)
	{
		int			slot = slots[i];

		if (as_node_transit(slot) == AS_TRANSIT_HANDED)
			continue;
		if (!read)
			as_give_occupied(occupied);
		read = true;
		if (occupied[slot] || as_node_transit(slot) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("slot %d of node \"%s\" is not empty", slot,
							as_node_need_self()->name)));
	}
}

/* Those who held slots that are handed over were waited for when these were frozen. */
void
as_give_consent(int64 epoch, int64 ballot, int coordinator, AsVote *vote)
{
	text	   *args[2] = {as_int_text(epoch), as_int_text(ballot)};
	AsRows		rows;
	int			slots[AS_SLOTS];
	int			held[AS_SLOTS];
	int			nheld = 0;

	read_closing(epoch, ballot, &rows);
	for (int i = 0; i < rows.nrows; i++)
	{
		slots[i] = (int) as_cell_int(&rows, i, 0);
		if (as_node_transit(slots[i]) != AS_TRANSIT_HANDED)
			held[nheld++] = slots[i];
	}
	AS_FAULT("slots_closed");
	as_settle(coordinator);
	if (nheld > 0)
		as_give_wait(held, nheld, actorstore_peer_timeout);
	if (!as_ballot_is_next(epoch, vote))
		return;
	check_empty(slots, rows.nrows);
	vote->agreed = as_text_query(NULL, SPI_OK_UPDATE,
								 "UPDATE actorstore.ballot SET given = given || closing, closing = '{}', closed_by = NULL"
								 " WHERE epoch = $1::bigint AND closed_by = $2::bigint AND promised = $2::bigint",
								 2, args) > 0;
	as_ballot_read(epoch, vote);
}

/* ---- Left behind ---- */

bool
as_give_is_stuck(void)
{
	text	   *args[1] = {as_int_text(STUCK_TIMEOUTS * (int64) actorstore_peer_timeout)};

	return as_text_query(NULL, SPI_OK_SELECT,
						 "SELECT FROM actorstore.ballot WHERE closed_at < clock_timestamp() - $1::bigint * interval '1 ms'"
						 " AND epoch > (SELECT max(epoch) FROM actorstore.epoch)",
						 1, args) > 0;
}

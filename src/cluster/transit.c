/*-------------------------------------------------------------------------
 *
 * transit.c
 *	  See transit.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/transit.h"

#include "access/xact.h"
#include "cluster/ballot.h"
#include "cluster/fault.h"
#include "cluster/give.h"
#include "cluster/lane.h"
#include "cluster/outbox.h"
#include "cluster/peer.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "runtime/mailbox.h"
#include "runtime/outgoing.h"
#include "state/owner.h"
#include "state/text_query.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define NAP_MS			10

/* Others are told that something is not there yet after this. */
#define DRAIN_MS		2000

/* Slots that one transaction lets go */
#define LET_GO_AT_ONCE	64

/* ---- What stands in the table ---- */

static void
read_where(const char *where, AsTransit *transit)
{
	AsRows		rows;

	as_text_query(&rows, SPI_OK_SELECT,
				  psprintf("SELECT slot::text, taker::text FROM actorstore.transit WHERE %s ORDER BY transit.slot", where),
				  0, NULL);
	transit->n = 0;
	for (int i = 0; i < rows.nrows; i++)
	{
		transit->slots[transit->n++] = (int) as_cell_int(&rows, i, 0);
		transit->taker = (int) as_cell_int(&rows, i, 1);
	}
}

static void
keep_own(AsTransit *transit)
{
	int16		owners[AS_SLOTS];
	int			self = as_node_need_self()->number;
	int			n = 0;

	as_node_owners(owners);
	for (int i = 0; i < transit->n; i++)
	{
		if (owners[transit->slots[i]] == self)
			transit->slots[n++] = transit->slots[i];
	}
	transit->n = n;
}

void
as_transit_read(char state, AsTransit *transit)
{
	read_where(psprintf("state = '%c'", state), transit);
	keep_own(transit);
}

text *
as_transit_array(const AsTransit *transit)
{
	StringInfoData array;

	initStringInfo(&array);
	appendStringInfoChar(&array, '{');
	for (int i = 0; i < transit->n; i++)
		appendStringInfo(&array, "%s%d", i == 0 ? "" : ",", transit->slots[i]);
	appendStringInfoChar(&array, '}');
	return cstring_to_text_with_len(array.data, array.len);
}

void
as_transit_set(const AsTransit *transit, char from, char to)
{
	text	   *args[3] = {as_transit_array(transit), cstring_to_text_with_len(&from, 1), cstring_to_text_with_len(&to, 1)};
	int			n = as_text_query(NULL, SPI_OK_UPDATE,
								  "UPDATE actorstore.transit SET state = $3::text::\"char\", since = clock_timestamp()"
								  " WHERE slot = ANY ($1::smallint[]) AND state = $2::text::\"char\"",
								  3, args);

	if (n != transit->n)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("of %d slots only %d are where they should be on their way", transit->n, n)));

	/* turns and timers that were turned away */
	if (to == AS_TRANSIT_PARKED)
		as_outgoing_note_doubt();
}

/* ---- Epochs ---- */

/* What has come here, or stays here after all, is to be looked at. */
static void
look_at_gains(text *proposal)
{
	int16		owners[AS_SLOTS];
	int			self = as_node_self() == NULL ? 0 : as_node_self()->number;
	AsTransit  *transit = palloc(sizeof(AsTransit));

	as_ballot_owners(proposal, owners);
	read_where("state = 'o'", transit);
	for (int i = 0; i < transit->n; i++)
	{
		if (owners[transit->slots[i]] != self)
			continue;
		as_outgoing_note_doubt();
		as_outgoing_note(0, AS_DELAYED_LANE, 0, 1);
		return;
	}
}

void
as_transit_learn(text *proposal)
{
	as_text_query(NULL, SPI_OK_INSERT,
				  "INSERT INTO actorstore.transit AS t (slot, taker, state)"
				  " SELECT m.key::smallint, m.value::smallint, 'p' FROM jsonb_each_text(coalesce($1::jsonb -> 'moving', '{}')) AS m"
				  " ON CONFLICT (slot) DO UPDATE SET taker = excluded.taker, state = 'p', since = clock_timestamp() WHERE t.state = 'o'",
				  1, &proposal);
	if (as_text_query(NULL, SPI_OK_UPDATE,
					  "UPDATE actorstore.transit AS t SET state = 'o', since = clock_timestamp()"
					  " WHERE state <> 'o' AND NOT coalesce($1::jsonb -> 'moving', '{}') ? t.slot::text",
					  1, &proposal) > 0)
		look_at_gains(proposal);
}

void
as_transit_check(text *proposal)
{
	int16		next[AS_SLOTS];
	AsTransit  *transit = palloc(sizeof(AsTransit));
	AsTransit  *handed = palloc(sizeof(AsTransit));

	as_ballot_owners(proposal, next);
	read_where("state <> 'o'", transit);
	keep_own(transit);
	as_transit_read(AS_TRANSIT_HANDED, handed);
	for (int i = 0; i < transit->n; i++)
	{
		int			slot = transit->slots[i];
		bool		is_handed = as_node_transit(slot) == AS_TRANSIT_HANDED;

		if (next[slot] != as_node_need_self()->number &&
			!(is_handed && next[slot] == handed->taker))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("slot %d of node \"%s\" is on its way to another node", slot,
							as_node_need_self()->name)));
	}
}

/* ---- Waiting for messages to arrive ---- */

/* The last batch that was made for each node, as rows (node, incarnation, number). */
static void
read_marks(AsRows *marks)
{
	as_text_query(marks, SPI_OK_SELECT,
				  "SELECT DISTINCT ON (outbox_batch.node_number) node_number::text, incarnation::text, batch::text FROM actorstore.outbox_batch"
				  " ORDER BY outbox_batch.node_number, outbox_batch.incarnation DESC, outbox_batch.batch DESC",
				  0, NULL);
}

/* Has that node, or have all if it is 0, answered for them? */
static bool
are_answered(const AsRows *marks, int node)
{
	for (int i = 0; i < marks->nrows; i++)
	{
		int16		number = (int16) as_cell_int(marks, i, 0);
		int			lane;

		if ((node != 0 && number != node) || as_node_by_number(number) == NULL)
			continue;
		lane = as_lane_find(number);
		if (lane < 0 || !as_lane_has_acked(lane, as_cell_int(marks, i, 1), as_cell_int(marks, i, 2)))
			return false;
	}
	return true;
}

/* Wait till the query finds no row in the outbox, and what has left has arrived. */
static bool
wait_until_sent(const char *sql, const AsTransit *transit, int node)
{
	text	   *args[2] = {as_transit_array(transit), as_int_text(node)};
	TimestampTz deadline = as_peer_deadline(DRAIN_MS);
	AsRows		marks;

	while (as_text_query(NULL, SPI_OK_SELECT, sql, 2, args) > 0)
	{
		if (GetCurrentTimestamp() >= deadline)
			return false;
		as_peer_nap(NAP_MS, AS_NAP_SLOT);
	}
	read_marks(&marks);
	while (!are_answered(&marks, node))
	{
		if (GetCurrentTimestamp() >= deadline)
			return false;
		as_peer_nap(NAP_MS, AS_NAP_SLOT);
	}
	return true;
}

bool
as_transit_drained(int64 epoch)
{
	AsTransit  *transit = palloc(sizeof(AsTransit));
	int16		owners[AS_SLOTS];
	int			giver;

	if (as_node_need_self() == NULL || as_node_epoch() < epoch)
		return false;
	read_where("state IN ('p', 'f')", transit);
	if (transit->n == 0)
		return true;
	as_give_wait(transit->slots, transit->n, actorstore_peer_timeout);
	as_node_owners(owners);
	giver = owners[transit->slots[0]];
	return giver == as_node_need_self()->number ||
		wait_until_sent("SELECT FROM actorstore.outbox WHERE node_number = $2::text::smallint"
						" AND actorstore.slot_of(actor_type, actor_id) = ANY ($1::int[]) LIMIT 1",
						transit, giver);
}

bool
as_transit_is_quiet(const AsTransit *transit)
{
	AsTransit  *open = palloc(sizeof(AsTransit));

	read_where("state = 'o'", open);
	return open->n == 0 &&
		wait_until_sent("SELECT FROM actorstore.outbox WHERE node_number <> 0 AND $2::text = '0'"
						" AND actorstore.slot_of(sender_type, sender_id) = ANY ($1::int[]) LIMIT 1",
						transit, 0);
}

bool
as_transit_has_sent(int node)
{
	AsTransit  *none = palloc0(sizeof(AsTransit));

	if (node == as_node_need_self()->number)
		return wait_until_sent("SELECT FROM actorstore.outbox WHERE $1::text = '{}' AND $2::text = '0' LIMIT 1", none, 0);
	return wait_until_sent("SELECT FROM actorstore.outbox WHERE $1::text = '{}' AND node_number = $2::text::smallint LIMIT 1",
						   none, node);
}

/* ---- What was kept ---- */

#define TO_NOBODY \
	" FROM actorstore.outbox AS o WHERE o.node_number <> 0" \
	" AND NOT EXISTS (SELECT FROM actorstore.node AS n WHERE n.node_number = o.node_number)"

void
as_transit_reroute(void)
{
	as_text_query(NULL, SPI_OK_INSERT,
				  "INSERT INTO actorstore.transit (slot, taker, state)"
				  " SELECT DISTINCT actorstore.slot_of(o.actor_type, o.actor_id), 0, 'o'::\"char\"" TO_NOBODY
				  " ON CONFLICT DO NOTHING", 0, NULL);
	as_text_query(NULL, SPI_OK_UPDATE,
				  "UPDATE actorstore.outbox SET node_number = 0 WHERE (node_number, message_id) IN"
				  " (SELECT o.node_number, o.message_id" TO_NOBODY ")", 0, NULL);
}

static void
put_here(const AsTransit *transit)
{
	bool		slots[AS_SLOTS] = {false};
	bytea	   *envelope;

	for (int i = 0; i < transit->n; i++)
		slots[transit->slots[i]] = true;
	for (;;)
	{
		/* what was committed before we had the lock */
		PushActiveSnapshot(GetTransactionSnapshot());
		envelope = as_outbox_take_kept(slots);
		PopActiveSnapshot();
		if (envelope == NULL)
			return;
		as_outbox_deliver(envelope);
		CommandCounterIncrement();
	}
}

void
as_transit_unpark(const AsTransit *transit)
{
	as_owner_moves = true;
	PG_TRY();
	{
		put_here(transit);
	}
	PG_FINALLY();
	{
		as_owner_moves = false;
	}
	PG_END_TRY();
}

/* Of these, which are locked against all, only those that are open, and to stay so. */
static void
lock_open(AsTransit *transit)
{
	text	   *args[1] = {as_transit_array(transit)};
	AsRows		rows;

	/* one may be moving again, or about to: whoever learns that has locked others */
	as_text_query(&rows, SPI_OK_SELECT,
				  "SELECT slot::text FROM actorstore.transit WHERE slot = ANY ($1::smallint[]) AND state = 'o' FOR UPDATE SKIP LOCKED",
				  1, args);
	transit->n = 0;
	for (int i = 0; i < rows.nrows; i++)
		transit->slots[transit->n++] = (int) as_cell_int(&rows, i, 0);
}

/* What is kept for those of them that this node owns by now */
static void
let_go_to(const AsTransit *transit, const int16 *owners, const AsNode *node)
{
	AsTransit  *some = palloc(sizeof(AsTransit));

	some->n = 0;
	for (int i = 0; i < transit->n; i++)
	{
		if (owners[transit->slots[i]] == node->number)
			some->slots[some->n++] = transit->slots[i];
	}
	if (some->n == 0)
		return;
	if (node == as_node_self())
		put_here(some);
	else
		as_outbox_let_go(as_transit_array(some), node);
}

/* Those that are locked against all */
static int
let_go(AsTransit *transit)
{
	int16		owners[AS_SLOTS];
	text	   *args[1];

	if (transit->n > 0)
		lock_open(transit);
	if (transit->n == 0)
		return 0;
	as_node_owners(owners);
	for (int i = 0; i < as_node_count(); i++)
		let_go_to(transit, owners, as_node_nth(i));
	args[0] = as_transit_array(transit);
	as_text_query(NULL, SPI_OK_DELETE,
				  "DELETE FROM actorstore.transit WHERE slot = ANY ($1::smallint[]) AND state = 'o'",
				  1, args);
	return transit->n;
}

/* Those that nobody holds; if there are none, the first of the others is waited for. */
static int
let_go_some(const AsTransit *open)
{
	AsTransit  *alone = palloc(sizeof(AsTransit));

	alone->n = 0;
	for (int i = 0; i < open->n && alone->n < LET_GO_AT_ONCE; i++)
	{
		if (as_owner_lock_alone(open->slots[i], false))
			alone->slots[alone->n++] = open->slots[i];
	}
	if (alone->n == 0)
	{
		text	   *args[1] = {as_int_text(actorstore_peer_timeout)};

		as_text_query(NULL, SPI_OK_SELECT, "SELECT set_config('lock_timeout', $1 || 'ms', true)", 1, args);
		if (as_owner_lock_alone(open->slots[0], true))
			alone->slots[alone->n++] = open->slots[0];
	}
	return let_go(alone);
}

bool
as_transit_let_go(void)
{
	MemoryContext context = CurrentMemoryContext;
	AsTransit  *open = palloc(sizeof(AsTransit));
	int			done = 0;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (as_node_self() != NULL)
		read_where("state = 'o'", open);
	else
		open->n = 0;
	if (open->n > 0)
		done = let_go_some(open);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return done > 0 && done < open->n;
}

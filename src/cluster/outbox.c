/*-------------------------------------------------------------------------
 *
 * outbox.c
 *	  See outbox.h: the sender's side.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/outbox.h"

#include <limits.h>

#include "access/xact.h"
#include "cluster/fault.h"
#include "cluster/forwarder.h"
#include "cluster/lane.h"
#include "cluster/peer.h"
#include "cluster/peer_stat.h"
#include "executor/spi.h"
#include "lib/key_hash.h"
#include "lib/nap.h"
#include "miscadmin.h"
#include "runtime/letters.h"
#include "runtime/prepared.h"
#include "runtime/sched.h"
#include "runtime/send.h"
#include "state/owner.h"
#include "state/text_query.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

int			actorstore_outbox_limit = 100000;
int			actorstore_outbox_retention = 300;

/* Look for room so often. */
#define ROOM_NAP_MS		20

/* What this transaction has sent to a node, by subtransaction */
typedef struct Sent
{
	SubTransactionId subid;
	int			lane;
	int64		n;
	uint64		low;
} Sent;

static Sent *sent = NULL;		/* in TopTransactionContext */
static int	nsent = 0;
static int	allocated = 0;
static bool is_committing = false;	/* and has said so: lane.h */

bool		as_outbox_keeps_nothing = false;

/* Where messages stay while their actors' slots are in transit */
static const AsNode nowhere = {.number = AS_NO_NODE, .name = "none"};

static const AsReason outbox_full = {.reason = "outbox full",
.sqlerrcode = AS_ERRCODE_MAILBOX_FULL};

/* ---- Notes for the end of the transaction ---- */

/* The least id of all messages, or AS_NO_LOW. */
static uint64
sent_low(void)
{
	uint64		low = AS_NO_LOW;

	for (int i = 0; i < nsent; i++)
		low = Min(low, sent[i].low);
	return low;
}

/* What this subtransaction has sent there */
static Sent *
sent_to(int lane)
{
	SubTransactionId subid = GetCurrentSubTransactionId();

	for (int i = nsent - 1; i >= 0 && sent[i].subid == subid; i--)
	{
		if (sent[i].lane == lane)
			return &sent[i];
	}
	if (nsent == allocated)
	{
		int			more = Max(8, 2 * allocated);

		sent = sent == NULL ?
			MemoryContextAlloc(TopTransactionContext, more * sizeof(Sent)) :
			repalloc(sent, more * sizeof(Sent));
		allocated = more;
	}
	sent[nsent] = (Sent) {
		.subid = subid, .lane = lane, .low = AS_NO_LOW
	};
	return &sent[nsent++];
}

static void
note(int lane, int64 n, uint64 low)
{
	Sent	   *entry = sent_to(lane);

	entry->n += n;
	entry->low = Min(entry->low, low);
	if (is_committing)
		as_lane_begin_commit(sent_low());	/* sent while others are at their end */
}

static void
forget(void)
{
	sent = NULL;
	nsent = 0;
	allocated = 0;
	if (is_committing)
		as_lane_end_commit();
	is_committing = false;
}

static void
at_transaction_event(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			is_committing = nsent > 0;
			if (is_committing)
				as_lane_begin_commit(sent_low());
			break;
		case XACT_EVENT_COMMIT:
			if (nsent > 0)
				AS_FAULT("outbox_committed");
			for (int i = 0; i < nsent; i++)
				as_lane_hint(sent[i].lane, sent[i].low);
			forget();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			for (int i = 0; i < nsent; i++)
				as_lane_add(sent[i].lane, -sent[i].n);
			forget();
			break;
		default:
			break;
	}
}

static void
at_subtransaction_event(SubXactEvent event, SubTransactionId subid,
						SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (int i = nsent - 1; i >= 0 && sent[i].subid == subid; i--)
			sent[i].subid = parent;
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (nsent > 0 && sent[nsent - 1].subid == subid)
		{
			nsent--;
			as_lane_add(sent[nsent].lane, -sent[nsent].n);
		}
	}
}

/* ---- Sending ---- */

static int
need_lane(const AsNode *node)
{
	int			lane = as_lane_find(node->number);

	if (lane < 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot send to node \"%s\"", node->name),
				 errdetail("actorstore is not preloaded, or this server's databases know more than %d nodes together.",
						   AS_PEER_STATS),
				 errhint("Put actorstore into shared_preload_libraries in postgresql.conf and restart.")));
	return lane;
}

void
as_outbox_put(const AsNode *node, int kind, const AsMessage *messages, int n)
{
	int			lane;
	uint64		low = AS_NO_LOW;

	if (node == &nowhere)
	{
		as_outbox_insert(node->number, kind, messages, n);
		return;
	}
	lane = need_lane(node);
	for (int i = 0; i < n; i++)
		low = Min(low, (uint64) messages[i].message_id);
	as_outbox_insert(node->number, kind, messages, n);
	as_lane_add(lane, n);
	note(lane, n, low);
	as_forwarder_start(node->number);
}

static void
raise_full(const AsNode *node, const char *detail)
{
	ereport(ERROR,
			(errcode(AS_ERRCODE_MAILBOX_FULL),
			 errmsg("too many messages are on their way to node \"%s\"", node->name),
			 errdetail("There may be %d.%s", actorstore_outbox_limit, detail),
			 errhint("Send more slowly, or raise actorstore.outbox_limit.")));
}

/* Of those on their way, how many has this transaction sent? */
static int64
own_messages(int lane)
{
	int64		n = 0;

	for (int i = 0; i < nsent; i++)
		n += sent[i].lane == lane ? sent[i].n : 0;
	return n;
}

static void
wait_for_room(const AsNode *node, int lane)
{
	/* a worker that waits handles nothing, and may be what others wait for */
	if (as_sched_self >= 0)
		raise_full(node, " A handler cannot wait for room.");
	while (as_lane_depth(lane) >= actorstore_outbox_limit)
	{
		if (own_messages(lane) >= actorstore_outbox_limit)
			raise_full(node, " All of them were sent by this transaction.");
		(void) as_nap(ROOM_NAP_MS, AS_NAP_OUTBOX);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Is there room for a message, by what its type says?  If not, it is dropped; but
 * whoever sets a timer must not believe that there is one.
 */
static bool
find_room(const AsNode *node, const AsType *type, int kind, AsMessage *message)
{
	int			lane;

	if (node == &nowhere)
		return true;
	lane = need_lane(node);
	if (as_lane_depth(lane) < actorstore_outbox_limit || as_is_system(message->name))
		return true;
	switch (type->on_full)
	{
		case AS_FULL_ERROR:
			raise_full(node, "");
			break;
		case AS_FULL_WAIT:
			wait_for_room(node, lane);
			return true;
		case AS_FULL_DROP:
			if (kind == AS_KIND_SET_TIMER)
				raise_full(node, " A timer cannot be dropped.");
			break;
	}
	as_letter_bury(message, &outbox_full);
	return false;
}

static void raise_moved(const AsMessage *message);
static const AsNode *other_owner(uint64 key_hash);

/* The node is where it went a moment ago. */
bool
as_outbox_send(const AsNode *node, const AsType *type, int kind, AsMessage *message)
{
	node = other_owner(message->key_hash);
	if (node == NULL)
		raise_moved(message);
	if (!find_room(node, type, kind, message))
		return false;
	as_outbox_put(node, kind, message, 1);
	return true;
}

/* Where what is sent to a key goes, if that is not this node's mailbox. */
static const AsNode *
other_owner(uint64 key_hash)
{
	const AsNode *owner;

	if (likely(!as_node_has_others()))
		return NULL;
	as_owner_lock_to_send(key_hash);
	owner = as_node_owner(key_hash);
	if (as_node_transit(as_slot_of(key_hash)) != 0 && !as_outbox_keeps_nothing)
		return &nowhere;
	return owner == as_node_self() ? NULL : owner;
}

const AsNode *
as_outbox_way(const text *type, const text *id)
{
	return other_owner(as_key_hash(VARDATA_ANY(type), VARSIZE_ANY_EXHDR(type),
								   VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id)));
}

static bool
is_node(void)
{
	return as_node_self() != NULL;
}

static bool
is_elsewhere(uint64 key_hash)
{
	return other_owner(key_hash) != NULL;
}

static void
raise_moved(const AsMessage *message)
{
	ereport(ERROR,
			(errcode(AS_ERRCODE_NOT_THE_OWNER),
			 errmsg("actor (%s, %s) has got another owner",
					text_to_cstring(message->actor_type),
					text_to_cstring(message->actor_id)),
			 errhint("Try again.")));
}

/*
 * Where they go, by one map: it may change in between, also so that an actor
 * which was elsewhere just now is here.
 */
static const AsNode **
find_nodes(const AsMessage *messages, int n)
{
	const AsNode **nodes = palloc(sizeof(AsNode *) * n);

	for (int i = 0; i < n; i++)
	{
		nodes[i] = other_owner(messages[i].key_hash);
		if (nodes[i] == NULL)
			raise_moved(&messages[i]);
	}
	return nodes;
}

/* Messages for actors of other nodes (send.h), node by node. */
static int
send_elsewhere(const AsType *type, AsMessage *messages, int n)
{
	AsMessage  *let_in = palloc(sizeof(AsMessage) * n);
	const AsNode **nodes = find_nodes(messages, n);
	int			total = 0;

	for (int first = 0; first < n; first++)
	{
		const AsNode *node = nodes[first];
		int			nlet_in = 0;

		if (node == NULL)
			continue;
		for (int i = first; i < n; i++)
		{
			if (nodes[i] != node)
				continue;
			nodes[i] = NULL;
			if (find_room(node, type, AS_KIND_MESSAGE, &messages[i]))
				let_in[nlet_in++] = messages[i];
		}
		if (nlet_in > 0)
			as_outbox_put(node, AS_KIND_MESSAGE, let_in, nlet_in);
		total += nlet_in;
	}
	pfree(let_in);
	pfree(nodes);
	return total;
}

/* ---- Taking back ---- */

static AsMessage *
read_key(const AsRows *rows)
{
	AsMessage  *message = palloc0(sizeof(AsMessage));

	message->actor_type = as_cell(rows, 0, 0);
	message->actor_id = as_cell(rows, 0, 1);
	message->name = as_cell(rows, 0, 2);
	return message;
}

/* Counted out at once; in again, should we roll back. */
static void
count_out(int lane, int n)
{
	if (lane < 0 || n == 0)
		return;				/* or it was kept */
	as_lane_add(lane, -n);
	note(lane, -n, AS_NO_LOW);
}

int
as_outbox_take_back(const AsNode *node, int kind, text *actor_type, text *actor_id, text *key)
{
	text	   *args[5] = {as_int_text(node->number), as_int_text(kind), actor_type, actor_id, key};
	int			n = as_text_query(NULL, SPI_OK_DELETE,
								  "DELETE FROM actorstore.outbox WHERE node_number = $1::text::smallint AND kind = $2::text::smallint"
								  " AND (actor_type, actor_id, dedup_key) = ($3, $4, $5)",
								  5, args);

	if (node->number != AS_NO_NODE)
		count_out(as_lane_find(node->number), n);
	return n;
}

/* Take back a message that was not dispatched yet (send.h). */
static bool
cancel_elsewhere(int64 message_id, void (*check) (AsMessage *message))
{
	AsRows		rows;
	text	   *args[1] = {as_int_text(message_id)};

	if (as_node_self() == NULL ||
		as_text_query(&rows, SPI_OK_SELECT,
					  "SELECT actor_type, actor_id, message, node_number::text FROM actorstore.outbox WHERE message_id = $1::text::bigint FOR UPDATE",
					  1, args) == 0)
		return false;
	check(read_key(&rows));
	if (as_text_query(NULL, SPI_OK_DELETE,
					  "DELETE FROM actorstore.outbox WHERE message_id = $1::text::bigint", 1, args) == 0)
		return false;

	if (as_cell_int(&rows, 0, 3) != AS_NO_NODE)
		count_out(as_lane_find((int16) as_cell_int(&rows, 0, 3)), 1);
	return true;
}

/* ---- What was kept ---- */

void
as_outbox_let_go(text *slots, const AsNode *node)
{
	text	   *args[2] = {slots, as_int_text(node->number)};
	int			lane = need_lane(node);
	int			n;
	AsRows		rows;

	n = as_text_query(&rows, SPI_OK_UPDATE_RETURNING,
					  "UPDATE actorstore.outbox SET node_number = $2::text::smallint WHERE node_number = 0"
					  " AND actorstore.slot_of(actor_type, actor_id) = ANY ($1::int[]) RETURNING message_id::text",
					  2, args);
	for (int i = 0; i < n; i++)
		note(lane, 1, (uint64) as_cell_int(&rows, i, 0));
	as_lane_add(lane, n);
	if (n > 0)
		as_forwarder_start(node->number);
}

/* ---- Settings ---- */

void
as_outbox_init(void)
{
	DefineCustomIntVariable("actorstore.outbox_limit",
							"How many messages may be on their way to another node.",
							"Senders of more fail, wait or are dropped, as the actor's type says.",
							&actorstore_outbox_limit,
							100000, 1, INT_MAX,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("actorstore.outbox_retention",
							"How long messages are kept that another node has acknowledged.",
							"Should a standby take over there that has not received them, they are sent again.",
							&actorstore_outbox_retention,
							300, 0, INT_MAX / 1000,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	RegisterXactCallback(at_transaction_event, NULL);
	RegisterSubXactCallback(at_subtransaction_event, NULL);
	as_prepared_sent_low = sent_low;
	as_is_node = is_node;
	as_is_elsewhere = is_elsewhere;
	as_send_elsewhere = send_elsewhere;
	as_cancel_elsewhere = cancel_elsewhere;
}

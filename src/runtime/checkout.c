/*-------------------------------------------------------------------------
 *
 * checkout.c
 *	  See checkout.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/checkout.h"

#include "access/xact.h"
#include "lib/same_text.h"
#include "miscadmin.h"
#include "runtime/deeds.h"
#include "runtime/flow.h"
#include "runtime/letters.h"
#include "runtime/offer.h"
#include "runtime/rest.h"
#include "runtime/sched.h"
#include "runtime/trace.h"
#include "runtime/urgent.h"
#include "state/catalog.h"
#include "state/identity.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* ---- What is handled outside ---- */

/* Is the message's handler known, and outside? */
static bool
is_served_outside(AsType *type, const text *name)
{
	AsHandler  *handler = as_handler_find(type, name);

	return handler != NULL && handler->outside;
}

bool
as_is_outside(AsType *type, const AsMessage *message, TimestampTz now)
{
	if (as_is_system(message->name) || !is_served_outside(type, message->name) ||
		(message->expires_at != 0 && message->expires_at <= now))
		return false;

	/* what was asked before with this key is answered by what is remembered */
	return message->cell == 0 || message->dedup_key == NULL ||
		!as_dedup_is_taken(message);
}

int
as_outside_run(AsType *type, const AsTurn *turn, bool outside)
{
	TimestampTz now = GetCurrentTimestamp();
	int			n = 0;

	if (!type->has_handlers)
		(void) as_handler_find(type, turn->messages[0].name);
	if (type->noutside == 0)
		return outside ? 0 : turn->nmessages;
	while (n < turn->nmessages &&
		   as_is_outside(type, &turn->messages[n], now) == outside)
		n++;
	return n;
}

static text *
type_name(const AsType *type)
{
	return cstring_to_text_with_len(type->name, type->name_len);
}

uint64
as_outside_only(AsType *type)
{
	text	   *name = type_name(type);

	(void) as_handler_find(type, name); /* has them read, if need be */
	return type->noutside > 0 && type->noutside == type->nhandlers ?
		as_offer_type(name) : 0;
}

bool
as_outside_find(AsType *type, AsOutside *outside)
{
	int			home = as_sched_home();

	if (home < 0 || (type->has_handlers && type->noutside == 0))
		return false;
	outside->lost = pg_atomic_read_u64(&as_home(home)->lost);
	AcceptInvalidationMessages();
	outside->type = as_outside_only(type);
	return outside->type != 0;
}

bool
as_outside_takes(AsType *type, const AsMessage *message)
{
	return !as_is_system(message->name) &&
		is_served_outside(type, message->name) &&
		as_actor_halt(type, message->actor_type, message->actor_id) == AS_NOT_HALTED;
}

bool
as_outside_keep(uint32 home, AsTurn *turn)
{
	/* who ends the lease asks for a turn */
	if (turn->leased)
		return as_slot_rest(turn->ref);
	if (turn->outside_type != 0)
		return as_offer_put(home, turn->outside_type, turn->ref,
							turn->outside_lane) && as_slot_rest(turn->ref);
	if (as_offer_withdraw(turn->ref) && as_slot_has_mail(turn->ref))
		turn->more = true;
	return false;
}

/* ---- Checking out ---- */

typedef struct Desk
{
	AsCheckout *checkout;
	uint32		home;
	AsWishes	wishes;
	int64		next_id;
	AsMailbox	mailbox;
	AsLeaseTable leases;
	List	   *partitions;		/* of AsPartition */
	AsLeaseRow *rows;
	int			n;
	bool		full;			/* there are too many leases */
	MemoryContext turn_context; /* what was read, till all is done */
	MemoryContext sink_context; /* what is made of one turn */
} Desk;

static AsPartition *
open_partition(Desk *desk, AsType *type)
{
	AsPartition *partition;
	ListCell   *cell;

	foreach(cell, desk->partitions)
	{
		partition = lfirst(cell);
		if (partition->type == type)
			return partition;
	}
	partition = palloc0(sizeof(AsPartition));
	if (!as_partition_open(partition, type_name(type), AccessShareLock))
		return NULL;
	desk->partitions = lappend(desk->partitions, partition);
	return partition;
}

static bool
is_wanted(const AsCheckout *checkout, const text *type)
{
	for (int i = 0; i < checkout->ntypes; i++)
	{
		if (as_same_text(type, checkout->types[i]))
			return true;
	}
	return false;
}

static void
fill_lease(AsTurn *turn, uint64 flow)
{
	AsLeaseContent content = {
		.left = &turn->left,
		.more = turn->more,
		.empty = turn->empty,
		.nrequests = turn->nrequests,
		.flow = flow,
		.left_deadline = turn->type != NULL && turn->type->order_by_deadline ?
		turn->left_deadline : AS_NO_DEADLINE
	};

	as_lease_fill(turn->key_hash, turn->lease, &content);
}

/* There is nothing for us in the slot; a worker is to look at it, or nobody. */
static void
give_back(AsTurn *turn, bool to_worker)
{
	AsLeaseEnd	end = {.key_hash = turn->key_hash, .turn_id = turn->lease,
	.handled = !to_worker, .park = turn->parked ? turn->type : NULL};

	if (!to_worker)
		fill_lease(turn, 0);
	as_lease_end(&end);
	as_deed_cancel(turn->lease);
}

static void
read_turn(Desk *desk, AsTurn *turn)
{
	AsSlotShared *slot = as_slot(turn->ref);
	bool		careful = slot->careful > 0 || slot->deaths > 0;

	PushActiveSnapshot(GetTransactionSnapshot());
	as_turn_read(turn, &desk->mailbox, careful ? 1 : desk->checkout->max_messages);
	PopActiveSnapshot();
	as_requests_leave(turn->messages, turn->nrequests, AS_BLOCKED_NOT,
					  InvalidTransactionId);
}

/* What has failed before is tried again alone. */
static int
without_failed(const AsTurn *turn, int n)
{
	if (turn->messages[0].attempts > 0)
		return 1;
	for (int i = 1; i < n; i++)
	{
		if (turn->messages[i].attempts > 0)
			return i;
	}
	return n;
}

/*
 * Take what is to be handled outside.  False if that is nothing; *to_worker:
 * a worker has to see why.
 */
static bool
choose_messages(Desk *desk, AsTurn *turn, bool *to_worker)
{
	AsMessage  *first = &turn->messages[0];
	AsHalt		halt;
	uint64		flow;
	int			n;

	*to_worker = false;
	if (turn->nmessages == 0)
		return false;
	*to_worker = true;
	turn->type = as_type_find(first->actor_type);
	if (!as_turn_hold(turn))
		return false;
	if (turn->type == NULL || !is_wanted(desk->checkout, first->actor_type))
		return false;
	halt = as_actor_halt(turn->type, first->actor_type, first->actor_id);
	if (halt != AS_NOT_HALTED)
		return false;
	n = as_outside_run(turn->type, turn, true);
	if (n == 0)
		return false;
	turn->partition = open_partition(desk, turn->type);
	if (turn->partition == NULL)
		return false;
	n = as_flow_enter_outside(turn->type, turn->ref, without_failed(turn, n),
							  &flow);
	if (n == 0)
	{
		turn->parked = true;
		return false;
	}
	if (n < turn->nmessages)
	{
		as_turn_leave(turn, n);
		turn->more = true;
	}
	fill_lease(turn, flow);
	return true;
}

/* What was asked has no number yet that a reply could name. */
static void
number_requests(AsTurn *turn)
{
	int64		id;

	if (turn->nrequests == 0)
		return;
	id = as_message_id(as_sched_ids(turn->nrequests));
	for (int i = 0; i < turn->nrequests; i++)
		turn->messages[i].message_id = id++;
}

static AsLeaseMessage *
places_of(const AsTurn *turn)
{
	AsLeaseMessage *places = palloc0(turn->nmessages * sizeof(AsLeaseMessage));

	for (int i = 0; i < turn->nmessages; i++)
	{
		places[i].message_id = turn->messages[i].message_id;
		if (i >= turn->nrequests)
			places[i].place = turn->messages[i].place;
	}
	return places;
}

static text *
copy_text(const text *value)
{
	return (text *) PG_DETOAST_DATUM_COPY(PointerGetDatum(value));
}

static void
note_row(Desk *desk, AsTurn *turn, int64 token)
{
	AsLeaseRow *row = &desk->rows[desk->n++];

	row->turn_id = turn->lease;
	row->token = token;
	row->key_hash = turn->key_hash;
	row->taken_at = GetCurrentTimestamp();
	row->until = row->taken_at + desk->checkout->lease;
	row->version = turn->version;
	row->nrequests = turn->nrequests;
	row->nmessages = turn->nmessages;
	row->role = GetUserId();
	row->actor_type = copy_text(turn->messages[0].actor_type);
	row->actor_id = copy_text(turn->messages[0].actor_id);
	row->worker = desk->checkout->worker;
	row->messages = places_of(turn);
}

/* Check one turn out; false if there are no more. */
static bool
take_turn(Desk *desk)
{
	AsCheckout *checkout = desk->checkout;
	AsTurn		turn = {.ref = AS_NO_SLOT};
	MemoryContext old;
	AsTaking	taking;
	bool		to_worker;

	turn.lease = desk->next_id;
	as_deed_begin(turn.lease);
	turn.ref = as_offer_take();
	if (turn.ref == AS_NO_SLOT)
	{
		as_deed_cancel(turn.lease);
		return false;
	}
	taking = as_lease_take(desk->home, turn.ref, turn.lease, &turn.key_hash,
						   &turn.taken);
	if (taking != AS_TAKEN)
	{
		as_deed_cancel(turn.lease);
		if (as_slot_is_anothers(turn.ref))
			as_sched_lose(desk->home);
		desk->full = (taking == AS_TAKEN_FULL);
		return !desk->full;
	}
	as_deed_taken(turn.lease, turn.key_hash);
	desk->next_id++;
	old = MemoryContextSwitchTo(desk->turn_context);
	as_turn_unread(&turn);
	read_turn(desk, &turn);
	MemoryContextSwitchTo(old);
	if (!choose_messages(desk, &turn, &to_worker))
	{
		give_back(&turn, to_worker);
		return true;
	}
	MemoryContextSwitchTo(desk->turn_context);
	as_turn_look(&turn);
	number_requests(&turn);
	MemoryContextSwitchTo(old);
	if (as_trace_is_on())
		as_trace_taken(&turn);
	note_row(desk, &turn, turn.lease + checkout->max_turns);
	as_deed_open(turn.lease, turn.key_hash, desk->rows[desk->n - 1].until);
	MemoryContextSwitchTo(desk->sink_context);
	checkout->sink(&desk->rows[desk->n - 1], &turn, checkout->arg);
	MemoryContextSwitchTo(old);
	MemoryContextReset(desk->sink_context);
	return true;
}

static void
open_desk(Desk *desk)
{
	desk->home = (uint32) as_sched_home();
	as_mailbox_open(&desk->mailbox, AccessShareLock);
	as_lease_table_open(&desk->leases, RowExclusiveLock);
	desk->turn_context = AllocSetContextCreate(CurrentMemoryContext,
											   "actorstore checkout",
											   ALLOCSET_DEFAULT_SIZES);
	desk->sink_context = AllocSetContextCreate(desk->turn_context,
											   "actorstore turn",
											   ALLOCSET_DEFAULT_SIZES);
}

static void
close_desk(Desk *desk)
{
	ListCell   *cell;

	if (desk->n > 0)
	{
		as_lease_rows_insert(&desk->leases, desk->rows, desk->n);
		CommandCounterIncrement();
	}
	foreach(cell, desk->partitions)
		as_partition_close(lfirst(cell));
	desk->partitions = NIL;
	as_lease_table_close(&desk->leases);
	as_mailbox_close(&desk->mailbox);
	MemoryContextDelete(desk->turn_context);
}

/*
 * What stands above the numbers of turns.  A block of numbers need not have
 * arrived at the standby that is promoted, which takes it again: so each
 * promotion begins an era (identity.h), and no turn of one is taken for another's.
 * It is the same while this database is served.
 */
static int64
above(uint32 home)
{
	static uint64 served = 0;
	static Oid	sequence = InvalidOid;
	static int32 era = 0;
	uint64		epoch = ((uint64) pg_atomic_read_u32(&as_home(home)->epoch) << 32) | home;
	Oid			number = as_catalog()->message_number;

	if (served != epoch || sequence != number)
	{
		era = as_identity_era();
		if (era > PG_INT64_MAX >> AS_ID_BITS)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("there were too many promotions to check out turns")));
		served = epoch;
		sequence = number;
	}
	return (int64) era << AS_ID_BITS;
}

/* Take what there is. */
static void
take_turns(Desk *desk)
{
	AsCheckout *checkout = desk->checkout;
	int			tries = 0;

	if (!as_offer_look(&desk->wishes) || as_sched_home() < 0)
		return;
	as_deeds_begin_checkout();
	open_desk(desk);

	/* numbers and tokens, that grow with each turn */
	desk->next_id = above(desk->home) | as_sched_ids(2 * checkout->max_turns);
	while (desk->n < checkout->max_turns && tries++ < checkout->max_turns &&
		   take_turn(desk))
		CHECK_FOR_INTERRUPTS();
	close_desk(desk);
	as_deeds_end_checkout();
}

void
as_checkout(AsCheckout *checkout)
{
	Desk		desk = {.checkout = checkout};

	desk.rows = palloc(checkout->max_turns * sizeof(AsLeaseRow));
	desk.wishes.room = checkout->max_turns;
	for (int i = 0; i < checkout->ntypes; i++)
		desk.wishes.types[desk.wishes.ntypes++] = as_offer_type(checkout->types[i]);
	take_turns(&desk);
	while (desk.n == 0 && !desk.full &&
		   GetCurrentTimestamp() < checkout->deadline)
	{
		if (checkout->alone)
			as_rest_begin();
		as_offer_wait(checkout->deadline);
		CHECK_FOR_INTERRUPTS();
		PushActiveSnapshot(GetTransactionSnapshot());
		take_turns(&desk);
		PopActiveSnapshot();
	}
	as_offer_leave();
	if (desk.n == 0 && desk.full)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many turns are checked out"),
				 errhint("See \"actorstore.max_open_turns\".")));
}

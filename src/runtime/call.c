/*-------------------------------------------------------------------------
 *
 * call.c
 *	  call(): an actor handles a message in the transaction of its caller.
 *
 * The actor is locked as for any turn, to the end of the transaction, so that
 * what has been called is undone with the caller, and seen by nobody before.
 * The handler runs as the type's owner and sees what the caller has written.
 *
 * An actor that is called while it is at work already, directly or through
 * others, would wait for itself: the chain of callers in this process shows
 * it.  Two chains in two processes that wait for each other do so for row
 * locks, and PostgreSQL's deadlock detector finds them.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/ask.h"

#include "lib/key_hash.h"
#include "lib/same_text.h"
#include "miscadmin.h"
#include "runtime/turn.h"
#include "state/actor.h"
#include "state/owner.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/*
 * How often to look for an actor that is there and cannot be seen.  It is a
 * trigger of the statement which inserts it that calls it.
 */
#define MAX_TRIES	1000

static bool
is_actor_of(const AsTurn *turn, const AsMessage *message)
{
	const AsMessage *other = &turn->messages[turn->at];

	return turn->key_hash == message->key_hash &&
		as_same_text(other->actor_type, message->actor_type) &&
		as_same_text(other->actor_id, message->actor_id);
}

static char *
actor_name(const AsMessage *message)
{
	return psprintf("(%s, %s)", text_to_cstring(message->actor_type),
					text_to_cstring(message->actor_id));
}

/* The chain of calls from an outer turn to the innermost one. */
static char *
chain_from(const AsTurn *outer, const AsTurn *inner)
{
	char	   *name = actor_name(&inner->messages[inner->at]);

	if (inner == outer)
		return name;
	return psprintf("%s -> %s", chain_from(outer, inner->caller), name);
}

/* VA003 if the actor is at work further up. */
static void
check_chain(const AsMessage *message)
{
	for (AsTurn *turn = as_turn_current; turn != NULL; turn = turn->caller)
	{
		if (!is_actor_of(turn, message))
			continue;
		ereport(ERROR,
				(errcode(AS_ERRCODE_WAITS_ON_ITSELF),
				 errmsg("actor %s would wait for itself", actor_name(message)),
				 errdetail("%s -> %s", chain_from(turn, as_turn_current),
						   actor_name(message))));
	}
}

/* Lock the actor, or its key, waiting for others; takes its state. */
static void
lock_actor(AsTurn *turn, AsPartition *partition)
{
	text	   *id = turn->messages[0].actor_id;
	HeapTuple	row;

	turn->version = -1;
	turn->locked = true;
	for (int tries = 1; !as_actor_lock(partition, id, LockTupleNoKeyExclusive);
		 tries++)
	{
		/* whoever had the key may have made the row, or others without it */
		CHECK_FOR_INTERRUPTS();
		if (tries == 1)
			(void) as_turn_lock_key(turn->key_hash, true);
		if (tries == MAX_TRIES || !as_actor_wait_for_rival(partition, id))
			return;
	}
	row = ExecCopySlotHeapTuple(partition->slot);
	ExecClearTuple(partition->slot);
	turn->exists = true;
	turn->version = as_row_version(partition, row);
	turn->state = PointerGetDatum(PG_DETOAST_DATUM(as_row_value(partition, row)));
}

Datum
as_call(AsType *type, AsMessage *message)
{
	AsPartition partition;
	AsTurn		turn = {.ref = AS_NO_SLOT};

	message->key_hash = as_key_hash(VARDATA_ANY(message->actor_type),
									VARSIZE_ANY_EXHDR(message->actor_type),
									VARDATA_ANY(message->actor_id),
									VARSIZE_ANY_EXHDR(message->actor_id));
	as_owner_check(message->actor_type, message->actor_id);
	check_chain(message);
	as_check_answers(type, message);

	/* a copy that has a memory context to tell: see reply() */
	turn.messages = palloc(sizeof(AsMessage));
	*turn.messages = *message;
	turn.nmessages = 1;
	turn.key_hash = message->key_hash;
	turn.started_at = message->sent_at = GetCurrentTimestamp();
	if (!as_partition_open(&partition, message->actor_type, RowExclusiveLock))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("actor type \"%s\" does not exist",
						text_to_cstring(message->actor_type))));
	turn.type = partition.type;
	lock_actor(&turn, &partition);
	as_check_answers(as_type_get(message->actor_type), message);
	as_turn_run_inline(&turn, &partition);
	as_partition_close(&partition);
	return turn.says.replied ? turn.says.reply : turn.state;
}

/*-------------------------------------------------------------------------
 *
 * turn_run.c
 *	  One actor's turn: lock, handle the messages, write the state.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/turn.h"

#include "access/xact.h"
#include "compat.h"
#include "miscadmin.h"
#include "runtime/checkout.h"
#include "runtime/flow.h"
#include "runtime/lifecycle.h"
#include "runtime/offer.h"
#include "runtime/outgoing.h"
#include "runtime/session.h"
#include "state/actor.h"
#include "state/owner.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

static void
delete_messages(AsMailbox *mailbox, AsMessage *messages, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (!as_mailbox_delete(mailbox, &messages[i]))
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("the message was taken away meanwhile")));
	}
}

static void
handle_messages(AsTurn *turn, AsMailbox *mailbox)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext message_context = AllocSetContextCreate(context,
														  "actorstore message",
														  ALLOCSET_DEFAULT_SIZES);
	ErrorContextCallback callback = {error_context_stack,
	as_turn_describe_message, turn};

	error_context_stack = &callback;
	as_turn_current = turn;
	for (turn->at = 0; turn->at < turn->nmessages; turn->at++)
	{
		AsMessage  *message = &turn->messages[turn->at];
		int			n = as_turn_gather(turn);

		CHECK_FOR_INTERRUPTS();
		if (message->cell != 0 && turn->halt != AS_NOT_HALTED)
			continue;			/* it was refused */
		if (message->cell == 0)
			delete_messages(mailbox, message, n);
		turn->at += n - 1;
		turn->says.replied = false;
		turn->says.reply = (Datum) 0;
		turn->said = NULL;
		MemoryContextSwitchTo(message_context);
		PushActiveSnapshot(GetTransactionSnapshot());
		if (message->cell != 0)
			as_turn_handle_request(turn, message, context);
		else
			as_turn_handle(turn, message, n, context);
		if (turn->says.stop_reason != NULL)
			as_life_stop(turn);
		PopActiveSnapshot();
		MemoryContextSwitchTo(context);
		MemoryContextReset(message_context);
		CommandCounterIncrement();
		if (turn->exited)
		{
			as_turn_leave(turn, turn->at + 1);
			turn->more = true;
		}
	}
	turn->at = Max(turn->nmessages - 1, 0);
	as_turn_write_state(turn);
	as_turn_current = NULL;
	error_context_stack = callback.previous;
	MemoryContextDelete(message_context);
	turn->nhandled = turn->nmessages;
}

/* Nobody will ever handle these. */
static void
bury_all(AsTurn *turn, AsMailbox *mailbox, const char *reason, int sqlerrcode,
		 const char *error)
{
	as_turn_refuse(turn, sqlerrcode, error);
	for (int i = turn->nrequests; i < turn->nmessages; i++)
	{
		delete_messages(mailbox, &turn->messages[i], 1);
		if (turn->type == NULL && as_is_system(turn->messages[i].name))
			as_life_nobody(&turn->messages[i]);
		else
			as_turn_bury(turn, &turn->messages[i], reason, sqlerrcode, error);
	}
	CommandCounterIncrement();
	turn->nhandled = turn->nmessages;
}

bool
as_turn_is_down(const AsTurn *turn)
{
	const AsMessage *first = &turn->messages[0];
	AsType	   *type = as_type_find(first->actor_type);

	return type != NULL &&
		as_actor_halt(type, first->actor_type, first->actor_id) == AS_DOWN;
}

/* Has the system something to say to an actor that is stopped? */
static bool
has_system_messages(const AsTurn *turn)
{
	for (int i = turn->nrequests; i < turn->nmessages; i++)
	{
		if (as_is_system(turn->messages[i].name))
			return true;
	}
	return false;
}

/*
 * The actor has exited, or is paused: is there anything to be done that needs
 * its lock?
 */
static bool
wakes(AsTurn *turn, AsMailbox *mailbox)
{
	if (turn->halt == AS_PAUSED || turn->type->paused)
	{
		as_turn_unread(turn);
		as_turn_refuse(turn, AS_ERRCODE_HALTED, "the actor is paused");
		turn->nhandled = turn->nmessages = turn->nrequests;
		turn->more = false;
		return false;
	}
	if (turn->halt == AS_DOWN && !as_turn_read_system(turn, mailbox))
	{
		as_turn_refuse(turn, AS_ERRCODE_HALTED, "the actor is stopped");
		turn->nhandled = turn->nmessages;
		return false;
	}
	if (has_system_messages(turn))
	{
		as_turn_refuse(turn, AS_ERRCODE_HALTED, "the actor is stopped");
		return true;
	}
	bury_all(turn, mailbox, "stopped", AS_ERRCODE_HALTED,
			 "the actor is stopped");
	return false;
}

/* May the turn begin without a lock?  Not if that has just failed. */
static bool
may_look_first(AsTurn *turn)
{
	AsSlotShared *slot = as_slot(turn->ref);

	return turn->nmessages == turn->nrequests && slot->careful == 0 &&
		slot->conflicts == 0;
}

/* As many messages as the type lets through stay in the turn; false: none. */
static bool
enter_flow(AsTurn *turn)
{
	int			n = as_flow_enter(turn->type, turn->ref, turn->nmessages);

	if (n < turn->nmessages && n > 0)
	{
		as_turn_leave(turn, n);
		turn->more = true;
	}
	return n > 0;
}

/*
 * What is handled outside, and what comes behind that, is left to another turn;
 * false if that is all.
 */
static bool
cut_outside(AsTurn *turn)
{
	int			n = as_outside_run(turn->type, turn, false);

	if (n == 0)
	{
		turn->outside_type = as_offer_type(turn->messages[0].actor_type);
		turn->outside_lane = turn->nrequests > 0 ? AS_LANES : turn->messages[0].lane;
	}
	else if (n < turn->nmessages)
	{
		as_turn_leave(turn, n);
		turn->more = true;
	}
	return n > 0;
}

/*
 * Before we had the lock, the actor may have exited in another slot or in a
 * call(), or have been paused.
 */
static bool
has_changed(AsTurn *turn)
{
	const AsMessage *first = &turn->messages[0];
	AsType	   *type = as_type_get(first->actor_type);

	return !type->has_halted &&
		as_actor_halt(type, first->actor_type, first->actor_id) != turn->halt;
}

AsTurnResult
as_turn_run(AsTurn *turn, AsMailbox *mailbox, Oid *owner)
{
	AsMessage  *first = &turn->messages[0];

	if (!as_turn_hold(turn))
		as_owner_need_slot(first->actor_type, first->actor_id);
	turn->type = as_type_find(first->actor_type);
	if (turn->type == NULL)
	{
		bury_all(turn, mailbox, "no such type", ERRCODE_UNDEFINED_OBJECT,
				 "the actor type has been dropped");
		return AS_TURN_RAN;
	}
	turn->halt = as_actor_halt(turn->type, first->actor_type, first->actor_id);
	if (turn->halt != AS_NOT_HALTED && !wakes(turn, mailbox))
		return AS_TURN_RAN;
	if (OidIsValid(*owner) && *owner != turn->type->owner)
		return AS_TURN_OTHER_OWNER;
	if (turn->halt == AS_NOT_HALTED && !cut_outside(turn))
		return AS_TURN_OUTSIDE;
	if (!enter_flow(turn))
		return AS_TURN_PARKED;

	turn->partition = as_turn_open_partition(turn->type);
	*owner = turn->type->owner;
	if (may_look_first(turn))
		as_turn_look(turn);
	else if (!as_turn_lock(turn) || has_changed(turn))
	{
		as_flow_undo(turn->type, turn->nmessages);
		return AS_TURN_BUSY;
	}
	as_session_begin_turn(*owner, turn->type->turn_timeout);
	handle_messages(turn, mailbox);
	return AS_TURN_RAN;
}

/*-------------------------------------------------------------------------
 *
 * turn_fail.c
 *	  A message that could not be handled: another attempt later, or none.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/turn.h"

#include "access/xact.h"
#include "common/pg_prng.h"
#include "runtime/lifecycle.h"
#include "runtime/outgoing.h"
#include "runtime/report.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Doubled with each attempt, up to the type's bound, give or take a fifth. */
static int64
backoff(const AsType *type, int attempts)
{
	int64		wait = type->backoff;

	for (int i = 1; i < attempts && wait < type->backoff_max; i++)
		wait *= 2;
	wait = Min(wait, type->backoff_max);
	return (int64) (wait * (0.8 + 0.4 * pg_prng_double(&pg_global_prng_state)));
}

static void
bury_failed(AsMailbox *mailbox, AsTurn *turn, const char *why,
			ErrorData *error)
{
	AsMessage  *message = &turn->messages[0];
	AsReason	reason = {.reason = why};

	if (turn->says.verdict == AS_VERDICT_REJECT && turn->says.reject_reason != NULL)
		reason.error = turn->says.reject_reason;
	else
	{
		reason.sqlerrcode = error->sqlerrcode;
		reason.error = error->message;
		reason.detail = error->detail;
		reason.context = error->context;
	}
	if (!as_mailbox_delete(mailbox, message))
		return;					/* somebody else has dealt with it */
	as_letter_bury(message, &reason);
	if (as_is_system(message->name))
		as_life_given_up(message);
	turn->nhandled = 1;
	turn->nburied = 1;
}

/* Let the message, and those behind it, wait. */
static void
hold_back(AsMailbox *mailbox, AsTurn *turn, int64 wait, const ErrorData *error)
{
	AsMessage  *message = &turn->messages[0];

	as_report_retry(message, turn->type->max_attempts, wait, error);
	message->due = GetCurrentTimestamp() + wait;
	if (as_mailbox_replace(mailbox, message))
		as_outgoing_note(message->key_hash, message->lane, message->position,
						 message->due);
	as_turn_leave(turn, 0);
	turn->more = true;
}

/* Give the message up, and do with its actor what the type says. */
static void
give_up(AsMailbox *mailbox, AsTurn *turn, const char *why, ErrorData *error)
{
	bury_failed(mailbox, turn, why, error);
	if (turn->nhandled > 0)
		as_life_exhausted(turn, mailbox, error);
}

void
as_turn_failed(AsTurn *turn, ErrorData *error)
{
	AsMailbox	mailbox;
	AsMessage  *message = &turn->messages[0];
	bool		deadly = turn->says.verdict == AS_VERDICT_REJECT &&
	turn->says.reject_reason == NULL;
	int			max_attempts;

	turn->type = as_type_find(message->actor_type);
	max_attempts = turn->type == NULL ? 1 : turn->type->max_attempts;
	as_mailbox_open(&mailbox, RowExclusiveLock);
	PushActiveSnapshot(GetTransactionSnapshot());
	if (as_life_must_be_handled(turn, message))
	{
		/* soon it goes without hooks */
		message->attempts = deadly ? max_attempts : message->attempts + 1;
		hold_back(&mailbox, turn, backoff(turn->type, message->attempts), error);
	}
	else if (turn->says.verdict == AS_VERDICT_REJECT)
	{
		message->attempts++;
		if (deadly)
			give_up(&mailbox, turn, "deadly", error);
		else
			bury_failed(&mailbox, turn, "rejected", error);
	}
	else if (turn->says.verdict == AS_VERDICT_RETRY)
		hold_back(&mailbox, turn, turn->says.retry_after, error);
	else if (++message->attempts >= max_attempts)
		give_up(&mailbox, turn, "exhausted", error);
	else
		hold_back(&mailbox, turn, turn->says.retry_after > 0 ? turn->says.retry_after :
				  backoff(turn->type, message->attempts), error);
	PopActiveSnapshot();
	as_mailbox_close(&mailbox);
}

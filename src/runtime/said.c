/*-------------------------------------------------------------------------
 *
 * said.c
 *	  See said.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/said.h"

#include "access/xact.h"
#include "utils/memutils.h"

struct AsSaid
{
	SubTransactionId subid;		/* that brings it back, if it rolls back */
	AsVerdict	verdict;
	char	   *reject_reason;
	int64		retry_after;
	char	   *stop_reason;
	bool		replied;
	Datum		reply;
	AsSaid	   *earlier;		/* of an outer subtransaction */
};

void
as_said_keep(AsTurn *turn)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	AsSaid	   *said;

	/* nothing rolls back a part of it, or that is kept already */
	if (GetCurrentTransactionNestLevel() == 1 ||
		(turn->said != NULL && turn->said->subid == subid))
		return;
	said = MemoryContextAlloc(GetMemoryChunkContext(turn->messages), sizeof(AsSaid));
	said->subid = subid;
	said->verdict = turn->verdict;
	said->reject_reason = turn->reject_reason;
	said->retry_after = turn->retry_after;
	said->stop_reason = turn->stop_reason;
	said->replied = turn->replied;
	said->reply = turn->reply;
	said->earlier = turn->said;
	turn->said = said;
}

static void
bring_back(AsTurn *turn)
{
	AsSaid	   *said = turn->said;

	turn->verdict = said->verdict;
	turn->reject_reason = said->reject_reason;
	turn->retry_after = said->retry_after;
	turn->stop_reason = said->stop_reason;
	turn->replied = said->replied;
	turn->reply = said->reply;
	turn->said = said->earlier;
}

/* What the parent has kept itself is older. */
static void
hand_on(AsTurn *turn, SubTransactionId parent)
{
	AsSaid	   *said = turn->said;

	if (said->earlier != NULL && said->earlier->subid == parent)
		turn->said = said->earlier;
	else
		said->subid = parent;
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId subid,
				   SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	for (AsTurn *turn = as_turn_current; turn != NULL; turn = turn->caller)
	{
		if (turn->said == NULL || turn->said->subid != subid)
			continue;
		if (event == SUBXACT_EVENT_ABORT_SUB)
			bring_back(turn);
		else
			hand_on(turn, parent);
	}
}

void
as_said_init(void)
{
	RegisterSubXactCallback(end_subtransaction, NULL);
}

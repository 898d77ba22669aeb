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
	AsSaying	says;
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
	said->says = turn->says;
	said->earlier = turn->said;
	turn->said = said;
}

static void
bring_back(AsTurn *turn)
{
	turn->says = turn->said->says;
	turn->said = turn->said->earlier;
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

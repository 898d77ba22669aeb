/*-------------------------------------------------------------------------
 *
 * global_before.c
 *	  The decision that the session has made before: see global.h.
 *
 * A decision's row is of no use once all its members have committed, and their
 * standbys have that.  The session knows as much sooner than the resolver, which
 * asks for receipts:
 *
 *	- Each member has answered its COMMIT PREPARED: it has committed.
 *	- Each has prepared its part of the next transaction since, over the same
 *	  connection, so in the same server, and waited for its standbys: they have
 *	  all that stands before that in its WAL.
 *
 * So that next transaction deletes the row, as the last thing that it does, and
 * both are one commit.  Whoever sees the row no more sees what is flushed and
 * on this node's standbys.  What fits nothing of this is the resolver's: the last
 * decision of a session, one with a member that is none of the next transaction,
 * one that somebody has not answered for.  If the resolver is at the row, it has it.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/global.h"

#include "access/xact.h"

/* what had more members is left to the resolver: so long a row may not be whole where it stands */
#define MAX_MEMBERS	8

/* A connection, and how many of the answers that nobody waits for were errors */
typedef struct Told
{
	uint64		connection;
	uint64		nfailed;
} Told;

typedef struct Decision
{
	AsDecisionPlace place;
	int			n;				/* members; 0: there is none */
	Told		told[MAX_MEMBERS];
} Decision;

static Decision before;			/* made, and its members were told */
static Decision current;		/* being made; nobody was told yet */

void
as_global_note_decision(const AsDecisionPlace *place)
{
	current.place = *place;
	current.n = 0;
}

/* A member that has not been told so well makes it the resolver's. */
void
as_global_note_told(void)
{
	int			n = 0;

	AS_FOR_EACH_MEMBER(member)
	{
		if (!member->wrote)
			continue;
		if (n == MAX_MEMBERS || member->peer->broken)
		{
			n = 0;
			break;
		}
		current.told[n].connection = member->peer->connection;
		current.told[n++].nfailed = member->peer->nfailed;
	}
	current.n = n;
	before = current;
}

void
as_global_forget_before(void)
{
	before.n = 0;
}

/* Has it answered, and prepared its part of this transaction? */
static bool
has_followed(const Told *told)
{
	AS_FOR_EACH_MEMBER(member)
	{
		if (member->peer->connection == told->connection)
			return member->state == AS_PART_PREPARED && member->peer->nfailed == told->nfailed;
	}
	return false;
}

void
as_global_delete_before(void)
{
	for (int i = 0; i < before.n; i++)
	{
		if (!has_followed(&before.told[i]))
			return;
	}
	if (before.n > 0)
		as_decision_delete(&before.place);
}

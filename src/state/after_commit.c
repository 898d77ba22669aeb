/*-------------------------------------------------------------------------
 *
 * after_commit.c
 *	  See after_commit.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/after_commit.h"

#include "access/xact.h"
#include "compat.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

typedef struct Deed
{
	AsAfterCommit callback;
	text	   *name;
	SubTransactionId by;
} Deed;

static List *deeds = NIL;		/* in TopTransactionContext */

void
as_after_commit(AsAfterCommit callback, const text *name)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	Deed	   *deed = palloc(sizeof(Deed));

	deed->callback = callback;
	deed->name = cstring_to_text_with_len(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	deed->by = GetCurrentSubTransactionId();
	deeds = lappend(deeds, deed);
	MemoryContextSwitchTo(old);
}

static void
end_transaction(XactEvent event, void *arg)
{
	List	   *done = deeds;
	ListCell   *cell;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_PREPARE && event != XACT_EVENT_ABORT)
		return;
	deeds = NIL;
	if (event == XACT_EVENT_ABORT)
		return;
	foreach(cell, done)
	{
		Deed	   *deed = lfirst(cell);

		deed->callback(deed->name);
	}
}

/* What began within a subtransaction, and was committed there, has a later id. */
static void
end_subtransaction(SubXactEvent event, SubTransactionId subid,
				   SubTransactionId parent, void *arg)
{
	while (event == SUBXACT_EVENT_ABORT_SUB && deeds != NIL &&
		   ((Deed *) llast(deeds))->by >= subid)
		deeds = list_delete_last(deeds);
}

void
as_after_commit_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}

/*-------------------------------------------------------------------------
 *
 * own_state.c
 *	  Handlers that look at actors' states by themselves.
 *
 * A turn writes the state once, after its last message.  A handler that reads
 * the table, or calls a function that reads or writes states, would see that
 * the state which the message before it returned is not there yet.  So such a
 * handler is told apart: it is noticed when it does so for the first time,
 * and from then on states are written before it is called.  If there was one
 * to be written at that first time, the transaction is rolled back and begun
 * again, one message a turn.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/turn.h"

#include "compat.h"
#include "nodes/parsenodes.h"
#include "state/catalog.h"

static ExecutorCheckPerms_hook_type prev_check_perms = NULL;

/* The turn is begun again, even if the handler catches what says so. */
static as_noreturn void
begin_again(AsTurn *turn, const char *why)
{
	turn->redo = true;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg_internal("%s", why)));
	pg_unreachable();
}

/*
 * The handler at work looks at states; so do all those that have called it.
 */
static void
notice(void)
{
	for (AsTurn *turn = as_turn_current; turn != NULL; turn = turn->caller)
	{
		if (turn->handler == NULL)
			continue;
		if (turn->handlers_loaded == turn->type->handlers_loaded)
			turn->handler->sees_states = true;
		if (turn->changed)
			begin_again(turn, "the state is not written yet");
	}
}

/*
 * A partition is opened.  A turn that has not locked its actor yet must not
 * write it by other ways than by what the handler returns: the version locked
 * afterwards would be the handler's own.
 */
static void
notice_partition(AsPartition *partition, LOCKMODE lockmode)
{
	notice();
	for (AsTurn *turn = as_turn_current; turn != NULL; turn = turn->caller)
	{
		if (turn->handler == NULL || turn->locked || lockmode < RowExclusiveLock ||
			turn->type != partition->type)
			continue;
		if (turn->handlers_loaded == turn->type->handlers_loaded)
			turn->handler->writes_states = true;
		begin_again(turn, "the actor is not locked yet");
	}
}

static bool
check_perms(AS_CHECK_PERMS_PARAMETERS)
{
	ListCell   *cell;

	if (as_turn_current != NULL && as_turn_current->type != NULL)
	{
		foreach(cell, range_table)
		{
			RangeTblEntry *entry = lfirst(cell);

			if (entry->rtekind == RTE_RELATION &&
				(entry->relid == as_turn_current->type->relation ||
				 entry->relid == as_catalog()->actor))
				notice();
		}
	}
	if (prev_check_perms == NULL)
		return true;
	return as_check_perms(prev_check_perms);
}

void
as_own_state_init(void)
{
	as_partition_open_hook = notice_partition;
	prev_check_perms = ExecutorCheckPerms_hook;
	ExecutorCheckPerms_hook = check_perms;
}

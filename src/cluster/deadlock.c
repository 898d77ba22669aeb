/*-------------------------------------------------------------------------
 *
 * deadlock.c
 *	  When to look for deadlocks, and what to do about those that are found:
 *	  see deadlock.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/deadlock.h"

#include "access/xact.h"
#include "cluster/fault.h"
#include "cluster/waits.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "state/text_query.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* A wait that was looked at is looked at again after so many times deadlock_timeout, at first and at last */
#define AGAIN_FIRST		2
#define AGAIN_LAST		64

#define NAP_MS			500

/* A deadlock that was seen once: its edges, in waits of a look */
typedef struct Cycle
{
	int			n;
	int		   *waits;
	int			victim;			/* whose wait of these is ended */
} Cycle;

/* ---- When ---- */

static TimestampTz last_look = 0;
static int	again = AGAIN_FIRST;

int
as_deadlock_nap(void)
{
	return Min(NAP_MS, Max(DeadlockTimeout / 2, 10));
}

static bool
is_time(void)
{
	int64		timeout = (int64) DeadlockTimeout * 1000;
	TimestampTz now = GetCurrentTimestamp();
	bool		new;

	if (now - last_look < timeout)
		return false;
	new = as_waits_exist(last_look - timeout, now - timeout);
	if (!new && (now - last_look < again * timeout || !as_waits_exist(0, now - timeout)))
		return false;
	again = new ? AGAIN_FIRST : Min(2 * again, AGAIN_LAST);
	last_look = now;
	return true;
}

/* ---- What is found ---- */

static Cycle *
find_cycles(AsLook *look, int *n)
{
	int		   *path = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int) * (look->nvertices + 1));
	int		   *scratch = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int) * (look->nvertices + 1));
	Cycle	   *cycles = palloc(sizeof(Cycle) * (look->nglobals + 1));
	int			length;

	*n = 0;
	while (*n < look->nglobals &&
		   (length = as_wait_graph_cycle(look->edges, look->nedges, look->nvertices, path, scratch)) > 0)
	{
		Cycle	   *cycle = &cycles[*n];

		cycle->n = length;
		cycle->victim = as_wait_graph_victim(look->edges, look->vertices, path, length);
		if (cycle->victim < 0)
			break;
		cycle->waits = palloc(sizeof(int) * length);
		for (int i = 0; i < length; i++)
			cycle->waits[i] = look->edges[path[i]].wait;
		as_wait_graph_end(look->edges, look->nedges, look->edges[path[cycle->victim]].from);
		(*n)++;
	}
	return cycles;
}

/* The same wait in another look, for the same one in the same name; or NULL. */
static const AsWait *
find_again(const AsLook *first, const AsWait *wait, const AsLook *second)
{
	for (int i = 0; i < second->nwaits; i++)
	{
		const AsWait *other = &second->waits[i];

		if (other->node == wait->node && other->pid == wait->pid && other->start == wait->start &&
			other->blocker.vertex >= 0 && other->blocker.pid == wait->blocker.pid &&
			strcmp(other->blocker.transaction, wait->blocker.transaction) == 0 &&
			strcmp(second->names[other->waiter.vertex], first->names[wait->waiter.vertex]) == 0 &&
			strcmp(second->names[other->blocker.vertex], first->names[wait->blocker.vertex]) == 0)
			return other;
	}
	return NULL;
}

static bool
is_confirmed(const AsLook *first, const Cycle *cycle, const AsLook *second)
{
	for (int i = 0; i < cycle->n; i++)
	{
		if (find_again(first, &first->waits[cycle->waits[i]], second) == NULL)
			return false;
	}
	return true;
}

/* ---- What is said ---- */

static const AsNode *
node_of(const AsLook *look, int16 number)
{
	for (int i = 0; i < look->nnodes; i++)
	{
		if (look->nodes[i].number == number)
			return &look->nodes[i];
	}
	return NULL;
}

static void
say_party(StringInfo detail, const AsLook *look, int16 node, const AsWaitParty *party, const char *process)
{
	int			global = look->global_of[party->vertex];

	if (party->pid == 0)
		appendStringInfo(detail, "prepared transaction \"%s\"", party->gid);
	else
		appendStringInfo(detail, "%s %d", process, party->pid);
	if (global >= 0 && (look->globals[global].node != node || look->globals[global].pid != party->pid))
		appendStringInfo(detail, " for process %d on node \"%s\"", look->globals[global].pid,
						 node_of(look, look->globals[global].node)->name);
}

/* As the server would say it, with the nodes. */
static char *
describe(const AsLook *look, const Cycle *cycle)
{
	StringInfoData detail;

	initStringInfo(&detail);
	for (int i = 0; i < cycle->n; i++)
	{
		const AsWait *wait = &look->waits[cycle->waits[(cycle->victim + i) % cycle->n]];

		appendStringInfo(&detail, "%sOn node \"%s\" ", i == 0 ? "" : "\n", node_of(look, wait->node)->name);
		say_party(&detail, look, wait->node, &wait->waiter, "process");
		appendStringInfo(&detail, " waits for %s; blocked by ", wait->what);
		say_party(&detail, look, wait->node, &wait->blocker, "process");
		appendStringInfoChar(&detail, '.');
	}
	return detail.data;
}

/* ---- What is done ---- */

static bool
ask_here(const char *sql, int nvalues, const char *const *values)
{
	text	   *args[3];
	AsRows		rows;

	for (int i = 0; i < nvalues; i++)
		args[i] = cstring_to_text(values[i]);
	(void) as_text_query_alone(&rows, SPI_OK_SELECT, sql, nvalues, args);
	return as_cell_bool(&rows, 0, 0);
}

/* A statement that answers with true or false, on a node; false if it does not. */
static bool
ask(const AsLook *look, int16 number, const char *sql, int nvalues, const char *const *values)
{
	const AsNode *node = node_of(look, number);
	TimestampTz since = GetCurrentTimestamp();
	AsPeer	   *peer;

	if (number == look->self.number)
		return ask_here(sql, nvalues, values);
	peer = as_deadlock_reach(node);
	if (peer == NULL)
		return false;
	(void) as_peer_add(peer, sql, nvalues, values, true);
	(void) as_peer_launch(peer);
	if (!as_peers_wait(&peer, 1, as_peer_deadline(actorstore_peer_timeout)) ||
		!as_peer_succeeded(peer, 0))
	{
		as_deadlock_give_up(peer, since);
		return false;
	}
	return PQgetvalue(as_peer_result(peer, 0), 0, 0)[0] == 't';
}

static void
end_victim(const AsLook *look, const Cycle *cycle)
{
	const AsWait *wait = &look->waits[cycle->waits[cycle->victim]];
	const AsGlobal *global = &look->globals[look->global_of[wait->waiter.vertex]];
	char	   *detail = describe(look, cycle);
	const char *told[3] = {psprintf("%d", global->pid), global->transaction, detail};
	const char *ended[2] = {psprintf("%d", wait->pid), psprintf(INT64_FORMAT, wait->start)};

	/* a node that does not answer now need not keep the others from going on */
	(void) ask(look, global->node, "SELECT actorstore.local_deadlock_tell($1::text::int, $2::text, $3::text)::text", 3, told);
	if (ask(look, wait->node, "SELECT actorstore.local_deadlock_end($1::text::int, $2::text::bigint)::text", 2, ended))
		ereport(LOG,
				(errmsg("deadlock over several nodes: the transaction of process %d on node \"%s\" is its victim",
						global->pid, node_of(look, global->node)->name),
				 errdetail_internal("%s", detail)));
}

static void
look_twice(void)
{
	AsLook	   *first = as_deadlock_collect();
	AsLook	   *second;
	Cycle	   *cycles;
	int			n;
	int			nconfirmed = 0;

	if (!first->whole)
		again = AGAIN_FIRST;
	cycles = find_cycles(first, &n);
	if (n > 0)
	{
		AS_FAULT("deadlock");
		second = as_deadlock_collect();
		for (int i = 0; i < n; i++)
		{
			if (!is_confirmed(first, &cycles[i], second))
				continue;
			nconfirmed++;
			end_victim(first, &cycles[i]);
		}
	}
	ereport(DEBUG1,
			(errmsg_internal("looked for deadlocks: %d edges of %d transactions over several nodes and others, %d cycles, %d confirmed",
							 first->nedges, first->nglobals, n, nconfirmed)));
}

void
as_deadlock_look(void)
{
	static MemoryContext context = NULL;
	MemoryContext old = CurrentMemoryContext;

	if (!is_time())
		return;
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "actorstore deadlocks",
										ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		look_twice();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		EmitErrorReport();
		AbortCurrentTransaction();
		FlushErrorState();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	MemoryContextReset(context);
}

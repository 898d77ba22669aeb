/*-------------------------------------------------------------------------
 *
 * deadlock_look.c
 *	  Collecting who waits for whom from all nodes: see deadlock.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/deadlock.h"

#include "cluster/decision.h"
#include "executor/spi.h"
#include "state/own_transaction.h"
#include "state/text_query.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define TRANSACTIONS_SQL \
	"SELECT pid::text, virtual_transaction, boot::text, (state = 'preparing')::text, began_at::text, full_xid::text," \
	" node_number::text, node_pid::text FROM actorstore.local_transactions() AS t ORDER BY t.pid"
#define TRANSACTION_COLUMNS	8

#define WAITS_SQL \
	"SELECT waiting_pid::text, wait_start::text, waits_for, waiter::text, waiter_transaction, waiter_coordinator," \
	" blocker::text, blocker_transaction, blocker_coordinator, blocker_gid FROM actorstore.local_waits()"
#define WAIT_COLUMNS		10

/* The longest name of a vertex, with its end */
#define NAME_SIZE			96

/* What a node has answered, row by row; NULL for NULL */
typedef struct Table
{
	int			nrows;
	int			ncolumns;
	char	  **cells;
} Table;

static char *
cell(const Table *table, int row, int column)
{
	return table->cells[row * table->ncolumns + column];
}

static int64
cell_int(const Table *table, int row, int column)
{
	const char *value = cell(table, row, column);

	return value == NULL ? 0 : pg_strtoint64(value);
}

/* ---- Asking ---- */

/* By node: not before that moment */
static TimestampTz next_try[AS_MAX_PEERS];

void
as_deadlock_give_up(AsPeer *peer, TimestampTz since)
{
	TimestampTz now = GetCurrentTimestamp();

	next_try[peer->number % AS_MAX_PEERS] = now + Max(5 * (now - since), USECS_PER_SEC);
	as_peer_close(peer);
}

AsPeer *
as_deadlock_reach(const AsNode *node)
{
	MemoryContext context = CurrentMemoryContext;
	TimestampTz since = GetCurrentTimestamp();
	TimestampTz *next = &next_try[node->number % AS_MAX_PEERS];
	AsPeer	   *volatile peer = NULL;

	if (node->conninfo == NULL || since < *next)
		return NULL;
	PG_TRY();
	{
		peer = as_peer_get(node);
	}
	PG_CATCH();
	{
		/* the resolver's next pass says why */
		MemoryContextSwitchTo(context);
		FlushErrorState();
		*next = GetCurrentTimestamp() + Max(5 * (GetCurrentTimestamp() - since), USECS_PER_SEC);
	}
	PG_END_TRY();
	return peer;
}

static void
take_answer(Table *table, AsPeer *peer, int command, int ncolumns)
{
	PGresult   *result = as_peer_result(peer, command);

	if (PQnfields(result) != ncolumns)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("node \"%s\" answers with %d columns instead of %d",
						peer->name, PQnfields(result), ncolumns)));
	table->nrows = PQntuples(result);
	table->ncolumns = ncolumns;
	table->cells = MemoryContextAllocHuge(CurrentMemoryContext,
										  sizeof(char *) * (table->nrows * ncolumns + 1));
	for (int i = 0; i < table->nrows * ncolumns; i++)
	{
		int			row = i / ncolumns;
		int			column = i % ncolumns;

		table->cells[i] = PQgetisnull(result, row, column) ? NULL :
			pstrdup(PQgetvalue(result, row, column));
	}
}

static void
ask_here(Table *table, const char *sql)
{
	AsRows		rows;

	(void) as_text_query(&rows, SPI_OK_SELECT, sql, 0, NULL);
	table->nrows = rows.nrows;
	table->ncolumns = rows.ncolumns;
	table->cells = palloc(sizeof(char *) * (rows.nrows * rows.ncolumns + 1));
	for (int i = 0; i < rows.nrows * rows.ncolumns; i++)
		table->cells[i] = rows.cells[i] == NULL ? NULL : text_to_cstring(rows.cells[i]);
}

/* ---- Putting together ---- */

static void
add_transactions(AsLook *look, int16 node, const Table *table)
{
	int			last = -1;

	look->globals = repalloc(look->globals, sizeof(AsGlobal) * (look->nglobals + table->nrows + 1));
	look->helpers = repalloc(look->helpers, sizeof(AsHelper) * (look->nhelpers + table->nrows + 1));
	for (int i = 0; i < table->nrows; i++)
	{
		AsHelper   *helper;

		if (last != (int) cell_int(table, i, 0))
		{
			AsGlobal   *global = &look->globals[look->nglobals++];

			last = global->pid = (int) cell_int(table, i, 0);
			global->node = node;
			global->transaction = cell(table, i, 1);
			global->boot = (uint64) cell_int(table, i, 2);
			global->preparing = strcmp(cell(table, i, 3), "true") == 0;
			global->born = cell_int(table, i, 4);
			global->xid = (uint64) cell_int(table, i, 5);
		}
		if (cell_int(table, i, 7) == 0)
			continue;
		helper = &look->helpers[look->nhelpers++];
		helper->global = look->nglobals - 1;
		helper->node = (int16) cell_int(table, i, 6);
		helper->pid = (int) cell_int(table, i, 7);
	}
}

static void
add_waits(AsLook *look, int16 node, const Table *table)
{
	look->waits = repalloc_huge(look->waits, sizeof(AsWait) * (look->nwaits + table->nrows + 1));
	for (int i = 0; i < table->nrows; i++)
	{
		AsWait	   *wait = &look->waits[look->nwaits++];

		memset(wait, 0, sizeof(AsWait));
		wait->node = node;
		wait->pid = (int) cell_int(table, i, 0);
		wait->start = cell_int(table, i, 1);
		wait->what = cell(table, i, 2);
		wait->waiter.pid = (int) cell_int(table, i, 3);
		wait->waiter.transaction = cell(table, i, 4);
		wait->waiter.coordinator = cell(table, i, 5);
		wait->blocker.pid = (int) cell_int(table, i, 6);
		wait->blocker.transaction = cell(table, i, 7);
		wait->blocker.coordinator = cell(table, i, 8);
		wait->blocker.gid = cell(table, i, 9);
	}
}

static bool
is_counted(const AsLook *look, int global, int16 node, int pid)
{
	for (int i = 0; i < look->nhelpers; i++)
	{
		if (look->helpers[i].global == global && look->helpers[i].node == node &&
			look->helpers[i].pid == pid)
			return true;
	}
	return false;
}

/* The transaction over several nodes that a session stands for, or -1. */
static int
find_global(const AsLook *look, int16 node, const AsWaitParty *party)
{
	uint64		boot = 0;
	int			pid = 0;
	AsGid		gid;

	if (party->coordinator != NULL &&
		sscanf(party->coordinator, UINT64_FORMAT ".%d", &boot, &pid) != 2)
		return -1;
	if (party->pid == 0 && (party->gid == NULL || !as_gid_read(&gid, party->gid)))
		return -1;
	for (int i = 0; i < look->nglobals; i++)
	{
		const AsGlobal *global = &look->globals[i];

		if (party->pid == 0)
		{
			if (global->preparing && global->boot == gid.boot &&
				global->xid == U64FromFullTransactionId(gid.xid))
				return i;
		}
		else if (party->coordinator != NULL)
		{
			if (global->boot == boot && global->pid == pid &&
				is_counted(look, i, node, party->pid))
				return i;
		}
		else if (global->node == node && global->pid == party->pid &&
				 strcmp(global->transaction, party->transaction) == 0)
			return i;
	}
	return -1;
}

/* A vertex of that name, a new one if need be. */
static int
find_vertex(AsLook *look, HTAB *names, const char *name, int global)
{
	typedef struct Entry
	{
		char		name[NAME_SIZE];
		int			vertex;
	} Entry;
	bool		found;
	Entry	   *entry = hash_search(names, name, HASH_ENTER, &found);
	AsWaitVertex *vertex;

	if (found)
		return entry->vertex;
	entry->vertex = look->nvertices++;
	vertex = &look->vertices[entry->vertex];
	memset(vertex, 0, sizeof(AsWaitVertex));
	look->names[entry->vertex] = pstrdup(name);
	look->global_of[entry->vertex] = global;
	if (global >= 0)
	{
		const AsGlobal *it = &look->globals[global];

		vertex->rank = it->preparing ? AS_WAIT_UNWILLINGLY : AS_WAIT_GLADLY;
		vertex->born = it->born;
		vertex->tie = it->boot;
		vertex->tie2 = it->pid;
	}
	return entry->vertex;
}

static void
set_vertex(AsLook *look, HTAB *names, int16 node, AsWaitParty *party)
{
	int			global = find_global(look, node, party);
	char		name[NAME_SIZE];

	party->vertex = -1;
	if (global < 0 && party->pid == 0)
		return;
	if (global >= 0)
		snprintf(name, sizeof(name), "global " UINT64_FORMAT " %d %s", look->globals[global].boot,
				 look->globals[global].pid, look->globals[global].transaction);
	else
		snprintf(name, sizeof(name), "session %d %d %s", node, party->pid, party->transaction);
	party->vertex = find_vertex(look, names, name, global);
}

static void
make_graph(AsLook *look)
{
	HASHCTL		info = {.keysize = NAME_SIZE,.entrysize = NAME_SIZE + sizeof(int64),.hcxt = CurrentMemoryContext};
	HTAB	   *names = hash_create("actorstore waits", 256, &info,
									HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	int			room = 2 * look->nwaits + 1;

	look->vertices = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(AsWaitVertex) * room);
	look->names = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(char *) * room);
	look->global_of = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int) * room);
	look->edges = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(AsWaitEdge) * room);
	for (int i = 0; i < look->nwaits; i++)
	{
		AsWait	   *wait = &look->waits[i];
		AsWaitEdge *edge = &look->edges[look->nedges];

		set_vertex(look, names, wait->node, &wait->waiter);
		set_vertex(look, names, wait->node, &wait->blocker);
		if (wait->blocker.vertex < 0 || wait->waiter.vertex == wait->blocker.vertex)
			continue;
		edge->from = wait->waiter.vertex;
		edge->to = wait->blocker.vertex;
		edge->place = wait->node;
		edge->wait = i;
		edge->gone = false;
		look->nedges++;
	}
	as_wait_graph_sort(look->edges, look->nedges);
	hash_destroy(names);
}

/* ---- A look ---- */

static AsLook *
look_here(Table *transactions, Table *waits)
{
	AsLook	   *look = palloc0(sizeof(AsLook));
	int			n;

	as_own_transaction_begin();
	look->globals = palloc(sizeof(AsGlobal));
	look->helpers = palloc(sizeof(AsHelper));
	look->waits = palloc(sizeof(AsWait));
	look->whole = true;
	n = as_node_count();
	look->self = *as_node_need_self();
	look->nodes = palloc(sizeof(AsNode) * (n + 1));
	for (int i = 0; i < n && look->nnodes < AS_MAX_PEERS; i++)
	{
		const AsNode *node = as_node_nth(i);
		AsNode	   *copy = &look->nodes[look->nnodes++];

		*copy = *node;
		copy->name = pstrdup(node->name);
		copy->conninfo = node->conninfo == NULL ? NULL : pstrdup(node->conninfo);
	}
	ask_here(transactions, TRANSACTIONS_SQL);
	ask_here(waits, WAITS_SQL);
	as_own_transaction_end();
	return look;
}

static void
take_answers(AsLook *look, AsPeer **peers, TimestampTz since)
{
	for (int i = 0; i < look->nnodes; i++)
	{
		AsPeer	   *peer = peers[i];
		Table		table;

		if (peer == NULL)
			continue;
		if (peer->state != AS_PEER_IDLE || peer->broken || !as_peer_succeeded(peer, 0) ||
			!as_peer_succeeded(peer, 1))
		{
			look->whole = false;
			as_deadlock_give_up(peer, since);
			continue;
		}
		take_answer(&table, peer, 0, TRANSACTION_COLUMNS);
		add_transactions(look, look->nodes[i].number, &table);
		take_answer(&table, peer, 1, WAIT_COLUMNS);
		add_waits(look, look->nodes[i].number, &table);
	}
}

AsLook *
as_deadlock_collect(void)
{
	Table		transactions;
	Table		waits;
	AsLook	   *look = look_here(&transactions, &waits);
	AsPeer	   *peers[AS_MAX_PEERS] = {NULL};
	TimestampTz since;

	for (int i = 0; i < look->nnodes; i++)
	{
		if (look->nodes[i].number == look->self.number)
			continue;
		peers[i] = as_deadlock_reach(&look->nodes[i]);
		if (peers[i] == NULL)
		{
			look->whole = false;
			continue;
		}
		(void) as_peer_add(peers[i], TRANSACTIONS_SQL, 0, NULL, true);
		(void) as_peer_add(peers[i], WAITS_SQL, 0, NULL, true);
		(void) as_peer_launch(peers[i]);
	}
	since = GetCurrentTimestamp();
	(void) as_peers_wait(peers, look->nnodes, as_peer_deadline(actorstore_peer_timeout));
	add_transactions(look, look->self.number, &transactions);
	add_waits(look, look->self.number, &waits);
	take_answers(look, peers, since);
	make_graph(look);
	return look;
}

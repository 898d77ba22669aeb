/*-------------------------------------------------------------------------
 *
 * settle.c
 *	  See settle.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/settle.h"

#include "cluster/peer.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "state/text_query.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define NAP_MS	20

/*
 * init_node() has told everybody of its commit before it gives its lock up: who
 * begins later knows that this is a node.
 */
static void
wait_for_init(void)
{
	as_text_query(NULL, SPI_OK_UTILITY, "LOCK TABLE actorstore.node IN ROW EXCLUSIVE MODE", 0, NULL);
}

/*
 * Those who run now, as names that nobody will have again: virtual transactions
 * of this database's processes, and prepared transactions.
 */
static text *
running(int except)
{
	text	   *args[2] = {as_int_text(MyProcPid), as_int_text(except)};
	AsRows		rows;

	as_text_query(&rows, SPI_OK_SELECT,
				  "SELECT coalesce(array_agg(name), '{}')::text FROM ("
				  " SELECT l.virtualxid FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)"
				  " WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.pid NOT IN ($1::int, $2::int)"
				  " AND a.datname = current_database() AND a.backend_type NOT IN ('autovacuum worker', 'walsender')"
				  " UNION ALL SELECT 'p' || transaction::text FROM pg_prepared_xacts WHERE database = current_database()"
				  ") AS r (name)",
				  2, args);
	return as_cell(&rows, 0, 0);
}

/* Which of them run still?  One of each kind will do. */
static bool
some_run(text *names)
{
	return as_text_query(NULL, SPI_OK_SELECT,
						 "SELECT FROM pg_locks WHERE locktype = 'virtualxid' AND virtualxid = ANY ($1::text[])"
						 " UNION ALL SELECT FROM pg_prepared_xacts WHERE 'p' || transaction::text = ANY ($1::text[]) LIMIT 1",
						 1, &names) > 0;
}

void
as_settle_wait(int except)
{
	TimestampTz deadline = as_peer_deadline(actorstore_peer_timeout);
	text	   *names = running(except);

	while (some_run(names))
	{
		if (GetCurrentTimestamp() >= deadline)
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("transactions that began before this database was a node do not end"),
					 errdetail("They are: %s.", text_to_cstring(names))));
		as_peer_nap(NAP_MS, AS_NAP_SETTLE);
	}
}

static bool
is_unsettled(void)
{
	return as_text_query(NULL, SPI_OK_SELECT,
						 "SELECT FROM actorstore.arrival WHERE EXISTS (SELECT FROM actorstore.node WHERE is_self)",
						 0, NULL) > 0;
}

static void
note_settled(void)
{
	as_text_query(NULL, SPI_OK_DELETE, "DELETE FROM actorstore.arrival", 0, NULL);
}

void
as_settle(int except)
{
	if (!is_unsettled())
		return;
	wait_for_init();
	as_settle_wait(except);
	note_settled();
}

void
as_settle_look(void)
{
	static char *names = NULL;	/* of those who ran when we looked first */

	if (names == NULL && is_unsettled())
	{
		wait_for_init();
		names = MemoryContextStrdup(TopMemoryContext, text_to_cstring(running(0)));
	}
	if (names == NULL || some_run(cstring_to_text(names)))
		return;
	note_settled();
	pfree(names);
	names = NULL;
}

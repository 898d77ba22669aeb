/*-------------------------------------------------------------------------
 *
 * peer.c
 *	  Opening, checking, keeping and closing connections to other nodes: see
 *	  peer.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/peer.h"

#include "cluster/health.h"
#include "cluster/peer_greet.h"
#include "cluster/peer_stat.h"
#include "compat.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

static AsPeer *kept[AS_MAX_PEERS];
static int	nkept = 0;

/* ---- Closing ---- */

void
as_peer_close(AsPeer *peer)
{
	for (int i = 0; i < nkept; i++)
	{
		if (kept[i] == peer)
		{
			kept[i] = kept[--nkept];
			break;
		}
	}
	for (int i = 0; i < peer->nresults; i++)
		PQclear(peer->results[i]);
	PQclear(peer->row);
	for (int i = 0; i < peer->nprepared; i++)
		pfree(peer->prepared[i]);
	if (peer->prepared != NULL)
		pfree(peer->prepared);
	if (peer->conn != NULL)
	{
		as_peer_stat_count(peer->stat, AS_PEER_OPEN, -1);
		if (peer->broken || peer->state != AS_PEER_IDLE)
			as_peer_stat_count(peer->stat, AS_PEER_LOST, 1);
		PQfinish(peer->conn);
		as_peer_stat_give_connection();
		as_peer_forget_waits();
	}
	as_peer_forget_settings(peer);
	pfree(peer->name);
	pfree(peer->conninfo);
	pfree(peer);
}

/* At the end of the process, after its transaction. */
static void
close_all(int code, Datum arg)
{
	while (nkept > 0)
		as_peer_close(kept[0]);
}

/* Close a connection that nobody needs now; false if there is none. */
static bool
close_unneeded(void)
{
	for (int i = 0; i < nkept; i++)
	{
		if (!kept[i]->in_transaction && (kept[i]->state == AS_PEER_IDLE || kept[i]->broken))
		{
			as_peer_close(kept[i]);
			return true;
		}
	}
	return false;
}

/* ---- Opening ---- */

/* Till the connection stands, has failed, or the time is up. */
static PostgresPollingStatusType
poll_connection(PGconn *conn, TimestampTz deadline, bool quietly)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	while (conn != NULL && PQstatus(conn) != CONNECTION_BAD)
	{
		AsPeerSocket wanted = {.socket = PQsocket(conn)};

		if (status == PGRES_POLLING_OK || status == PGRES_POLLING_FAILED)
			return status;
		if (GetCurrentTimestamp() >= deadline)
			return PGRES_POLLING_READING;
		wanted.events = status == PGRES_POLLING_READING ?
			WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE;
		as_peer_wait_for_sockets(&wanted, 1, deadline,
								 quietly ? AS_PEER_WAIT_QUIETLY : AS_PEER_WAIT_ONCE);
		if (as_peer_socket_is_ready(&wanted))
			status = PQconnectPoll(conn);
	}
	return PGRES_POLLING_FAILED;
}

/*
 * The same, in which each host has its share of the time: one that takes a
 * connection and says nothing must not hide the others.
 */
static PostgresPollingStatusType
find_host(AsPeer *peer, TimestampTz deadline)
{
	for (;;)
	{
		int			nhosts = as_peer_hosts_from(peer->conn);
		TimestampTz now = GetCurrentTimestamp();
		PostgresPollingStatusType status = poll_connection(peer->conn, now + (deadline - now) / nhosts, false);
		PGconn	   *next;

		if (status == PGRES_POLLING_OK || status == PGRES_POLLING_FAILED)
			return status;
		next = as_peer_start_next_host(peer->conn, peer->conninfo);
		if (next == NULL)
			return status;
		PQfinish(peer->conn);
		peer->conn = next;
	}
}

/* A primary that has been replaced must not hide its successor: on to the hosts behind it. */
static void
look_for_successor(AsPeer *peer, const AsNode *node, TimestampTz deadline)
{
	while (as_peer_is_replaced(peer, node))
	{
		PGconn	   *next = as_peer_start_next_host(peer->conn, peer->conninfo);

		if (next == NULL)
			as_peer_throw_replaced(peer, node);
		PQfinish(peer->conn);
		peer->conn = next;
		if (find_host(peer, deadline) != PGRES_POLLING_OK)
			as_peer_throw_replaced(peer, node);
		as_peer_greet(peer, node);
	}
}

static void
connect_peer(AsPeer *peer, const AsNode *node)
{
	TimestampTz deadline = as_peer_deadline(actorstore_peer_timeout);
	PostgresPollingStatusType status;

	while (!as_peer_stat_take_connection())
	{
		if (!close_unneeded())
			ereport(ERROR,
					(errcode(ERRCODE_TOO_MANY_CONNECTIONS),
					 errmsg("too many connections to other nodes"),
					 errhint("Raise actorstore.max_peer_connections.")));
	}
	peer->said_incarnation = as_node_incarnation_peek();
	peer->conn = as_peer_start_connection(peer->conninfo);
	if (peer->conn == NULL)
	{
		as_peer_stat_give_connection();
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	as_peer_stat_count(peer->stat, AS_PEER_OPEN, 1);
	status = find_host(peer, deadline);
	if (status != PGRES_POLLING_OK)
		as_peer_throw_unreachable(peer, status == PGRES_POLLING_FAILED ?
								  PQerrorMessage(peer->conn) : "It does not answer.");
	as_peer_greet(peer, node);
	if (node != NULL)
	{
		look_for_successor(peer, node, deadline);
		as_peer_stat_saw(peer->stat, peer->incarnation);
	}
	peer->opened_at = GetCurrentTimestamp();
	as_peer_stat_count(peer->stat, AS_PEER_OPENED, 1);
}

static AsPeer *
open_peer(const char *name, const char *conninfo, const AsNode *node)
{
	static bool registered = false;
	static uint64 nopened = 0;
	AsPeer	   *peer = MemoryContextAllocZero(TopMemoryContext, sizeof(AsPeer));

	peer->connection = ++nopened;
	peer->number = node == NULL ? 0 : node->number;
	peer->stat = node == NULL ? -1 : as_peer_stat_find(node->number);
	peer->name = MemoryContextStrdup(TopMemoryContext, name);
	peer->conninfo = MemoryContextStrdup(TopMemoryContext, conninfo);
	if (!registered)
		on_shmem_exit(close_all, (Datum) 0);
	registered = true;
	PG_TRY();
	{
		connect_peer(peer, node);
	}
	PG_CATCH();
	{
		as_peer_close(peer);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return peer;
}

bool
as_peer_is_out_of_reach(void)
{
	int			code = geterrcode();

	return ERRCODE_TO_CATEGORY(code) == ERRCODE_CONNECTION_EXCEPTION ||
		code == ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
}

AsPeer *
as_peer_open(const char *name, const char *conninfo)
{
	return open_peer(name, conninfo, NULL);
}

/* May a connection that is kept be used once more?  We may have become a later incarnation ourselves. */
static bool
is_good(AsPeer *peer, const AsNode *node)
{
	return !peer->broken && !peer->unkept && peer->state == AS_PEER_IDLE &&
		PQstatus(peer->conn) == CONNECTION_OK &&
		strcmp(peer->conninfo, node->conninfo) == 0 &&
		memcmp(&peer->uuid, &node->uuid, sizeof(peer->uuid)) == 0 &&
		!as_peer_is_replaced(peer, node) &&
		peer->said_incarnation == as_node_incarnation_peek() &&
		(!actorstore_require_tls || PQsslInUse(peer->conn)) &&
		!TimestampDifferenceExceeds(peer->opened_at, GetCurrentTimestamp(),
									actorstore_peer_lifetime * 1000);
}

/*
 * The other side may have left while nobody looked.  Only what has arrived is
 * read; answers that nobody waits for stay where they are.
 */
static bool
is_there(AsPeer *peer)
{
	if (!PQconsumeInput(peer->conn) || PQstatus(peer->conn) != CONNECTION_OK)
		peer->broken = true;
	else if (peer->nskip == 0)
		(void) PQisBusy(peer->conn);	/* shows notices */
	return !peer->broken;
}

/* Known to be down: one would only wait to hear nothing. */
static void
check_health(const AsNode *node)
{
	if (as_health_is_silent(node->number))
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("node \"%s\" is down", node->name),
				 errdetail("It has not answered for some time."),
				 errhint("See the view stat_peers.")));
}

AsPeer *
as_peer_get(const AsNode *node)
{
	if (node->conninfo == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("it is not known how to connect to node \"%s\"", node->name)));
	for (int i = 0; i < nkept; i++)
	{
		if (kept[i]->number != node->number)
			continue;
		if (kept[i]->in_transaction)
			return kept[i];
		check_health(node);
		if (is_good(kept[i], node) && is_there(kept[i]))
			return kept[i];
		as_peer_close(kept[i]);
		break;
	}
	check_health(node);
	if (nkept == AS_MAX_PEERS && !close_unneeded())
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_CONNECTIONS),
				 errmsg("too many nodes in one transaction")));
	kept[nkept] = open_peer(node->name, node->conninfo, node);
	return kept[nkept++];
}

/* ---- By the way ---- */

/*
 * A question about the process that works for this connection ($1), to that very
 * server, as the process with this number on another one is somebody else's.  Is
 * the answer "t"?
 */
static bool
ask_by_the_way(AsPeer *peer, const char *sql, TimestampTz deadline)
{
	AsPeer		other = {.number = peer->number, .name = peer->name, .stat = -1};
	AsPeer	   *pointer = &other;
	char		pid[16];
	const char *values[1] = {pid};
	bool		answer;

	snprintf(pid, sizeof(pid), "%d", PQbackendPID(peer->conn));
	other.conninfo = peer->conninfo;
	other.conn = as_peer_start_same_host(peer->conn, other.conninfo);
	if (other.conn != NULL &&
		poll_connection(other.conn, deadline, true) == PGRES_POLLING_OK &&
		PQsetnonblocking(other.conn, 1) == 0 && PQenterPipelineMode(other.conn))
	{
		as_peer_add(&other, sql, 1, values, false);
		(void) as_peer_launch(&other);
		(void) as_peers_wait_quietly(&pointer, 1, deadline);
	}
	answer = as_peer_succeeded(&other, 0) && PQntuples(other.results[0]) == 1 &&
		PQgetvalue(other.results[0], 0, 0)[0] == 't';
	for (int i = 0; i < other.nresults; i++)
		PQclear(other.results[i]);
	PQfinish(other.conn);
	return answer;
}

/*
 * libpq's own PQcancel() waits without end for a server that stands still, so
 * the peer is asked as any of its clients could ask it.
 */
void
as_peer_cancel(AsPeer *peer, TimestampTz deadline)
{
	(void) ask_by_the_way(peer, "SELECT pg_catalog.pg_cancel_backend($1::pg_catalog.int4)", deadline);
}

/* Who prepares has begun with the receipt. */
#define EXECUTING_SQL \
	"SELECT pg_catalog.count(*) > 0 AND pg_catalog.count(*) FILTER (WHERE locktype = 'relation') = 0" \
	" FROM pg_catalog.pg_locks WHERE pid = $1::pg_catalog.int4" \
	" AND (locktype = 'virtualxid'" \
	"  OR locktype = 'relation' AND mode = 'RowExclusiveLock' AND relation = pg_catalog.to_regclass('actorstore.receipt'))"

bool
as_peer_is_executing(AsPeer *peer, TimestampTz deadline)
{
	return ask_by_the_way(peer, EXECUTING_SQL, deadline);
}

/*-------------------------------------------------------------------------
 *
 * peer_io.c
 *	  Flights of commands over connections to other nodes: see peer.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/peer.h"

#include "cluster/life.h"
#include "cluster/peer_stat.h"
#include "compat.h"
#include "mb/pg_wchar.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* so many statements are kept prepared on a peer */
#define MAX_PREPARED	64

/* ---- Sending ---- */

static void
clear_results(AsPeer *peer)
{
	for (int i = 0; i < peer->nresults; i++)
	{
		PQclear(peer->results[i]);
		peer->results[i] = NULL;
	}
	peer->nresults = 0;
	peer->ncommands = 0;
}

/* The number of a statement that the peer has prepared, or -1. */
static int
find_prepared(AsPeer *peer, const char *sql)
{
	for (int i = 0; i < peer->nprepared; i++)
	{
		if (strcmp(peer->prepared[i], sql) == 0)
			return i;
	}
	return -1;
}

/* Have it prepared, in the same flight; -1 if there is no room. */
static int
prepare(AsPeer *peer, const char *sql)
{
	char		name[32];
	int			number = peer->nprepared;

	if (number == MAX_PREPARED || peer->ncommands + 2 > AS_PEER_MAX_COMMANDS)
		return -1;
	snprintf(name, sizeof(name), "as_%d", number);
	if (peer->prepared == NULL)
		peer->prepared = MemoryContextAllocZero(TopMemoryContext,
												MAX_PREPARED * sizeof(char *));
	peer->prepared[number] = MemoryContextStrdup(TopMemoryContext, sql);
	if (!PQsendPrepare(peer->conn, name, sql, 0, NULL))
	{
		peer->broken = true;
		return -1;
	}
	peer->nprepared++;
	peer->statement[peer->ncommands] = number;
	return number;
}

bool
as_peer_is_nearly_full(const AsPeer *peer)
{
	return peer->state == AS_PEER_LOADING &&
		peer->ncommands > AS_PEER_MAX_COMMANDS - 8;
}

static void
begin_flight(AsPeer *peer)
{
	clear_results(peer);
	peer->state = AS_PEER_LOADING;
	peer->unreplicated = false;
	peer->nadded = 0;
	peer->streamed = -1;
}

int
as_peer_add_command(AsPeer *peer, const AsPeerCommand *command)
{
	int			number = -1;
	char		name[32];
	bool		sent;

	if (peer->state == AS_PEER_IDLE)
		begin_flight(peer);
	if (peer->broken || peer->state != AS_PEER_LOADING ||
		peer->ncommands == AS_PEER_MAX_COMMANDS)
	{
		peer->broken = true;
		return peer->nadded;
	}
	peer->statement[peer->ncommands] = -1;
	if (command->keep)
	{
		number = find_prepared(peer, command->sql);
		if (number < 0 && (number = prepare(peer, command->sql)) >= 0)
			peer->statement[++peer->ncommands] = -1;
	}
	if (number >= 0)
	{
		snprintf(name, sizeof(name), "as_%d", number);
		sent = PQsendQueryPrepared(peer->conn, name, command->nvalues,
								   command->values, command->lengths,
								   command->formats, command->binary);
	}
	else
		sent = PQsendQueryParams(peer->conn, command->sql, command->nvalues,
								 NULL, command->values, command->lengths,
								 command->formats, command->binary);
	if (!sent)
		peer->broken = true;
	if (command->streamed)
		peer->streamed = peer->ncommands;
	peer->ncommands++;
	return peer->nadded++;
}

int
as_peer_add(AsPeer *peer, const char *sql, int nvalues,
			const char *const *values, bool keep)
{
	AsPeerCommand command = {.sql = sql, .nvalues = nvalues, .values = values, .keep = keep};

	return as_peer_add_command(peer, &command);
}

int
as_peer_add_end(AsPeer *peer)
{
	if (peer->broken || peer->state != AS_PEER_LOADING ||
		peer->ncommands == AS_PEER_MAX_COMMANDS)
	{
		peer->broken = true;
		return peer->nadded;
	}
	peer->statement[peer->ncommands++] = -1;
	return peer->nadded++;
}

void
as_peer_hurry(AsPeer *peer)
{
	if (peer->broken || peer->state != AS_PEER_LOADING || PQflush(peer->conn) < 0)
		peer->broken = true;
}

static void
take_off(AsPeer *peer)
{
	peer->state = AS_PEER_FLYING;
	peer->just_launched = true;
	as_peer_stat_count(peer->stat, AS_PEER_FLIGHTS, 1);
}

bool
as_peer_launch(AsPeer *peer)
{
	if (peer->broken || peer->state != AS_PEER_LOADING ||
		!PQpipelineSync(peer->conn))
	{
		peer->broken = true;
		return false;
	}
	take_off(peer);
	return true;
}

void
as_peer_launch_alone(AsPeer *peer, const char *sql)
{
	if (peer->broken || peer->state != AS_PEER_IDLE || peer->nskip > 0 ||
		!PQexitPipelineMode(peer->conn))
	{
		(void) as_peer_add(peer, sql, 0, NULL, false);
		(void) as_peer_launch(peer);
		return;
	}
	begin_flight(peer);
	peer->statement[0] = -1;
	peer->ncommands = peer->nadded = 1;
	if (!PQsendQuery(peer->conn, sql))
	{
		peer->broken = true;
		return;
	}
	peer->alone = true;
	take_off(peer);
}

static void
drop_rows(AsPeer *peer)
{
	PQclear(peer->row);
	peer->row = NULL;
	peer->keeps_row = false;
}

bool
as_peer_prepares(const AsPeer *peer)
{
	return peer->ncommands > peer->nadded;
}

void
as_peer_leave(AsPeer *peer)
{
	if (peer->state != AS_PEER_FLYING)
		return;
	for (int i = 0; i < peer->nresults; i++)
		PQclear(peer->results[i]);
	drop_rows(peer);
	peer->nresults = 0;
	peer->ncommands = 0;
	peer->nadded = 0;
	peer->nskip++;
	peer->state = AS_PEER_IDLE;
}

/* ---- Receiving ---- */

/*
 * Where a statement could not be prepared it is not there; the number is not
 * used again, a text that nothing is equal to keeps its place.
 */
static void
forget_statement(AsPeer *peer, int number)
{
	peer->prepared[number][0] = '\0';
}

/*
 * libpq must be told to hand out each row when the command before has been
 * answered, and nothing was read of this answer.
 */
static void
begin_stream(AsPeer *peer)
{
	if (peer->streamed >= 0 && peer->nskip == 0 && peer->nresults == peer->streamed &&
		PQsetSingleRowMode(peer->conn))
		peer->streamed = -1;
}

static void
take_row(AsPeer *peer, PGresult *row)
{
	if (peer->keeps_row && peer->nskip == 0)
		peer->row = row;
	else
		PQclear(row);
}

/* The flight of one command: true once nothing more is due. */
static bool
take_result_of_one(AsPeer *peer)
{
	while (!PQisBusy(peer->conn))
	{
		PGresult   *result = PQgetResult(peer->conn);

		if (PQstatus(peer->conn) != CONNECTION_OK)
			peer->broken = true;
		if (result == NULL)
		{
			peer->alone = false;
			if (peer->broken || !PQenterPipelineMode(peer->conn))
				peer->broken = true;
			else
				peer->state = AS_PEER_IDLE;
			return true;
		}
		if (peer->nresults == peer->ncommands)
			PQclear(result);
		else
			peer->results[peer->nresults++] = result;
	}
	return false;
}

/*
 * Keep what has arrived, without waiting; true once the flight has ended.
 * Answers of a command come before a NULL; the end of a flight is an answer of
 * its own.  Stops at a row that somebody takes.
 */
static bool
take_results(AsPeer *peer)
{
	int			nnulls = 0;

	if (peer->alone)
		return take_result_of_one(peer);
	while (peer->row == NULL && (begin_stream(peer), !PQisBusy(peer->conn)))
	{
		PGresult   *result = PQgetResult(peer->conn);

		if (result == NULL)
		{
			/* two in a row: nothing is due, though something should be */
			if (++nnulls == 2 || PQstatus(peer->conn) != CONNECTION_OK)
			{
				peer->broken = true;
				return true;
			}
			continue;
		}
		nnulls = 0;
		if (PQresultStatus(result) == PGRES_SINGLE_TUPLE)
		{
			take_row(peer, result);
			continue;
		}
		if (PQresultStatus(result) == PGRES_PIPELINE_SYNC)
		{
			PQclear(result);
			if (peer->nskip-- > 0)
				continue;
			peer->nskip = 0;
			peer->state = AS_PEER_IDLE;
			return true;
		}
		if (PQstatus(peer->conn) != CONNECTION_OK)
		{
			/* the message that the connection was lost; keep it to be shown */
			peer->broken = true;
		}
		if (peer->nskip > 0 && PQresultStatus(result) == PGRES_FATAL_ERROR)
			peer->nfailed++;
		if (peer->nskip > 0 || peer->nresults == peer->ncommands)
			PQclear(result);
		else
		{
			int			number = peer->statement[peer->nresults];

			if (number >= 0 && PQresultStatus(result) != PGRES_COMMAND_OK)
				forget_statement(peer, number);
			peer->results[peer->nresults++] = result;
		}
		if (peer->broken)
			return true;
	}
	return false;
}

/*
 * Exchange what can be; false once there is nothing more to wait for.  last
 * says that nobody is going to wait.
 */
static bool
exchange(AsPeer *peer, AsPeerSocket *wanted, bool last)
{
	int			unsent;

	if (peer == NULL || peer->state != AS_PEER_FLYING || peer->broken)
		return false;
	unsent = PQflush(peer->conn);
	wanted->socket = PQsocket(peer->conn);
	wanted->events = WL_SOCKET_READABLE | (unsent > 0 ? WL_SOCKET_WRITEABLE : 0);
	if (peer->just_launched && unsent == 0 && !last && wanted->socket != PGINVALID_SOCKET)
	{
		/* no answer can be there so soon: a system call for nothing */
		peer->just_launched = false;
		return true;
	}
	if (unsent < 0 || !PQconsumeInput(peer->conn))
	{
		/* what it said before it left tells why */
		(void) take_results(peer);
		peer->broken = true;
		return false;
	}
	return !take_results(peer);
}

void
as_peer_send_off(AsPeer *peer)
{
	AsPeerSocket wanted;

	/* reads, too: whether the other side has gone, and answers left before */
	while (exchange(peer, &wanted, true) && (wanted.events & WL_SOCKET_WRITEABLE) != 0)
		as_peer_wait_for_sockets(&wanted, 1, 0, AS_PEER_WAIT_AGAIN);
	if (peer->broken)
		(void) as_peer_result(peer, 0);	/* throws */
	as_peer_leave(peer);
}

static bool
wait_for_flights(AsPeer *const *peers, int n, TimestampTz deadline, bool quietly)
{
	AsPeerSocket sockets[AS_MAX_PEERS];
	bool		all = true;

	Assert(n <= AS_MAX_PEERS);
	for (int i = 0; i < n; i++)
	{
		if (peers[i] != NULL)
			drop_rows(peers[i]);
	}
	for (;;)
	{
		bool		last = deadline != 0 && GetCurrentTimestamp() >= deadline;
		int			nwaiting = 0;

		for (int i = 0; i < n; i++)
		{
			if (exchange(peers[i], &sockets[nwaiting], last))
				nwaiting++;
			else if (peers[i] != NULL && peers[i]->broken && peers[i]->in_transaction)
				as_life_lose_node(peers[i]->number);
		}
		if (nwaiting == 0 || last)
			break;
		as_peer_wait_for_sockets(sockets, nwaiting, deadline,
								 quietly ? AS_PEER_WAIT_QUIETLY : AS_PEER_WAIT_AGAIN);
	}
	for (int i = 0; i < n; i++)
		all = all && (peers[i] == NULL ||
					  (peers[i]->state == AS_PEER_IDLE && !peers[i]->broken));
	return all;
}

bool
as_peers_wait(AsPeer *const *peers, int n, TimestampTz deadline)
{
	return wait_for_flights(peers, n, deadline, false);
}

bool
as_peers_wait_quietly(AsPeer *const *peers, int n, TimestampTz deadline)
{
	return wait_for_flights(peers, n, deadline, true);
}

/* ---- Rows that are streamed ---- */

PGresult *
as_peer_take_row(AsPeer *peer)
{
	PGresult   *row = peer->row;

	peer->row = NULL;
	return row;
}

int
as_peers_wait_for_row(AsPeer *const *peers, int n, bool wait)
{
	AsPeerSocket sockets[AS_MAX_PEERS];

	Assert(n <= AS_MAX_PEERS);
	for (;;)
	{
		int			nwaiting = 0;

		for (int i = 0; i < n; i++)
		{
			if (peers[i] == NULL)
				continue;
			peers[i]->keeps_row = true;
			if (peers[i]->row == NULL)
				nwaiting += exchange(peers[i], &sockets[nwaiting], !wait);
			if (peers[i]->row != NULL)
				return i;
		}
		if (nwaiting == 0 || !wait)
			return -1;
		as_peer_wait_for_sockets(sockets, nwaiting, 0, AS_PEER_WAIT_AGAIN);
	}
}

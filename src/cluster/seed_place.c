/*-------------------------------------------------------------------------
 *
 * seed_place.c
 *	  See seed_place.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/seed_place.h"

#include "cluster/peer.h"
#include "runtime/worker.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* places that are knocked at at once */
#define KNOCKS		64

/* ---- Knocking ---- */

/* libpq may tell a lot; the first line says what it is about. */
static char *
first_line(const char *message)
{
	return pnstrdup(message, strcspn(message, "\n"));
}

static bool
is_connecting(const AsSeedPlace *place)
{
	return place->conn != NULL && PQsocket(place->conn) >= 0 &&
		place->polling != PGRES_POLLING_OK && place->polling != PGRES_POLLING_FAILED;
}

static void
start_knocking(AsSeedPlace *place)
{
	if (place->state != AS_PLACE_UNKNOWN)
		return;
	place->conn = as_peer_start_connection(place->conninfo);
	place->polling = place->conn == NULL || PQstatus(place->conn) == CONNECTION_BAD ?
		PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
}

/* Of several hosts one that says nothing hides the others: as_peer_open() tries all. */
static void
stop_knocking(AsSeedPlace *place)
{
	place->opens = place->state == AS_PLACE_UNKNOWN &&
		(place->polling == PGRES_POLLING_OK ||
		 (is_connecting(place) && as_peer_hosts_from(place->conn) > 1));
	if (place->state == AS_PLACE_UNKNOWN && !place->opens)
	{
		place->state = AS_PLACE_UNREACHABLE;
		place->detail = place->conn == NULL ? "out of memory" :
			place->polling == PGRES_POLLING_FAILED ? first_line(PQerrorMessage(place->conn)) :
			"It does not answer.";
	}
	PQfinish(place->conn);
	place->conn = NULL;
}

/* Wait once for those that are still on their way; false if there are none. */
static bool
go_on_knocking(AsSeedPlace *places, int n, TimestampTz deadline)
{
	AsPeerSocket sockets[KNOCKS];
	AsSeedPlace *waiting[KNOCKS];
	int			nwaiting = 0;

	for (int i = 0; i < n; i++)
	{
		if (!is_connecting(&places[i]))
			continue;
		sockets[nwaiting].socket = PQsocket(places[i].conn);
		sockets[nwaiting].events = places[i].polling == PGRES_POLLING_READING ?
			WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE;
		waiting[nwaiting++] = &places[i];
	}
	if (nwaiting == 0)
		return false;
	as_peer_wait_for_sockets(sockets, nwaiting, deadline, AS_PEER_WAIT_ONCE);
	as_worker_check_signals();
	for (int i = 0; i < nwaiting; i++)
	{
		if (as_peer_socket_is_ready(&sockets[i]))
			waiting[i]->polling = PQconnectPoll(waiting[i]->conn);
	}
	return true;
}

static void
knock(AsSeedPlace *places, int n)
{
	for (int first = 0; first < n; first += KNOCKS)
	{
		int			count = Min(KNOCKS, n - first);
		TimestampTz deadline;

		for (int i = first; i < first + count; i++)
			start_knocking(&places[i]);
		deadline = as_peer_deadline(actorstore_peer_timeout);
		while (GetCurrentTimestamp() < deadline && go_on_knocking(places + first, count, deadline))
			;
		for (int i = first; i < first + count; i++)
			stop_knocking(&places[i]);
	}
}

/* ---- Meeting ---- */

/* Who is no node, or is fenced or removed, says nothing. */
static void
read_peer(AsSeedPlace *place, AsPeer *peer)
{
	static const pg_uuid_t nobody = {{0}};
	PGresult   *result;

	if (memcmp(&peer->uuid, &nobody, sizeof(nobody)) == 0)
		return;
	(void) as_peer_add(peer, "SELECT actorstore.local_in_force(), actorstore.local_epoch()", 0, NULL, false);
	(void) as_peer_launch(peer);
	if (!as_peers_wait(&peer, 1, as_peer_deadline(actorstore_peer_timeout)))
	{
		place->state = AS_PLACE_UNREACHABLE;
		place->detail = "It does not answer.";
		return;
	}
	result = as_peer_result(peer, 0);
	if (PQntuples(result) != 1 || PQgetisnull(result, 0, 0))
		return;
	place->uuid = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&peer->uuid)));
	place->incarnation = peer->incarnation;
	place->in_force = pstrdup(PQgetvalue(result, 0, 0));
	place->epoch = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
}

/* Is it only not to be had now? */
static bool
is_out_of_reach(int sqlerrcode)
{
	int			category = ERRCODE_TO_CATEGORY(sqlerrcode);

	return category == ERRCODE_CONNECTION_EXCEPTION || category == ERRCODE_INSUFFICIENT_RESOURCES ||
		category == ERRCODE_OPERATOR_INTERVENTION;
}

/* Whoever tells us to stop does not do so by an error. */
static void
note_failure(AsSeedPlace *place, const ErrorData *error)
{
	place->state = is_out_of_reach(error->sqlerrcode) ? AS_PLACE_UNREACHABLE : AS_PLACE_REFUSED;
	place->detail = first_line(error->detail == NULL ? error->message : error->detail);
}

static void
open_door(AsSeedPlace *place)
{
	MemoryContext context = CurrentMemoryContext;
	AsPeer	   *volatile peer = NULL;

	PG_TRY();
	{
		peer = as_peer_open("?", place->conninfo);
		read_peer(place, peer);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		note_failure(place, error);
	}
	PG_END_TRY();
	if (peer != NULL)
		as_peer_close(peer);
}

void
as_seed_places_visit(AsSeedPlace *places, int n)
{
	knock(places, n);
	for (int i = 0; i < n; i++)
	{
		as_worker_check_signals();
		if (places[i].opens)
			open_door(&places[i]);
	}
}

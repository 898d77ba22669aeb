/*-------------------------------------------------------------------------
 *
 * probe.c
 *	  See probe.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/probe.h"

#include "cluster/health.h"
#include "cluster/peer_stat.h"
#include "common/pg_prng.h"
#include "lib/backoff.h"
#include "lib/steady_clock.h"
#include "storage/latch.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

/* between tries to connect, in ms */
#define MIN_BACKOFF		100
#define MAX_BACKOFF		2000

/* an answer that takes so many beats will not come over this connection */
#define PATIENCE		5

#define HEARTBEAT \
	"actorstore.local_heartbeat($1::pg_catalog.uuid, $2::pg_catalog.int2," \
	" $3::pg_catalog.int8, $4::actorstore.vclock, $5::pg_catalog.int8[])"
#define ASK_SQL "SELECT hash, clock, opinions FROM " HEARTBEAT

/* The first question over a connection: a server stays the same incarnation while that lasts */
#define GREET_SQL "SELECT hash, clock, opinions, incarnation FROM " HEARTBEAT ", actorstore.local_identity()"

/* ---- Beginning and end ---- */

void
as_probe_begin(AsProbe *probe, const AsNode *node)
{
	memset(probe, 0, sizeof(AsProbe));
	probe->node = node->number;
	probe->name = MemoryContextStrdup(TopMemoryContext, node->name);
	probe->conninfo = MemoryContextStrdup(TopMemoryContext,
										  node->conninfo == NULL ? "" : node->conninfo);
	strlcpy(probe->uuid, DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&node->uuid))),
			sizeof(probe->uuid));
	probe->stat = as_peer_stat_find(node->number);
	as_phi_begin(&probe->phi, (int64) actorstore_heartbeat_interval * 1000, as_steady_now());
}

static void
forget_theirs(AsProbe *probe)
{
	if (probe->theirs != NULL)
		pfree(probe->theirs);
	probe->theirs = NULL;
	probe->their_hash = 0;
	probe->told = 0;
}

static void
close_connection(AsProbe *probe)
{
	if (probe->conn != NULL)
		PQfinish(probe->conn);
	probe->conn = NULL;
	probe->state = AS_PROBE_CLOSED;
	probe->incarnation = 0;
	forget_theirs(probe);
}

void
as_probe_end(AsProbe *probe)
{
	close_connection(probe);
	pfree(probe->name);
	pfree(probe->conninfo);
	memset(probe, 0, sizeof(AsProbe));
}

static void
fail(AsProbe *probe, const char *why)
{
	if (!probe->complained)
		ereport(LOG,
				(errmsg("node \"%s\" does not answer", probe->name),
				 errdetail_internal("%s", why)));
	probe->complained = true;
	probe->backoff = as_backoff_next(probe->backoff, MIN_BACKOFF, MAX_BACKOFF);
	probe->next_try = as_steady_now() +
		(int64) 1000 * as_backoff_wait(probe->backoff, pg_prng_double(&pg_global_prng_state));
	close_connection(probe);
}

/* ---- Asking ---- */

/* None of the hosts has kept us waiting. */
static bool
failed_at_once(const AsProbe *probe)
{
	return as_steady_now() - probe->began < (int64) actorstore_heartbeat_interval * 1000;
}

static void
begin_connection(AsProbe *probe, PGconn *conn)
{
	probe->conn = conn;
	probe->state = AS_PROBE_CONNECTING;
	probe->polling = PGRES_POLLING_WRITING;
	probe->since = as_steady_now();
	if (conn == NULL || PQstatus(conn) == CONNECTION_BAD)
	{
		probe->refuses = failed_at_once(probe);
		fail(probe, conn == NULL ? "out of memory" : PQerrorMessage(conn));
	}
}

static void
start_connecting(AsProbe *probe)
{
	PGconn	   *conn;

	if (probe->tried)
		as_board_count(probe->node, AS_HEALTH_RECONNECTS);
	probe->tried = true;
	probe->began = as_steady_now();
	conn = as_peer_start_connection(probe->conninfo);
	probe->nhosts = conn == NULL ? 1 : as_peer_hosts_from(conn);
	begin_connection(probe, conn);
}

/* This host is not the one: go on to the next one. */
static void
give_up_host(AsProbe *probe, const char *why)
{
	PGconn	   *next = as_peer_start_next_host(probe->conn, probe->conninfo);

	if (next == NULL)
	{
		fail(probe, why);
		return;
	}
	close_connection(probe);
	begin_connection(probe, next);
}

/* As sessions do (peer_greet.c), who tell us what they have learnt, and are told. */
static int64
known_incarnation(const AsProbe *probe)
{
	return Max(probe->known, as_peer_stat_incarnation(probe->stat));
}

static bool
is_replaced(const AsProbe *probe)
{
	return probe->incarnation < known_incarnation(probe);
}

static void
give_up_replaced(AsProbe *probe)
{
	probe->refuses = failed_at_once(probe);
	give_up_host(probe, psprintf("It is an older incarnation (" INT64_FORMAT ") than the one known (" INT64_FORMAT ").",
								 probe->incarnation, known_incarnation(probe)));
}

/* What we have heard, where the target may lack something of it. */
static void
write_question(AsProbe *probe, char **hash, char **clock, char **opinions, int16 *self)
{
	AsGossip   *gossip = as_board_lock(false, self);
	const AsOpinion *newer[AS_MAX_NODES];
	int64		our_hash;
	StringInfoData text;

	*hash = *clock = *opinions = NULL;
	if (gossip == NULL)
		return;
	our_hash = as_gossip_hash(gossip);
	*hash = psprintf(INT64_FORMAT, our_hash);
	if (our_hash != probe->their_hash && our_hash != probe->told)
	{
		initStringInfo(&text);
		as_vclock_print(&text, as_gossip_clock(gossip));
		*clock = text.data;
		probe->told = our_hash;
	}
	if (our_hash != probe->their_hash && probe->theirs != NULL)
	{
		initStringInfo(&text);
		as_opinions_print(&text, newer, as_gossip_newer(gossip, probe->theirs, newer));
		*opinions = text.data;
	}
	as_board_unlock();
}

static void
ask(AsProbe *probe)
{
	int16		self = 0;
	char	   *hash;
	char	   *clock;
	char	   *opinions;
	const char *values[5];

	write_question(probe, &hash, &clock, &opinions, &self);
	values[0] = probe->uuid;
	values[1] = psprintf("%d", self);
	values[2] = hash;
	values[3] = clock;
	values[4] = opinions;
	as_board_count(probe->node, AS_HEALTH_SENT);
	if (!PQsendQueryParams(probe->conn, probe->incarnation == 0 ? GREET_SQL : ASK_SQL, 5, NULL, values, NULL, NULL, 0) ||
		PQflush(probe->conn) < 0)
	{
		fail(probe, PQerrorMessage(probe->conn));
		return;
	}
	probe->state = AS_PROBE_WAITING;
	probe->since = as_steady_now();
}

void
as_probe_beat(AsProbe *probe)
{
	int64		now = as_steady_now();
	int64		interval = (int64) actorstore_heartbeat_interval * 1000;

	switch (probe->state)
	{
		case AS_PROBE_CLOSED:
			if (now >= probe->next_try)
				start_connecting(probe);
			break;
		case AS_PROBE_CONNECTING:
			if (!failed_at_once(probe))
				probe->refuses = false;
			if (now - probe->since > (int64) actorstore_peer_timeout * 1000 / probe->nhosts)
				give_up_host(probe, "A connection takes too long.");
			break;
		case AS_PROBE_READY:
			if (is_replaced(probe))
				give_up_replaced(probe);
			else
				ask(probe);
			break;
		case AS_PROBE_WAITING:
			as_board_count(probe->node, AS_HEALTH_RETRIES);
			probe->refuses = false;
			if (now - probe->since > PATIENCE * interval)
				fail(probe, "An answer takes too long.");
			break;
	}
}

/* ---- Answers ---- */

static void
hear(const char *text)
{
	AsOpinion	opinions[AS_MAX_NODES];
	int			n = as_opinions_parse(text, opinions);
	int16		self;
	AsGossip   *gossip = as_board_lock(true, &self);

	if (gossip == NULL)
		return;
	for (int i = 0; i < n; i++)
		(void) as_gossip_hear(gossip, self, &opinions[i]);
	as_board_unlock();
}

/* Who has answered the first question? */
static void
take_identity(AsProbe *probe, const PGresult *result)
{
	if (PQnfields(result) < 4)
		return;
	probe->incarnation = strtoll(PQgetvalue(result, 0, 3), NULL, 10);
	if (!is_replaced(probe))
		as_peer_stat_saw(probe->stat, probe->incarnation);
}

static void
take_answer(AsProbe *probe, PGresult *result)
{
	int64		now = as_steady_now();
	const char *problem;

	as_board_count(probe->node, AS_HEALTH_ANSWERED);
	as_board_add_round_trip(probe->node, now - probe->since);
	as_phi_beat(&probe->phi, now,
				as_phi_value(&probe->phi, now, (int64) actorstore_heartbeat_pause * 1000, 1) < actorstore_phi_threshold);
	probe->backoff = 0;
	probe->complained = false;
	probe->refuses = false;
	if (PQgetisnull(result, 0, 0))
		return;
	probe->their_hash = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	if (!PQgetisnull(result, 0, 1))
	{
		MemoryContext context = MemoryContextSwitchTo(TopMemoryContext);

		if (probe->theirs != NULL)
			pfree(probe->theirs);
		probe->theirs = as_vclock_parse(PQgetvalue(result, 0, 1), &problem);
		MemoryContextSwitchTo(context);
	}
	if (!PQgetisnull(result, 0, 2))
		hear(PQgetvalue(result, 0, 2));
}

static void
read_answer(AsProbe *probe)
{
	PGresult   *result;

	if (!PQconsumeInput(probe->conn))
	{
		fail(probe, PQerrorMessage(probe->conn));
		return;
	}
	if (PQisBusy(probe->conn))
		return;
	result = PQgetResult(probe->conn);
	if (result == NULL)
	{
		/* the end of the answer, or nothing was asked and it closes */
		if (PQstatus(probe->conn) == CONNECTION_BAD)
			fail(probe, PQerrorMessage(probe->conn));
		return;
	}
	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1)
	{
		char	   *why = pstrdup(PQresultErrorMessage(result));

		PQclear(result);

		/* whoever asks for something else is told as soon */
		probe->refuses = as_steady_now() - probe->since < (int64) actorstore_heartbeat_interval * 1000;
		fail(probe, why);
		return;
	}
	take_identity(probe, result);
	if (is_replaced(probe))
	{
		PQclear(result);
		give_up_replaced(probe);
		return;
	}
	take_answer(probe, result);
	PQclear(result);
	probe->state = AS_PROBE_READY;
	while ((result = PQgetResult(probe->conn)) != NULL)
		PQclear(result);
}

static void
go_on_connecting(AsProbe *probe)
{
	probe->polling = PQconnectPoll(probe->conn);
	if (probe->polling == PGRES_POLLING_FAILED)
	{
		probe->refuses = failed_at_once(probe);
		fail(probe, PQerrorMessage(probe->conn));
	}
	if (probe->polling != PGRES_POLLING_OK || probe->conn == NULL)
		return;
	if (PQsetnonblocking(probe->conn, 1) != 0)
	{
		fail(probe, PQerrorMessage(probe->conn));
		return;
	}
	probe->state = AS_PROBE_READY;
	ask(probe);
}

bool
as_probe_wants(const AsProbe *probe, AsPeerSocket *wanted)
{
	if (probe->conn == NULL || PQsocket(probe->conn) < 0)
		return false;
	wanted->socket = PQsocket(probe->conn);
	wanted->events = probe->state == AS_PROBE_CONNECTING && probe->polling != PGRES_POLLING_READING ?
		WL_SOCKET_WRITEABLE : WL_SOCKET_READABLE;
	return true;
}

void
as_probe_go_on(AsProbe *probe)
{
	if (probe->state == AS_PROBE_CONNECTING)
		go_on_connecting(probe);
	else
		read_answer(probe);
}

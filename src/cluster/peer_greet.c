/*-------------------------------------------------------------------------
 *
 * peer_greet.c
 *	  See peer_greet.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/peer_greet.h"

#include "cluster/peer_stat.h"
#include "compat.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

void
as_peer_throw_unreachable(AsPeer *peer, const char *why)
{
	char	   *detail = pchomp(why);

	as_peer_stat_count(peer->stat, AS_PEER_REFUSED, 1);
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("could not connect to node \"%s\"", peer->name),
			 detail[0] != '\0' ? errdetail_internal("%s", detail) : 0,
			 strstr(detail, "session is read-only") == NULL ? 0 :
			 errhint("It is a standby, or default_transaction_read_only is on for its server, database or role.")));
}

/* 1.7 and 1.8 understand each other, 1.7 and 1.9 do not. */
static bool
is_near(const char *version, const char *other)
{
	int			major,
				minor,
				other_major,
				other_minor;

	return sscanf(version, "%d.%d", &major, &minor) == 2 &&
		sscanf(other, "%d.%d", &other_major, &other_minor) == 2 &&
		major == other_major && abs(minor - other_minor) <= 1;
}

as_noreturn static void
throw_unfit(AsPeer *peer, const char *why, const char *hint)
{
	as_peer_stat_count(peer->stat, AS_PEER_REFUSED, 1);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("node \"%s\" cannot be spoken to", peer->name),
			 errdetail_internal("%s", why),
			 hint != NULL ? errhint("%s", hint) : 0));
}

as_noreturn static void
throw_stranger(AsPeer *peer, const char *why)
{
	throw_unfit(peer, why, NULL);
}

static void
check_server(AsPeer *peer)
{
	int			major = PQserverVersion(peer->conn) / 10000;
	const char *encoding = PQparameterStatus(peer->conn, "server_encoding");

	if (actorstore_require_tls && !PQsslInUse(peer->conn))
		throw_stranger(peer, "The connection does not use TLS, which actorstore.require_tls demands.");
	if (abs(major - PG_VERSION_NUM / 10000) > 1)
		throw_unfit(peer, psprintf("It runs PostgreSQL %d.", major),
					"Nodes can be one major version apart: upgrade all of them to each one in between.");

	/* the bytes of an actor's address say where it lives */
	if (encoding == NULL || strcmp(encoding, GetDatabaseEncodingName()) != 0)
		throw_stranger(peer, psprintf("Its database has the encoding %s.",
									  encoding == NULL ? "unknown" : encoding));
}

#define IDENTITY_SQL \
	"SELECT node_uuid, incarnation, extension_version, in_recovery, max_prepared_transactions" \
	" FROM actorstore.local_identity()"

static void
read_identity(AsPeer *peer, const PGresult *result)
{
	if (PQntuples(result) != 1 || PQnfields(result) != 5)
		throw_stranger(peer, "It does not say who it is.");
	if (!is_near(PQgetvalue(result, 0, 2), AS_VERSION))
		throw_unfit(peer, psprintf("It has version %s of the extension.", PQgetvalue(result, 0, 2)),
					"Nodes can be one minor version of the extension apart: update all of them to each one in between.");
	if (PQgetvalue(result, 0, 3)[0] == 't')
		as_peer_throw_unreachable(peer, "It is a standby.");
	memset(&peer->uuid, 0, sizeof(peer->uuid));
	if (!PQgetisnull(result, 0, 0))
		memcpy(&peer->uuid,
			   DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(PQgetvalue(result, 0, 0)))),
			   sizeof(peer->uuid));
	peer->incarnation = pg_strtoint64(PQgetvalue(result, 0, 1));
	peer->max_prepared = pg_strtoint32(PQgetvalue(result, 0, 4));
}

/* Once a standby has taken over, nobody speaks to the one it has replaced. */
static int64
known_incarnation(const AsPeer *peer, const AsNode *node)
{
	return Max(node->incarnation, as_peer_stat_incarnation(peer->stat));
}

bool
as_peer_is_replaced(const AsPeer *peer, const AsNode *node)
{
	return peer->incarnation < known_incarnation(peer, node);
}

void
as_peer_throw_replaced(AsPeer *peer, const AsNode *node)
{
	throw_stranger(peer, psprintf("It is an older incarnation (" INT64_FORMAT ") than the one known (" INT64_FORMAT ").",
								  peer->incarnation, known_incarnation(peer, node)));
}

/* As peer_connect.c does with other limits: only if nothing else stands in the node's conninfo. */
#define NO_LIMIT_SQL \
	"SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings" \
	" WHERE name = 'transaction_timeout' AND source <> 'client'"

static void
check_identity(AsPeer *peer, const AsNode *node)
{
	int			identity;

	check_server(peer);
	if (PQserverVersion(peer->conn) >= 170000)
		(void) as_peer_add(peer, NO_LIMIT_SQL, 0, NULL, false);
	identity = as_peer_add(peer, IDENTITY_SQL, 0, NULL, false);
	(void) as_peer_launch(peer);
	if (!as_peers_wait(&peer, 1, as_peer_deadline(actorstore_peer_timeout)))
		as_peer_throw_unreachable(peer, peer->broken ? PQerrorMessage(peer->conn) : "It does not answer.");
	if (!as_peer_succeeded(peer, identity))
	{
		const char *state = as_peer_sqlstate(peer, identity);

		if (state != NULL && (strcmp(state, "42883") == 0 || strcmp(state, "3F000") == 0))
			throw_stranger(peer, "Its database does not have the extension.");
		(void) as_peer_result(peer, identity);	/* throws */
	}
	read_identity(peer, as_peer_result(peer, identity));
	if (node != NULL && memcmp(&peer->uuid, &node->uuid, sizeof(peer->uuid)) != 0)
		throw_stranger(peer, "Its database is another node, or none.");
}

/*
 * A commit that was cancelled while it waited for standbys says so in a
 * warning, in the server's language; the function that warns has but one name.
 */
static void
receive_notice(void *arg, const PGresult *notice)
{
	AsPeer	   *peer = arg;
	const char *function = PQresultErrorField(notice, PG_DIAG_SOURCE_FUNCTION);
	const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);

	if (function != NULL && strcmp(function, "SyncRepWaitForLSN") == 0)
		peer->unreplicated = true;

	/* said to somebody who waits for nothing: farewell */
	if (severity != NULL && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0))
		peer->broken = true;
}

void
as_peer_greet(AsPeer *peer, const AsNode *node)
{
	PQsetNoticeReceiver(peer->conn, receive_notice, peer);
	if (PQsetnonblocking(peer->conn, 1) != 0 || !PQenterPipelineMode(peer->conn))
		as_peer_throw_unreachable(peer, PQerrorMessage(peer->conn));
	as_peer_forget_waits();
	check_identity(peer, node);
}

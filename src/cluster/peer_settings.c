/*-------------------------------------------------------------------------
 *
 * peer_settings.c
 *	  Settings for connections to other nodes, and settings of the session
 *	  that travel over them: see peer.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/peer.h"

#include <limits.h>

#include "catalog/namespace.h"
#include "cluster/life.h"
#include "cluster/peer_stat.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"

int			actorstore_peer_lifetime = 600;
int			actorstore_peer_timeout = 10000;
int			actorstore_max_clock_skew = 5000;
bool		actorstore_require_tls = false;
static char *coordinator = NULL;

/* What it says of the node that has opened this session; it stays the same till the end */
static struct
{
	bool		is_read;
	bool		is_known;
	pg_uuid_t	uuid;
	int64		incarnation;	/* 0: it has not said so */
}			origin;

#define SETTINGS_SQL \
	"SELECT pg_catalog.set_config('search_path', $1, false), pg_catalog.set_config('datestyle', $2, false)," \
	" pg_catalog.set_config('intervalstyle', $3, false), pg_catalog.set_config('timezone', $4, false)," \
	" pg_catalog.set_config('statement_timeout', $5, false), pg_catalog.set_config('lock_timeout', $6, false)"

static const char *const shared_settings[] = {
	"search_path", "datestyle", "intervalstyle", "timezone", "statement_timeout",
	"lock_timeout"
};

/* What these settings set */
typedef struct Variables
{
	int			date_style;
	int			date_order;
	int			interval_style;
	int			statement_timeout;
	int			lock_timeout;
	const pg_tz *timezone;
} Variables;

/* A number that is another one whenever one of the settings has changed. */
static uint64
look(void)
{
	static uint64 number = 0;
	static Variables last;
	static char *search_path = NULL;
	Variables	now;

	memset(&now, 0, sizeof(now));	/* also what lies in between */
	now.date_style = DateStyle;
	now.date_order = DateOrder;
	now.interval_style = IntervalStyle;
	now.statement_timeout = StatementTimeout;
	now.lock_timeout = LockTimeout;
	now.timezone = session_timezone;
	if (search_path != NULL && memcmp(&now, &last, sizeof(now)) == 0 &&
		strcmp(namespace_search_path, search_path) == 0)
		return number;
	if (search_path != NULL)
		pfree(search_path);
	search_path = NULL;
	search_path = MemoryContextStrdup(TopMemoryContext, namespace_search_path);
	last = now;
	return ++number;
}

void
as_peer_add_settings(AsPeer *peer)
{
	uint64		seen = look();
	const char *values[lengthof(shared_settings)];
	StringInfoData all;

	if (peer->settings != NULL && peer->settings_seen == seen)
		return;
	initStringInfo(&all);
	for (int i = 0; i < (int) lengthof(shared_settings); i++)
	{
		values[i] = pstrdup(GetConfigOption(shared_settings[i], false, false));
		appendStringInfo(&all, "%s\n", values[i]);
	}
	if (peer->settings == NULL || strcmp(peer->settings, all.data) != 0)
	{
		as_peer_forget_settings(peer);
		(void) as_peer_add(peer, SETTINGS_SQL, lengthof(values), values, true);
		peer->settings = MemoryContextStrdup(TopMemoryContext, all.data);
	}
	peer->settings_seen = seen;
}

void
as_peer_forget_settings(AsPeer *peer)
{
	if (peer->settings != NULL)
		pfree(peer->settings);
	peer->settings = NULL;
}

void
as_peer_init(void)
{
	DefineCustomIntVariable("actorstore.max_peer_connections",
							"How many connections to other nodes the server may have.",
							"Each session keeps at most one for each node.",
							&actorstore_max_peer_connections,
							1000, 0, INT_MAX / 2,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("actorstore.peer_lifetime",
							"For how long a session keeps a connection to another node.",
							NULL,
							&actorstore_peer_lifetime,
							600, 0, INT_MAX / 1000,
							PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("actorstore.peer_timeout",
							"How long another node may take to be connected to, to prepare a transaction, or to undo one.",
							NULL,
							&actorstore_peer_timeout,
							10000, 100, INT_MAX / 10,	/* some wait for several of them */
							PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("actorstore.max_clock_skew",
							"By how much the clock of a server that is taken in as a node may differ from this one's; 0: by anything.",
							NULL,
							&actorstore_max_clock_skew,
							5000, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomBoolVariable("actorstore.require_tls",
							 "Refuses connections to other nodes that do not use TLS.",
							 "Where the node's conninfo says nothing else the certificate is verified in full.",
							 &actorstore_require_tls,
							 false,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("actorstore.coordinator",
							   "Set in a session that another node has opened.",
							   NULL,
							   &coordinator,
							   "",
							   PGC_BACKEND, GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							   NULL, NULL, NULL);
}

bool
as_peer_is_own_session(void)
{
	return coordinator != NULL && coordinator[0] != '\0';
}

void
as_peer_tell_coordinator(void)
{
	AsCoordinator mine;

	if (as_peer_is_own_session() &&
		sscanf(coordinator, UINT64_FORMAT ".%d", &mine.boot, &mine.pid) == 2)
		as_life_set_coordinator(&mine);
}

int
as_peer_coordinator(void)
{
	AsCoordinator it;

	return as_peer_is_own_session() &&
		sscanf(coordinator, UINT64_FORMAT ".%d", &it.boot, &it.pid) == 2 ? it.pid : 0;
}

/* Each command asks: what was said at the session's start is read once. */
static void
read_origin(void)
{
	AsCoordinator it;
	unsigned int bytes[UUID_LEN];
	unsigned int first;			/* of the uuid: older nodes say nothing before that */
	const char *at = strrchr(coordinator, '.');

	if (sscanf(coordinator, UINT64_FORMAT ".%d." INT64_FORMAT ".%2x", &it.boot, &it.pid, &origin.incarnation, &first) != 4)
		origin.incarnation = 0;
	origin.is_known = at != NULL &&
		sscanf(at, ".%2x%2x%2x%2x-%2x%2x-%2x%2x-%2x%2x-%2x%2x%2x%2x%2x%2x",
			   &bytes[0], &bytes[1], &bytes[2], &bytes[3], &bytes[4], &bytes[5], &bytes[6], &bytes[7],
			   &bytes[8], &bytes[9], &bytes[10], &bytes[11], &bytes[12], &bytes[13], &bytes[14], &bytes[15]) == UUID_LEN;
	for (int i = 0; i < UUID_LEN && origin.is_known; i++)
		origin.uuid.data[i] = (unsigned char) bytes[i];
	origin.is_read = true;
}

bool
as_peer_origin(pg_uuid_t *uuid)
{
	if (!as_peer_is_own_session())
		return false;
	if (!origin.is_read)
		read_origin();
	*uuid = origin.uuid;
	return origin.is_known;
}

int64
as_peer_origin_incarnation(void)
{
	pg_uuid_t	uuid;

	return as_peer_origin(&uuid) ? origin.incarnation : 0;
}

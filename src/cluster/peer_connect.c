/*-------------------------------------------------------------------------
 *
 * peer_connect.c
 *	  How a connection to another node begins, and which of its hosts it
 *	  tries: see peer.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/peer.h"

#include "cluster/life.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"

/* Lists with commas between their elements; NULL: not given. */
typedef struct HostLists
{
	const char *host;
	const char *hostaddr;
	const char *port;
} HostLists;

/* When the other side gives up a connection, as we do ours: it holds locks. */
#define KEEPALIVES \
	"-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=10000"

/*
 * Limits that are set there for a server, a database or a role are for clients: what
 * the client may do its own session's limits say (peer_settings.c).  A part of a
 * transaction is idle while the transaction goes on elsewhere.  For transaction_timeout
 * see peer.c: an older server would refuse to hear of it.
 */
#define NO_LIMITS \
	"-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0"

/*
 * What is told from a server to whoever it works for: that a commit was not waited for by
 * its standbys, it says in a warning (peer_greet.c).  Notices are for clients.
 */
#define WARNINGS	"-c client_min_messages=warning"

/* The node's own options, with ours around them. */
static char *
write_options(const char *conninfo)
{
	PQconninfoOption *all = PQconninfoParse(conninfo, NULL);
	const char *its = "";
	char	   *options;

	for (PQconninfoOption *option = all; option != NULL && option->keyword != NULL; option++)
	{
		if (strcmp(option->keyword, "options") == 0 && option->val != NULL)
			its = option->val;
	}
	options = psprintf(KEEPALIVES " " NO_LIMITS " %s -c client_connection_check_interval=1s -c extra_float_digits=3 -c default_transaction_isolation=read\\ committed"
					   " " WARNINGS " -c actorstore.coordinator=" UINT64_FORMAT ".%d." INT64_FORMAT ".%s",
					   its, as_boot_peek(), MyProcPid, as_node_incarnation_peek(), as_node_uuid_peek());
	PQconninfoFree(all);
	return options;
}

/*
 * What stands before the node's own conninfo can be set there, what stands
 * behind cannot.  The peer gives up a command whose connection is gone.
 */
static PGconn *
start_connection(const char *conninfo, const HostLists *hosts)
{
	const char *keywords[20];
	const char *values[20];
	int			n = 0;

#define PARAMETER(keyword, value) \
	(keywords[n] = (keyword), values[n++] = (value))
	PARAMETER("keepalives_idle", "10");
	PARAMETER("keepalives_interval", "2");
	PARAMETER("keepalives_count", "3");
	PARAMETER("tcp_user_timeout", "10000");
	if (actorstore_require_tls)
		PARAMETER("sslmode", "verify-full");
	PARAMETER("dbname", conninfo);
	if (hosts->host != NULL)
		PARAMETER("host", hosts->host);
	if (hosts->hostaddr != NULL)
		PARAMETER("hostaddr", hosts->hostaddr);
	if (hosts->port != NULL)
		PARAMETER("port", hosts->port);
	PARAMETER("client_encoding", GetDatabaseEncodingName());
	PARAMETER("target_session_attrs", "read-write");
	if (PQlibVersion() >= 160000)
		PARAMETER("load_balance_hosts", "disable"); /* see lists_from() */
	PARAMETER("application_name", MyBgworkerEntry != NULL ? MyBgworkerEntry->bgw_type : "actorstore peer");
	PARAMETER("options", write_options(conninfo));
	PARAMETER(NULL, NULL);
	Assert(n <= (int) lengthof(values));
#undef PARAMETER
	return PQconnectStartParams(keywords, values, 1);
}

PGconn *
as_peer_start_connection(const char *conninfo)
{
	HostLists	as_it_says = {0};

	return start_connection(conninfo, &as_it_says);
}

/* ---- Several hosts ---- */

/* Behind the next comma; NULL if there is none. */
static const char *
rest_of(const char *list)
{
	const char *comma = list == NULL ? NULL : strchr(list, ',');

	return comma == NULL ? NULL : comma + 1;
}

static int
count_elements(const char *list)
{
	int			n = 1;

	while ((list = rest_of(list)) != NULL)
		n++;
	return n;
}

/* Is that the first element? An empty one stands for a default, which may be anything. */
static bool
begins_with(const char *list, const char *element)
{
	size_t		length = list == NULL ? 0 : strcspn(list, ",");

	return length == 0 || element == NULL ||
		(strlen(element) == length && strncmp(list, element, length) == 0);
}

/* The lists without their first elements; a single port is that of all hosts. */
static HostLists
without_first(const HostLists *lists)
{
	HostLists	rest = {rest_of(lists->host), rest_of(lists->hostaddr), rest_of(lists->port)};

	if (rest.port == NULL)
		rest.port = lists->port;
	return rest;
}

static int
count_hosts(const HostLists *lists)
{
	return count_elements(lists->hostaddr != NULL ? lists->hostaddr : lists->host);
}

/*
 * The lists from the host on that the connection is being made to, or has been
 * made to.  They are those of the options, which PQconninfoFree() frees: where
 * a service names the hosts, libpq has put them there.  It tries them in their
 * order.
 */
static HostLists
lists_from(PGconn *conn, const PQconninfoOption *options)
{
	HostLists	all = {0};
	HostLists	at;
	bool		numeric;

	for (; options != NULL && options->keyword != NULL; options++)
	{
		if (options->val == NULL || options->val[0] == '\0')
			continue;
		if (strcmp(options->keyword, "host") == 0)
			all.host = options->val;
		else if (strcmp(options->keyword, "hostaddr") == 0)
			all.hostaddr = options->val;
		else if (strcmp(options->keyword, "port") == 0)
			all.port = options->val;
	}
	for (at = all, numeric = false; count_hosts(&at) > 1; at = without_first(&at))
	{
		numeric = at.host == NULL || at.host[0] == '\0' || at.host[0] == ',';
		if (begins_with(numeric ? at.hostaddr : at.host, PQhost(conn)) &&
			begins_with(at.port, PQport(conn)))
			break;
	}
	return at;
}

int
as_peer_hosts_from(PGconn *conn)
{
	PQconninfoOption *options = PQconninfo(conn);
	HostLists	at = lists_from(conn, options);
	int			n = count_hosts(&at);

	PQconninfoFree(options);
	return n;
}

PGconn *
as_peer_start_next_host(PGconn *conn, const char *conninfo)
{
	PQconninfoOption *options = PQconninfo(conn);
	HostLists	at = lists_from(conn, options);
	HostLists	rest = without_first(&at);
	PGconn	   *next = NULL;

	/* an empty value does not replace what the conninfo says */
	if ((rest.host != NULL && rest.host[0] != '\0') ||
		(rest.hostaddr != NULL && rest.hostaddr[0] != '\0'))
		next = start_connection(conninfo, &rest);
	PQconninfoFree(options);
	return next;
}

PGconn *
as_peer_start_same_host(PGconn *conn, const char *conninfo)
{
	HostLists	only = {PQhost(conn), PQhostaddr(conn), PQport(conn)};

	return start_connection(conninfo, &only);
}

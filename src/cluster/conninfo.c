/*-------------------------------------------------------------------------
 *
 * conninfo.c
 *	  See conninfo.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/conninfo.h"

#include <netdb.h>
#include <sys/socket.h>

#include "cluster/node.h"
#include "commands/dbcommands.h"
#include "compat.h"
#include "libpq/pqcomm.h"
#include "miscadmin.h"
#include "postmaster/postmaster.h"
#include "utils/varlena.h"

/*
 * A password would stand in tables, dumps and logs.  What says nothing leads each
 * server to another place.
 */
void
as_conninfo_check(const char *conninfo)
{
	char	   *error = NULL;
	PQconninfoOption *options = PQconninfoParse(conninfo, &error);
	bool		has_password = false;
	bool		is_empty = true;

	if (options == NULL)
	{
		char	   *copy = error == NULL ? "out of memory" : pstrdup(error);

		PQfreemem(error);
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("conninfo is not valid"),
				 errdetail_internal("%s", copy)));
	}
	for (PQconninfoOption *option = options; option->keyword != NULL; option++)
	{
		if (option->val != NULL &&
			(strcmp(option->keyword, "password") == 0 || strcmp(option->keyword, "sslpassword") == 0))
			has_password = true;
		is_empty &= option->val == NULL;
	}
	PQconninfoFree(options);
	if (is_empty)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("conninfo must not be empty")));
	if (has_password)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("conninfo must not contain a password"),
				 errhint("Let it name a service or a passfile, or use certificates.")));
}

/* ---- This one's ---- */

as_noreturn static void
throw_unknown(const char *own, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("other nodes would not know how to reach this one"),
			 own == NULL ? errdetail_internal("%s", why) :
			 errdetail("Not by \"%s\": %s", own, why),
			 errhint("Say it: SELECT actorstore.init_node('%s', conninfo).",
					 as_node_need_self()->name)));
}

/* Those that say where the other node is. */
static bool
is_place(const char *keyword)
{
	return strcmp(keyword, "host") == 0 || strcmp(keyword, "hostaddr") == 0 ||
		strcmp(keyword, "port") == 0 || strcmp(keyword, "dbname") == 0;
}

void
as_conninfo_append(StringInfo to, const char *keyword, const char *value)
{
	appendStringInfo(to, "%s%s='", to->len == 0 ? "" : " ", keyword);
	for (; *value != '\0'; value++)
	{
		if (*value == '\'' || *value == '\\')
			appendStringInfoChar(to, '\\');
		appendStringInfoChar(to, *value);
	}
	appendStringInfoChar(to, '\'');
}

void
as_conninfo_own_check(const char *theirs)
{
	PQconninfoOption *options = PQconninfoParse(theirs, NULL);
	bool		is_service = false;

	for (PQconninfoOption *option = options; option != NULL && option->keyword != NULL; option++)
		is_service |= option->val != NULL && strcmp(option->keyword, "service") == 0;
	PQconninfoFree(options);
	if (is_service)
		throw_unknown(NULL, "The other one's service does not say which is this one's.");
}

/* The first directory in which this server has a socket. */
static char *
socket_directory(void)
{
	char	   *list = pstrdup(Unix_socket_directories);
	List	   *directories;

	return SplitDirectoriesString(list, ',', &directories) && directories != NIL ?
		linitial(directories) : NULL;
}

/* This end of the connection; NULL if it has no address. */
static char *
own_host(PGconn *conn)
{
	struct sockaddr_storage address;
	socklen_t	length = sizeof(address);
	char		host[NI_MAXHOST];

	if (getsockname(PQsocket(conn), (struct sockaddr *) &address, &length) != 0)
		return NULL;
	if (address.ss_family == AF_UNIX)
		return socket_directory();
	return getnameinfo((struct sockaddr *) &address, length, host, sizeof(host),
					   NULL, 0, NI_NUMERICHOST) == 0 ? pstrdup(host) : NULL;
}

static char *
suppose(const char *theirs, PGconn *conn)
{
	PQconninfoOption *options = PQconninfoParse(theirs, NULL);
	char	   *host = own_host(conn);
	StringInfoData own;

	initStringInfo(&own);
	for (PQconninfoOption *option = options; option != NULL && option->keyword != NULL; option++)
	{
		if (option->val != NULL && !is_place(option->keyword))
			as_conninfo_append(&own, option->keyword, option->val);
	}
	PQconninfoFree(options);
	if (host == NULL)
		throw_unknown(NULL, "It does not listen where it has spoken to the other one from.");
	as_conninfo_append(&own, "host", host);
	as_conninfo_append(&own, "port", psprintf("%d", PostPortNumber));
	as_conninfo_append(&own, "dbname", get_database_name(MyDatabaseId));
	return own.data;
}

/* Does it lead here?  Else why not. */
static char *
why_not(const char *own)
{
	MemoryContext context = CurrentMemoryContext;
	const AsNode *self = as_node_need_self();
	char	   *volatile why = NULL;

	PG_TRY();
	{
		AsPeer	   *peer = as_peer_open(self->name, own);

		if (memcmp(&peer->uuid, &self->uuid, sizeof(pg_uuid_t)) != 0)
			why = "That is another database.";
		as_peer_close(peer);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		if (!as_peer_is_out_of_reach() && geterrcode() != ERRCODE_INSUFFICIENT_PRIVILEGE)
			PG_RE_THROW();
		error = CopyErrorData();
		FlushErrorState();
		why = error->detail == NULL ? error->message :
			psprintf("%s: %s", error->message, error->detail);
	}
	PG_END_TRY();
	return why;
}

char *
as_conninfo_own_find(const char *theirs, AsPeer *peer)
{
	char	   *own = suppose(theirs, peer->conn);
	char	   *why = why_not(own);

	if (why != NULL)
		throw_unknown(own, why);
	ereport(NOTICE,
			(errmsg("other nodes will reach this one by \"%s\"", own),
			 errhint("To say otherwise, give init_node() a conninfo before the first add_node().")));
	return own;
}

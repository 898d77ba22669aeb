/*-------------------------------------------------------------------------
 *
 * peer_answer.c
 *	  What other nodes have answered, and the errors that they threw: see
 *	  peer.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/peer.h"

#include "compat.h"

/*
 * Commands are counted as the caller added them: answers to our own PREPAREs
 * among them are not his.
 */
static int
result_index(AsPeer *peer, int command)
{
	for (int i = 0; i < peer->ncommands; i++)
	{
		if (peer->statement[i] >= 0)
		{
			/* a statement that could not be prepared fails for the command */
			if (command == 0 && i < peer->nresults &&
				PQresultStatus(peer->results[i]) != PGRES_COMMAND_OK)
				return i;
			continue;
		}
		if (command-- == 0)
			return i;
	}
	return -1;
}

static PGresult *
find_result(AsPeer *peer, int command)
{
	int			i = result_index(peer, command);

	return i >= 0 && i < peer->nresults ? peer->results[i] : NULL;
}

bool
as_peer_succeeded(AsPeer *peer, int command)
{
	PGresult   *result = find_result(peer, command);
	ExecStatusType status = result == NULL ? PGRES_FATAL_ERROR : PQresultStatus(result);

	return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

bool
as_peer_was_skipped(AsPeer *peer, int command)
{
	PGresult   *result = find_result(peer, command);

	return result != NULL && PQresultStatus(result) == PGRES_PIPELINE_ABORTED;
}

const char *
as_peer_sqlstate(AsPeer *peer, int command)
{
	PGresult   *result = find_result(peer, command);

	return result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_SQLSTATE);
}

static char *
copy_field(const PGresult *result, int field)
{
	const char *value = PQresultErrorField(result, field);

	return value == NULL ? NULL : pstrdup(value);
}

as_noreturn static void
throw_lost(AsPeer *peer)
{
	char	   *why = peer->conn == NULL ? NULL : pchomp(PQerrorMessage(peer->conn));

	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("connection to node \"%s\" was lost", peer->name),
			 why != NULL && why[0] != '\0' ? errdetail_internal("%s", why) : 0));
}

/* For ereport(): what the error is about. */
static int
set_names(const PGresult *result)
{
	static const int fields[] = {
		PG_DIAG_SCHEMA_NAME, PG_DIAG_TABLE_NAME, PG_DIAG_COLUMN_NAME,
		PG_DIAG_DATATYPE_NAME, PG_DIAG_CONSTRAINT_NAME
	};

	for (int i = 0; i < (int) lengthof(fields); i++)
	{
		const char *name = PQresultErrorField(result, fields[i]);

		if (name != NULL)
			(void) err_generic_string(fields[i], name);
	}
	return 0;
}

as_noreturn static void
throw_result(AsPeer *peer, const PGresult *result)
{
	char	   *state = copy_field(result, PG_DIAG_SQLSTATE);
	char	   *message = copy_field(result, PG_DIAG_MESSAGE_PRIMARY);
	char	   *detail = copy_field(result, PG_DIAG_MESSAGE_DETAIL);
	char	   *hint = copy_field(result, PG_DIAG_MESSAGE_HINT);
	char	   *context = copy_field(result, PG_DIAG_CONTEXT);

	if (state == NULL || strlen(state) != 5)
		throw_lost(peer);
	if (strncmp(state, "57P", 3) == 0 || strncmp(state, "08", 2) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("connection to node \"%s\" was lost", peer->name),
				 message != NULL ? errdetail_internal("%s", message) : 0));
	ereport(ERROR,
			(errcode(MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4])),
			 errmsg_internal("%s", message != NULL ? message : "unknown error"),
			 detail != NULL ? errdetail_internal("%s", detail) : 0,
			 hint != NULL ? errhint("%s", hint) : 0,
			 context != NULL ? errcontext("%s", context) : 0,
			 set_names(result),
			 errcontext("on node \"%s\"", peer->name)));
}

PGresult *
as_peer_result(AsPeer *peer, int command)
{
	/* one that was given up shows the error that took it along */
	for (int i = 0; i <= command; i++)
	{
		PGresult   *result = find_result(peer, i);

		if (result != NULL && PQresultStatus(result) == PGRES_FATAL_ERROR)
			throw_result(peer, result);
		if (result == NULL || (i == command && !as_peer_succeeded(peer, i)))
			throw_lost(peer);
	}
	return find_result(peer, command);
}

PGresult *
as_peer_execute(AsPeer *peer, const char *sql, int nvalues,
				const char *const *values, bool keep)
{
	as_peer_add(peer, sql, nvalues, values, keep);
	(void) as_peer_launch(peer);
	(void) as_peers_wait(&peer, 1, 0);
	return as_peer_result(peer, 0);
}

/*-------------------------------------------------------------------------
 *
 * verdict.c
 *	  See verdict.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/verdict.h"

#include "cluster/fault.h"
#include "cluster/force.h"
#include "cluster/node.h"
#include "cluster/panel.h"
#include "lib/gid.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

typedef struct Verdict
{
	AsGid		parts;			/* the participant aside */
	bool		commit;
	AsPanel		panel;
	bool		prepared[AS_MAX_NODES];
} Verdict;

static const AsNode *
find_coordinator(const pg_uuid_t *uuid)
{
	for (int i = 0; i < as_node_count(); i++)
	{
		if (memcmp(&as_node_nth(i)->uuid, uuid, sizeof(pg_uuid_t)) == 0)
			return as_node_nth(i);
	}
	return NULL;
}

static void
check_coordinator(const pg_uuid_t *uuid)
{
	const AsNode *found = find_coordinator(uuid);
	AsNode		coordinator;

	if (found == NULL)
		return;
	coordinator = *found;
	if (coordinator.number == as_node_need_self()->number)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this node has begun the transaction, and ends it itself"),
				 errhint("Call resolve_in_doubt() without arguments.")));
	as_force_need_dead(&coordinator);
}

/* The part of a node. */
static const char *
gid_of(const Verdict *verdict, int node)
{
	AsGid		parts = verdict->parts;
	char	   *gid = palloc(AS_GID_SIZE);

	parts.participant = node;
	as_gid_write(gid, &parts);
	return gid;
}

static void
ask_all(Verdict *verdict, const char *sql, int nvalues, const char *const *values)
{
	as_panel_ask(&verdict->panel, NULL, actorstore_peer_timeout, sql, nvalues, values);
	(void) as_panel_throw(&verdict->panel);
	for (int i = 0; i < verdict->panel.n; i++)
	{
		if (as_panel_answer(&verdict->panel, i) == NULL &&
			memcmp(&verdict->panel.members[i].uuid, &verdict->parts.uuid, sizeof(pg_uuid_t)) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("node \"%s\" cannot be reached, and may have a part of the transaction",
							verdict->panel.members[i].name)));
	}
}

/* Who has it prepared? */
static int
find_prepared(Verdict *verdict, const char *uuid)
{
	const char *values[1] = {uuid};
	int			n = 0;

	ask_all(verdict, "SELECT actorstore.local_prepared($1)", 1, values);
	for (int i = 0; i < verdict->panel.n; i++)
	{
		PGresult   *result = as_panel_answer(&verdict->panel, i);
		const char *gid = gid_of(verdict, verdict->panel.members[i].number);

		for (int j = 0; result != NULL && j < PQntuples(result); j++)
			verdict->prepared[i] |= strcmp(PQgetvalue(result, j, 0), gid) == 0;
		n += verdict->prepared[i];
	}
	return n;
}

/* What one node has committed all must. */
static void
check_receipts(Verdict *verdict, const char *uuid)
{
	StringInfoData gids;
	const char *values[2] = {uuid};

	initStringInfo(&gids);
	for (int i = 0; i < verdict->panel.n; i++)
		appendStringInfo(&gids, "%c%s", i == 0 ? '{' : ',', gid_of(verdict, verdict->panel.members[i].number));
	appendStringInfoChar(&gids, '}');
	values[1] = gids.data;
	ask_all(verdict, "SELECT actorstore.local_receipts($1, $2)", 2, values);
	for (int i = 0; i < verdict->panel.n; i++)
	{
		PGresult   *result = as_panel_answer(&verdict->panel, i);

		if (result != NULL && PQntuples(result) > 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the transaction has been committed on node \"%s\"", verdict->panel.members[i].name),
					 errhint("Commit the rest of it.")));
	}
}

static void
finish(Verdict *verdict)
{
	for (int i = 0; i < verdict->panel.n; i++)
	{
		if (!verdict->prepared[i])
			continue;
		(void) as_peer_execute(verdict->panel.peers[i],
							   psprintf("%s PREPARED '%s'", verdict->commit ? "COMMIT" : "ROLLBACK",
										gid_of(verdict, verdict->panel.members[i].number)), 0, NULL, false);
		ereport(LOG,
				(errmsg("transaction \"%s\" on node \"%s\" was %s by order: its coordinator will not return",
						gid_of(verdict, verdict->panel.members[i].number), verdict->panel.members[i].name,
						verdict->commit ? "committed" : "rolled back")));
		AS_FAULT("verdict_one");
	}
}

int
as_verdict(const char *gid, bool commit)
{
	Verdict    *verdict = palloc0(sizeof(Verdict));
	const char *uuid;
	int			n = 0;

	verdict->commit = commit;
	if (!as_gid_read(&verdict->parts, gid))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is no global id of a transaction over several nodes", gid)));
	(void) as_node_need_self();
	check_coordinator(&verdict->parts.uuid);
	uuid = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&verdict->parts.uuid)));
	PG_TRY();
	{
		as_panel_open(&verdict->panel);
		n = find_prepared(verdict, uuid);
		if (n == 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("no part of transaction \"%s\" is prepared anywhere", gid)));
		if (!commit)
			check_receipts(verdict, uuid);
		finish(verdict);
	}
	PG_FINALLY();
	{
		as_panel_close(&verdict->panel);
	}
	PG_END_TRY();
	return n;
}

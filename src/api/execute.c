/*-------------------------------------------------------------------------
 *
 * execute.c
 *	  execute_on_nodes: one statement on several nodes, in one transaction.
 *
 * The other nodes begin first and work while this one does.  Each runs the
 * statement with the rights of the role that its conninfo logs in as, under
 * this session's search_path and formats; this one as the caller.  Parameters
 * are text and take the types that the statement gives them.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "api/args.h"
#include "api/statement.h"
#include "catalog/pg_type.h"
#include "cluster/global.h"
#include "cluster/life.h"
#include "cluster/resolver.h"
#include "compat.h"
#include "funcapi.h"
#include "lib/nap.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(actorstore_execute_on_nodes);
PG_FUNCTION_INFO_V1(actorstore_resolve_in_doubt);

/* a resolver that has not come by then does not come */
#define RESOLVER_START_MS	30000

/* What one node is to do, and has done */
typedef struct Target
{
	AsNode		node;
	AsPeer	   *peer;			/* NULL: this node */
	int			command;
	int			asked;			/* whether it wrote; -1: it did */
	int64		nrows;
} Target;

typedef struct Statement
{
	char	   *sql;
	AsStatement *known;
	int			nparams;
	char	  **params;			/* NULL for NULL */
} Statement;

static void
read_statement(FunctionCallInfo fcinfo, Statement *statement)
{
	Datum	   *values;
	bool	   *nulls;

	as_reject_null(fcinfo, 0, "statement");
	as_reject_null(fcinfo, 1, "params");
	statement->sql = text_to_cstring(PG_GETARG_TEXT_PP(0));
	statement->known = as_statement_get(statement->sql);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT,
					  &values, &nulls, &statement->nparams);
	statement->params = palloc(sizeof(char *) * (statement->nparams + 1));
	for (int i = 0; i < statement->nparams; i++)
		statement->params[i] = nulls[i] ? NULL : TextDatumGetCString(values[i]);
}

/* ---- The nodes ---- */

static void
add_target(Target *targets, int *n, const AsNode *node)
{
	for (int i = 0; i < *n; i++)
	{
		if (targets[i].node.number == node->number)
			return;
	}
	if (*n == AS_MAX_PEERS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("too many nodes")));
	targets[*n].node = *node;
	targets[*n].node.name = pstrdup(node->name);
	targets[*n].node.conninfo = node->conninfo == NULL ? NULL : pstrdup(node->conninfo);
	(*n)++;
}

static Target *
make_targets(int n)
{
	return palloc0(sizeof(Target) * Max(Min(n, AS_MAX_PEERS), 1));
}

static int
read_targets(FunctionCallInfo fcinfo, Target **result)
{
	Target	   *targets;
	int			n = 0;
	Datum	   *values;
	bool	   *nulls;
	int			nnames;

	if (PG_ARGISNULL(2))
	{
		int			count = as_node_count();

		*result = targets = make_targets(count);
		for (int i = 0; i < count; i++)
			add_target(targets, &n, as_node_nth(i));
		return n;
	}
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), TEXTOID, -1, false, TYPALIGN_INT,
					  &values, &nulls, &nnames);
	*result = targets = make_targets(nnames);
	for (int i = 0; i < nnames; i++)
	{
		char	   *name = nulls[i] ? NULL : TextDatumGetCString(values[i]);
		const AsNode *node = name == NULL ? NULL : as_node_by_name(name);

		if (name == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("node names must not be NULL")));
		if (node == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("node \"%s\" does not exist", name)));
		add_target(targets, &n, node);
	}
	return n;
}

/* ---- There ---- */

static void
start_there(Target *target, const Statement *statement)
{
	AsPeer	   *peer = as_global_enlist(&target->node);
	bool		plain = as_statement_is_plain(statement->known);

	target->peer = peer;
	target->asked = -1;
	as_peer_add_settings(peer);
	target->command = as_peer_add(peer, statement->sql, statement->nparams,
								  (const char *const *) statement->params, plain);
	if (as_statement_is_select(statement->known))
		target->asked = as_peer_add(peer, "SELECT pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL", 0, NULL, true);
	else
		as_global_wrote(peer);

	/* what else it may leave behind in the session is nobody's business */
	if (!plain)
		peer->unkept = true;
}

/*
 * Are the others to prepare in the same flight?  They write, and this is all
 * that happens there; and it is not one node alone, which needs not prepare.
 */
static bool
ends_there(FunctionCallInfo fcinfo, const Statement *statement, const Target *targets, int n, int16 here)
{
	bool		is_here = false;

	for (int i = 0; i < n; i++)
		is_here |= targets[i].node.number == here;
	return n > 1 && as_statement_is_plain(statement->known) && !as_statement_is_select(statement->known) &&
		(!is_here || as_statement_is_closed(statement->known)) && as_global_is_last(fcinfo);
}

/* Where PREPARE does not follow, who is told first begins while others are connected to. */
static void
start_all(Target *targets, int n, int16 here, const Statement *statement, AsPeer **peers, bool last)
{
	for (int i = 0; i < n; i++)
	{
		if (targets[i].node.number == here)
			continue;
		start_there(&targets[i], statement);
		peers[i] = targets[i].peer;
		if (!last)
			(void) as_peer_launch(peers[i]);
	}
	if (last)
		as_global_launch_last();
}

/* The server calls it a breach of the protocol, as if the connection were of no use any more. */
static void
check_parameters(Target *target, const Statement *statement)
{
	const char *state = as_peer_sqlstate(target->peer, target->command);

	if (state != NULL && strcmp(state, "08P01") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_PARAMETER),
				 errmsg("the statement has another number of parameters than the %d that were given",
						statement->nparams),
				 errcontext("on node \"%s\"", target->node.name)));
}

static void
finish_there(Target *target, const Statement *statement)
{
	PGresult   *result;

	check_parameters(target, statement);
	result = as_peer_result(target->peer, target->command);

	target->nrows = strtoi64(PQcmdTuples(result)[0] == '\0' ? "0" : PQcmdTuples(result), NULL, 10);
	if (target->asked >= 0 &&
		PQgetvalue(as_peer_result(target->peer, target->asked), 0, 0)[0] == 't')
		as_global_wrote(target->peer);
}

Datum
actorstore_execute_on_nodes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Target	   *targets;
	AsPeer	  **peers;
	Statement	statement;
	int16		here;
	int			n;
	bool		last;

	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only superusers may execute statements on other nodes")));
	read_statement(fcinfo, &statement);
	here = as_node_need_self()->number;
	n = read_targets(fcinfo, &targets);
	peers = palloc0(sizeof(AsPeer *) * (n + 1));
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	last = ends_there(fcinfo, &statement, targets, n, here);
	start_all(targets, n, here, &statement, peers, last);
	for (int i = 0; i < n; i++)
	{
		if (targets[i].node.number == here)
			targets[i].nrows = as_statement_execute(statement.known, statement.nparams, statement.params);
	}
	if (last)
		as_global_await_last();
	else
		(void) as_peers_wait(peers, n, 0);
	for (int i = 0; i < n; i++)
	{
		Datum		values[2];
		bool		nulls[2] = {false};

		if (targets[i].peer != NULL)
			finish_there(&targets[i], &statement);
		values[0] = CStringGetTextDatum(targets[i].node.name);
		values[1] = Int64GetDatum(targets[i].nrows);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* ---- The resolver ---- */

Datum
actorstore_resolve_in_doubt(PG_FUNCTION_ARGS)
{
	uint64		pass = 0;
	uint64		ended = 0;
	uint64		before = 0;
	uint64		after = 0;
	TimestampTz deadline = as_peer_deadline(RESOLVER_START_MS);

	(void) as_node_need_self();
	PreventCommandDuringRecovery("actorstore.resolve_in_doubt()");
	as_resolver_start();
	for (;;)
	{
		bool		runs = as_resolver_state(&ended, &after);

		if (runs && pass == 0)
		{
			before = after;
			pass = as_resolver_poke();
		}
		if (runs && pass != 0 && ended >= pass)
			PG_RETURN_INT64((int64) (after - before));
		if (!runs && GetCurrentTimestamp() >= deadline)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the resolver does not run"),
					 errhint("See actorstore.doctor() and the server log.")));
		(void) as_nap(10, AS_NAP_RESOLVER);
		CHECK_FOR_INTERRUPTS();
	}
}

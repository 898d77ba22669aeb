/*-------------------------------------------------------------------------
 *
 * statement.c
 *	  See statement.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "api/statement.h"

#include "access/table.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/spi.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "parser/parsetree.h"
#include "tcop/utility.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/rel.h"

/* as many are kept, of at most so many bytes */
#define MAX_KEPT		16
#define MAX_LENGTH		8192
#define MAX_PATH		16		/* with a longer search_path none is */

struct AsStatement
{
	char	   *sql;
	bool		plain;
	bool		is_select;
	int			ntypes;
	Oid		   *types;
	SPIPlanPtr	plan;			/* NULL: not yet */
	int			npath;			/* the search_path that it was made with */
	Oid			path[MAX_PATH];
	bool		closed;			/* see as_statement_is_closed() */
};

static AsStatement kept[MAX_KEPT];	/* sql is NULL: none */

/* what a statement calls may itself come here: what is kept is in use then */
static int	executing = 0;

/* ---- What it may be ---- */

as_noreturn static void
refuse(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("execute_on_nodes cannot execute %s", what)));
}

static void
check_statement(Node *parsed)
{
	switch (nodeTag(parsed))
	{
		case T_TransactionStmt:
			refuse("transaction commands");
		case T_CreateStmt:
			if (((CreateStmt *) parsed)->relation->relpersistence == RELPERSISTENCE_TEMP)
				refuse("CREATE TEMPORARY TABLE");
			break;
		case T_CreateTableAsStmt:
			if (((CreateTableAsStmt *) parsed)->into->rel->relpersistence == RELPERSISTENCE_TEMP)
				refuse("CREATE TEMPORARY TABLE AS");
			break;
		case T_NotifyStmt:
		case T_ListenStmt:
		case T_UnlistenStmt:
			refuse("LISTEN, UNLISTEN or NOTIFY");
		case T_DeclareCursorStmt:
		case T_FetchStmt:
		case T_ClosePortalStmt:
		case T_CopyStmt:
		case T_PrepareStmt:
		case T_ExecuteStmt:
		case T_DeallocateStmt:
		case T_DiscardStmt:
			refuse(CreateCommandName(parsed));
		default:
			break;
	}
}

static bool
is_plain(Node *parsed)
{
	return IsA(parsed, SelectStmt) || IsA(parsed, InsertStmt) ||
		IsA(parsed, UpdateStmt) || IsA(parsed, DeleteStmt) || IsA(parsed, MergeStmt);
}

static RawStmt *
parse(const char *sql)
{
	List	   *parsed = raw_parser(sql, RAW_PARSE_DEFAULT);

	if (list_length(parsed) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("execute_on_nodes takes one statement, not %d", list_length(parsed))));
	return linitial_node(RawStmt, parsed);
}

/* ---- Those that are kept ---- */

static AsStatement *
find_kept(const char *sql)
{
	for (int i = 0; i < MAX_KEPT; i++)
	{
		if (kept[i].sql != NULL && strcmp(kept[i].sql, sql) == 0)
			return &kept[i];
	}
	return NULL;
}

static void
forget_plan(AsStatement *statement)
{
	SPIPlanPtr	plan = statement->plan;
	Oid		   *types = statement->types;

	statement->plan = NULL;
	statement->types = NULL;
	if (plan != NULL)
		(void) SPI_freeplan(plan);
	if (types != NULL)
		pfree(types);
}

/* The one that came first makes room. */
static AsStatement *
make_kept(const char *sql, bool is_select)
{
	static int	next = 0;
	AsStatement *statement = &kept[next];

	next = (next + 1) % MAX_KEPT;
	forget_plan(statement);
	if (statement->sql != NULL)
		pfree(statement->sql);
	memset(statement, 0, sizeof(AsStatement));
	statement->plain = true;
	statement->is_select = is_select;
	statement->sql = MemoryContextStrdup(TopMemoryContext, sql);
	return statement;
}

AsStatement *
as_statement_get(const char *sql)
{
	AsStatement *statement = executing == 0 ? find_kept(sql) : NULL;
	Node	   *parsed;

	if (statement != NULL)
		return statement;
	parsed = parse(sql)->stmt;
	check_statement(parsed);
	if (is_plain(parsed) && strlen(sql) <= MAX_LENGTH && executing == 0)
		return make_kept(sql, IsA(parsed, SelectStmt));
	statement = palloc0(sizeof(AsStatement));
	statement->sql = pstrdup(sql);
	statement->plain = is_plain(parsed);
	statement->is_select = IsA(parsed, SelectStmt);
	return statement;
}

bool
as_statement_is_plain(const AsStatement *statement)
{
	return statement->plain;
}

bool
as_statement_is_select(const AsStatement *statement)
{
	return statement->is_select;
}

/* ---- Execution ---- */

static bool
is_kept(const AsStatement *statement)
{
	return statement >= kept && statement < kept + MAX_KEPT;
}

/* The types of its parameters, as its tables are now. */
static void
find_types(AsStatement *statement)
{
	Oid		   *types = NULL;
	int			n = 0;

	(void) parse_analyze_varparams(parse(statement->sql), statement->sql, &types, &n, NULL);
	statement->types = MemoryContextAlloc(is_kept(statement) ? TopMemoryContext : CurrentMemoryContext,
										  sizeof(Oid) * (n + 1));
	for (int i = 0; i < n; i++)
		statement->types[i] = OidIsValid(types[i]) && types[i] != UNKNOWNOID ? types[i] : TEXTOID;
	statement->ntypes = n;
}

/* Are names found where they were? */
static bool
is_path(const AsStatement *statement)
{
	Oid			path[MAX_PATH];
	int			n = fetch_search_path_array(path, MAX_PATH);

	return n == statement->npath && n <= MAX_PATH &&
		memcmp(path, statement->path, sizeof(Oid) * n) == 0;
}

/* ---- Is it closed? ---- */

/* What a function only reads may lie on another node: the server's own ones do not look there. */
static bool
may_read_anywhere(Oid function, void *context)
{
	return function >= FirstNormalObjectId && func_volatile(function) != PROVOLATILE_IMMUTABLE;
}

/* A domain's constraints are not in the tree: they may call anything. */
static bool
reads_anywhere(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, CoerceToDomain) || check_functions_in_node(node, may_read_anywhere, NULL))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, reads_anywhere, context, 0);
	return expression_tree_walker(node, reads_anywhere, context);
}

static bool
is_closed_expression(Node *node)
{
	return !contain_volatile_functions_not_nextval(node) && !reads_anywhere(node, NULL);
}

static bool
are_closed_constraints(const TupleConstr *constraints)
{
	if (constraints == NULL)
		return true;
	for (int i = 0; i < constraints->num_check; i++)
	{
		if (!is_closed_expression(stringToNode(constraints->check[i].ccbin)))
			return false;
	}
	return !constraints->has_generated_stored;
}

/* A parameter's text is read as its type, and a domain checks what it reads. */
static bool
are_closed_types(const AsStatement *statement)
{
	for (int i = 0; i < statement->ntypes; i++)
	{
		Oid			element = get_element_type(statement->types[i]);
		char		kind = get_typtype(OidIsValid(element) ? element : statement->types[i]);

		if (kind != TYPTYPE_BASE && kind != TYPTYPE_ENUM)
			return false;
	}
	return true;
}

/* Changes of actions that follow a key would have triggers of their own. */
static bool
only_checks(const TriggerDesc *triggers)
{
	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		switch (triggers->triggers[i].tgfoid)
		{
			case F_RI_FKEY_CHECK_INS:
			case F_RI_FKEY_CHECK_UPD:
			case F_RI_FKEY_NOACTION_DEL:
			case F_RI_FKEY_NOACTION_UPD:
			case F_RI_FKEY_RESTRICT_DEL:
			case F_RI_FKEY_RESTRICT_UPD:
			case F_UNIQUE_KEY_RECHECK:
				break;
			default:
				return false;
		}
	}
	return true;
}

static bool
is_closed_table(Oid table)
{
	Relation	rel = table_open(table, NoLock);
	bool		closed = rel->rd_rel->relkind == RELKIND_RELATION &&
		!rel->rd_rel->relhassubclass && only_checks(rel->trigdesc) &&
		are_closed_constraints(rel->rd_att->constr);

	table_close(rel, NoLock);
	return closed;
}

/* While the tables are still locked since it was analyzed; a trigger that comes makes the plan void. */
static bool
is_closed(const AsStatement *statement, SPIPlanPtr plan)
{
	List	   *sources = SPI_plan_get_plan_sources(plan);
	List	   *queries = ((CachedPlanSource *) linitial(sources))->query_list;
	Query	   *query;

	if (list_length(sources) != 1 || list_length(queries) != 1)
		return false;
	query = linitial_node(Query, queries);
	return query->resultRelation != 0 && !query->hasModifyingCTE &&
		are_closed_types(statement) && is_closed_expression((Node *) query) &&
		is_closed_table(rt_fetch(query->resultRelation, query->rtable)->relid);
}

/* ---- Its plan ---- */

/* Anew if tables or names have changed: then the types may have, too. */
static SPIPlanPtr
get_plan(AsStatement *statement)
{
	SPIPlanPtr	plan = statement->plan;

	if (plan != NULL && SPI_plan_is_valid(plan) && is_path(statement))
		return plan;
	forget_plan(statement);
	find_types(statement);
	plan = SPI_prepare(statement->sql, statement->ntypes, statement->types);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	if (is_kept(statement))
	{
		if (SPI_keepplan(plan) != 0)
			elog(ERROR, "SPI_keepplan failed");
		statement->plan = plan;
		statement->closed = is_closed(statement, plan);
		statement->npath = fetch_search_path_array(statement->path, MAX_PATH);
	}
	return plan;
}

bool
as_statement_is_closed(const AsStatement *statement)
{
	return statement->plan != NULL && statement->closed &&
		SPI_plan_is_valid(statement->plan) && is_path(statement);
}

static ParamListInfo
make_params(const AsStatement *statement, char *const *params)
{
	ParamListInfo list = makeParamList(statement->ntypes);

	for (int i = 0; i < statement->ntypes; i++)
	{
		ParamExternData *param = &list->params[i];
		Oid			input;
		Oid			io_param;

		param->pflags = PARAM_FLAG_CONST;
		param->ptype = statement->types[i];
		param->isnull = (params[i] == NULL);
		getTypeInputInfo(param->ptype, &input, &io_param);
		param->value = OidInputFunctionCall(input, params[i], io_param, -1);
	}
	return list;
}

static int64
execute(AsStatement *statement, int nparams, char *const *params)
{
	SPIExecuteOptions options = {0};
	SPIPlanPtr	plan = get_plan(statement);
	int			result;

	if (statement->ntypes != nparams)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_PARAMETER),
				 errmsg("the statement has %d parameters, but %d were given",
						statement->ntypes, nparams)));
	options.params = make_params(statement, params);
	result = SPI_execute_plan_extended(plan, &options);
	if (result < 0)
		elog(ERROR, "SPI_execute_plan_extended failed: %s", SPI_result_code_string(result));
	return (int64) SPI_processed;
}

int64
as_statement_execute(AsStatement *statement, int nparams, char *const *params)
{
	volatile int64 nrows = 0;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	executing++;
	PG_TRY();
	{
		nrows = execute(statement, nparams, params);
	}
	PG_FINALLY();
	{
		executing--;
	}
	PG_END_TRY();
	SPI_finish();
	return nrows;
}

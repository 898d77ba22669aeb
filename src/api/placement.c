/*-------------------------------------------------------------------------
 *
 * placement.c
 *	  The SQL functions that say what a node is, and where actors live.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "api/args.h"
#include "catalog/pg_type.h"
#include "cluster/epoch.h"
#include "cluster/node.h"
#include "lib/key_hash.h"
#include "miscadmin.h"
#include "runtime/links.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(actorstore_init_node);
PG_FUNCTION_INFO_V1(actorstore_locate);
PG_FUNCTION_INFO_V1(actorstore_replicas);

/* ---- Arguments ---- */

/* The key hash of the actor that the first two arguments name. */
static uint64
arg_key_hash(FunctionCallInfo fcinfo)
{
	text	   *type = as_arg_type(fcinfo, 0);
	text	   *id = as_arg_id(fcinfo, 1);

	return as_key_hash(VARDATA_ANY(type), VARSIZE_ANY_EXHDR(type),
					   VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
}

/* ---- Functions ---- */

Datum
actorstore_init_node(PG_FUNCTION_ARGS)
{
	as_only_superusers("actorstore.init_node()");
	as_epoch_begin(as_arg_node_name(fcinfo, 0),
				   PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1));
	as_links_become_node();
	PG_RETURN_VOID();
}

Datum
actorstore_locate(PG_FUNCTION_ARGS)
{
	uint64		key_hash = arg_key_hash(fcinfo);

	(void) as_node_need_self();
	PG_RETURN_TEXT_P(cstring_to_text(as_node_owner(key_hash)->name));
}

Datum
actorstore_replicas(PG_FUNCTION_ARGS)
{
	uint64		key_hash = arg_key_hash(fcinfo);
	const AsNode *nodes[AS_MAX_NODES];
	Datum		names[AS_MAX_NODES];
	int			n;

	as_reject_null(fcinfo, 2, "count");
	if (PG_GETARG_INT32(2) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("count must be at least 1")));
	(void) as_node_need_self();
	n = as_node_replicas(key_hash, nodes,
						 Min(PG_GETARG_INT32(2), AS_MAX_NODES));
	for (int i = 0; i < n; i++)
		names[i] = CStringGetTextDatum(nodes[i]->name);
	PG_RETURN_ARRAYTYPE_P(construct_array(names, n, TEXTOID, -1, false,
										  TYPALIGN_INT));
}

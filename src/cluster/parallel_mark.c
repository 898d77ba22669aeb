/*-------------------------------------------------------------------------
 *
 * parallel_mark.c
 *	  Which functions may run in parallel workers, of nodes.
 *
 * A read of another node's actor has to see what the transaction has done
 * there, over the connection of the session that did it; a parallel worker is
 * another session.  So in a database that becomes a node, the reads are marked
 * as PARALLEL RESTRICTED.  (Neither nodes nor marks are carried by pg_dump.)
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/node.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/syscache.h"

typedef struct Function
{
	const char *name;
	int			nargs;
	Oid			args[4];
} Function;

static const Function functions[] = {
	{"get", 2, {TEXTOID, TEXTOID}},
	{"get_all", 1, {TEXTOID}},
	{"list", 4, {TEXTOID, TEXTOID, TEXTOID, INT4OID}},
};

static void
mark(Relation rel, Oid namespace, const Function *function)
{
	HeapTuple	tuple;
	Form_pg_proc form;

	tuple = SearchSysCacheCopy3(PROCNAMEARGSNSP, CStringGetDatum(function->name),
								PointerGetDatum(buildoidvector(function->args, function->nargs)),
								ObjectIdGetDatum(namespace));
	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (form->proparallel == PROPARALLEL_SAFE)
	{
		form->proparallel = PROPARALLEL_RESTRICTED;
		CatalogTupleUpdate(rel, &tuple->t_self, tuple);
	}
	heap_freetuple(tuple);
}

void
as_node_restrict_parallel(void)
{
	Oid			namespace = get_namespace_oid("actorstore", true);
	Relation	rel = table_open(ProcedureRelationId, RowExclusiveLock);

	for (int i = 0; i < (int) lengthof(functions); i++)
		mark(rel, namespace, &functions[i]);
	table_close(rel, RowExclusiveLock);
}

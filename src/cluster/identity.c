/*-------------------------------------------------------------------------
 *
 * identity.c
 *	  Who this node is, for those that connect to it.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "access/twophase.h"
#include "access/xlog.h"
#include "cluster/peer.h"
#include "cluster/resolver.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(actorstore_local_identity);

/*
 * The first thing that a peer asks.  The node is NULL where there is none.  A
 * node that is spoken to needs its resolver soon.
 */
Datum
actorstore_local_identity(PG_FUNCTION_ARGS)
{
	const AsNode *self = as_node_self();
	TupleDesc	desc;
	Datum		values[6] = {0};
	bool		nulls[6] = {false};

	as_peer_tell_coordinator();
	if (self != NULL && !RecoveryInProgress())
		as_resolver_start();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	nulls[0] = nulls[1] = (self == NULL);
	if (self != NULL)
	{
		values[0] = UUIDPGetDatum(&self->uuid);
		values[1] = CStringGetTextDatum(self->name);
	}
	values[2] = Int64GetDatum(self == NULL ? 0 : self->incarnation);
	values[3] = CStringGetTextDatum(AS_VERSION);
	values[4] = BoolGetDatum(RecoveryInProgress());
	values[5] = Int32GetDatum(max_prepared_xacts);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

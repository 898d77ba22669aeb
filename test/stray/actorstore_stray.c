/*-------------------------------------------------------------------------
 *
 * actorstore_stray.c
 *	  What ask() and tell() do if their database's home becomes another
 *	  one's between finding it and hanging the request there.
 *
 * They find it and hang the request within a microsecond, in which nobody
 * could take the home away from without.  So this one hangs its request on
 * another database's home to begin with.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "fmgr.h"
#include "lib/key_hash.h"
#include "miscadmin.h"
#include "runtime/request.h"
#include "runtime/sched.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(stray_home);
PG_FUNCTION_INFO_V1(stray_request);

/* The home of a database, or NULL. */
Datum
stray_home(PG_FUNCTION_ARGS)
{
	Oid			database = PG_GETARG_OID(0);

	for (int i = 0; i < as_sched_max_workers(); i++)
	{
		if (pg_atomic_read_u32(&as_home(i)->database) == database)
			PG_RETURN_INT32(i);
	}
	PG_RETURN_NULL();
}

/*
 * A request of this database to (type, id), hung on the home given.  Returns
 * what becomes of it, if it is asked.
 */
Datum
stray_request(PG_FUNCTION_ARGS)
{
	AsMessage	message = {0};
	bool		asks = PG_GETARG_BOOL(4);
	bool		in_arena;
	AsRequestStatus status;
	uint32		cell;

	message.actor_type = PG_GETARG_TEXT_PP(1);
	message.actor_id = PG_GETARG_TEXT_PP(2);
	message.name = PG_GETARG_TEXT_PP(3);
	message.body = DirectFunctionCall1(jsonb_in, CStringGetDatum("1"));
	message.sent_at = GetCurrentTimestamp();
	message.key_hash = as_key_hash(VARDATA_ANY(message.actor_type),
								   VARSIZE_ANY_EXHDR(message.actor_type),
								   VARDATA_ANY(message.actor_id),
								   VARSIZE_ANY_EXHDR(message.actor_id));
	cell = as_request_make(&message, asks, &in_arena);
	if (cell == AS_POOL_NONE)
		elog(ERROR, "there is no room");
	if (!as_request_post(PG_GETARG_INT32(0), message.key_hash, cell))
	{
		as_request_free(cell);
		elog(ERROR, "there is no slot");
	}
	if (!asks)
		PG_RETURN_NULL();
	while ((status = as_request_status(cell)) == AS_REQUEST_WAITING)
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(1000);
	}
	as_request_free(cell);
	PG_RETURN_TEXT_P(cstring_to_text(status == AS_REQUEST_RETURNED ? "returned" :
									 "answered"));
}

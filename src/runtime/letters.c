/*-------------------------------------------------------------------------
 *
 * letters.c
 *	  See letters.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/letters.h"

#include "catalog/pg_type.h"
#include "runtime/report.h"
#include "runtime/sched.h"
#include "runtime/trace.h"
#include "state/catalog.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define PURGE_AT_ONCE	1000

typedef struct Params
{
	int			n;
	Oid			types[24];
	Datum		values[24];
	char		nulls[24];
} Params;

static void
add(Params *params, Oid type, bool present, Datum value)
{
	Assert(params->n < (int) lengthof(params->types));
	params->types[params->n] = type;
	params->values[params->n] = value;
	params->nulls[params->n] = present ? ' ' : 'n';
	params->n++;
}

static void
add_text(Params *params, const text *value)
{
	add(params, TEXTOID, value != NULL, PointerGetDatum(value));
}

static void
add_string(Params *params, const char *value)
{
	add(params, TEXTOID, value != NULL,
		value != NULL ? CStringGetTextDatum(value) : (Datum) 0);
}

static uint64
execute(SPIPlanPtr *plan, Params *params, const char *sql, int expected)
{
	AsAdmin		admin;
	uint64		n;

	as_admin_begin(&admin);
	n = as_admin_execute_kept(plan, sql, expected, params->n, params->types,
							  params->values, params->nulls);
	as_admin_leave(&admin);
	return n;
}

void
as_letter_bury(AsMessage *message, const AsReason *reason)
{
	static SPIPlanPtr plan = NULL;
	Params		params = {0};

	add(&params, INT8OID, true, Int64GetDatum(message->message_id));
	add_text(&params, message->actor_type);
	add_text(&params, message->actor_id);
	add_text(&params, message->name);
	add(&params, JSONBOID, message->body != 0, message->body);
	add(&params, JSONBOID, message->headers != 0, message->headers);
	add(&params, INT4OID, true, Int32GetDatum(message->priority));
	add(&params, INT4OID, true, Int32GetDatum(message->attempts));
	add(&params, TIMESTAMPTZOID, true, TimestampTzGetDatum(message->sent_at));
	add_text(&params, message->sender_type);
	add_text(&params, message->sender_id);
	add_text(&params, message->dedup_key);
	add_string(&params, reason->reason);
	add_string(&params, reason->sqlerrcode == 0 ? NULL :
			   unpack_sql_state(reason->sqlerrcode));
	add_string(&params, reason->error);
	add_string(&params, reason->detail);
	add_string(&params, reason->context);
	add(&params, TIMESTAMPTZOID, true,
		TimestampTzGetDatum(GetCurrentTimestamp()));
	(void) execute(&plan, &params,
				   "INSERT INTO actorstore.dead_message (message_id, actor_type, actor_id, message, body, headers,"
				   " priority, attempts, sent_at, sender_type, sender_id, dedup_key, reason, sqlstate, error, detail,"
				   " context, died_at)"
				   " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
				   SPI_OK_INSERT);
	if (message->dedup_key != NULL)
		as_dedup_handled(message, (Datum) 0);
	as_report_dead(message, reason);
	message->given_up = true;
	if (as_trace_is_on())
		as_trace_dead(message, reason->sqlerrcode);
}

static void
add_dedup_key(Params *params, const AsMessage *message)
{
	add_text(params, message->actor_type);
	add_text(params, message->actor_id);
	add_text(params, message->dedup_key);
	add(params, INT8OID, true, Int64GetDatum(message->message_id));
}

bool
as_dedup_claim(const AsMessage *message, int64 *first)
{
	static SPIPlanPtr claim = NULL;
	static SPIPlanPtr look = NULL;
	Params		params = {0};
	AsAdmin		admin;
	bool		claimed;
	bool		isnull;

	add_dedup_key(&params, message);
	add(&params, FLOAT8OID, true, Float8GetDatum(actorstore_dedup_window));
	as_admin_begin(&admin);
	claimed = as_admin_execute_kept(&claim,
									"INSERT INTO actorstore.dedup AS d (actor_type, actor_id, dedup_key, message_id)"
									" VALUES ($1, $2, $3, $4) ON CONFLICT (actor_type, actor_id, dedup_key) DO UPDATE"
									" SET message_id = excluded.message_id, handled_at = NULL, reply = NULL"
									" WHERE d.handled_at <= pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $5)",
									SPI_OK_INSERT, params.n, params.types,
									params.values, params.nulls) > 0;
	if (!claimed)
	{
		if (as_admin_execute_kept(&look,
								  "SELECT message_id FROM actorstore.dedup"
								  " WHERE actor_type = $1 AND actor_id = $2 AND dedup_key = $3",
								  SPI_OK_SELECT, 3, params.types, params.values,
								  params.nulls) != 1)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access due to concurrent use of dedup_key \"%s\"",
							text_to_cstring(message->dedup_key))));
		*first = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
											 SPI_tuptable->tupdesc, 1, &isnull));
	}
	as_admin_leave(&admin);
	return claimed;
}

bool
as_dedup_is_taken(const AsMessage *request)
{
	static SPIPlanPtr plan = NULL;
	Params		params = {0};

	add_text(&params, request->actor_type);
	add_text(&params, request->actor_id);
	add_text(&params, request->dedup_key);
	add(&params, FLOAT8OID, true, Float8GetDatum(actorstore_dedup_window));
	return execute(&plan, &params,
				   "SELECT FROM actorstore.dedup"
				   " WHERE actor_type = $1 AND actor_id = $2 AND dedup_key = $3"
				   " AND (handled_at IS NULL OR handled_at > pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $4))",
				   SPI_OK_SELECT) > 0;
}

bool
as_dedup_claim_request(AsMessage *request, Datum *reply)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext context = CurrentMemoryContext;
	Params		params = {0};
	AsAdmin		admin;
	int64		first;
	bool		waits;
	bool		isnull;

	request->message_id = as_message_id(as_sched_ids(1));
	if (as_dedup_claim(request, &first))
		return true;
	add_dedup_key(&params, request);
	as_admin_begin(&admin);
	if (as_admin_execute_kept(&plan,
							  "SELECT handled_at IS NULL, reply FROM actorstore.dedup"
							  " WHERE actor_type = $1 AND actor_id = $2 AND dedup_key = $3",
							  SPI_OK_SELECT, 3, params.types, params.values,
							  params.nulls) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent use of a dedup_key")));
	waits = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
									   SPI_tuptable->tupdesc, 1, &isnull));
	*reply = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2,
						   &isnull);
	if (isnull)
		*reply = (Datum) 0;
	else
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		*reply = PointerGetDatum(PG_DETOAST_DATUM_COPY(*reply));
		MemoryContextSwitchTo(old);
	}
	as_admin_leave(&admin);
	if (waits)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a message with the same dedup_key was sent and waits")));
	return false;
}

void
as_dedup_handled(const AsMessage *message, Datum reply)
{
	static SPIPlanPtr plan = NULL;
	Params		params = {0};

	add_dedup_key(&params, message);
	add(&params, JSONBOID, reply != (Datum) 0, reply);
	(void) execute(&plan, &params,
				   "UPDATE actorstore.dedup SET handled_at = pg_catalog.clock_timestamp(), reply = $5"
				   " WHERE actor_type = $1 AND actor_id = $2 AND dedup_key = $3 AND message_id = $4",
				   SPI_OK_UPDATE);
}

void
as_dedup_release(const AsMessage *message)
{
	static SPIPlanPtr plan = NULL;
	Params		params = {0};

	add_dedup_key(&params, message);
	(void) execute(&plan, &params,
				   "DELETE FROM actorstore.dedup"
				   " WHERE actor_type = $1 AND actor_id = $2 AND dedup_key = $3 AND message_id = $4",
				   SPI_OK_DELETE);
}

bool
as_dedup_purge(void)
{
	static SPIPlanPtr plan = NULL;
	Params		params = {0};

	add(&params, FLOAT8OID, true, Float8GetDatum(actorstore_dedup_window));
	add(&params, INT4OID, true, Int32GetDatum(PURGE_AT_ONCE));
	return execute(&plan, &params,
				   "DELETE FROM actorstore.dedup WHERE ctid = ANY (ARRAY("
				   "SELECT ctid FROM actorstore.dedup"
				   " WHERE handled_at <= pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $1)"
				   " ORDER BY handled_at LIMIT $2))",
				   SPI_OK_DELETE) == PURGE_AT_ONCE;
}

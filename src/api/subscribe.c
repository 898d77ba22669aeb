/*-------------------------------------------------------------------------
 *
 * subscribe.c
 *	  The SQL functions that make, acknowledge and end subscriptions.
 *
 * A subscription is a row of actorstore.subscription and a replication slot.
 * What is acknowledged is in the row, and so commits with whatever else the
 * transaction of the acknowledgement does; the slot follows when the next
 * fetch sees that it has committed.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "api/args.h"
#include "api/subscription.h"
#include "catalog/pg_type.h"
#include "cdc/keeper.h"
#include "cdc/options.h"
#include "cdc/slot.h"
#include "compat.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "state/type.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "storage/standby.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(actorstore_subscribe);
PG_FUNCTION_INFO_V1(actorstore_ack);
PG_FUNCTION_INFO_V1(actorstore_unsubscribe);

typedef enum StartFrom
{
	FROM_NOW,
	FROM_BEGINNING,
	FROM_SEQUENCE,
	FROM_TIME
} StartFrom;

typedef struct Start
{
	StartFrom	from;
	text	   *word;			/* as given */
	AsSequence	sequence;
	TimestampTz time;
} Start;

/* ---- Where to start ---- */

static Start
parse_start(FunctionCallInfo fcinfo, int n)
{
	Start		start = {0};
	char	   *word;

	as_reject_null(fcinfo, n, "start_from");
	start.word = PG_GETARG_TEXT_PP(n);
	word = text_to_cstring(start.word);
	if (strcmp(word, "now") == 0)
		start.from = FROM_NOW;
	else if (strcmp(word, "beginning") == 0)
		start.from = FROM_BEGINNING;
	else if (as_sequence_parse(word, strlen(word), &start.sequence))
		start.from = FROM_SEQUENCE;
	else if (as_cdc_parse_time(word, &start.time) && !TIMESTAMP_IS_NOEND(start.time))
		start.from = FROM_TIME;
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for start_from: \"%s\"", word),
				 errhint("Valid are \"now\", \"beginning\", a sequence and a timestamp.")));
	return start;
}

/*
 * The past that a sequence or a time needs is in the keeper's slot; its copy
 * begins where that stands.  22023 if the past does not reach back so far.
 */
static void
copy_past(const char *slot, const Start *start)
{
	XLogRecPtr	wanted = start->sequence.lsn;
	XLogRecPtr	oldest;

	if (start->from == FROM_TIME)
		wanted = as_keeper_position_at(start->time);
	else if (wanted > GetXLogInsertRecPtr())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sequence \"%s\" lies in the future",
						text_to_cstring(start->word)),
				 errhint("Sequences belong to one node.")));

	/* the commit that ends at a slot's position lies before it */
	if (!XLogRecPtrIsInvalid(wanted) && as_keeper_copy(slot) &&
		as_slot_state(slot, &oldest) == AS_SLOT_READY &&
		(oldest < wanted || (oldest == wanted &&
							 (start->from == FROM_TIME ||
							  start->sequence.number == PG_UINT32_MAX))))
		return;
	as_keeper_raise_too_old(text_to_cstring(start->word));
}

/* ---- Making one ---- */

/*
 * A transaction that has committed before the slot's position may still count
 * as running, as while it waits for a standby: then it would be neither in the
 * stream nor in a page of present actors.  Wait for all that are running.
 */
static void
wait_for_running(void)
{
	/* a snapshot would not list those younger than the last one that ended */
	RunningTransactions running = GetRunningTransactionData();
	int			n = running->xcnt;
	TransactionId *xids;

	LWLockRelease(ProcArrayLock);
	LWLockRelease(XidGenLock);
	xids = palloc(Max(n, 1) * sizeof(TransactionId));
	memcpy(xids, running->xids, n * sizeof(TransactionId));
	for (int i = 0; i < n; i++)
		XactLockTableWait(xids[i], NULL, NULL, XLTW_None);
}

static void
make_slot(const char *slot, const Start *start)
{
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {CStringGetTextDatum(slot)};
	AsAdmin		admin;

	PG_TRY();
	{
		as_admin_begin(&admin);
		if (start->from == FROM_SEQUENCE ||
			(start->from == FROM_TIME && start->time <= GetCurrentTimestamp()))
			copy_past(slot, start);
		else
			as_admin_execute("SELECT pg_catalog.pg_create_logical_replication_slot($1::name, 'actorstore', true)",
							 SPI_OK_SELECT, 1, types, values, NULL);
		as_admin_leave(&admin);
		if (start->from == FROM_BEGINNING)
			wait_for_running();
	}
	PG_CATCH();
	{
		as_slot_abandon(slot);
		PG_RE_THROW();
	}
	PG_END_TRY();
	as_slot_keep_at_commit(slot);
}

static bool
insert_row(text *name, const char *slot, const Start *start, ArrayType *types,
		   text *prefix)
{
	Oid			argtypes[9] = {TEXTOID, OIDOID, TEXTOID, TEXTARRAYOID, TEXTOID,
	TEXTOID, LSNOID, TIMESTAMPTZOID, TEXTOID};
	char		nulls[10] = "         ";
	Datum		values[9] = {0};
	XLogRecPtr	position;
	AsAdmin		admin;
	bool		inserted;

	(void) as_slot_state(slot, &position);
	values[0] = PointerGetDatum(name);
	values[1] = ObjectIdGetDatum(GetUserId());
	values[2] = CStringGetTextDatum(slot);
	values[3] = PointerGetDatum(types);
	nulls[3] = types == NULL ? 'n' : ' ';
	values[4] = PointerGetDatum(prefix);
	nulls[4] = prefix == NULL ? 'n' : ' ';
	values[5] = PointerGetDatum(start->word);
	values[6] = LSNGetDatum(position);
	values[7] = TimestampTzGetDatum(start->time);
	nulls[7] = start->from == FROM_TIME ? ' ' : 'n';
	values[8] = start->from == FROM_SEQUENCE ? values[5] : (Datum) 0;
	nulls[8] = start->from == FROM_SEQUENCE ? ' ' : 'n';
	as_admin_begin(&admin);
	inserted = as_admin_execute("INSERT INTO actorstore.subscription (subscription, owner, slot, actor_types, key_prefix, "
								"start_from, start_lsn, since, fetched, acked, reading) "
								"VALUES ($1, $2, $3::name, $4, $5, $6, $7, $8, $9, $9, $6 = 'beginning') "
								"ON CONFLICT DO NOTHING",
								SPI_OK_INSERT, 9, argtypes, values, nulls) > 0;
	as_admin_leave(&admin);
	return inserted;
}

static void
warn_of_unlogged(ArrayType *types)
{
	Oid			argtypes[1] = {TEXTARRAYOID};
	Datum		values[1] = {PointerGetDatum(types)};
	AsAdmin		admin;
	uint64		n;

	as_admin_begin(&admin);
	n = as_admin_execute("SELECT actor_type FROM actorstore.type "
						 "WHERE persistence = 'unlogged' AND ($1 IS NULL OR actor_type = ANY ($1)) ORDER BY 1",
						 SPI_OK_SELECT, 1, argtypes, values,
						 types == NULL ? "n" : NULL);
	for (uint64 i = 0; i < n; i++)
		ereport(WARNING,
				(errmsg("actor type \"%s\" is unlogged and gives no events",
						SPI_getvalue(SPI_tuptable->vals[i],
									 SPI_tuptable->tupdesc, 1))));
	as_admin_leave(&admin);
}

static bool
exists(text *name)
{
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {PointerGetDatum(name)};
	AsAdmin		admin;
	bool		found;

	as_admin_begin(&admin);
	found = as_admin_execute("SELECT 1 FROM actorstore.subscription WHERE subscription = $1",
							 SPI_OK_SELECT, 1, types, values, NULL) > 0;
	as_admin_leave(&admin);
	return found;
}

static as_noreturn void
raise_duplicate(text *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("subscription \"%s\" already exists",
					text_to_cstring(name))));
}

static ArrayType *
arg_types(FunctionCallInfo fcinfo, int n)
{
	ArrayType  *types;
	text	  **names;
	int			ntypes;

	if (PG_ARGISNULL(n))
		return NULL;
	types = PG_GETARG_ARRAYTYPE_P(n);
	ntypes = as_subscription_types(types, &names);
	if (ARR_NDIM(types) != 1 || ntypes == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("actor_types must be a list of one or more types, or NULL")));
	for (int i = 0; i < ntypes; i++)
	{
		as_check_name("actor_type", names[i]);
		as_type_check(as_type_get(names[i]), AS_PRIV_READ);
	}
	return types;
}

static text *
arg_prefix(FunctionCallInfo fcinfo, int n)
{
	text	   *prefix;

	if (PG_ARGISNULL(n))
		return NULL;
	prefix = PG_GETARG_TEXT_PP(n);
	if (VARSIZE_ANY_EXHDR(prefix) > AS_MAX_NAME_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key_prefix is too long"),
				 errdetail("It has %d bytes; an actor_id has at most %d.",
						   (int) VARSIZE_ANY_EXHDR(prefix),
						   AS_MAX_NAME_BYTES)));
	return prefix;
}

Datum
actorstore_subscribe(PG_FUNCTION_ARGS)
{
	text	   *name = as_arg_subscription(fcinfo, 0);
	Start		start = parse_start(fcinfo, 1);
	ArrayType  *types;
	text	   *prefix = arg_prefix(fcinfo, 3);
	char	   *slot;
	AsAdmin		admin;

	PreventCommandIfReadOnly("actorstore.subscribe()");
	PreventCommandIfParallelMode("actorstore.subscribe()");
	PreventCommandDuringRecovery("actorstore.subscribe()");
	types = arg_types(fcinfo, 2);
	as_subscription_check_types(types, NULL, false);
	if (types == NULL && !superuser() &&
		start.from != FROM_NOW && start.from != FROM_BEGINNING)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for the past of all actor types"),
				 errhint("Name the types in actor_types.")));
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("subscribe cannot run in a transaction that has written"),
				 errhint("Call subscribe in a transaction of its own, or before anything is written.")));

	if (exists(name))
		raise_duplicate(name);
	as_admin_begin(&admin);
	as_keeper_sweep();
	as_admin_leave(&admin);

	/* whoever comes by a slot without a row looks whether it is locked */
	slot = as_slot_new_name();
	(void) as_slot_lock(slot);
	make_slot(slot, &start);
	if (!insert_row(name, slot, &start, types, prefix))
		raise_duplicate(name);
	warn_of_unlogged(types);
	PG_RETURN_VOID();
}

/* ---- Acknowledging, ending ---- */

static void
forget_acked(AsSubscription *subscription, AsSequence up_to)
{
	Oid			types[2] = {TEXTOID, INT8OID};
	Datum		values[2] = {PointerGetDatum(subscription->name)};
	bool		behind = up_to.lsn > subscription->start_lsn;

	if (subscription->nread == 0)
		return;
	values[1] = Int64GetDatum(behind ? PG_INT64_MAX : up_to.number);
	as_admin_execute("DELETE FROM actorstore.subscription_actor WHERE subscription = $1 AND number <= $2",
					 SPI_OK_DELETE, 2, types, values, NULL);
}

Datum
actorstore_ack(PG_FUNCTION_ARGS)
{
	text	   *name = as_arg_subscription(fcinfo, 0);
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		values[2] = {PointerGetDatum(name)};
	AsSubscription *subscription;
	AsSequence	up_to;
	AsAdmin		admin;

	as_reject_null(fcinfo, 1, "up_to");
	PreventCommandIfReadOnly("actorstore.ack()");
	PreventCommandIfParallelMode("actorstore.ack()");
	values[1] = PG_GETARG_DATUM(1);
	up_to = as_sequence_arg(PG_GETARG_TEXT_PP(1), "sequence");
	subscription = as_subscription_get(name);
	if (!subscription->has_fetched ||
		as_sequence_compare(up_to, subscription->fetched) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sequence \"%s\" has not been fetched yet",
						TextDatumGetCString(values[1])),
				 subscription->has_fetched ?
				 errdetail("The last one fetched is \"%s\".",
						   text_to_cstring(as_sequence_text(subscription->fetched))) : 0));
	if (subscription->has_acked &&
		as_sequence_compare(up_to, subscription->acked) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sequence \"%s\" has already been acknowledged",
						TextDatumGetCString(values[1])),
				 errdetail("The last one acknowledged is \"%s\".",
						   text_to_cstring(as_sequence_text(subscription->acked)))));

	as_admin_begin(&admin);
	forget_acked(subscription, up_to);
	as_admin_execute("UPDATE actorstore.subscription SET acked = $2, "
					 "acked_time = CASE WHEN fetched = $2 THEN fetched_time ELSE acked_time END "
					 "WHERE subscription = $1",
					 SPI_OK_UPDATE, 2, types, values, NULL);
	as_admin_leave(&admin);
	PG_RETURN_VOID();
}

Datum
actorstore_unsubscribe(PG_FUNCTION_ARGS)
{
	text	   *name = as_arg_subscription(fcinfo, 0);
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {PointerGetDatum(name)};
	AsSubscription *subscription;
	AsAdmin		admin;

	PreventCommandIfReadOnly("actorstore.unsubscribe()");
	PreventCommandIfParallelMode("actorstore.unsubscribe()");
	PreventCommandDuringRecovery("actorstore.unsubscribe()");
	subscription = as_subscription_get(name);
	as_admin_begin(&admin);
	as_admin_execute("DELETE FROM actorstore.subscription WHERE subscription = $1",
					 SPI_OK_DELETE, 1, types, values, NULL);
	as_admin_leave(&admin);
	as_slot_drop_at_commit(subscription->slot);
	PG_RETURN_VOID();
}

/*-------------------------------------------------------------------------
 *
 * deliver.c
 *	  Messages that have come from another node: see outbox.h.
 *
 * For the role of other nodes only.  What it can do with these functions is to
 * send anything to any actor, also in the name of other actors and of the
 * system, as the senders' rights were looked at where they are.  Whatever the
 * bytes are, they become messages or dead letters, or are refused.
 *
 * One file of more than 500 lines: all that reads or moves the watermark.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "access/detoast.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "cluster/admission.h"
#include "cluster/decision.h"
#include "cluster/fault.h"
#include "cluster/late_flush.h"
#include "cluster/life.h"
#include "cluster/node.h"
#include "cluster/outbox.h"
#include "cluster/route.h"
#include "cluster/timer_wire.h"
#include "compat.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/envelope.h"
#include "lib/key_hash.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "runtime/letters.h"
#include "runtime/lifecycle.h"
#include "runtime/sched.h"
#include "runtime/send.h"
#include "state/catalog.h"
#include "state/owner.h"
#include "state/partition.h"
#include "state/text_query.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(actorstore_local_deliver);
PG_FUNCTION_INFO_V1(actorstore_local_watermarks);
PG_FUNCTION_INFO_V1(actorstore_local_skip);

/* What is known of one that came */
typedef struct Arrival
{
	AsMessage	message;
	int			kind;			/* outbox.h */
	AsReason	reason;			/* why it is dead; reason.reason is NULL if not */
} Arrival;

as_noreturn static void
refuse(const char *why)
{
	as_admission_refuse(ERRCODE_DATA_CORRUPTED, psprintf("It cannot be read: %s.", why));
}

/* ---- Reading ---- */

static text *
plain_text(const AsLetter *letter, AsEnvelopeText which)
{
	const char *at = letter->texts[which];
	uint32		length = letter->lengths[which];

	if (at == NULL)
		return NULL;
	if (memchr(at, '\0', length) != NULL || !pg_verifymbstr(at, (int) length, true))
		refuse("a text is not in this database's encoding");
	return cstring_to_text_with_len(at, (int) length);
}

static text *
short_text(const AsLetter *letter, AsEnvelopeText which, const char *what, bool needed)
{
	text	   *name = plain_text(letter, which);

	if (name == NULL && needed)
		refuse("a message has no actor, or no name");
	if (name != NULL && (VARSIZE_ANY_EXHDR(name) == 0 || VARSIZE_ANY_EXHDR(name) > AS_MAX_NAME_BYTES))
		refuse(psprintf("%s is empty or too long", what));
	return name;
}

/*
 * JSON that this server does not understand kills its message, not the batch.
 * Nothing but memory is used by who reads it.
 */
static Datum
json_value(const AsLetter *letter, AsEnvelopeText which, AsReason *reason)
{
	MemoryContext context = CurrentMemoryContext;
	text	   *plain = plain_text(letter, which);
	volatile Datum value = 0;

	if (plain == NULL)
		return 0;
	PG_TRY();
	{
		value = DirectFunctionCall1(jsonb_in, CStringGetDatum(text_to_cstring(plain)));
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION &&
			ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_PROGRAM_LIMIT_EXCEEDED &&
			ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_FEATURE_NOT_SUPPORTED)
			PG_RE_THROW();
		FlushErrorState();
		reason->reason = "not understood";
		reason->sqlerrcode = error->sqlerrcode;
		reason->error = error->message;
		reason->detail = error->detail;
		value = 0;
	}
	PG_END_TRY();
	return value;
}

static Size
size_of(Datum json)
{
	return json == 0 ? 0 : toast_raw_datum_size(json) - VARHDRSZ;
}

/*
 * Who handles messages of the system trusts what is in them.  One that is refused
 * stays a dead letter whatever else is wrong with it: redrive() leaves those of
 * this reason alone.
 */
static void
check_system(Arrival *arrival)
{
	const AsMessage *message = &arrival->message;
	const char *why = NULL;

	if (arrival->reason.reason == NULL && arrival->kind == AS_KIND_MESSAGE &&
		message->priority == AS_SYSTEM_PRIORITY && message->due == 0 &&
		message->expires_at == 0 && message->dedup_key == NULL)
	{
		why = as_life_objection(message);
		if (why == NULL)
			return;
	}
	arrival->reason.reason = "not understood";
	arrival->reason.sqlerrcode = ERRCODE_INVALID_PARAMETER_VALUE;
	arrival->reason.error = why != NULL ? why :
		"not a message of the system that another node can send";
}

static void
read_letter(const AsLetter *letter, Arrival *arrival)
{
	AsMessage  *message = &arrival->message;

	memset(arrival, 0, sizeof(Arrival));
	arrival->kind = letter->kind;
	if (letter->kind > AS_LAST_KIND)
		refuse("a message is of a kind that is not known");
	if (letter->priority >= AS_LANES)
		refuse("a priority is out of range");
	message->message_id = letter->id;
	message->priority = letter->priority;
	message->sent_at = letter->sent_at;
	message->due = letter->due;
	message->expires_at = letter->expires_at;
	if (letter->id <= 0 || !IS_VALID_TIMESTAMP(message->sent_at) ||
		!IS_VALID_TIMESTAMP(message->due) || !IS_VALID_TIMESTAMP(message->expires_at))
		refuse("a number is out of range");
	message->actor_type = short_text(letter, AS_TEXT_ACTOR_TYPE, "an actor_type", true);
	message->actor_id = short_text(letter, AS_TEXT_ACTOR_ID, "an actor_id", true);
	message->name = short_text(letter, AS_TEXT_NAME, "a message's name", true);
	message->sender_type = short_text(letter, AS_TEXT_SENDER_TYPE, "a sender's type", false);
	message->sender_id = short_text(letter, AS_TEXT_SENDER_ID, "a sender's id", false);
	message->dedup_key = short_text(letter, AS_TEXT_DEDUP_KEY, "a dedup_key", false);
	if ((message->sender_type == NULL) != (message->sender_id == NULL))
		refuse("half a sender");
	message->body = json_value(letter, AS_TEXT_BODY, &arrival->reason);
	message->headers = json_value(letter, AS_TEXT_HEADERS, &arrival->reason);
	if (size_of(message->body) + size_of(message->headers) >
		(Size) (as_is_system(message->name) ? AS_MAX_SYSTEM_MESSAGE : actorstore_max_message_size))
	{
		arrival->reason.reason = "too large";
		arrival->reason.sqlerrcode = ERRCODE_PROGRAM_LIMIT_EXCEEDED;
	}
	if (as_is_system(message->name))
		check_system(arrival);
}

static Arrival *
read_batch(const char *bytes, Size length, int *n)
{
	AsEnvelope	envelope;
	AsLetter	letter;
	Arrival    *arrivals = NULL;
	const char *wrong = as_envelope_open(&envelope, bytes, length);
	int			room = 0;

	*n = 0;
	if (wrong != NULL)
		refuse(wrong);
	while (envelope.nletters > 0)
	{
		if (*n == room)
		{
			room = Max(64, 2 * room);
			arrivals = arrivals == NULL ? palloc(sizeof(Arrival) * room) :
				repalloc_huge(arrivals, sizeof(Arrival) * room);
		}
		wrong = as_envelope_next(&envelope, &letter);
		if (wrong != NULL)
			refuse(wrong);
		read_letter(&letter, &arrivals[(*n)++]);
	}
	return arrivals;
}

/* Say once of a batch what nobody should have sent. */
static void
log_refused(const Arrival *arrivals, int n, Datum origin)
{
	const Arrival *first = NULL;
	int			refused = 0;

	for (int i = 0; i < n; i++)
	{
		if (arrivals[i].reason.reason == NULL || !as_is_system(arrivals[i].message.name))
			continue;
		if (refused++ == 0)
			first = &arrivals[i];
	}
	if (refused > 0)
		ereport(LOG,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg_plural("refused %d message of the system from node %s",
							   "refused %d messages of the system from node %s",
							   refused, refused, DatumGetCString(DirectFunctionCall1(uuid_out, origin))),
				 errdetail("The first one, \"%s\" to \"%s\" of type \"%s\", is %s.",
						   text_to_cstring(first->message.name),
						   text_to_cstring(first->message.actor_id),
						   text_to_cstring(first->message.actor_type),
						   first->reason.error),
				 errhint("They are dead letters; redrive() leaves them alone.")));
}

/* ---- Storing ---- */

/*
 * Where the actor is.  Should it have moved meanwhile, its letter stays here:
 * whoever redrives it sends it to where the actor is then.  Who waits for an answer
 * of the system gets one.
 */
static void
bury(Arrival *arrival)
{
	AsMessage  *message = &arrival->message;

	if (as_is_system(message->name) && as_life_objection(message) == NULL &&
		as_type_find(message->actor_type) == NULL)
	{
		as_life_nobody(message);
		return;
	}
	if (!as_owner_try(message->actor_type, message->actor_id) &&
		as_route_find(message->actor_type, message->actor_id) == NULL)
		as_owner_need(message->actor_type, message->actor_id);
	as_letter_bury(message, &arrival->reason);
}

/* Dead already, or of a type that there is not. */
static AsType *
type_of(Arrival *arrival)
{
	AsType	   *type;

	if (arrival->reason.reason != NULL)
		return NULL;
	type = as_type_find(arrival->message.actor_type);
	if (type == NULL)
	{
		arrival->reason.reason = "no such type";
		arrival->reason.sqlerrcode = ERRCODE_UNDEFINED_OBJECT;
	}
	return type;
}

static bool
same_type(const Arrival *a, const Arrival *b)
{
	const text *left = a->message.actor_type;
	const text *right = b->message.actor_type;

	return VARSIZE_ANY_EXHDR(left) == VARSIZE_ANY_EXHDR(right) &&
		memcmp(VARDATA_ANY(left), VARDATA_ANY(right), VARSIZE_ANY_EXHDR(left)) == 0;
}

/* A timer for an actor that lives here, or by now elsewhere. */
static void
set_timer(Arrival *arrival)
{
	AsMessage  *message = &arrival->message;
	const AsNode *node = as_outbox_way(message->actor_type, message->actor_id);

	if (node != NULL)
	{
		message->key_hash = as_key_hash(VARDATA_ANY(message->actor_type),
										VARSIZE_ANY_EXHDR(message->actor_type),
										VARDATA_ANY(message->actor_id),
										VARSIZE_ANY_EXHDR(message->actor_id));
		as_outbox_put(node, arrival->kind, message, 1);
	}
	else if (arrival->reason.reason != NULL ||
			 !as_timer_wire_set(message, &arrival->reason))
		bury(arrival);
	CommandCounterIncrement();
}

/* Messages of one type after the other, in their order; true if one is crowded. */
static bool
store(Arrival *arrivals, int n)
{
	AsMessage  *messages = palloc(sizeof(AsMessage) * n);
	bool		any_crowded = false;

	for (int i = 0, next; i < n; i = next)
	{
		AsType	   *type = type_of(&arrivals[i]);
		bool		crowded;
		int			some = 0;

		next = i + 1;
		if (type == NULL)
		{
			bury(&arrivals[i]);
			continue;
		}
		if (arrivals[i].kind != AS_KIND_MESSAGE)
		{
			set_timer(&arrivals[i]);
			continue;
		}
		messages[some++] = arrivals[i].message;
		for (; next < n && arrivals[next].reason.reason == NULL &&
			 arrivals[next].kind == AS_KIND_MESSAGE &&
			 same_type(&arrivals[i], &arrivals[next]); next++)
			messages[some++] = arrivals[next].message;
		as_send_arrived(type, messages, some, &crowded);
		any_crowded = any_crowded || crowded;
	}
	pfree(messages);
	return any_crowded;
}

void
as_outbox_deliver(bytea *envelope)
{
	int			n;
	Arrival    *arrivals = read_batch(VARDATA_ANY(envelope), VARSIZE_ANY_EXHDR(envelope), &n);

	as_outbox_keeps_nothing = true;
	PG_TRY();
	{
		(void) store(arrivals, n);
	}
	PG_FINALLY();
	{
		as_outbox_keeps_nothing = false;
	}
	PG_END_TRY();
}

/* What the system says of an actor is not for people to send again. */
void
as_outbox_bury(bytea *envelope, const AsReason *reason)
{
	int			n;
	Arrival    *arrivals = read_batch(VARDATA_ANY(envelope), VARSIZE_ANY_EXHDR(envelope), &n);

	for (int i = 0; i < n; i++)
	{
		if (!as_is_system(arrivals[i].message.name))
			as_letter_bury(&arrivals[i].message, reason);
	}
}

/* ---- Numbers ---- */

static text *
uuid_text(Datum uuid)
{
	return cstring_to_text(DatumGetCString(DirectFunctionCall1(uuid_out, uuid)));
}

/* The number of the last batch, locked. */
static int64
lock_watermark(text *origin, text *incarnation)
{
	AsRows		rows;
	text	   *args[2] = {origin, incarnation};

	if (as_text_query(&rows, SPI_OK_SELECT,
					  "SELECT batch::text FROM actorstore.inbox WHERE origin = $1::text::uuid AND incarnation = $2::text::bigint FOR UPDATE",
					  2, args) == 0)
	{
		(void) as_text_query(NULL, SPI_OK_INSERT,
							 "INSERT INTO actorstore.inbox (origin, incarnation, batch) VALUES ($1::text::uuid, $2::text::bigint, 0) ON CONFLICT DO NOTHING",
							 2, args);
		(void) as_text_query(&rows, SPI_OK_SELECT,
							 "SELECT batch::text FROM actorstore.inbox WHERE origin = $1::text::uuid AND incarnation = $2::text::bigint FOR UPDATE",
							 2, args);
	}
	return as_cell_int(&rows, 0, 0);
}

/*
 * From the number before to this one, locked from here on; false if another one
 * is there, or none.  It comes with each batch.
 */
static bool
advance_watermark(Datum origin, int64 incarnation, int64 batch)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[3] = {UUIDOID, INT8OID, INT8OID};
	Datum		values[3] = {origin, Int64GetDatum(incarnation), Int64GetDatum(batch)};
	AsAdmin		admin;
	bool		advanced;

	as_admin_begin(&admin);
	advanced = as_admin_execute_kept(&plan,
									 "UPDATE actorstore.inbox SET batch = $3"
									 " WHERE origin = $1 AND incarnation = $2 AND batch = $3 - 1",
									 SPI_OK_UPDATE, 3, types, values, NULL) > 0;
	as_admin_leave(&admin);
	return advanced;
}

static void
set_watermark(text *origin, text *incarnation, int64 batch)
{
	text	   *args[3] = {origin, incarnation, as_int_text(batch)};

	(void) as_text_query(NULL, SPI_OK_UPDATE,
						 "UPDATE actorstore.inbox SET batch = $3::text::bigint WHERE origin = $1::text::uuid AND incarnation = $2::text::bigint",
						 3, args);
}

/*
 * Make the number of a batch the last one that is here, if it is the next; the
 * last one.
 */
static int64
take_number(Datum origin, int64 incarnation, int64 batch)
{
	int64		watermark;

	if (advance_watermark(origin, incarnation, batch))
		return batch;
	watermark = lock_watermark(uuid_text(origin), as_int_text(incarnation));
	if (batch <= watermark)
		as_admission_refuse_duplicate();
	return advance_watermark(origin, incarnation, batch) ? batch : watermark;
}

static void
check_may_deliver(void)
{
	PreventCommandIfReadOnly("actorstore.local_deliver()");
	PreventCommandIfParallelMode("actorstore.local_deliver()");
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("messages cannot be delivered at this isolation level")));
}

/*
 * By a map that is not in force here yet these messages may be for us, while
 * ours would send them back.
 */
static void
check_epoch(int64 epoch)
{
	if (as_node_need_self() == NULL || epoch <= as_node_epoch())
		return;
	as_resolver_want(0, epoch);
	ereport(ERROR,
			(errcode(AS_ERRCODE_NOT_THE_OWNER),
			 errmsg("epoch " INT64_FORMAT " is not in force here yet", epoch)));
}

/*
 * local_deliver(origin, incarnation, batch, epoch, envelope): the number of the last
 * batch that is here, and whether the other node should wait a little.
 */
Datum
actorstore_local_deliver(PG_FUNCTION_ARGS)
{
	int64		batch = PG_GETARG_INT64(2);
	bytea	   *envelope = PG_GETARG_BYTEA_PP(4);
	const char *bytes = VARDATA_ANY(envelope);
	Size		length = VARSIZE_ANY_EXHDR(envelope);
	int64		watermark;
	bool		crowded = false;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	check_may_deliver();
	check_epoch(PG_GETARG_INT64(3));
	as_admission_check(&(AsSigned)
					   {
						   as_node_need_self()->uuid, *PG_GETARG_UUID_P(0),
						   PG_GETARG_INT64(1), batch, PG_GETARG_INT64(3)
					   }, &bytes, &length);
	watermark = take_number(PG_GETARG_DATUM(0), PG_GETARG_INT64(1), batch);
	if (watermark == batch)
	{
		int			n;
		Arrival    *arrivals = read_batch(bytes, length, &n);

		ereport(DEBUG1,
				(errmsg_internal("received batch " INT64_FORMAT " from node %s: %d messages, %zu bytes", batch,
								 DatumGetCString(DirectFunctionCall1(uuid_out, PG_GETARG_DATUM(0))), n, length)));
		log_refused(arrivals, n, PG_GETARG_DATUM(0));
		crowded = as_admission_count(n);
		crowded = store(arrivals, n) || crowded;

		/* the answer lets the other node forget what it has sent */
		as_flush_late();
		AS_FAULT("deliver_stored");
	}
	values[0] = Int64GetDatum(watermark);
	values[1] = BoolGetDatum(crowded);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * local_watermarks(origin): the last batch of each incarnation.  Another session
 * may have stored it just now, and its connection have broken before the answer.
 */
Datum
actorstore_local_watermarks(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	AsRows		rows;
	text	   *args[1] = {uuid_text(PG_GETARG_DATUM(0))};
	int			n;

	PreventCommandDuringRecovery("actorstore.local_watermarks()");
	InitMaterializedSRF(fcinfo, 0);
	as_flush_what_is_seen();
	n = as_text_query(&rows, SPI_OK_SELECT,
					  "SELECT incarnation::text, batch::text FROM actorstore.inbox WHERE origin = $1::text::uuid",
					  1, args);
	for (int i = 0; i < n; i++)
	{
		Datum		values[2] = {Int64GetDatum(as_cell_int(&rows, i, 0)), Int64GetDatum(as_cell_int(&rows, i, 1))};
		bool		nulls[2] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* local_skip(origin, incarnation, batch): what is up to there will not come any more. */
Datum
actorstore_local_skip(PG_FUNCTION_ARGS)
{
	text	   *origin = uuid_text(PG_GETARG_DATUM(0));
	text	   *incarnation = as_int_text(PG_GETARG_INT64(1));
	int64		batch = PG_GETARG_INT64(2);
	int64		watermark;

	check_may_deliver();
	watermark = lock_watermark(origin, incarnation);
	if (batch > watermark)
	{
		set_watermark(origin, incarnation, batch);
		as_sync_require();
		ForceSyncCommit();
		ereport(LOG,
				(errmsg("batches " INT64_FORMAT " to " INT64_FORMAT " of messages from node %s are LOST",
						watermark + 1, batch, text_to_cstring(origin)),
				 errhint("This node has lost what it had acknowledged, as after a failover to a standby that was behind, and the other one has kept them no longer (actorstore.outbox_retention).")));
	}
	PG_RETURN_VOID();
}

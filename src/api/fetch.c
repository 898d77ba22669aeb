/*-------------------------------------------------------------------------
 *
 * fetch.c
 *	  The SQL function that reads a subscription.
 *
 * A subscription from the beginning first returns the actors that are there
 * (present.c), then, as all others, the changes in its slot.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "api/args.h"
#include "api/present.h"
#include "api/subscription.h"
#include "catalog/pg_type.h"
#include "cdc/slot.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "state/catalog.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(actorstore_fetch);

/* Columns of actorstore.change_event */
typedef enum EventColumn
{
	EV_SEQUENCE,
	EV_OPERATION,
	EV_ACTOR_TYPE,
	EV_ACTOR_ID,
	EV_PREVIOUS_VALUE,
	EV_PREVIOUS_VERSION,
	EV_NEW_VALUE,
	EV_NEW_VERSION,
	EV_TIMESTAMP,
	EV_COLUMNS
} EventColumn;

typedef struct Delivery
{
	ReturnSetInfo *result;
	AsSubscription *subscription;
	AsSlotRead	read;
	AsPages    *pages;
	AsSequence	last;			/* event returned */
	TimestampTz last_time;
	int64		nnew;			/* events never returned before */
} Delivery;

/* Remember the event just returned. */
static void
note_event(Delivery *delivery, AsSequence sequence, TimestampTz time)
{
	AsSubscription *subscription = delivery->subscription;

	delivery->read.taken++;
	delivery->last = sequence;
	delivery->last_time = time;
	if (!subscription->has_fetched ||
		as_sequence_compare(sequence, subscription->fetched) > 0)
		delivery->nnew++;
}

static void
return_actor(void *arg, const AsPresentActor *actor)
{
	Delivery   *delivery = arg;
	Datum		values[EV_COLUMNS] = {0};
	bool		nulls[EV_COLUMNS] = {false};

	values[EV_SEQUENCE] = PointerGetDatum(as_sequence_text(actor->sequence));
	values[EV_OPERATION] = CStringGetTextDatum("INSERT");
	values[EV_ACTOR_TYPE] = actor->type;
	values[EV_ACTOR_ID] = actor->id;
	nulls[EV_PREVIOUS_VALUE] = nulls[EV_PREVIOUS_VERSION] = true;
	values[EV_NEW_VALUE] = actor->value;
	values[EV_NEW_VERSION] = actor->version;
	values[EV_TIMESTAMP] = actor->updated_at;
	tuplestore_putvalues(delivery->result->setResult,
						 delivery->result->setDesc, values, nulls);
	note_event(delivery, actor->sequence,
			   DatumGetTimestampTz(actor->updated_at));
}

static void
set_side(Datum *values, bool *nulls, int column, const AsEventSide *side)
{
	nulls[column] = nulls[column + 1] = !side->present || !side->has_value;
	if (nulls[column])
		return;
	values[column] = JsonbPGetDatum(side->value);
	values[column + 1] = Int64GetDatum(side->version);
}

/* Takes the events that a slot gives (AsEventSink). */
static void
return_event(void *arg, const AsEvent *event, TransactionId xid,
			 TimestampTz commit_time)
{
	Delivery   *delivery = arg;
	Datum		values[EV_COLUMNS] = {0};
	bool		nulls[EV_COLUMNS] = {false};

	if (as_present_has_seen(delivery->pages, event, xid) ||
		delivery->read.taken >= delivery->read.enough)
		return;
	values[EV_SEQUENCE] = PointerGetDatum(as_sequence_text(event->sequence));
	values[EV_OPERATION] =
		CStringGetTextDatum(as_operation_name(event->operation));
	values[EV_ACTOR_TYPE] =
		PointerGetDatum(cstring_to_text_with_len(event->actor_type,
												 event->actor_type_len));
	values[EV_ACTOR_ID] =
		PointerGetDatum(cstring_to_text_with_len(event->actor_id,
												 event->actor_id_len));
	set_side(values, nulls, EV_PREVIOUS_VALUE, &event->previous);
	set_side(values, nulls, EV_NEW_VALUE, &event->new);
	values[EV_TIMESTAMP] = TimestampTzGetDatum(commit_time);
	tuplestore_putvalues(delivery->result->setResult,
						 delivery->result->setDesc, values, nulls);
	note_event(delivery, event->sequence, commit_time);
}

static List *
add_option(List *options, const char *name, const char *value)
{
	return lappend(options, makeDefElem(pstrdup(name),
										(Node *) makeString(pstrdup(value)), -1));
}

static List *
plugin_options(AsSubscription *subscription)
{
	List	   *options = NIL;

	if (subscription->types != NULL)
	{
		StringInfoData list;
		text	  **names;
		int			n = as_subscription_types(subscription->types, &names);

		initStringInfo(&list);
		for (int i = 0; i < n; i++)
		{
			appendStringInfoString(&list, i > 0 ? ",\"" : "\"");
			for (const char *c = text_to_cstring(names[i]); *c != '\0'; c++)
			{
				if (*c == '"')
					appendStringInfoChar(&list, '"');
				appendStringInfoChar(&list, *c);
			}
			appendStringInfoChar(&list, '"');
		}
		options = add_option(options, "actor_types", list.data);
	}
	if (subscription->prefix != NULL)
		options = add_option(options, "key_prefix",
							 text_to_cstring(subscription->prefix));
	if (subscription->has_acked)
		options = add_option(options, "after",
							 text_to_cstring(as_sequence_text(subscription->acked)));
	if (subscription->has_since)
		options = add_option(options, "since",
							 timestamptz_to_str(subscription->since));
	return options;
}

static void
check_slot(AsSubscription *subscription)
{
	AsSlotState state = as_slot_state(subscription->slot, NULL);

	if (state == AS_SLOT_READY)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("subscription \"%s\" cannot go on",
					text_to_cstring(subscription->name)),
			 state == AS_SLOT_LOST ?
			 errdetail("Changes that it has not read have been removed, as \"max_slot_wal_keep_size\" allows.") :
			 state == AS_SLOT_UNGUARDED ?
			 errdetail("Another server has been the primary meanwhile, and may have removed what its replication slot \"%s\" needs.",
					   subscription->slot) :
			 errdetail("Its replication slot \"%s\" does not exist on this server.",
					   subscription->slot),
			 errhint("Call unsubscribe, and subscribe with start_from => 'beginning'.")));
}

/* Store how far fetch has come. */
static void
save_progress(Delivery *delivery)
{
	Oid			types[4] = {TEXTOID, TEXTOID, TIMESTAMPTZOID, INT8OID};
	Datum		values[4] = {PointerGetDatum(delivery->subscription->name),
		PointerGetDatum(as_sequence_text(delivery->last)),
		TimestampTzGetDatum(delivery->last_time),
	Int64GetDatum(delivery->nnew)};
	AsAdmin		admin;

	if (delivery->nnew == 0)
		return;
	as_admin_begin(&admin);
	as_admin_execute("UPDATE actorstore.subscription SET fetched = $2, fetched_time = $3, nevents = nevents + $4 "
					 "WHERE subscription = $1",
					 SPI_OK_UPDATE, 4, types, values, NULL);
	as_admin_leave(&admin);
}

static void
return_stored(Delivery *delivery)
{
	as_present_stored(delivery->subscription, delivery->read.enough,
					  return_actor, delivery);
}

static void
return_changes(Delivery *delivery)
{
	AsSubscription *subscription = delivery->subscription;
	AsSlotRead *read = &delivery->read;

	delivery->pages = as_present_pages(subscription);
	read->slot = subscription->slot;
	read->options = plugin_options(subscription);
	read->sink = return_event;
	read->sink_arg = delivery;

	/* a transaction that does not commit must find everything again */
	read->may_confirm = !subscription->uncommitted;
	read->confirm_durably = subscription->has_pages;
	as_slot_read(read);
}

static void
deliver(Delivery *delivery)
{
	AsSubscription *subscription = delivery->subscription;

	return_stored(delivery);
	if (delivery->read.taken == 0 && subscription->reading)
	{
		as_present_read(subscription, delivery->read.enough);
		return_stored(delivery);

		/* we have a transaction id now, which others might wait for */
		delivery->read.deadline = 0;
	}
	if (delivery->read.taken == 0)
		return_changes(delivery);
	save_progress(delivery);
	if (delivery->pages != NULL)
		as_present_forget(subscription, delivery->pages);
}

Datum
actorstore_fetch(PG_FUNCTION_ARGS)
{
	Delivery	delivery = {0};
	text	   *name = as_arg_subscription(fcinfo, 0);

	as_reject_null(fcinfo, 1, "max_events");
	delivery.read.enough = PG_GETARG_INT32(1);
	if (delivery.read.enough < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_events must be at least 1")));
	delivery.read.deadline = GetCurrentTimestamp() + as_arg_span(fcinfo, 2, "max_wait");
	PreventCommandIfReadOnly("actorstore.fetch()");
	PreventCommandIfParallelMode("actorstore.fetch()");
	PreventCommandDuringRecovery("actorstore.fetch()");

	InitMaterializedSRF(fcinfo, 0);
	delivery.result = (ReturnSetInfo *) fcinfo->resultinfo;
	delivery.subscription = as_subscription_get(name);
	as_subscription_check_types(delivery.subscription->types,
								delivery.subscription->gone_types,
								delivery.subscription->barred);
	check_slot(delivery.subscription);
	deliver(&delivery);
	return (Datum) 0;
}

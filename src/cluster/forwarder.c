/*-------------------------------------------------------------------------
 *
 * forwarder.c
 *	  See forwarder.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/forwarder.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "cluster/decision.h"
#include "cluster/fault.h"
#include "cluster/lane.h"
#include "cluster/late_flush.h"
#include "cluster/outbox.h"
#include "cluster/peer.h"
#include "cluster/signing.h"
#include "commands/extension.h"
#include "common/pg_prng.h"
#include "compat.h"
#include "lib/backoff.h"
#include "lib/nap.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "runtime/sched.h"
#include "runtime/worker.h"
#include "state/own_transaction.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* batches made and not answered */
#define WINDOW			16

/* look at all that is in the outbox so often: if nobody tells, and in any case */
#define LOOK_MS			1000
#define BUSY_LOOK_MS	10000

/* look so often whether the database is wanted by somebody alone */
#define NAP_MS			500

/* between tries to reach the other node */
#define MIN_BACKOFF_MS	50
#define MAX_BACKOFF_MS	10000

/* while mailboxes there are crowded */
#define MIN_PAUSE_MS	5
#define MAX_PAUSE_MS	1000

/* delete what was answered so often */
#define CLEAN_MS		5000

#define DELIVER_SQL \
	"SELECT watermark, crowded FROM actorstore.local_deliver($1::pg_catalog.uuid, $2::pg_catalog.int8, $3::pg_catalog.int8, $4::pg_catalog.int8, $5::pg_catalog.bytea)"

typedef struct Forwarder
{
	int16		number;			/* of the other node */
	int			lane;
	MemoryContext context;		/* of batches */
	MemoryContext scratch;
	AsPeer	   *peer;			/* NULL: not connected */
	char		uuid[37];		/* ours, as text */
	int64		incarnation;	/* ours */
	int64		last;			/* number of the batch made last, in it */

	AsBatch		batches[WINDOW];	/* in their order */
	int			nbatches;
	int			nflying;		/* of these, in the flight */
	bool		stored;			/* more in the table, made before */

	AsBatchNumber done;			/* the other node has this one, and all before */

	uint64		from;			/* look from this id on; AS_NO_LOW: at nothing */
	XLogRecPtr	safe;			/* batches are, once all that is flushed */
	int			backoff;		/* ms */
	int			pause;
	TimestampTz looked_at;		/* at all */
	TimestampTz cleaned_at;
} Forwarder;

static Forwarder me;

/* ---- Batches ---- */

static void
keep(const AsBatch *batch)
{
	Size		size = VARSIZE_ANY(batch->envelope);
	bytea	   *envelope = MemoryContextAlloc(me.context, size);

	memcpy(envelope, batch->envelope, size);
	me.batches[me.nbatches] = *batch;
	me.batches[me.nbatches++].envelope = envelope;
}

/* Those that the other node has already are on their way no more. */
static void
drop_batches(void)
{
	for (int i = 0; i < me.nbatches; i++)
	{
		const AsBatch *batch = &me.batches[i];

		if (batch->incarnation < me.done.incarnation ||
			(batch->incarnation == me.done.incarnation && batch->number <= me.done.number))
			as_lane_add(me.lane, -batch->nmessages);
		pfree(batch->envelope);
	}
	me.nbatches = 0;
	me.nflying = 0;
}

/*
 * Those that an earlier process has made, behind the last one at hand.  It may
 * not have flushed them.
 */
static void
load_stored(void)
{
	AsBatch		batches[WINDOW];
	int			room = WINDOW - me.nbatches;
	int			n;
	const AsBatch *last = me.nbatches > 0 ? &me.batches[me.nbatches - 1] : NULL;

	as_own_transaction_begin();
	as_flush_what_is_seen();
	n = as_outbox_stored(me.number, last != NULL ? last->incarnation : me.done.incarnation,
						 last != NULL ? last->number : me.done.number, room, batches);
	as_own_transaction_end();
	for (int i = 0; i < n; i++)
	{
		keep(&batches[i]);
		as_lane_count(me.lane, AS_LANE_REPEATED, 1);
	}
	me.stored = n == room;
	me.safe = XactLastCommitEnd;
}

/* Make a batch of what is in the outbox; false if there is nothing now. */
static bool
make_batch(bool may_wait)
{
	AsBatch		batch = {.incarnation = me.incarnation, .number = me.last + 1};
	uint64		low = as_lane_take_low(me.lane);	/* Min() would take it twice */
	uint64		from = Min(me.from, low);
	uint64		next;
	bool		made;

	if (TimestampDifferenceExceeds(me.looked_at, GetCurrentTimestamp(), BUSY_LOOK_MS))
		from = 0;
	me.from = AS_NO_LOW;
	if (from == AS_NO_LOW)
		return false;
	if (from == 0)
		me.looked_at = GetCurrentTimestamp();

	/* should this fail, all is looked at once there is a connection again */
	as_own_transaction_begin();
	low = as_lane_low_since(me.lane);	/* the snapshot is there */
	from = Min(from, low);
	made = as_outbox_dispatch(me.number, from, may_wait, &batch, &next);
	if (made)
		as_sync_require_if_replicated();
	as_own_transaction_end();
	me.from = next;
	if (!made)
		return false;
	me.safe = XactLastCommitEnd;
	me.last++;
	keep(&batch);
	AS_FAULT("forward_made");
	return true;
}

/* ---- The connection ---- */

static void
disconnect(void)
{
	if (me.peer != NULL)
		as_peer_close(me.peer);
	me.peer = NULL;
	me.nflying = 0;
	as_lane_set_connected(me.lane, false);
}

static void
say_failure(ErrorData *error)
{
	/* said when it begins, not at every try */
	if (me.backoff == 0)
		ereport(LOG,
				(errmsg("messages to node number %d wait: %s", me.number, error->message),
				 error->detail == NULL ? 0 : errdetail_internal("%s", error->detail)));
	me.backoff = as_backoff_next(me.backoff, MIN_BACKOFF_MS, MAX_BACKOFF_MS);
	as_lane_count(me.lane, AS_LANE_FAILURES, 1);
}

/* Do something that the other node may make fail; then we are not connected. */
static void
try_to(void (*act) (void))
{
	PG_TRY();
	{
		act();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(me.scratch);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		MemoryContextSwitchTo(me.scratch);
		disconnect();
		say_failure(error);
	}
	PG_END_TRY();
}

static const AsNode *
other_node(void)
{
	const AsNode *self = as_node_self();

	return self == NULL || self->number == me.number ? NULL : as_node_by_number(me.number);
}

static void
connect_and_ask(void)
{
	AsNode		node;

	as_own_transaction_begin();
	node = *other_node();
	node.name = pstrdup(node.name);
	node.conninfo = node.conninfo == NULL ? NULL : pstrdup(node.conninfo);
	me.incarnation = as_node_self()->incarnation;
	strlcpy(me.uuid, DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&as_node_self()->uuid))),
			sizeof(me.uuid));
	as_own_transaction_end();
	me.peer = as_peer_get(&node);
	me.stored = as_forwarder_resume(me.peer, me.number, me.uuid, me.incarnation, &me.done, &me.last);
	drop_batches();
	as_lane_set_acked(me.lane, me.done.incarnation, me.done.number);
	me.from = 0;
	if (me.backoff > 0)
		ereport(LOG,
				(errmsg("messages to node \"%s\" go on", node.name)));
	me.backoff = 0;
	as_lane_set_connected(me.lane, true);
}

/* ---- Flights ---- */

static void
add_batch(const AsBatch *batch, const char *epoch, const bytea *envelope)
{
	const char *values[5] = {
		me.uuid, psprintf(INT64_FORMAT, batch->incarnation),
		psprintf(INT64_FORMAT, batch->number), epoch, VARDATA_ANY(envelope)
	};
	const int	lengths[5] = {0, 0, 0, 0, (int) VARSIZE_ANY_EXHDR(envelope)};
	const int	formats[5] = {0, 0, 0, 0, 1};
	AsPeerCommand command = {
		.sql = DELIVER_SQL, .nvalues = 5, .values = values,
		.lengths = lengths, .formats = formats, .keep = true
	};

	(void) as_peer_add_command(me.peer, &command);
}

/*
 * The other node stores them while the disk here takes them in: it commits only
 * with the end of the flight, which is sent behind that.  Where there are
 * standbys to be waited for, which may take long, they have been.
 */
static void
launch(void)
{
	AsSigned	what = {.receiver = me.peer->uuid};
	const bytea *envelopes[AS_FLIGHT];
	char	   *epoch;

	/* made, but not safe yet: somebody has stopped waiting for the standbys */
	if (!as_sync_acknowledged(me.safe))
		return;
	me.nflying = Min(me.nbatches, AS_FLIGHT);
	as_own_transaction_begin();
	what.epoch = as_node_epoch();
	what.sender = as_node_need_self()->uuid;
	for (int i = 0; i < me.nflying; i++)
	{
		what.incarnation = me.batches[i].incarnation;
		what.batch = me.batches[i].number;
		envelopes[i] = as_signing_sign(&what, me.batches[i].envelope);
	}
	as_own_transaction_end();
	epoch = psprintf(INT64_FORMAT, what.epoch);
	for (int i = 0; i < me.nflying; i++)
		add_batch(&me.batches[i], epoch, envelopes[i]);
	as_peer_hurry(me.peer);
	AS_FAULT("forward_unsafe");
	XLogFlush(me.safe);
	(void) as_peer_launch(me.peer);
	AS_FAULT("forward_sent");
}

/* The first one is there, for good. */
static void
forget_first(void)
{
	AsBatch    *batch = &me.batches[0];

	me.done.incarnation = batch->incarnation;
	me.done.number = batch->number;
	as_lane_set_acked(me.lane, me.done.incarnation, me.done.number);
	as_lane_add(me.lane, -batch->nmessages);
	as_lane_count(me.lane, AS_LANE_FORWARDED, batch->nmessages);
	as_lane_count(me.lane, AS_LANE_BATCHES, 1);
	pfree(batch->envelope);
	memmove(me.batches, me.batches + 1, sizeof(AsBatch) * --me.nbatches);
}

/* The answer to one of the flight; is the other node crowded? */
static bool
check_answer(int i)
{
	PGresult   *result = as_peer_result(me.peer, i);

	if (PQntuples(result) != 1 || PQnfields(result) != 2 || PQgetisnull(result, 0, 0))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("node number %d has given an answer to a batch of messages that is none", me.number)));
	if (pg_strtoint64(PQgetvalue(result, 0, 0)) < me.batches[i].number)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_EXCEPTION),
				 errmsg("node number %d has only batch %s where " INT64_FORMAT " was sent",
						me.number, PQgetvalue(result, 0, 0), me.batches[i].number)));
	return PQgetvalue(result, 0, 1)[0] == 't';
}

/*
 * The batches of a flight are stored by one transaction.  A server that goes down
 * may give answers out that it has not committed, or not flushed: they count once
 * the flight has ended as it should.
 */
static void
land(void)
{
	bool		landed = as_peers_wait(&me.peer, 1, as_peer_deadline(actorstore_peer_timeout));
	bool		crowded = false;
	int			n = me.nflying;

	me.nflying = 0;
	if (landed || me.peer->broken)
	{
		for (int i = 0; i < n; i++)
			crowded = check_answer(i) || crowded;
	}
	if (!landed)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("no answer to a batch of messages")));
	for (int i = 0; i < n; i++)
		forget_first();
	me.pause = crowded ? Min(MAX_PAUSE_MS, Max(MIN_PAUSE_MS, 2 * me.pause)) : 0;
}

/* Batches that were answered long enough ago; the last one stays. */
static void
clean(void)
{
	as_own_transaction_begin();
	as_outbox_clean(me.number, me.done.incarnation, me.done.number);
	as_own_transaction_end();
	me.cleaned_at = GetCurrentTimestamp();
}

/*
 * Send what there is, make what comes next, and see what has arrived; until
 * there is nothing left.
 */
static void
forward(void)
{
	for (;;)
	{
		as_worker_check_signals();
		if (me.stored && me.nflying == 0 && me.nbatches < WINDOW)
			load_stored();
		if (me.nbatches == 0 && !make_batch(true))
			return;
		if (me.nflying == 0)
			launch();
		if (me.nflying == 0)
			return;
		while (!me.stored && me.nbatches < WINDOW && make_batch(false))
			;
		land();
		MemoryContextReset(me.scratch);
		if (me.pause > 0 || as_sched_is_barred(MyDatabaseId))
			return;
	}
}

/* ---- The process ---- */

static void
nap(void)
{
	int			ms = me.pause > 0 ? me.pause :
	me.backoff > 0 ? as_backoff_wait(me.backoff, pg_prng_double(&pg_global_prng_state)) :
	LOOK_MS;
	TimestampTz until = as_peer_deadline(ms);

	pgstat_report_activity(STATE_IDLE, NULL);
	(void) pgstat_report_stat(false);
	while (!as_sched_is_barred(MyDatabaseId))
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
		bool		roused;

		if (left <= 0)
			break;
		roused = as_nap(Min(NAP_MS, left), AS_NAP_FORWARDER_MAIN);
		as_worker_check_signals();
		if (roused && me.pause == 0 && me.backoff == 0)
			return;
	}

	/* nobody has told: look at all */
	me.from = 0;
}

static bool
is_wanted(void)
{
	bool		wanted;

	as_own_transaction_begin();
	wanted = OidIsValid(get_extension_oid("actorstore", true)) && other_node() != NULL;
	as_own_transaction_end();
	return wanted && !as_sched_is_barred(MyDatabaseId);
}

static void
work(void)
{
	if (me.peer != NULL && as_forwarder_is_gone(me.peer))
		disconnect();
	if (me.peer == NULL)
		try_to(connect_and_ask);
	if (me.peer != NULL)
		try_to(forward);
	if (me.done.number > 1 &&
		TimestampDifferenceExceeds(me.cleaned_at, GetCurrentTimestamp(), CLEAN_MS))
		try_to(clean);
}

void
as_forwarder_main(Datum argument)
{
	Oid			database;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	memcpy(&database, MyBgworkerEntry->bgw_extra, sizeof(Oid));
	as_worker_connect(database);
	me.number = DatumGetInt16(argument);
	me.lane = as_lane_find(me.number);
	if (me.lane < 0 || !as_lane_register(me.lane))
		proc_exit(0);
	me.context = AllocSetContextCreate(TopMemoryContext, "actorstore forwarder",
									   ALLOCSET_DEFAULT_SIZES);
	me.scratch = AllocSetContextCreate(me.context, "actorstore forwarder's work",
									   ALLOCSET_DEFAULT_SIZES);
	if (RecoveryInProgress() || as_worker_look_around() != AS_FOUND_SERVED)
		proc_exit(0);
	MemoryContextSwitchTo(me.scratch);
	while (is_wanted())
	{
		work();
		MemoryContextReset(me.scratch);
		nap();
	}
	proc_exit(0);
}

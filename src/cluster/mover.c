/*-------------------------------------------------------------------------
 *
 * mover.c
 *	  See mover.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/mover.h"

#include <limits.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "cluster/fault.h"
#include "cluster/give.h"
#include "cluster/handover.h"
#include "cluster/haul.h"
#include "cluster/node.h"
#include "cluster/panel.h"
#include "cluster/plan.h"
#include "cluster/transit.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "lib/nap.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "runtime/sched.h"
#include "runtime/worker.h"
#include "state/owner.h"
#include "state/text_query.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Who holds frozen slots for longer makes them thaw. */
#define FREEZE_MS		1000

/* Whoever copies, or has copied, waits no longer for others' locks. */
#define LOCK_MS			1000

/* With a rate, a batch is copied in such a time, if it is not a single slot. */
#define COPY_MS			1000

/* Look again so soon, if all is in order, and something is waited for */
#define POLL_MS			10

/* After a failure */
#define MIN_BACKOFF_MS	100
#define MAX_BACKOFF_MS	5000

/* After so many in a row what was announced is taken back. */
#define MAX_FAILURES	5

/* Tells our lock from those of users, and those on slots (state/owner.c) */
#define MOVER_LOCK_CLASS	7

bool		actorstore_may_give = true;
int			actorstore_rebalance_rate = 0;

/* What a step has led to */
typedef enum Progress
{
	GOES_ON,
	WAITS,						/* for others; not yet */
	IS_DONE,					/* nothing is left */
	FAILED
} Progress;

static Progress last = GOES_ON;

static int	nfailures = 0;
static bool cannot_move = false;	/* what was announced: it holds what cannot */

/* Not too fast */
static TimestampTz began = 0;		/* with the batch; 0: with none */
static TimestampTz rest_until = 0;	/* that many actors have moved */
static int	soon = 1;				/* slots that can be copied in COPY_MS */

static bool
is_resting(void)
{
	return !actorstore_may_give || (actorstore_rebalance_rate > 0 && GetCurrentTimestamp() < rest_until);
}

/*
 * How many slots the next batch may have.  Messages to its actors wait while it is copied, as does
 * who changes types: so where copies are slow they are small.
 */
static int
room(void)
{
	if (is_resting())
		return 0;
	return actorstore_rebalance_rate == 0 ? AS_SLOTS : soon;
}

/* So many actors in so many slots have moved, which the next ones may be like. */
static void
count_moved(int64 nactors, int nslots)
{
	int64		rate = actorstore_rebalance_rate;

	if (rate > 0)
	{
		rest_until = TimestampTzPlusMilliseconds(began, nactors * 1000 / rate);
		soon = (int) Min(AS_SLOTS, 2 * nslots);
		if (nactors > 0)
			soon = (int) Max(1, Min(soon, rate * nslots * COPY_MS / 1000 / nactors));
	}
	began = 0;
}

/* ---- Steps, each in a transaction ---- */

static void
begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
end(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* Nothing of ours is moving. */
static Progress
announce(void)
{
	int16		now[AS_SLOTS];
	int16		target[AS_SLOTS];

	if (!actorstore_may_give)
		return IS_DONE;
	as_node_owners(now);
	if (as_plan_is_on() && as_plan_target(now, target) == 0)
		as_plan_switch(false);
	if (!as_plan_has_work())
		return IS_DONE;
	if (is_resting())
		return WAITS;
	as_plan_advance(room());
	return as_plan_is_moving() ? GOES_ON : WAITS;
}

static bool
all_have_drained(void)
{
	const char *values[1] = {psprintf(INT64_FORMAT, as_node_epoch())};
	AsPanel    *panel = palloc0(sizeof(AsPanel));
	volatile bool drained = true;

	PG_TRY();
	{
		as_panel_open(panel);
		as_panel_ask(panel, NULL, 3 * actorstore_peer_timeout,
					 "SELECT actorstore.local_drained($1::pg_catalog.int8)", 1, values);
		(void) as_panel_throw(panel);
		for (int i = 0; i < panel->n; i++)
		{
			PGresult   *result = as_panel_answer(panel, i);

			if (result == NULL)
				ereport(ERROR,
						(errcode(ERRCODE_CONNECTION_FAILURE),
						 errmsg("node \"%s\" does not say that its messages have arrived", panel->members[i].name)));
			drained = drained && PQgetvalue(result, 0, 0)[0] == 't';
		}
	}
	PG_FINALLY();
	{
		as_panel_close(panel);
	}
	PG_END_TRY();
	return drained;
}

/*
 * The copy has a transaction of its own: nobody waits for its locks on tables.  Nor does
 * it wait for long, here or there: whoever changes types on all nodes may wait for
 * it on one, and let it wait on the other.
 */
static void
copy(const AsTransit *parked)
{
	(void) set_config_option("lock_timeout", psprintf("%dms", LOCK_MS), PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	as_haul_copy(parked);
	end();
	AS_FAULT("move_copied");
	begin();
}

/*
 * Who holds a slot once all is copied is waited for before it is frozen, as nobody else waits
 * meanwhile; but not for long, as whoever changes types may wait for the copy.  If he
 * takes longer the copy has been for nothing, and the next time he is waited for first.
 */
static Progress
drain_and_freeze(const AsTransit *parked)
{
	AS_FAULT("move_announced");
	if (!all_have_drained())
		return WAITS;
	AS_FAULT("move_drained");
	as_handover_check(parked);
	began = GetCurrentTimestamp();
	copy(parked);
	as_give_wait(parked->slots, parked->n, LOCK_MS);
	AS_FAULT("move_waited");
	as_transit_set(parked, AS_TRANSIT_PARKED, AS_TRANSIT_FROZEN);
	return GOES_ON;
}

static void
thaw(const AsTransit *frozen)
{
	begin();
	as_transit_set(frozen, AS_TRANSIT_FROZEN, AS_TRANSIT_PARKED);
	end();
}

static Progress
hand_over(const AsTransit *frozen)
{
	int64		nactors;

	if (began == 0)
		began = GetCurrentTimestamp();
	AS_FAULT("move_frozen");
	as_give_wait_frozen(frozen->slots, frozen->n, FREEZE_MS);
	if (!as_transit_is_quiet(frozen))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("messages of actors that shall move have not arrived yet")));
	nactors = as_handover(frozen);
	end();
	nfailures = 0;
	AS_FAULT("move_handed");
	count_moved(nactors, frozen->n);
	begin();
	return GOES_ON;
}

static bool
is_settled(const AsTransit *handed)
{
	const AsNode *taker = as_node_need_number(handed->taker);
	const char *values[1] = {text_to_cstring(as_transit_array(handed))};
	PGresult   *result = as_peer_execute(as_peer_get(taker),
										 "SELECT actorstore.local_has_taken($1::pg_catalog.int2[])", 1, values, false);

	return PQgetvalue(result, 0, 0)[0] == 't';
}

static Progress
settle_and_give(const AsTransit *handed)
{
	if (!is_settled(handed))
		return WAITS;
	AS_FAULT("move_settled");
	as_plan_advance(room());
	AS_FAULT("move_given");
	return GOES_ON;
}

/*
 * What comes next?  In a transaction, and out of another one.  A copy is for what is frozen: if
 * that has thawed, what the taker is asked next must not be a part of the copy's transaction.
 */
static Progress
step(void)
{
	static AsTransit current;	/* outlives the transaction */
	AsTransit  *transit = &current;

	as_transit_read(AS_TRANSIT_FROZEN, transit);
	if (transit->n > 0)
		return hand_over(transit);
	as_haul_forget();
	as_transit_read(AS_TRANSIT_HANDED, transit);
	if (transit->n > 0)
		return settle_and_give(transit);
	as_transit_read(AS_TRANSIT_PARKED, transit);
	if (transit->n > 0)
		return drain_and_freeze(transit);
	return announce();
}

/* ---- Failures ---- */

/* Nobody waits for frozen slots while we wait for something else. */
static void
retreat(void)
{
	AsTransit  *transit = palloc(sizeof(AsTransit));
	bool		give_up = ++nfailures > MAX_FAILURES || cannot_move;

	as_haul_forget();
	begin();
	as_transit_read(AS_TRANSIT_FROZEN, transit);
	end();
	if (transit->n > 0)
		thaw(transit);
	if (!give_up)
		return;
	begin();
	as_plan_take_back();
	end();
	nfailures = 0;
	cannot_move = false;
}

/* A step that fails is logged, and may be tried again. */
static void
try_to(void (*act) (void))
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		act();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		cannot_move = geterrcode() == ERRCODE_OBJECT_IN_USE;
		EmitErrorReport();
		AbortCurrentTransaction();
		FlushErrorState();
		last = FAILED;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

static void
try_step(void)
{
	begin();
	last = step();
	end();
}

static void
let_go(void)
{
	while (as_transit_let_go())
		as_worker_check_signals();
}

/* ---- The process ---- */

static void
nap(void)
{
	int			ms = last == FAILED ? Min(MAX_BACKOFF_MS, MIN_BACKOFF_MS << Min(nfailures, 10)) : POLL_MS;

	(void) as_nap(ms, AS_NAP_MOVER_MAIN);
	as_worker_check_signals();
}

static void
mover_tag(LOCKTAG *tag)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, 0, 0, MOVER_LOCK_CLASS);
}

/* Only one moves. */
static bool
become_the_one(void)
{
	LOCKTAG		tag;
	bool		is;

	mover_tag(&tag);
	StartTransactionCommand();
	is = LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
	CommitTransactionCommand();
	return is;
}

static bool
is_node(void)
{
	bool		is;

	begin();
	is = OidIsValid(get_extension_oid("actorstore", true)) && as_node_self() != NULL;
	end();
	return is && !as_sched_is_barred(MyDatabaseId);
}

void
as_mover_main(Datum database)
{
	MemoryContext context;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	as_worker_connect(DatumGetObjectId(database));
	if (RecoveryInProgress() || as_worker_look_around() != AS_FOUND_SERVED || !become_the_one())
		proc_exit(0);
	context = AllocSetContextCreate(TopMemoryContext, "actorstore mover", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	while (last != IS_DONE && is_node())
	{
		try_to(try_step);
		if (last == FAILED)
			try_to(retreat);
		else
			try_to(let_go);
		if (last == FAILED || last == WAITS)
			nap();
		as_worker_check_signals();
		MemoryContextReset(context);
	}
	proc_exit(0);
}

/* Is anything moving from here, or should it? */
static bool
is_wanted(void)
{
	MemoryContext context = CurrentMemoryContext;
	static const char states[] = {AS_TRANSIT_PARKED, AS_TRANSIT_FROZEN, AS_TRANSIT_HANDED};
	LOCKTAG		tag;
	bool		wanted;

	begin();
	mover_tag(&tag);
	wanted = as_node_self() != NULL && actorstore_may_give && as_plan_has_work();
	for (int i = 0; i < (int) lengthof(states) && !wanted; i++)
	{
		AsTransit  *transit = palloc(sizeof(AsTransit));

		if (as_node_self() == NULL)
			break;
		as_transit_read(states[i], transit);
		wanted = transit->n > 0;
	}
	if (wanted && LockAcquire(&tag, ExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		wanted = false;
	end();
	MemoryContextSwitchTo(context);
	return wanted;
}

void
as_mover_look(void)
{
	static bool said = false;	/* that there is none */
	BackgroundWorker registration;
	BackgroundWorkerHandle *handle;

	if (!is_wanted())
		return;
	as_worker_describe(&registration, "actorstore mover", "as_mover_main", ObjectIdGetDatum(MyDatabaseId));
	if (RegisterDynamicBackgroundWorker(&registration, &handle))
		said = false;
	else if (!said)
	{
		said = true;
		ereport(LOG,
				(errmsg("no background worker is free to move slots to other nodes"),
				 errhint("Consider increasing the configuration parameter \"max_worker_processes\".")));
	}
}

void
as_mover_init(void)
{
	DefineCustomBoolVariable("actorstore.rebalance",
							 "Lets this node give slots to other nodes while a rebalance is under way.",
							 "What was begun is finished.",
							 &actorstore_may_give,
							 true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("actorstore.rebalance_rate",
							"How many actors a second this node gives to other nodes at most; 0 is no limit.",
							NULL,
							&actorstore_rebalance_rate,
							0, 0, INT_MAX,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	as_plan_init();
}

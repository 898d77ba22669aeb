/*-------------------------------------------------------------------------
 *
 * fire.c
 *	  See fire.h.
 *
 * Commits do not wait for the disk: a firing that a crash undoes takes its
 * message along and is done again, and a turn that has handled the message
 * waits for all that came before it.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/fire.h"

#include "access/detoast.h"
#include "access/xact.h"
#include "runtime/grid.h"
#include "runtime/mailbox.h"
#include "runtime/sched.h"
#include "runtime/send.h"
#include "runtime/timer.h"
#include "runtime/timing.h"
#include "state/owner.h"
#include "state/type.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Bounds of a transaction */
#define TIMERS_AT_ONCE		1000
#define MESSAGES_AT_ONCE	4000
#define MESSAGES_OF_ONE		1000

/* So late is late, and nothing worse. */
#define GRACE_US			USECS_PER_SEC

#define DEFAULT_PRIORITY	4

/* Where this process goes on, which nobody else knows; DT_NOEND: nowhere. */
static AsTimerPosition position = {DT_NOEND, 0};

typedef struct Firing
{
	TimestampTz now;
	TimestampTz since;			/* what was due earlier was missed */
	AsTimers	timers;
	AsTimerPosition next;		/* of what is left */
	int			nmessages;
	AsMessage  *messages;
	AsType	  **types;			/* of the messages */
} Firing;

/* What is to be done about a timer */
typedef struct Plan
{
	int			nmessages;
	TimestampTz due;			/* next; DT_NOEND: never */
	int64		nth;			/* of the time after that */
} Plan;

/* ---- One timer ---- */

static void
go_to(const AsTimer *timer, Plan *plan, int64 n)
{
	plan->due = as_grid_at(timer, n);
	plan->nth = n + 1;
}

static void
fire_each(const AsTimer *timer, Plan *plan, TimestampTz now)
{
	while (plan->due <= now && plan->nmessages < MESSAGES_OF_ONE)
	{
		plan->nmessages++;
		go_to(timer, plan, plan->nth);
	}
}

static void
fire_once(const AsTimer *timer, Plan *plan, TimestampTz now)
{
	if (plan->due >= now - GRACE_US)
		fire_each(timer, plan, now);
	else
	{
		plan->nmessages = 1;
		go_to(timer, plan, as_grid_after(timer, now));
	}
}

static void
make_plan(const Firing *firing, const AsTimer *timer, Plan *plan)
{
	bool		skip = timer->missed == AS_MISSED_SKIP &&
		timer->due < firing->since;

	plan->nmessages = 0;
	plan->due = timer->due;
	plan->nth = timer->nth;
	if (timer->every == NULL)
	{
		plan->nmessages = skip ? 0 : 1;
		plan->due = DT_NOEND;
		return;
	}
	if (skip)
		go_to(timer, plan, as_grid_after(timer, firing->since - 1));
	if (timer->missed == AS_MISSED_ALL)
		fire_each(timer, plan, firing->now);
	else if (plan->due <= firing->now)
		fire_once(timer, plan, firing->now);
}

static void
add_message(Firing *firing, AsType *type, const AsTimer *timer)
{
	AsMessage  *message = &firing->messages[firing->nmessages];

	memset(message, 0, sizeof(AsMessage));
	message->actor_type = timer->actor_type;
	message->actor_id = timer->actor_id;
	message->name = timer->message;
	message->body = timer->body;
	if (message->body != 0 && VARATT_IS_EXTERNAL(DatumGetPointer(message->body)))
		message->body = PointerGetDatum(detoast_external_attr((struct varlena *) DatumGetPointer(message->body)));
	message->priority = DEFAULT_PRIORITY;
	firing->types[firing->nmessages++] = type;
}

static void
fire_timer(Firing *firing, AsTimer *timer)
{
	AsType	   *type = as_type_find(timer->actor_type);
	Plan		plan;

	as_owner_keep(timer->actor_type, timer->actor_id);
	make_plan(firing, timer, &plan);
	if (type == NULL || plan.due == DT_NOEND)
	{
		if (!as_timer_delete(&firing->timers, timer) || type == NULL)
			return;
	}
	else
	{
		if (!as_timer_advance(&firing->timers, timer, plan.due, plan.nth))
			return;
		if (plan.due < firing->next.due)
		{
			firing->next.due = plan.due;
			firing->next.spread = PG_INT32_MIN;
		}
	}
	for (int i = 0; i < plan.nmessages; i++)
		add_message(firing, type, timer);
}

/* ---- All that are due ---- */

/* Those of each type together, which else stay in their order. */
static void
send_messages(Firing *firing)
{
	AsMessage  *batch = palloc(firing->nmessages * sizeof(AsMessage));

	for (int i = 0; i < firing->nmessages; i++)
	{
		AsType	   *type = firing->types[i];
		AsType		unwilling;
		int			n = 0;

		if (type == NULL)
			continue;
		for (int j = i; j < firing->nmessages; j++)
		{
			if (firing->types[j] != type)
				continue;
			batch[n++] = firing->messages[j];
			firing->types[j] = NULL;
		}
		unwilling = *type;
		unwilling.on_full = AS_FULL_DROP;
		(void) as_send(&unwilling, batch, n);
	}
}

static void
fire_some(Firing *firing, const AsTimerPosition *from)
{
	AsTimer    *found = palloc(TIMERS_AT_ONCE * sizeof(AsTimer));
	int			nfound = as_timers_read(&firing->timers, from, firing->now,
										found, TIMERS_AT_ONCE, &firing->next);
	int			room = MESSAGES_AT_ONCE + MESSAGES_OF_ONE;

	firing->messages = palloc(room * sizeof(AsMessage));
	firing->types = palloc(room * sizeof(AsType *));
	for (int i = 0; i < nfound; i++)
	{
		if (firing->nmessages >= MESSAGES_AT_ONCE)
		{
			AsTimerPosition left = {found[i].due, found[i].spread};

			if (left.due <= firing->next.due)
				firing->next = left;
			break;
		}
		fire_timer(firing, &found[i]);
	}
	send_messages(firing);
}

static void
set_locally(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

/* What was due earlier than that was missed. */
static TimestampTz
missed_before(AsTimingShared *timing, TimestampTz now)
{
	uint64		since = 0;

	if (pg_atomic_compare_exchange_u64(&timing->since, &since, (uint64) now))
		since = (uint64) now;
	return (TimestampTz) since - GRACE_US;
}

/* The position to go on from: this process's own, or an earlier one told. */
static bool
take_position(AsTimingShared *timing)
{
	uint64		told = pg_atomic_exchange_u64(&timing->next, AS_NEVER);

	if (told != AS_NEVER && (TimestampTz) told <= position.due)
	{
		position.due = told == 0 ? DT_NOBEGIN : (TimestampTz) told;
		position.spread = PG_INT32_MIN;
	}
	return position.due != DT_NOEND;
}

bool
as_fire(uint32 home)
{
	AsTimingShared *timing = as_timing(home);
	Firing		firing = {0};

	if (!take_position(timing))
		return false;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	set_locally("synchronous_commit", "off");

	/* a body that was let in must come out, whatever the limit is by now */
	set_locally("actorstore.max_message_size", "256MB");
	firing.now = GetCurrentTimestamp();
	firing.since = missed_before(timing, firing.now);
	as_timers_open(&firing.timers, RowExclusiveLock);
	PushActiveSnapshot(GetTransactionSnapshot());
	fire_some(&firing, &position);
	PopActiveSnapshot();
	as_timers_close(&firing.timers);
	CommitTransactionCommand();
	(void) pg_atomic_fetch_add_u64(&timing->nfired, firing.nmessages);

	position = firing.next;
	if (position.due <= firing.now)
		return true;
	as_fire_let_go(home);
	return false;
}

void
as_fire_let_go(uint32 home)
{
	TimestampTz due = position.due;

	position.due = DT_NOEND;
	if (due != DT_NOEND)
		as_timing_lower(home, due == DT_NOBEGIN ? 0 : due);
}

bool
as_fire_is_wanted(uint32 home)
{
	uint64		next = as_timing_for_workers(home);

	return next != AS_NEVER && (TimestampTz) next <= GetCurrentTimestamp();
}

/*-------------------------------------------------------------------------
 *
 * report.c
 *	  See report.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/report.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define WINDOW_US		INT64CONST(1000000)

/* of this process */
static TimestampTz window = 0;	/* when its present second began */
static int	nlines = 0;			/* written in it */
static int64 nleft_out = 0;		/* not written, and not said yet */

static void
begin_window(TimestampTz now)
{
	int64		n = nleft_out;

	window = now;
	nlines = 0;
	nleft_out = 0;
	if (n > 0)
		ereport(LOG,
				(errmsg("%lld more lines about messages were left out",
						(long long) n),
				 errhint("See \"actorstore.log_limit\".")));
}

/* May another line be written? */
static bool
has_room(void)
{
	TimestampTz now;

	if (actorstore_log_limit < 0)
		return true;
	now = GetCurrentTimestamp();
	if (now - window >= WINDOW_US || now < window)
		begin_window(now);
	if (nlines >= actorstore_log_limit)
	{
		nleft_out++;
		return false;
	}
	nlines++;
	return true;
}

void
as_report_rest(void)
{
	if (nleft_out > 0 && GetCurrentTimestamp() - window >= WINDOW_US)
		begin_window(GetCurrentTimestamp());
}

static const char *
state_of(int sqlerrcode)
{
	return sqlerrcode == 0 ? "none" : unpack_sql_state(sqlerrcode);
}

void
as_report_dead(const AsMessage *message, const AsReason *reason)
{
	if (!has_room())
		return;
	ereport(LOG,
			(errmsg("message %lld (%s) to actor (%s, %s) is a dead letter: %s",
					(long long) message->message_id,
					text_to_cstring(message->name),
					text_to_cstring(message->actor_type),
					text_to_cstring(message->actor_id), reason->reason),
			 errdetail("Attempts: %d; SQLSTATE: %s; error: %s",
					   message->attempts, state_of(reason->sqlerrcode),
					   reason->error != NULL ? reason->error : "none")));
}

void
as_report_retry(const AsMessage *message, int max_attempts, int64 wait,
				const ErrorData *error)
{
	int			level = actorstore_log_retries ? LOG : DEBUG1;

	if (!message_level_is_interesting(level) || !has_room())
		return;
	ereport(level,
			(errmsg("message %lld (%s) to actor (%s, %s) is tried again in %lld ms",
					(long long) message->message_id,
					text_to_cstring(message->name),
					text_to_cstring(message->actor_type),
					text_to_cstring(message->actor_id),
					(long long) (wait / 1000)),
			 errdetail("Attempts: %d of %d; SQLSTATE: %s; error: %s",
					   message->attempts, max_attempts,
					   state_of(error->sqlerrcode), error->message)));
}

void
as_report_told(const AsMessage *message, const ErrorData *error)
{
	if (!has_room())
		return;
	ereport(LOG,
			(errmsg("message %s told to actor (%s, %s) has failed: %s",
					text_to_cstring(message->name),
					text_to_cstring(message->actor_type),
					text_to_cstring(message->actor_id), error->message)));
}

static char *
my_database(void)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *name;

	StartTransactionCommand();
	name = get_database_name(MyDatabaseId);
	name = MemoryContextStrdup(context, name != NULL ? name : "?");
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return name;
}

void
as_report_start(int worker)
{
	ereport(actorstore_log_workers ? LOG : DEBUG1,
			(errmsg("actorstore worker %d has started in database \"%s\"",
					worker, my_database())));
}

void
as_report_stop(int worker)
{
	as_report_rest();
	ereport(actorstore_log_workers ? LOG : DEBUG1,
			(errmsg("actorstore worker %d stops in database \"%s\"",
					worker, my_database())));
}

void
as_report_restart(int worker, Oid database)
{
	ereport(LOG,
			(errmsg("actorstore worker %d has ended and is started again",
					worker),
			 errdetail("It served the database with OID %u.", database)));
}

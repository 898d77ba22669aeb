/*-------------------------------------------------------------------------
 *
 * session.c
 *	  See session.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/session.h"

#include "catalog/namespace.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

/*
 * A handler that has run out of time, and catches the error that says so, is
 * interrupted several times more before its process ends.
 */
#define OVERTIME_MS		2000

static TimeoutId overtime = MAX_TIMEOUTS;	/* not registered yet */
static volatile sig_atomic_t overdue = false;

static TimestampTz end_of_turn = 0;	/* 0: none */

/*
 * The search_path that the session has between transactions: that of the last
 * handler, as the next one's is mostly the same, and settings that nobody has
 * changed need not be put back.
 */
static char *session_path = NULL;

/* That of the transaction, if it is another one; in its memory. */
static char *transaction_path = NULL;

static void
become(Oid owner)
{
	Oid			user;
	int			sec_context;

	GetUserIdAndSecContext(&user, &sec_context);
	if (user != owner || (sec_context & SECURITY_LOCAL_USERID_CHANGE) == 0)
		SetUserIdAndSecContext(owner, sec_context | SECURITY_LOCAL_USERID_CHANGE);
}

static void
end_process(void)
{
	overdue = true;
	ProcDiePending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

bool
as_session_is_late(void)
{
	return end_of_turn != 0 && GetCurrentTimestamp() >= end_of_turn;
}

bool
as_session_is_overdue(void)
{
	return overdue;
}

void
as_session_begin_turn(Oid owner, int64 timeout)
{
	TimestampTz end = GetCurrentTimestamp() + Max(timeout, 1000);

	end_of_turn = end;
	become(owner);
	if (overtime == MAX_TIMEOUTS)
		overtime = RegisterTimeout(USER_TIMEOUT, end_process);

	/* whoever catches the error is interrupted again, and then for good */
	enable_timeout_every(STATEMENT_TIMEOUT, end, OVERTIME_MS / 4);
	enable_timeout_at(overtime, end + OVERTIME_MS * INT64CONST(1000));
}

void
as_session_end_turns(void)
{
	end_of_turn = 0;
	disable_timeout(STATEMENT_TIMEOUT, false);
	if (overtime != MAX_TIMEOUTS)
		disable_timeout(overtime, false);
	QueryCancelPending = false;
}

void
as_session_set_path(const char *search_path)
{
	const char *now = transaction_path != NULL ? transaction_path : session_path;

	if (now != NULL && strcmp(now, search_path) == 0)
		return;
	(void) set_config_option("search_path", search_path, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	transaction_path = MemoryContextStrdup(TopTransactionContext, search_path);
}

void
as_session_keep_path(void)
{
	if (transaction_path == NULL)
		return;
	if (session_path != NULL)
		pfree(session_path);
	session_path = MemoryContextStrdup(TopMemoryContext, transaction_path);
}

void
as_session_clean(void)
{
	/* after an error the path is that of before */
	transaction_path = NULL;
	ResetAllOptions();			/* set by what was put off to the commit */
	if (session_path != NULL &&
		strcmp(session_path, namespace_search_path) != 0)
		SetConfigOption("search_path", session_path, PGC_SUSET, PGC_S_OVERRIDE);
	LockReleaseSession(USER_LOCKMETHOD);
	DropAllPreparedStatements();
	PortalHashTableDeleteAll();
	ResetSequenceCaches();
}

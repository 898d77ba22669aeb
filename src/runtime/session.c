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
#include "storage/lock.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

/* A handler that has run out of time is interrupted at least so often. */
#define MAX_INTERRUPT_MS	1000

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

void
as_session_begin_turn(Oid owner, int64 timeout)
{
	become(owner);

	/* whoever catches the error is interrupted again and again */
	timeout = Max(timeout, 1000);
	enable_timeout_every(STATEMENT_TIMEOUT, GetCurrentTimestamp() + timeout,
						 (int) Min(timeout / 1000, MAX_INTERRUPT_MS));
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

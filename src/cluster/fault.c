/*-------------------------------------------------------------------------
 *
 * fault.c
 *	  See fault.h; empty in a release build.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "cluster/fault.h"

#ifdef ACTORSTORE_FAULTS

#include <unistd.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/guc.h"

static char *fault = NULL;

/* Till the test says so, in a process that nothing else can wake. */
static void
wait_for_test(const char *place)
{
	char		reached[MAXPGPATH];
	char		go[MAXPGPATH];
	FILE	   *file;

	snprintf(reached, sizeof(reached), "fault.%s.reached", place);
	snprintf(go, sizeof(go), "fault.%s.go", place);
	file = fopen(reached, "w");
	if (file == NULL)
		return;
	fclose(file);
	while (access(go, F_OK) != 0)
	{
		/* PostmasterIsAlive() looks once, when a signal tells: too early if a child of that moment has the pipe still */
		if (WaitLatch(NULL, WL_TIMEOUT | WL_POSTMASTER_DEATH, 5, PG_WAIT_EXTENSION) & WL_POSTMASTER_DEATH)
			_exit(1);
		CHECK_FOR_INTERRUPTS();
	}
	unlink(go);
	unlink(reached);
}

/* What happens there, with the rest of the setting; NULL: nothing. */
static const char *
what_happens(const char *place)
{
	size_t		length = strlen(place);
	const char *at = fault;

	while (at != NULL && (strncmp(at, place, length) != 0 || at[length] != ':'))
	{
		at = strchr(at, ',');
		at = at == NULL ? NULL : at + 1;
	}
	return at == NULL ? NULL : at + length + 1;
}

void
as_fault_reach(const char *place)
{
	const char *what = what_happens(place);

	if (what == NULL)
		return;
	if (strncmp(what, "error", strlen("error")) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR), errmsg("fault: %s", place)));
	wait_for_test(place);
}

void
as_fault_init(void)
{
	DefineCustomStringVariable("actorstore.fault",
							   "Where a test wants this session to stop.",
							   NULL, &fault, "", PGC_SUSET, 0, NULL, NULL, NULL);
}

#endif

/*-------------------------------------------------------------------------
 *
 * prepared_files.c
 *	  See prepared_files.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "cluster/prepared_files.h"

#include "access/rmgr.h"
#include "access/transam.h"
#include "access/xlog_internal.h"
#include "compat.h"
#include "storage/fd.h"

#ifdef AS_RECOVERY_LEAVES_PREPARED_FILES

#define DIRECTORY	"pg_twophase"
#define NAME_LENGTH	16			/* a FullTransactionId in hexadecimal */

static void (*prev_startup) (void) = NULL;

/* In the process that recovers, before it replays the first record. */
static void
begin_redo(void)
{
	FullTransactionId next = ReadNextFullTransactionId();
	struct dirent *entry;
	DIR		   *directory;

	if (prev_startup != NULL)
		prev_startup();
	directory = AllocateDir(DIRECTORY);
	while ((entry = ReadDir(directory, DIRECTORY)) != NULL)
	{
		char		path[MAXPGPATH];

		if (strlen(entry->d_name) != NAME_LENGTH ||
			strspn(entry->d_name, "0123456789ABCDEF") != NAME_LENGTH ||
			strtou64(entry->d_name, NULL, 16) < U64FromFullTransactionId(next))
			continue;
		snprintf(path, sizeof(path), DIRECTORY "/%s", entry->d_name);
		durable_unlink(path, ERROR);	/* with it the transaction would be lost */
		ereport(LOG,
				(errmsg("removed \"%s\": the prepared transaction comes from WAL", path)));
	}
	FreeDir(directory);
}

void
as_prepared_files_init(void)
{
	prev_startup = RmgrTable[RM_XACT_ID].rm_startup;
	RmgrTable[RM_XACT_ID].rm_startup = begin_redo;
}

#else

void
as_prepared_files_init(void)
{
}

#endif

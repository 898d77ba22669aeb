/*-------------------------------------------------------------------------
 *
 * lease_sweep.c
 *	  What workers do about turns that are handled outside.
 *
 * They read the leases when a home is new to its database, and end those whose
 * time has run out, as whoever has checked them out is gone: a message that was
 * alone in its turn has failed then; several come again one at a time.  They
 * also end those that are VOID, and those of which the row has gone.  Each ends
 * in a transaction of its own.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/checkout.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "runtime/deeds.h"
#include "runtime/flow.h"
#include "runtime/sched.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define DUE_AT_ONCE		256

/* Look again at a row that somebody has locked, or that could not be ended. */
#define AGAIN_US		(20 * INT64CONST(1000))
#define ERROR_US		USECS_PER_SEC

/* ---- Reading them ---- */

typedef struct Load
{
	uint32		home;
	AsLeaseTable leases;
} Load;

static void
remember(const AsLeaseRow *row, void *arg)
{
	Load	   *load = arg;
	AsType	   *type = as_type_find(row->actor_type);
	uint64		flow = type == NULL ? 0 : as_flow_keep_outside(type);

	/* there are more than fit: the turn is offered again */
	if (!as_lease_remember(load->home, row->key_hash, row->turn_id, row->until,
						   flow))
		(void) as_lease_row_delete(&load->leases, row, true);
}

void
as_leases_load(uint32 home)
{
	Load		load = {.home = home};

	if (as_leases_known(home))
		return;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	as_lease_table_open(&load.leases, RowExclusiveLock);
	as_lease_rows_scan(&load.leases, remember, &load);
	as_lease_table_close(&load.leases);
	PopActiveSnapshot();
	CommitTransactionCommand();
	as_leases_set_known(home);
}

/* ---- Ending them ---- */

bool
as_leases_are_due(uint32 home)
{
	uint64		next = as_leases_next(home);

	return next != AS_NEVER && (TimestampTz) next <= GetCurrentTimestamp();
}

static AsLeaseEnd *
make_end(const AsLeaseDue *due)
{
	AsLeaseEnd *end = MemoryContextAllocZero(TopTransactionContext,
											 sizeof(AsLeaseEnd));

	end->key_hash = due->key_hash;
	end->turn_id = due->turn_id;
	return end;
}

/* The row is deleted: its client has not kept it, or its actor had changed. */
static void
give_up(const AsLeaseRow *row, bool is_void, AsLeaseEnd *end)
{
	AsTurn	   *turn = MemoryContextAllocZero(TopTransactionContext,
											  sizeof(AsTurn));
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	ErrorData	error = {
		.sqlerrcode = AS_ERRCODE_LEASE_LOST,
		.message = psprintf("the lease of worker \"%s\" has run out",
							text_to_cstring(row->worker))
	};
	AsMailbox	mailbox;

	as_mailbox_open(&mailbox, RowExclusiveLock);
	if (as_outside_messages(row, &mailbox, turn) && turn->type != NULL)
	{
		if (is_void)
			as_outside_conflicted(row, turn, end);
		else
			as_outside_failed(turn, &error, end);
	}
	as_mailbox_close(&mailbox);
	MemoryContextSwitchTo(old);
	as_deed_end(end, end->nmail > 0 ? turn : NULL);
}

/* Who drops the type locks it before he deletes its leases: so do we. */
static void
lock_type(const AsLeaseRow *row)
{
	AsType	   *type = as_type_find(row->actor_type);

	if (type != NULL)
		LockRelationOid(type->relation, RowExclusiveLock);
}

/* End one, if it is to be; false if somebody is at it. */
static bool
end_lease(const AsLeaseDue *due)
{
	AsLeaseTable leases;
	AsLeaseRow	row;
	bool		done = true;

	as_lease_table_open(&leases, RowExclusiveLock);
	if (as_lease_row_find(&leases, due->turn_id, &row))
		lock_type(&row);
	if (!as_lease_row_find(&leases, due->turn_id, &row))
		as_deed_end(make_end(due), NULL);
	else if (!due->is_void && row.until > GetCurrentTimestamp())
		as_deed_open(row.turn_id, row.key_hash, row.until);
	else if (as_lease_row_delete(&leases, &row, false) != AS_ROW_CHANGED)
		done = false;
	else
		give_up(&row, due->is_void, make_end(due));
	as_lease_table_close(&leases);
	return done;
}

static bool
try_end(const AsLeaseDue *due)
{
	bool		done;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	done = end_lease(due);
	PopActiveSnapshot();
	CommitTransactionCommand();
	return done;
}

static void
serve_one(uint32 home, const AsLeaseDue *due)
{
	volatile int64 again = 0;

	PG_TRY();
	{
		if (!try_end(due))
			again = AGAIN_US;
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		EmitErrorReport();
		AbortCurrentTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
		again = ERROR_US;
	}
	PG_END_TRY();
	if (again > 0)
		as_leases_lower_next(home, (uint64) (GetCurrentTimestamp() + again));
}

void
as_leases_serve(uint32 home)
{
	static AsLeaseDue due[DUE_AT_ONCE];
	int			n = as_leases_due(home, GetCurrentTimestamp(), due, DUE_AT_ONCE);

	for (int i = 0; i < n; i++)
		serve_one(home, &due[i]);
}

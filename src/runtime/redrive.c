/*-------------------------------------------------------------------------
 *
 * redrive.c
 *	  Dead letters, sent once more.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/send.h"

#include "catalog/pg_type.h"
#include "runtime/sched.h"
#include "state/catalog.h"
#include "state/owner.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#define ROWS_AT_ONCE	1000

static Datum
copy_column(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	return isnull ? (Datum) 0 : PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
}

/*
 * Take dead letters out of their table; the messages are in the context
 * given.  The oldest first, so that they are sent in the order of old; none that
 * this node has numbered since, nor what another node said in the system's name
 * and was refused: here nobody would look at it again.
 */
static int
take_out(text *actor_type, text *actor_id, int64 since, int64 max,
		 AsMessage *messages, MemoryContext context)
{
	Oid			types[5] = {TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID};
	Datum		values[5] = {PointerGetDatum(actor_type),
		PointerGetDatum(actor_id), Int64GetDatum(max), Int64GetDatum(since),
	Int64GetDatum(since | ((INT64CONST(1) << AS_ID_BITS) - 1))};
	AsAdmin		admin;
	int			n;

	as_admin_begin(&admin);
	n = (int) as_admin_execute("WITH taken AS (DELETE FROM actorstore.dead_message WHERE message_id IN ("
							   "  SELECT message_id FROM actorstore.dead_message"
							   "  WHERE actor_type = $1 AND ($2 IS NULL OR actor_id = $2) AND message_id NOT BETWEEN $4 AND $5"
							   "  AND NOT (reason = 'not understood' AND starts_with(message, '$'))"
							   "  ORDER BY message_id LIMIT $3 FOR UPDATE SKIP LOCKED)"
							   " RETURNING message_id, actor_id, message, body, headers, priority, sender_type, sender_id)"
							   " SELECT actor_id, message, body, headers, sender_type, sender_id, priority FROM taken ORDER BY message_id",
							   SPI_OK_SELECT, 5, types, values,
							   actor_id == NULL ? " n   " : "     ");
	for (int i = 0; i < n; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MemoryContext old = MemoryContextSwitchTo(context);
		bool		isnull;

		memset(&messages[i], 0, sizeof(AsMessage));
		messages[i].actor_type = actor_type;
		messages[i].actor_id = (text *) DatumGetPointer(copy_column(row, desc, 1));
		messages[i].name = (text *) DatumGetPointer(copy_column(row, desc, 2));
		messages[i].body = copy_column(row, desc, 3);
		messages[i].headers = copy_column(row, desc, 4);
		messages[i].sender_type = (text *) DatumGetPointer(copy_column(row, desc, 5));
		messages[i].sender_id = (text *) DatumGetPointer(copy_column(row, desc, 6));
		messages[i].priority = DatumGetInt32(SPI_getbinval(row, desc, 7, &isnull));
		MemoryContextSwitchTo(old);
		as_owner_keep(actor_type, messages[i].actor_id);
	}
	as_admin_leave(&admin);
	return n;
}

/* What was let in before is let in again, whatever the limit is by now. */
static void
send_again(AsType *type, AsMessage *messages, int n)
{
	int			level = NewGUCNestLevel();

	(void) set_config_option("actorstore.max_message_size", "256MB", PGC_SUSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) as_send(type, messages, n);
	AtEOXact_GUC(true, level);
}

int64
as_redrive(AsType *type, text *actor_type, text *actor_id,
		   int64 max_rows)
{
	AsMessage  *messages = palloc(ROWS_AT_ONCE * sizeof(AsMessage));
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "actorstore dead letters",
												  ALLOCSET_DEFAULT_SIZES);
	int64		done = 0;
	int64		since = as_message_id(as_sched_ids(1));
	int			n;

	/* what finds its mailbox full is a dead letter again, with a later id */
	do
	{
		int64		max = max_rows == 0 ? ROWS_AT_ONCE :
		Min(max_rows - done, ROWS_AT_ONCE);

		n = max <= 0 ? 0 : take_out(actor_type, actor_id, since, max,
									messages, context);
		if (n > 0)
			send_again(type, messages, n);
		done += n;
		MemoryContextReset(context);
	} while (n > 0);
	return done;
}

/*-------------------------------------------------------------------------
 *
 * halt.c
 *	  See halt.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/halt.h"

#include "catalog/pg_type.h"
#include "runtime/outgoing.h"
#include "state/catalog.h"
#include "state/owner.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"

/* A type as a whole stands under an id that no actor can have. */
static Datum
id_datum(text *id)
{
	return id != NULL ? PointerGetDatum(id) : CStringGetTextDatum("");
}

void
as_halt(text *type, text *id, AsHalt halt, const char *reason)
{
	Oid			types[5] = {TEXTOID, TEXTOID, BOOLOID, BOOLOID, TEXTOID};
	Datum		values[5] = {PointerGetDatum(type), id_datum(id),
		BoolGetDatum(halt != AS_PAUSED), BoolGetDatum(halt == AS_DOWN),
	reason == NULL ? (Datum) 0 : CStringGetTextDatum(reason)};
	AsAdmin		admin;
	AsType	   *found = as_type_find(type);

	if (id != NULL)
		as_owner_need(type, id);

	/* nobody drops the type before this commits; if it has gone, so be it */
	if (found != NULL)
		LockRelationOid(found->relation, RowExclusiveLock);
	if (found == NULL || as_type_find(type) == NULL)
		return;

	as_admin_begin(&admin);
	as_admin_execute("INSERT INTO actorstore.halted (actor_type, actor_id, stopped, restarting, reason)"
					 " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (actor_type, actor_id) DO UPDATE"
					 " SET stopped = excluded.stopped, restarting = excluded.restarting, reason = excluded.reason, since = excluded.since",
					 SPI_OK_INSERT, 5, types, values,
					 reason == NULL ? "    n" : "     ");
	as_admin_leave(&admin);
}

static bool
change(text *type, text *id, const char *sql, int expected)
{
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		values[2] = {PointerGetDatum(type), id_datum(id)};
	AsAdmin		admin;
	bool		found;

	if (id != NULL)
		as_owner_need(type, id);
	as_admin_begin(&admin);
	found = as_admin_execute(sql, expected, 2, types, values, NULL) > 0;
	as_admin_leave(&admin);
	return found;
}

void
as_halt_for_good(text *type, text *id)
{
	(void) change(type, id,
				  "UPDATE actorstore.halted SET restarting = false WHERE actor_type = $1 AND actor_id = $2",
				  SPI_OK_UPDATE);
}

bool
as_halt_end(text *type, text *id)
{
	return change(type, id,
				  "DELETE FROM actorstore.halted WHERE actor_type = $1 AND actor_id = $2",
				  SPI_OK_DELETE);
}

bool
as_unhalt(text *type, text *id)
{
	bool		found = as_halt_end(type, id);

	if (found)
		as_outgoing_note_sweep();
	return found;
}

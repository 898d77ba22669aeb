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
#include "utils/builtins.h"

/* A type as a whole stands under an id that no actor can have. */
static Datum
id_datum(text *id)
{
	return id != NULL ? PointerGetDatum(id) : CStringGetTextDatum("");
}

void
as_halt(text *type, text *id, bool stopped, const char *reason)
{
	Oid			types[4] = {TEXTOID, TEXTOID, BOOLOID, TEXTOID};
	Datum		values[4] = {PointerGetDatum(type), id_datum(id),
	BoolGetDatum(stopped), reason == NULL ? (Datum) 0 : CStringGetTextDatum(reason)};
	AsAdmin		admin;

	as_admin_begin(&admin);
	as_admin_execute("INSERT INTO actorstore.halted (actor_type, actor_id, stopped, reason)"
					 " VALUES ($1, $2, $3, $4) ON CONFLICT (actor_type, actor_id) DO UPDATE"
					 " SET stopped = excluded.stopped, reason = excluded.reason, since = excluded.since",
					 SPI_OK_INSERT, 4, types, values,
					 reason == NULL ? "   n" : "    ");
	as_admin_end(&admin);
}

bool
as_unhalt(text *type, text *id)
{
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		values[2] = {PointerGetDatum(type), id_datum(id)};
	AsAdmin		admin;
	bool		found;

	as_admin_begin(&admin);
	found = as_admin_execute("DELETE FROM actorstore.halted WHERE actor_type = $1 AND actor_id = $2",
							 SPI_OK_DELETE, 2, types, values, NULL) > 0;
	as_admin_end(&admin);
	if (found)
		as_outgoing_note_sweep();
	return found;
}

/*-------------------------------------------------------------------------
 *
 * haul_load.c
 *	  See haul_load.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/haul_load.h"

#include <sched.h>

#include "cluster/global.h"
#include "cluster/haul.h"
#include "cluster/row_wire.h"
#include "lib/same_text.h"
#include "libpq/pqformat.h"
#include "state/actor.h"
#include "utils/memutils.h"

/* Whoever waits for a processor need not wait for us. */
void
as_haul_give_way(int n)
{
	if (n % AS_HAUL_GIVE_WAY == 0)
		(void) sched_yield();
}

void
as_haul_await(AsPeer *peer)
{
	if (peer->state != AS_PEER_FLYING)
		return;
	(void) as_peers_wait(&peer, 1, 0);
	for (int i = 0; i < peer->nadded; i++)
		(void) as_peer_result(peer, i);
}

static void
empty(AsLoad *load)
{
	MemoryContext old;

	MemoryContextReset(load->memory);
	old = MemoryContextSwitchTo(load->memory);
	as_wire_begin(&load->wire);
	MemoryContextSwitchTo(old);
	load->type = NULL;
	load->nrows = 0;
}

void
as_load_begin(AsLoad *load, AsPeer *peer)
{
	load->peer = peer;
	load->memory = AllocSetContextCreate(CurrentMemoryContext, "actors that move", ALLOCSET_DEFAULT_SIZES);
	empty(load);
}

static void
launch(AsLoad *load)
{
	static const int formats[1] = {1};
	bytea	   *rows = as_wire_end(&load->wire);
	int			lengths[1] = {(int) (VARSIZE(rows) - VARHDRSZ)};
	const char *values[1] = {VARDATA(rows)};
	AsPeerCommand command = {
		.sql = "SELECT actorstore.local_take_actors($1)",
		.nvalues = 1, .values = values, .lengths = lengths, .formats = formats, .keep = true
	};

	as_haul_await(load->peer);
	(void) as_peer_add_command(load->peer, &command);
	as_global_wrote(load->peer);
	(void) as_peer_launch(load->peer);
	empty(load);
}

static void
write_name(AsLoad *load, const text *name)
{
	pq_sendint16(&load->wire, (uint16) VARSIZE_ANY_EXHDR(name));
	appendBinaryStringInfo(&load->wire, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
}

static void
write_type(AsLoad *load, const text *type)
{
	if (load->type != NULL && as_same_text(load->type, type))
	{
		pq_sendint16(&load->wire, 0);
		return;
	}
	write_name(load, type);
	load->type = MemoryContextAlloc(load->memory, VARSIZE_ANY(type));
	memcpy(load->type, type, VARSIZE_ANY(type));
}

static void
count(AsLoad *load)
{
	if (++load->nrows == AS_HAUL_ROWS || load->wire.len >= AS_HAUL_BYTES)
		launch(load);
}

void
as_load_add(AsLoad *load, const Datum *columns)
{
	write_type(load, DatumGetTextPP(columns[Anum_actor_type - 1]));
	as_wire_write(&load->wire, columns, true, NULL);
	count(load);
}

void
as_load_add_gone(AsLoad *load, const text *type, const text *id)
{
	pq_sendint16(&load->wire, AS_LOAD_GONE);
	write_type(load, type);
	write_name(load, id);
	count(load);
}

void
as_load_end(AsLoad *load)
{
	if (load->nrows > 0)
		launch(load);
	MemoryContextDelete(load->memory);
}

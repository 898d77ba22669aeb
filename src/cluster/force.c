/*-------------------------------------------------------------------------
 *
 * force.c
 *	  See force.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/force.h"

#include "cluster/ballot.h"
#include "cluster/member.h"
#include "cluster/panel.h"
#include "cluster/round.h"
#include "cluster/transit.h"
#include "compat.h"
#include "executor/spi.h"
#include "lib/slot_map.h"
#include "lib/stringinfo.h"
#include "state/text_query.h"
#include "utils/builtins.h"

typedef struct Removal
{
	const char *name;
	pg_uuid_t	uuid;
	bool		was_proposed;
} Removal;

static text *
uuid_text(const pg_uuid_t *uuid)
{
	return cstring_to_text(DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(uuid))));
}

/* ---- Is it dead? ---- */

bool
as_force_answers(const AsNode *node)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool answers = false;

	if (node->conninfo == NULL)
		return false;
	PG_TRY();
	{
		AsPeer	   *peer = as_peer_open(node->name, node->conninfo);

		/* another database in its place says nothing of it */
		answers = memcmp(&peer->uuid, &node->uuid, sizeof(pg_uuid_t)) == 0 &&
			peer->incarnation >= node->incarnation;
		as_peer_close(peer);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (!as_peer_is_out_of_reach())
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	return answers;
}

as_noreturn static void
throw_alive(const AsNode *node, const char *whom)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("node \"%s\" is alive", node->name),
			 errdetail("It answers node \"%s\".", whom),
			 errhint("Let it go with all that it holds: remove_node() without force. Force is for a node that is stopped for ever.")));
}

void
as_force_need_dead(const AsNode *node)
{
	const char *values[1] = {psprintf("%d", node->number)};
	AsPanel    *panel = palloc0(sizeof(AsPanel));

	if (as_force_answers(node))
		throw_alive(node, as_node_need_self()->name);
	PG_TRY();
	{
		as_panel_open(panel);
		as_panel_ask(panel, NULL, 2 * actorstore_peer_timeout,
					 "SELECT actorstore.local_answers($1::pg_catalog.int2)", 1, values);
		for (int i = 0; i < panel->n; i++)
		{
			PGresult   *result = as_panel_answer(panel, i);

			if (result != NULL && PQgetvalue(result, 0, 0)[0] == 't')
				throw_alive(node, panel->members[i].name);
		}
	}
	PG_FINALLY();
	{
		as_panel_close(panel);
	}
	PG_END_TRY();
}

/* ---- Slots that are moving ---- */

/* Are they at their taker, with all that was in them?  55006 while that is in doubt. */
static bool
has_arrived(const AsNode *dead, const AsTransit *batch)
{
	const AsNode *taker = as_node_need_number(batch->taker);
	const char *uuid[1] = {text_to_cstring(uuid_text(&dead->uuid))};
	const char *slots[1] = {text_to_cstring(as_transit_array(batch))};
	AsPeer	   *peer = as_peer_get(taker);

	if (PQntuples(as_peer_execute(peer, "SELECT actorstore.local_prepared($1)", 1, uuid, false)) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("slots are moving from node \"%s\", and it is in doubt whether node \"%s\" has taken them",
						dead->name, taker->name),
				 errhint("Decide it there: SELECT actorstore.resolve_in_doubt(gid, true) for what stands in actorstore.in_doubt.")));
	return PQgetvalue(as_peer_execute(peer, "SELECT actorstore.local_has_taken($1::pg_catalog.int2[])", 1, slots, false), 0, 0)[0] == 't';
}

/*
 * What moves from or to the dead node does so no more: gives the owners of these
 * slots, and which have come to their taker, and returns what still moves.
 */
static text *
settle_moving(const AsNode *dead, text *in_force, const int16 *now, int16 *next, bool *arrived)
{
	AsTransit  *batch = palloc0(sizeof(AsTransit));
	StringInfoData moving;
	AsRows		rows;

	initStringInfo(&moving);
	appendStringInfoChar(&moving, '{');
	as_text_query(&rows, SPI_OK_SELECT,
				  "SELECT key, value FROM jsonb_each_text($1::jsonb -> 'moving')", 1, &in_force);
	for (int i = 0; i < rows.nrows; i++)
	{
		int			slot = (int) as_cell_int(&rows, i, 0) & (AS_SLOTS - 1);
		int			taker = (int) as_cell_int(&rows, i, 1);

		if (now[slot] == dead->number)
		{
			next[slot] = (int16) taker;
			batch->taker = taker;
			batch->slots[batch->n++] = slot;
		}
		else if (taker != dead->number)
			appendStringInfo(&moving, "%s\"%d\":%d", moving.len > 1 ? "," : "", slot, taker);
	}
	appendStringInfoChar(&moving, '}');
	if (batch->n > 0 && has_arrived(dead, batch))
	{
		for (int i = 0; i < batch->n; i++)
			arrived[batch->slots[i]] = true;
	}
	return cstring_to_text_with_len(moving.data, moving.len);
}

/* ---- The epoch without it ---- */

static void
share_out(const AsNode *dead, const int16 *now, int16 *next)
{
	AsMember	members[AS_MAX_NODES];
	int			n = 0;

	for (int i = 0; i < as_node_count(); i++)
	{
		if (as_node_nth(i)->number == dead->number)
			continue;
		members[n].node = as_node_nth(i)->number;
		members[n++].weight = as_node_nth(i)->weight;
	}
	as_member_check_weights(members, n);
	(void) as_slot_map_next(now, members, n, next);

	/* nobody else is asked for any */
	for (int slot = 0; slot < AS_SLOTS; slot++)
	{
		if (now[slot] != dead->number)
			next[slot] = now[slot];
	}
}

static text *
propose_lost(void *arg)
{
	Removal    *removal = arg;
	const AsNode *found = as_node_by_name(removal->name);
	int16		now[AS_SLOTS];
	int16		next[AS_SLOTS];
	bool		arrived[AS_SLOTS] = {false};
	char		lost[AS_SLOTS + 1] = {0};
	AsNode		dead;
	AsRows		rows;
	text	   *args[7];

	if ((found == NULL || memcmp(&found->uuid, &removal->uuid, sizeof(pg_uuid_t)) != 0) &&
		removal->was_proposed)
		return NULL;
	dead = *as_node_need(removal->name);
	as_node_owners(now);
	share_out(&dead, now, next);
	args[0] = as_ballot_in_force();
	args[1] = settle_moving(&dead, args[0], now, next, arrived);
	for (int slot = 0; slot < AS_SLOTS; slot++)
		lost[slot] = now[slot] == dead.number && !arrived[slot] ? '1' : '0';
	args[2] = as_ballot_owners_text(next);
	args[3] = as_int_text(dead.number);
	args[4] = uuid_text(&dead.uuid);
	args[5] = cstring_to_text(dead.name);
	args[6] = cstring_to_text(lost);
	as_text_query(&rows, SPI_OK_SELECT,
				  "SELECT ($1::jsonb || jsonb_build_object('epoch', ($1::jsonb -> 'epoch')::bigint + 1, 'moving', $2::jsonb,"
				  " 'owners', $3::text, 'members',"
				  " (SELECT jsonb_agg(m) FROM jsonb_array_elements($1::jsonb -> 'members') AS m WHERE (m -> 'node_number')::int <> $4::int),"
				  " 'lost', ($1::jsonb -> 'lost') || jsonb_build_object($5::text,"
				  " jsonb_build_object('node_number', $4::int, 'node_name', $6::text, 'slots', $7::text))))::text",
				  7, args);
	removal->was_proposed = true;
	return as_cell(&rows, 0, 0);
}

bool
as_force_is_lost_by(text *proposal, const pg_uuid_t *uuid)
{
	text	   *args[2] = {proposal, uuid_text(uuid)};

	return as_text_query(NULL, SPI_OK_SELECT,
						 "SELECT FROM (VALUES (1)) AS one WHERE coalesce($1::jsonb -> 'lost', '{}') ? $2::text",
						 2, args) > 0;
}

void
as_force_remove(const char *name, bool slots_lost)
{
	AsNode		node = *as_node_need(name);
	Removal		removal = {.name = name, .uuid = node.uuid};

	if (node.number == as_node_need_self()->number)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("node \"%s\" cannot be removed by itself as one that never returns", name),
				 errhint("Call remove_node() without force, or on another node.")));
	node.name = name;
	as_force_need_dead(&node);
	if (!slots_lost)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("it is not said that what node \"%s\" holds is lost", name),
				 errhint("If there is a backup of it, recover that in its place, call unfence() there, and it is back. If not, add slots_lost => true.")));
	as_round_run(propose_lost, &removal);
}

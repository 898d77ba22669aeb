/*-------------------------------------------------------------------------
 *
 * plan.c
 *	  See plan.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/plan.h"

#include "cluster/ballot.h"
#include "cluster/handover.h"
#include "cluster/node.h"
#include "cluster/round.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "state/text_query.h"
#include "utils/builtins.h"
#include "utils/guc.h"

int			actorstore_rebalance_batch = 64;

int
as_plan_target(const int16 *now, int16 *target)
{
	AsMember	members[AS_MAX_NODES];
	int			n = as_node_count();

	for (int i = 0; i < n; i++)
	{
		members[i].node = as_node_nth(i)->number;
		members[i].weight = as_node_nth(i)->weight;
	}
	return as_slot_map_next(now, members, n, target);
}

bool
as_plan_is_on(void)
{
	AsRows		rows;

	return as_text_query(&rows, SPI_OK_SELECT,
						 "SELECT rebalancing::int::text FROM actorstore.epoch ORDER BY epoch DESC LIMIT 1",
						 0, NULL) > 0 && as_cell_int(&rows, 0, 0) != 0;
}

/* ---- The next batch ---- */

/* So many slots of this node's, at most, that should go to one other, and can; from the map given. */
static void
choose(const int16 *now, int room, AsTransit *batch)
{
	int16		target[AS_SLOTS];
	bool		stays[AS_SLOTS] = {false};
	int			self = as_node_need_self()->number;
	AsKept	   *kept;
	int			nkept;

	batch->n = 0;
	if (as_plan_target(now, target) == 0)
		return;
	nkept = as_handover_kept(&kept);
	for (int i = 0; i < nkept; i++)
		stays[kept[i].slot] = true;
	for (int slot = 0; slot < AS_SLOTS && batch->n < Min(room, actorstore_rebalance_batch); slot++)
	{
		if (now[slot] != self || target[slot] == self || stays[slot] ||
			(batch->n > 0 && target[slot] != batch->taker))
			continue;
		batch->taker = target[slot];
		batch->slots[batch->n++] = slot;
	}
}

bool
as_plan_has_work(void)
{
	int16		now[AS_SLOTS];
	AsTransit  *batch;

	if (!as_plan_is_on())
		return false;
	batch = palloc(sizeof(AsTransit));
	as_node_owners(now);
	choose(now, 1, batch);
	return batch->n > 0;
}

/* ---- Proposals ---- */

static text *
one_text(const char *sql, int nargs, text **args)
{
	AsRows		rows;

	as_text_query(&rows, SPI_OK_SELECT, sql, nargs, args);
	return as_cell(&rows, 0, 0);
}

/* Slots and their taker */
static text *
moving_json(const AsTransit *batch)
{
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < batch->n; i++)
		appendStringInfo(&json, "%s\"%d\":%d", i == 0 ? "{" : ",", batch->slots[i], batch->taker);
	appendStringInfoString(&json, batch->n == 0 ? "{}" : "}");
	return cstring_to_text_with_len(json.data, json.len);
}

/* Is a slot that is not among these moving? */
static bool
others_move(text *in_force, const AsTransit *ours)
{
	text	   *args[2] = {in_force, as_transit_array(ours)};

	return as_text_query(NULL, SPI_OK_SELECT,
						 "SELECT FROM jsonb_object_keys($1::jsonb -> 'moving') AS k WHERE k::smallint <> ALL ($2::smallint[]) LIMIT 1",
						 2, args) > 0;
}

static text *
next_epoch(text *in_force, const int16 *owners, const AsTransit *batch)
{
	text	   *args[3] = {in_force, as_ballot_owners_text(owners), moving_json(batch)};

	return one_text("SELECT ($1::jsonb || jsonb_build_object('epoch', ($1::jsonb -> 'epoch')::bigint + 1,"
					" 'owners', $2::text, 'moving', $3::jsonb))::text", 3, args);
}

static text *
propose_advance(void *arg)
{
	text	   *in_force = as_ballot_in_force();
	AsTransit  *handed = palloc(sizeof(AsTransit));
	AsTransit  *batch = palloc0(sizeof(AsTransit));
	int16		owners[AS_SLOTS];

	as_transit_read(AS_TRANSIT_HANDED, handed);
	if (others_move(in_force, handed))
		return NULL;
	as_node_owners(owners);
	for (int i = 0; i < handed->n; i++)
		owners[handed->slots[i]] = (int16) handed->taker;
	if (*(int *) arg > 0 && as_plan_is_on())
		choose(owners, *(int *) arg, batch);
	if (handed->n == 0 && batch->n == 0)
		return NULL;
	return next_epoch(in_force, owners, batch);
}

static text *
propose_take_back(void *arg)
{
	AsTransit  *none = palloc0(sizeof(AsTransit));
	AsTransit  *parked = palloc(sizeof(AsTransit));
	int16		owners[AS_SLOTS];

	as_transit_read(AS_TRANSIT_PARKED, parked);
	if (parked->n == 0)
		return NULL;
	as_node_owners(owners);
	return next_epoch(as_ballot_in_force(), owners, none);
}

static text *
propose_switch(void *arg)
{
	text	   *args[2] = {as_ballot_in_force(), cstring_to_text(*(bool *) arg ? "true" : "false")};

	if (as_plan_is_on() == *(bool *) arg)
		return NULL;
	return one_text("SELECT ($1::jsonb || jsonb_build_object('epoch', ($1::jsonb -> 'epoch')::bigint + 1,"
					" 'rebalancing', $2::boolean))::text", 2, args);
}

bool
as_plan_is_moving(void)
{
	AsTransit  *parked = palloc(sizeof(AsTransit));

	as_transit_read(AS_TRANSIT_PARKED, parked);
	return parked->n > 0;
}

void
as_plan_advance(int room)
{
	as_round_run(propose_advance, &room);
}

void
as_plan_take_back(void)
{
	as_round_run(propose_take_back, NULL);
}

void
as_plan_switch(bool on)
{
	as_round_run(propose_switch, &on);
}

void
as_plan_init(void)
{
	DefineCustomIntVariable("actorstore.rebalance_batch",
							"How many slots move to another node at a time.",
							NULL,
							&actorstore_rebalance_batch,
							64, 1, 1024,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
}

/*-------------------------------------------------------------------------
 *
 * spawn.c
 *	  The SQL function that lets a handler begin another actor.
 *
 * An actor that lives elsewhere is begun by its owner, in the turn's transaction
 * (cluster/route.h): whether the address is taken is asked for.  $start goes the
 * way of messages, before what the handler sends it afterwards.  Until the
 * transaction has committed there, too, turns of the actor find its row taken,
 * and come again.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "api/args.h"
#include "api/errand.h"
#include "api/inside.h"
#include "cluster/caller.h"
#include "cluster/global.h"
#include "cluster/route.h"
#include "miscadmin.h"
#include "runtime/halt.h"
#include "runtime/lifecycle.h"
#include "runtime/supervise.h"
#include "state/actor.h"
#include "state/owner.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(actorstore_spawn);
PG_FUNCTION_INFO_V1(actorstore_local_spawn);

#define SPAWN_SQL "SELECT actorstore.local_spawn($1, $2, $3, $4, $5)"

typedef struct Spawn
{
	text	   *type;
	text	   *id;
	Datum		state;
} Spawn;

/*
 * A stopped actor of that address begins anew with the state; any other one
 * is in the way.
 */
static void
spawn_here(const Spawn *spawn)
{
	AsPartition partition;
	AsHalt		halt;

	as_partition_open_for(&partition, spawn->type, AS_PRIV_WRITE, true,
						  RowExclusiveLock);
	halt = as_actor_halt(partition.type, spawn->type, spawn->id);
	if (halt == AS_DOWN)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("actor (%s, %s) is about to be restarted",
						text_to_cstring(spawn->type), text_to_cstring(spawn->id))));
	if (halt == AS_STOPPED && as_unhalt(spawn->type, spawn->id))
	{
		(void) as_actor_put(&partition, spawn->id, spawn->state);
		as_supervise_revived(spawn->type, spawn->id);
	}
	else
		(void) as_actor_insert(&partition, spawn->id, spawn->state);
	as_life_spawned(spawn->type, spawn->id, spawn->state);
	as_partition_close(&partition);
}

/* ---- There ---- */

/* False: the other node does not own the actor. */
static bool
spawn_there(const Spawn *spawn, const AsNode *owner)
{
	const char *values[5] = {
		as_caller_name(), as_route_epoch_text(), text_to_cstring(spawn->type),
		text_to_cstring(spawn->id),
		JsonbToCString(NULL, &DatumGetJsonbP(spawn->state)->root, -1)
	};
	AsPeerCommand command = {
		.sql = SPAWN_SQL, .nvalues = lengthof(values), .values = values, .keep = true
	};
	AsPeer	   *peer = as_route_begin(owner, false);
	int			number = as_peer_add_command(peer, &command);

	(void) as_peer_launch(peer);
	as_route_wait(&peer, 1);
	if (PQgetvalue(as_peer_result(peer, number), 0, 0)[0] != 't')
		return false;
	as_global_wrote(peer);
	return true;
}

static void
spawn_anywhere(const Spawn *spawn)
{
	const AsNode *owner = as_route_find_held(spawn->type, spawn->id);

	if (owner == NULL)
	{
		spawn_here(spawn);
		return;
	}
	(void) as_type_get_or_declare(spawn->type);
	as_errand_check_right(spawn->type, AS_PRIV_WRITE);
	if (spawn_there(spawn, owner))
		return;
	as_route_learn(owner);
	owner = as_route_find_held(spawn->type, spawn->id);
	if (owner == NULL)
		spawn_here(spawn);
	else if (!spawn_there(spawn, owner))
		as_route_refuse();
}

Datum
actorstore_spawn(PG_FUNCTION_ARGS)
{
	Spawn		spawn = {
		.type = as_arg_type(fcinfo, 0), .id = as_arg_id(fcinfo, 1),
		.state = as_arg_value(fcinfo, 2)
	};

	(void) as_need_turn("actorstore.spawn()");
	spawn_anywhere(&spawn);
	as_life_say_start(spawn.type, spawn.id);
	PG_RETURN_VOID();
}

/*
 * local_spawn(caller, epoch, actor_type, actor_id, state): false if the actor does
 * not live here.
 */
Datum
actorstore_local_spawn(PG_FUNCTION_ARGS)
{
	Spawn		spawn = {
		.type = as_arg_type(fcinfo, 2), .id = as_arg_id(fcinfo, 3),
		.state = as_arg_value(fcinfo, 4)
	};
	AsCaller	caller;
	bool		mine;

	as_reject_null(fcinfo, 1, "epoch");
	PreventCommandIfReadOnly("actorstore.local_spawn()");
	PreventCommandIfParallelMode("actorstore.local_spawn()");
	as_caller_become(fcinfo, &caller);
	as_caller_stand_in(fcinfo, spawn.type);
	mine = as_route_is_mine(spawn.type, spawn.id, PG_GETARG_INT64(1)) &&
		as_owner_try(spawn.type, spawn.id);
	if (mine)
		spawn_here(&spawn);
	as_caller_return(&caller);
	PG_RETURN_BOOL(mine);
}

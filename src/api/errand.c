/*-------------------------------------------------------------------------
 *
 * errand.c
 *	  See errand.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "api/errand.h"

#include "access/htup_details.h"
#include "cluster/caller.h"
#include "cluster/global.h"
#include "cluster/route.h"
#include "cluster/row_wire.h"
#include "funcapi.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "runtime/conflict.h"
#include "state/catalog.h"
#include "state/owner.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#define STATE_SQL "SELECT actorstore.local_state($1, $2, $3, $4, $5, $6, $7)"

/* ---- Here ---- */

static bool
may_declare(const AsErrand *errand)
{
	return errand->kind == AS_ERRAND_INSERT || errand->kind == AS_ERRAND_PUT;
}

static void
check_may_write(const AsErrand *errand)
{
	PreventCommandIfReadOnly(errand->function);
	PreventCommandIfParallelMode(errand->function);
}

static AsOutcome
get(AsErrand *errand)
{
	AsPartition *partition = &errand->partition;
	bool		found;

	if (!as_partition_open(partition, errand->type, AccessShareLock))
		return AS_MISSING;
	errand->is_open = true;
	as_type_check(partition->type, AS_PRIV_READ);
	as_partition_push_read_snapshot(partition);
	found = as_partition_find(partition, errand->id, GetActiveSnapshot());
	PopActiveSnapshot();
	if (!found)
		return AS_MISSING;
	errand->write.row = ExecFetchSlotHeapTuple(partition->slot, false, NULL);
	return AS_DONE;
}

static AsOutcome
write_here(AsErrand *errand)
{
	AsPartition *partition = &errand->partition;

	as_partition_open_for(partition, errand->type, AS_PRIV_WRITE,
						  may_declare(errand), RowExclusiveLock);
	errand->is_open = true;
	switch (errand->kind)
	{
		case AS_ERRAND_INSERT:
			errand->write.row = as_actor_insert(partition, errand->id, errand->write.value);
			return AS_DONE;
		case AS_ERRAND_PUT:
			errand->write.row = as_actor_put(partition, errand->id, errand->write.value);
			return AS_DONE;
		case AS_ERRAND_DELETE:
			return as_actor_delete(partition, errand->id, &errand->write);
		default:
			errand->write.merge = (errand->kind == AS_ERRAND_PATCH);
			return as_actor_update(partition, errand->id, &errand->write);
	}
}

AsOutcome
as_errand_do_here(AsErrand *errand)
{
	AsOutcome	outcome;

	as_partition_expect(errand->type, errand->id);
	if (errand->kind == AS_ERRAND_GET)
	{
		outcome = get(errand);
		if (outcome == AS_MISSING)
			as_route_check_snapshot(errand->type, errand->id);
		return outcome;
	}
	check_may_write(errand);
	outcome = write_here(errand);
	if (outcome == AS_MISMATCH)
		as_conflict_note(errand->partition.type, errand->id);
	return outcome;
}

/* ---- There ---- */

void
as_errand_check_right(text *name, AsPrivilege privilege)
{
	AsType	   *type = as_type_find(name);

	if (type != NULL)
		as_type_check(type, privilege);
}

static AsPeer *
send_errand(const AsErrand *errand, const AsNode *owner, bool is_last, int *number)
{
	bool		is_read = (errand->kind == AS_ERRAND_GET);
	char		kind[2] = {(char) errand->kind, '\0'};
	char		version[32];
	const char *values[7] = {
		as_caller_name(), as_route_epoch_text(), kind, text_to_cstring(errand->type),
		text_to_cstring(errand->id), NULL, NULL
	};
	AsPeerCommand command = {
		.sql = STATE_SQL, .nvalues = lengthof(values), .values = values,
		.keep = true, .binary = true
	};
	AsPeer	   *peer;

	if (!is_read && errand->kind != AS_ERRAND_DELETE)
		values[5] = JsonbToCString(NULL, &DatumGetJsonbP(errand->write.value)->root, -1);
	if (errand->write.versioned)
	{
		snprintf(version, sizeof(version), INT64_FORMAT, errand->write.expected_version);
		values[6] = version;
	}
	peer = is_last ? as_route_begin_last(owner) : as_route_begin(owner, is_read);
	*number = as_peer_add_command(peer, &command);
	return peer;
}

/* The row that follows the answer */
static void
read_row(AsErrand *errand, StringInfo wire)
{
	errand->is_there = true;
	errand->columns[Anum_actor_type - 1] = PointerGetDatum(errand->type);
	errand->columns[Anum_actor_id - 1] = PointerGetDatum(errand->id);
	as_wire_read(wire, errand->columns, errand->write.value);
	pq_getmsgend(wire);
}

/* False: the other node does not own the actor. */
static bool
read_answer(AsErrand *errand, const PGresult *result, AsOutcome *outcome)
{
	StringInfoData wire = {0};

	if (PQntuples(result) == 1 && PQnfields(result) == 1 && PQfformat(result, 0) == 1)
	{
		wire.data = PQgetvalue(result, 0, 0);
		wire.len = wire.maxlen = PQgetlength(result, 0, 0);
	}
	switch (pq_getmsgbyte(&wire))
	{
		case AS_ANSWER_DONE:
			*outcome = AS_DONE;
			read_row(errand, &wire);
			return true;
		case AS_ANSWER_MISMATCH:
			*outcome = AS_MISMATCH;
			read_row(errand, &wire);
			return true;
		case AS_ANSWER_MISSING:
			*outcome = AS_MISSING;
			return true;
		case AS_ANSWER_NOT_MINE:
			return false;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_PROTOCOL_VIOLATION),
					 errmsg("another node has given an unknown answer")));
	}
}

static bool
do_there(AsErrand *errand, const AsNode *owner, AsOutcome *outcome)
{
	bool		is_read = (errand->kind == AS_ERRAND_GET);
	bool		is_last = !is_read && errand->call != NULL && as_global_is_last(errand->call);
	bool		is_mine;
	bool		wrote;
	int			number;
	AsPeer	   *peer = send_errand(errand, owner, is_last, &number);

	if (is_last)
		as_global_run_last(peer);
	else
	{
		(void) as_peer_launch(peer);
		as_route_wait(&peer, 1);
	}
	is_mine = read_answer(errand, as_peer_result(peer, number), outcome);
	wrote = is_mine && *outcome == AS_DONE && !is_read;
	if (is_last)
		as_global_end_last(wrote);
	else if (wrote)
		as_global_wrote(peer);
	return is_mine;
}

/* NULL: this node, which is then held to that by whoever writes (state/owner.h). */
static const AsNode *
find_owner(const AsErrand *errand)
{
	return errand->kind == AS_ERRAND_GET ? as_route_find(errand->type, errand->id) :
		as_route_find_held(errand->type, errand->id);
}

AsOutcome
as_errand_do(AsErrand *errand)
{
	const AsNode *owner = find_owner(errand);
	AsOutcome	outcome;

	if (likely(owner == NULL))
	{
		outcome = as_errand_do_here(errand);
		if (errand->kind != AS_ERRAND_GET || outcome != AS_MISSING ||
			!as_owner_has_moved(errand->type, errand->id))
			return outcome;
		as_errand_end(errand);
		owner = find_owner(errand);
		if (owner == NULL)
			return as_errand_do_here(errand);
	}
	if (errand->kind != AS_ERRAND_GET)
		check_may_write(errand);
	if (may_declare(errand))
		(void) as_type_get_or_declare(errand->type);
	as_errand_check_right(errand->type, errand->kind == AS_ERRAND_GET ? AS_PRIV_READ : AS_PRIV_WRITE);
	if (do_there(errand, owner, &outcome))
		return outcome;
	as_route_learn(owner);
	owner = find_owner(errand);
	if (owner == NULL)
		return as_errand_do_here(errand);
	if (!do_there(errand, owner, &outcome))
		as_route_refuse();
	return outcome;
}

/* ---- Results ---- */

void
as_errand_end(AsErrand *errand)
{
	if (errand->is_open)
		as_partition_close(&errand->partition);
	errand->is_open = false;
}

Datum
as_errand_actor(AsErrand *errand)
{
	bool		nulls[Natts_actor] = {false};
	TupleDesc	desc;
	HeapTuple	row;

	if (!errand->is_there)
		return as_actor_datum(&errand->partition, errand->write.row);
	desc = lookup_rowtype_tupdesc(as_catalog()->actor_rowtype, -1);
	row = heap_form_tuple(desc, errand->columns, nulls);
	ReleaseTupleDesc(desc);
	return HeapTupleGetDatum(row);
}

int64
as_errand_version(AsErrand *errand)
{
	return errand->is_there ? DatumGetInt64(errand->columns[Anum_actor_version - 1]) :
		as_row_version(&errand->partition, errand->write.row);
}

Datum
as_errand_value(AsErrand *errand)
{
	return errand->is_there ? errand->columns[Anum_actor_value - 1] :
		as_row_value(&errand->partition, errand->write.row);
}

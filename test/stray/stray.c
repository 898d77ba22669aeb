/*-------------------------------------------------------------------------
 *
 * stray.c
 *	  What happens in moments that are too short to be met from without: in
 *	  the library for tests only (make fault-server).
 *
 * ask() and tell() find their database's home and hang a request there within
 * a microsecond, in which the home could become another database's.  This one
 * hangs its request on another database's home to begin with.
 *
 * Two processes that claim a slot for one actor at the same time may both get
 * one.  This one makes the second by hand, as as_slot_claim() would.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "fmgr.h"
#include "lib/key_hash.h"
#include "miscadmin.h"
#include "runtime/request.h"
#include "runtime/sched.h"
#include "runtime/urgent.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* as in slot.c; a power of two */
#define SLOTS_PER_SET	16

/* that of messages of the usual priority */
#define LANE			4

PG_FUNCTION_INFO_V1(stray_home);
PG_FUNCTION_INFO_V1(stray_request);
PG_FUNCTION_INFO_V1(stray_key);
PG_FUNCTION_INFO_V1(stray_hints);

/* The home of a database, or NULL. */
Datum
stray_home(PG_FUNCTION_ARGS)
{
	Oid			database = PG_GETARG_OID(0);

	for (int i = 0; i < as_sched_max_workers(); i++)
	{
		if (pg_atomic_read_u32(&as_home(i)->database) == database)
			PG_RETURN_INT32(i);
	}
	PG_RETURN_NULL();
}

static uint64
key_of(const text *type, const text *id)
{
	return as_key_hash(VARDATA_ANY(type), VARSIZE_ANY_EXHDR(type),
					   VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
}

/*
 * A request of this database to (type, id), hung on the home given.  Returns
 * what becomes of it, if it is asked.
 */
Datum
stray_request(PG_FUNCTION_ARGS)
{
	AsMessage	message = {0};
	bool		asks = PG_GETARG_BOOL(4);
	bool		in_arena;
	AsRequestStatus status;
	uint32		cell;

	message.actor_type = PG_GETARG_TEXT_PP(1);
	message.actor_id = PG_GETARG_TEXT_PP(2);
	message.name = PG_GETARG_TEXT_PP(3);
	message.body = DirectFunctionCall1(jsonb_in, CStringGetDatum("1"));
	message.sent_at = GetCurrentTimestamp();
	message.key_hash = key_of(message.actor_type, message.actor_id);
	cell = as_request_make(&message, asks, &in_arena);
	if (cell == AS_POOL_NONE)
		elog(ERROR, "there is no room");
	if (!as_request_post(PG_GETARG_INT32(0), message.key_hash, cell))
	{
		as_request_free(cell);
		elog(ERROR, "there is no slot");
	}
	if (!asks)
		PG_RETURN_NULL();
	while ((status = as_request_status(cell)) == AS_REQUEST_WAITING)
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(1000);
	}
	as_request_free(cell);
	PG_RETURN_TEXT_P(cstring_to_text(status == AS_REQUEST_RETURNED ? "returned" :
									 "answered"));
}

Datum
stray_key(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64) key_of(PG_GETARG_TEXT_PP(0), PG_GETARG_TEXT_PP(1)));
}

/* Another slot of the actor of that slot, which nobody has seen yet. */
static AsSlotRef
make_rival(AsSlotRef ref)
{
	uint32		number = as_ref_number(ref) & ~(SLOTS_PER_SET - 1);

	for (uint32 last = number + SLOTS_PER_SET; number < last; number++)
	{
		AsSlotRef	free = as_slot_by_number(number);
		AsSlotShared *slot = as_slot(free);
		uint64		state = (uint64) as_ref_generation(free) << 32 | AS_FREE;
		uint64		next = ((uint64) as_ref_generation(free) + 1) << 32;

		if (!pg_atomic_compare_exchange_u64(&slot->state, &state,
											next | AS_CLAIMED))
			continue;
		pg_atomic_write_u32(&slot->lanes, 0);
		pg_atomic_write_u32(&slot->depth, 0);
		for (int lane = 0; lane < AS_LANES; lane++)
			pg_atomic_write_u64(&slot->low[lane], AS_NO_POSITION);
		pg_atomic_write_u64(&slot->key_hash,
							pg_atomic_read_u64(&as_slot(ref)->key_hash));
		pg_atomic_write_u32(&slot->home, pg_atomic_read_u32(&as_slot(ref)->home));
		pg_atomic_write_u64(&slot->state, next | AS_IDLE);
		return as_slot_ref(number, (uint32) (next >> 32));
	}
	elog(ERROR, "there is no slot");
}

/*
 * Mail waits for (type, id) from the first position on, as one of its slots
 * knows, and from the second on, as the other one knows, which gets a turn.
 */
Datum
stray_hints(PG_FUNCTION_ARGS)
{
	uint32		home = PG_GETARG_INT32(0);
	uint64		key_hash = key_of(PG_GETARG_TEXT_PP(1), PG_GETARG_TEXT_PP(2));
	AsSlotRef	ref = as_slot_claim(home, key_hash, false);

	if (ref == AS_NO_SLOT)
		elog(ERROR, "there is no slot");
	as_slot_lower(make_rival(ref), LANE, (uint64) PG_GETARG_INT64(3));
	(void) as_sched_hint(home, ref, key_hash, LANE,
						 (uint64) PG_GETARG_INT64(4), AS_NO_DEADLINE, 0);
	PG_RETURN_VOID();
}

/*-------------------------------------------------------------------------
 *
 * lane.c
 *	  See lane.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/lane.h"

#include "cluster/peer_stat.h"
#include "compat.h"
#include "funcapi.h"
#include "lib/steady_clock.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(actorstore_lanes_now);

/* one that was started and did not come is given up */
#define START_MS		15000

typedef struct LaneShared
{
	pg_atomic_uint32 procno;	/* of the forwarder, 1 more; 0: none */
	pg_atomic_uint32 connected;
	pg_atomic_uint64 started_at;
	pg_atomic_uint64 low;
	pg_atomic_uint64 depth;
	pg_atomic_uint64 paid_until;	/* by a clock that only goes forward, in
									 * microseconds */
	pg_atomic_uint64 acked_in;	/* the last batch that the other node is known to
								 * have: its incarnation */
	pg_atomic_uint64 acked;		/* and number */
	pg_atomic_uint64 counters[AS_LANE_NCOUNTERS];
} LaneShared;

/* one beside each entry of peer_stat.h */
static LaneShared *lanes = NULL;

/* behind them, for each process: COMMITTING, an id of its database's, or AS_NO_LOW */
static pg_atomic_uint64 *committing = NULL;

static LaneShared *own = NULL;	/* in the forwarder */

Size
as_lanes_shmem_size(void)
{
	return add_size(sizeof(LaneShared) * AS_PEER_STATS,
					mul_size(MaxBackends, sizeof(pg_atomic_uint64)));
}

void
as_lanes_shmem_init(void)
{
	bool		found;

	lanes = ShmemInitStruct("actorstore lanes", as_lanes_shmem_size(), &found);
	committing = (pg_atomic_uint64 *) (lanes + AS_PEER_STATS);
	if (found)
		return;
	for (int i = 0; i < MaxBackends; i++)
		pg_atomic_init_u64(&committing[i], AS_NO_LOW);
	for (LaneShared *lane = lanes; lane < lanes + AS_PEER_STATS; lane++)
	{
		pg_atomic_init_u32(&lane->procno, 0);
		pg_atomic_init_u32(&lane->connected, 0);
		pg_atomic_init_u64(&lane->started_at, 0);
		pg_atomic_init_u64(&lane->low, AS_NO_LOW);
		pg_atomic_init_u64(&lane->depth, 0);
		pg_atomic_init_u64(&lane->paid_until, 0);
		pg_atomic_init_u64(&lane->acked_in, 0);
		pg_atomic_init_u64(&lane->acked, 0);
		for (int i = 0; i < AS_LANE_NCOUNTERS; i++)
			pg_atomic_init_u64(&lane->counters[i], 0);
	}
}

bool
as_lanes_active(void)
{
	return lanes != NULL;
}

int
as_lane_find(int16 node)
{
	return lanes == NULL ? -1 : as_peer_stat_find(node);
}

/* ---- From senders to the forwarder ---- */

void
as_lane_begin_commit(uint64 low)
{
	pg_atomic_exchange_u64(&committing[as_my_proc_number], low);
}

void
as_lane_end_commit(void)
{
	pg_atomic_exchange_u64(&committing[as_my_proc_number], AS_NO_LOW);
}

void
as_lane_hint(int lane, uint64 low)
{
	uint64		now = pg_atomic_read_u64(&lanes[lane].low);
	uint32		procno;

	while (low < now && !pg_atomic_compare_exchange_u64(&lanes[lane].low, &now, low))
		;
	pg_memory_barrier();
	procno = pg_atomic_read_u32(&lanes[lane].procno);
	if (procno != 0)
		SetLatch(&GetPGProcByNumber(procno - 1)->procLatch);
}

uint64
as_lane_take_low(int lane)
{
	return pg_atomic_exchange_u64(&lanes[lane].low, AS_NO_LOW);
}

/* A process is in one database for as long as it lives. */
uint64
as_lane_low_since(int lane)
{
	uint64		least = AS_NO_LOW;
	uint64		low;

	pg_memory_barrier();
	for (int i = 0; i < MaxBackends; i++)
	{
		uint64		id = pg_atomic_read_u64(&committing[i]);

		if (id < least && GetPGProcByNumber(i)->databaseId == MyDatabaseId)
			least = id;
	}

	/* in this order: who was not among them has told by now */
	pg_memory_barrier();
	low = pg_atomic_read_u64(&lanes[lane].low);
	return Min(least, low);
}

/* ---- Numbers ---- */

/*
 * Not below 0, as there may be more than were counted: so it is never higher than
 * what is on its way, and right again once nothing is.
 */
void
as_lane_add(int lane, int64 n)
{
	uint64		now = pg_atomic_read_u64(&lanes[lane].depth);

	while (!pg_atomic_compare_exchange_u64(&lanes[lane].depth, &now,
										   (uint64) Max((int64) now + n, 0)))
		;
}

int64
as_lane_depth(int lane)
{
	return (int64) pg_atomic_read_u64(&lanes[lane].depth);
}

void
as_lane_count(int lane, AsLaneCounter counter, int64 n)
{
	pg_atomic_fetch_add_u64(&lanes[lane].counters[counter], n);
}

/* Who was silent has no more than a second in hand. */
void
as_lane_pay(int lane, int64 microseconds)
{
	uint64		least = (uint64) Max(as_steady_now() - 1000000, 0);
	uint64		until = pg_atomic_read_u64(&lanes[lane].paid_until);

	while (!pg_atomic_compare_exchange_u64(&lanes[lane].paid_until, &until,
										   Max(until, least) + microseconds))
		;
}

int64
as_lane_debt(int lane)
{
	uint64		until = pg_atomic_read_u64(&lanes[lane].paid_until);
	uint64		now = as_steady_now();

	return until > now ? (int64) (until - now) : 0;
}

void
as_lane_set_connected(int lane, bool connected)
{
	pg_atomic_write_u32(&lanes[lane].connected, connected ? 1 : 0);
}

/* The forwarder alone sets it; the number never says more than is true. */
void
as_lane_set_acked(int lane, int64 incarnation, int64 number)
{
	if ((int64) pg_atomic_read_u64(&lanes[lane].acked_in) != incarnation)
	{
		pg_atomic_exchange_u64(&lanes[lane].acked, 0);
		pg_atomic_exchange_u64(&lanes[lane].acked_in, (uint64) incarnation);
	}
	pg_atomic_exchange_u64(&lanes[lane].acked, (uint64) number);
}

bool
as_lane_has_acked(int lane, int64 incarnation, int64 number)
{
	int64		acked_in = (int64) pg_atomic_read_u64(&lanes[lane].acked_in);
	int64		acked;

	pg_read_barrier();
	acked = (int64) pg_atomic_read_u64(&lanes[lane].acked);
	pg_read_barrier();
	return acked_in == (int64) pg_atomic_read_u64(&lanes[lane].acked_in) &&
		(acked_in > incarnation || (acked_in == incarnation && acked >= number));
}

/* ---- The forwarder ---- */

static void
leave(int code, Datum arg)
{
	pg_atomic_write_u32(&own->connected, 0);
	pg_atomic_write_u64(&own->started_at, 0);
	pg_atomic_write_u32(&own->procno, 0);
}

bool
as_lane_register(int lane)
{
	uint32		none = 0;

	if (!pg_atomic_compare_exchange_u32(&lanes[lane].procno, &none, as_my_proc_number + 1))
		return false;
	own = &lanes[lane];
	before_shmem_exit(leave, (Datum) 0);
	return true;
}

bool
as_lane_has_forwarder(int lane)
{
	return pg_atomic_read_u32(&lanes[lane].procno) != 0;
}

bool
as_lane_claim_start(int lane)
{
	TimestampTz now = GetCurrentTimestamp();
	uint64		started_at = pg_atomic_read_u64(&lanes[lane].started_at);

	return !as_lane_has_forwarder(lane) &&
		(started_at == 0 ||
		 TimestampDifferenceExceeds((TimestampTz) started_at, now, START_MS)) &&
		pg_atomic_compare_exchange_u64(&lanes[lane].started_at, &started_at, (uint64) now);
}

/* ---- The view ---- */

/* What the lanes of this database have done since the server started; the last batch that the other node has. */
Datum
actorstore_lanes_now(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int16		node;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; lanes != NULL && i < AS_PEER_STATS; i++)
	{
		Datum		values[3 + AS_LANE_NCOUNTERS + 2];
		bool		nulls[3 + AS_LANE_NCOUNTERS + 2] = {false};

		if (!as_peer_stat_node(i, &node))
			continue;
		values[0] = Int16GetDatum(node);
		values[1] = BoolGetDatum(pg_atomic_read_u32(&lanes[i].connected) != 0);
		values[2] = Int64GetDatum(as_lane_depth(i));
		for (int j = 0; j < AS_LANE_NCOUNTERS; j++)
			values[3 + j] = Int64GetDatum((int64) pg_atomic_read_u64(&lanes[i].counters[j]));
		values[3 + AS_LANE_NCOUNTERS] = Int64GetDatum((int64) pg_atomic_read_u64(&lanes[i].acked_in));
		values[3 + AS_LANE_NCOUNTERS + 1] = Int64GetDatum((int64) pg_atomic_read_u64(&lanes[i].acked));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

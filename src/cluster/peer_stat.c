/*-------------------------------------------------------------------------
 *
 * peer_stat.c
 *	  See peer_stat.h, and the function behind the view stat_peers.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/peer_stat.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/shmem.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(actorstore_peers_now);

typedef struct EntryShared
{
	pg_atomic_uint64 key;		/* database and node number; 0: free */
	pg_atomic_uint64 incarnation;	/* only rises */
	pg_atomic_uint64 counters[AS_PEER_NCOUNTERS];
} EntryShared;

typedef struct PeerStatsShared
{
	pg_atomic_uint32 nconnections;
	EntryShared entries[AS_PEER_STATS];	/* taken in order, never given back */
} PeerStatsShared;

int			actorstore_max_peer_connections = 1000;

static PeerStatsShared *shared = NULL;

Size
as_peer_stat_shmem_size(void)
{
	return sizeof(PeerStatsShared);
}

void
as_peer_stat_shmem_init(void)
{
	bool		found;

	shared = ShmemInitStruct("actorstore peers", sizeof(PeerStatsShared), &found);
	if (found)
		return;
	pg_atomic_init_u32(&shared->nconnections, 0);
	for (int i = 0; i < AS_PEER_STATS; i++)
	{
		pg_atomic_init_u64(&shared->entries[i].key, 0);
		pg_atomic_init_u64(&shared->entries[i].incarnation, 0);
		for (int j = 0; j < AS_PEER_NCOUNTERS; j++)
			pg_atomic_init_u64(&shared->entries[i].counters[j], 0);
	}
}

static uint64
key_of(int16 node_number)
{
	return (uint64) MyDatabaseId << 16 | (uint16) node_number;
}

int
as_peer_stat_find(int16 node_number)
{
	uint64		wanted = key_of(node_number);

	for (int i = 0; shared != NULL && i < AS_PEER_STATS; i++)
	{
		pg_atomic_uint64 *taken_by = &shared->entries[i].key;
		uint64		key = pg_atomic_read_u64(taken_by);

		/* commands between nodes come here: what others have is only read */
		if (key == wanted ||
			(key == 0 && (pg_atomic_compare_exchange_u64(taken_by, &key, wanted) || key == wanted)))
			return i;
	}
	return -1;
}

void
as_peer_stat_count(int entry, AsPeerCounter counter, int64 n)
{
	if (entry >= 0)
		pg_atomic_fetch_add_u64(&shared->entries[entry].counters[counter], n);
}

int64
as_peer_stat_get(int entry, AsPeerCounter counter)
{
	return entry < 0 ? 0 :
		(int64) pg_atomic_read_u64(&shared->entries[entry].counters[counter]);
}

bool
as_peer_stat_node(int entry, int16 *node_number)
{
	uint64		key = pg_atomic_read_u64(&shared->entries[entry].key);

	*node_number = (int16) (key & 0xFFFF);
	return key != 0 && (Oid) (key >> 16) == MyDatabaseId;
}

int64
as_peer_stat_incarnation(int entry)
{
	return entry < 0 ? 0 :
		(int64) pg_atomic_read_u64(&shared->entries[entry].incarnation);
}

void
as_peer_stat_saw(int entry, int64 incarnation)
{
	uint64		latest;

	if (entry < 0)
		return;
	latest = pg_atomic_read_u64(&shared->entries[entry].incarnation);
	while ((int64) latest < incarnation &&
		   !pg_atomic_compare_exchange_u64(&shared->entries[entry].incarnation,
										   &latest, (uint64) incarnation))
		;
}

/* ---- How many connections ---- */

bool
as_peer_stat_take_connection(void)
{
	if (shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("actorstore is not preloaded"),
				 errhint("Put actorstore into shared_preload_libraries in postgresql.conf and restart.")));
	if (pg_atomic_fetch_add_u32(&shared->nconnections, 1) >=
		(uint32) actorstore_max_peer_connections)
	{
		pg_atomic_fetch_sub_u32(&shared->nconnections, 1);
		return false;
	}
	return true;
}

void
as_peer_stat_give_connection(void)
{
	pg_atomic_fetch_sub_u32(&shared->nconnections, 1);
}

/* ---- The view ---- */

/* What was counted of this database's peers since the server started. */
Datum
actorstore_peers_now(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; shared != NULL && i < AS_PEER_STATS; i++)
	{
		int16		node_number;
		Datum		values[1 + AS_PEER_NCOUNTERS];
		bool		nulls[1 + AS_PEER_NCOUNTERS] = {false};

		if (!as_peer_stat_node(i, &node_number))
			continue;
		values[0] = Int16GetDatum(node_number);
		for (int j = 0; j < AS_PEER_NCOUNTERS; j++)
			values[1 + j] = Int64GetDatum(as_peer_stat_get(i, j));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*-------------------------------------------------------------------------
 *
 * ballot.c
 *	  See ballot.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/ballot.h"

#include "access/xact.h"
#include "cluster/arrival.h"
#include "cluster/decision.h"
#include "cluster/farewell.h"
#include "cluster/node.h"
#include "cluster/peer.h"
#include "cluster/transit.h"
#include "executor/spi.h"
#include "lib/slot_map.h"
#include "lib/stringinfo.h"
#include "state/after_commit.h"
#include "state/catalog.h"
#include "state/text_query.h"
#include "utils/builtins.h"
#include "utils/inval.h"

void
as_ballot_lock(void)
{
	text	   *args[1] = {as_int_text(actorstore_peer_timeout)};

	as_sync_require();
	ForceSyncCommit();
	as_text_query(NULL, SPI_OK_SELECT, "SELECT set_config('lock_timeout', $1 || 'ms', true)", 1, args);
	as_text_query(NULL, SPI_OK_UTILITY,
				  "LOCK TABLE actorstore.epoch IN SHARE ROW EXCLUSIVE MODE", 0, NULL);
	AcceptInvalidationMessages();
}

void
as_ballot_owners(text *proposal, int16 *owners)
{
	AsRows		rows;
	const char *at;
	int			n = 0;

	as_text_query(&rows, SPI_OK_SELECT, "SELECT coalesce($1::jsonb ->> 'owners', '')", 1, &proposal);
	at = text_to_cstring(as_cell(&rows, 0, 0));
	for (; n < AS_SLOTS && *at != '\0'; n++)
	{
		char	   *end;

		owners[n] = (int16) strtol(at, &end, 10);
		if (end == at || (*end != ',' && *end != '\0'))
			break;
		at = *end == ',' ? end + 1 : end;
	}
	if (n != AS_SLOTS || *at != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("a proposal does not say of all slots who owns them")));
}

/* ---- Votes ---- */

int64
as_ballot_epoch_of(text *proposal)
{
	AsRows		rows;

	as_text_query(&rows, SPI_OK_SELECT, "SELECT $1::jsonb ->> 'epoch'", 1, &proposal);
	return as_cell_int(&rows, 0, 0);
}

void
as_ballot_check_epoch(int64 epoch, text *proposal)
{
	if (as_ballot_epoch_of(proposal) != epoch)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the proposal is not one for epoch " INT64_FORMAT, epoch)));
}

bool
as_ballot_is_next(int64 epoch, AsVote *vote)
{
	memset(vote, 0, sizeof(AsVote));
	as_ballot_lock();
	vote->epoch = as_node_epoch();
	if (vote->epoch != epoch - 1)
		return false;
	(void) as_node_need_self();
	return true;
}

void
as_ballot_read(int64 epoch, AsVote *vote)
{
	text	   *args[1] = {as_int_text(epoch)};
	AsRows		rows;

	as_text_query(&rows, SPI_OK_SELECT,
				  "SELECT promised::text, accepted::text, proposal::text FROM actorstore.ballot WHERE epoch = $1::bigint",
				  1, args);
	vote->promised = as_cell_int(&rows, 0, 0);
	vote->accepted = as_cell_int(&rows, 0, 1);
	vote->proposal = as_cell(&rows, 0, 2);
}

void
as_ballot_promise(int64 epoch, int64 ballot, AsVote *vote)
{
	text	   *args[2] = {as_int_text(epoch), as_int_text(ballot)};

	if (!as_ballot_is_next(epoch, vote))
		return;
	vote->agreed = as_text_query(NULL, SPI_OK_INSERT,
								 "INSERT INTO actorstore.ballot AS b (epoch, promised) VALUES ($1::bigint, $2::bigint)"
								 " ON CONFLICT (epoch) DO UPDATE SET promised = excluded.promised WHERE b.promised < excluded.promised",
								 2, args) > 0;
	as_ballot_read(epoch, vote);
}

void
as_ballot_accept(int64 epoch, int64 ballot, text *proposal, AsVote *vote)
{
	text	   *args[3] = {as_int_text(epoch), as_int_text(ballot), proposal};

	if (!as_ballot_is_next(epoch, vote))
		return;
	as_ballot_check_epoch(epoch, proposal);
	vote->agreed = as_text_query(NULL, SPI_OK_INSERT,
								 "INSERT INTO actorstore.ballot AS b (epoch, promised, accepted, proposal)"
								 " VALUES ($1::bigint, $2::bigint, $2::bigint, $3::jsonb)"
								 " ON CONFLICT (epoch) DO UPDATE SET promised = excluded.promised, accepted = excluded.accepted,"
								 " proposal = excluded.proposal WHERE b.promised <= excluded.promised",
								 3, args) > 0;
	as_ballot_read(epoch, vote);
}

/* ---- Decisions ---- */

#define MEMBERS_SQL \
	"jsonb_to_recordset($1::jsonb -> 'members') AS m (node_number smallint, node_name text, conninfo text," \
	" weight int, node_uuid uuid, incarnation bigint, datacenter text, rack text)"

/* Who this is; whoever was none yet must become one by this proposal. */
static text *
own_uuid(text *proposal)
{
	pg_uuid_t	uuid;
	text	   *args[2] = {proposal};
	AsRows		rows;

	if (as_node_count() > 0)
		uuid = as_node_need_self()->uuid;
	else if (!as_arrival_uuid(&uuid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("nobody has asked this database to become a node")));
	args[1] = cstring_to_text(DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&uuid))));
	as_text_query(&rows, SPI_OK_SELECT,
				  "SELECT FROM " MEMBERS_SQL " WHERE node_uuid = $2::uuid", 2, args);
	if (rows.nrows == 0 && as_node_count() == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is none of the nodes")));
	return args[1];
}

static void
say_self(const text *name)
{
	ereport(LOG, (errmsg("this database is node \"%s\" now", text_to_cstring(name))));
}

static void
say_joined(const text *name)
{
	ereport(LOG, (errmsg("node \"%s\" has joined", text_to_cstring(name))));
}

static void
say_left(const text *name)
{
	ereport(LOG, (errmsg("node \"%s\" has left", text_to_cstring(name))));
}

/*
 * Who comes and who goes by this, once it is so; who arrives does not say it of those
 * that are here.
 */
static void
say_members(bool arriving, const AsRows *come, const AsRows *gone)
{
	for (int i = 0; i < come->nrows; i++)
	{
		if (as_cell_bool(come, i, 1))
			as_after_commit(say_self, as_cell(come, i, 0));
		else if (!arriving)
			as_after_commit(say_joined, as_cell(come, i, 0));
	}
	for (int i = 0; i < gone->nrows; i++)
		as_after_commit(say_left, as_cell(gone, i, 1));
}

/* Gives those that have gone. */
static void
learn_members(text *proposal, bool arriving, AsRows *gone)
{
	text	   *args[2] = {proposal, own_uuid(proposal)};
	AsRows		come;

	as_text_query(&come, SPI_OK_SELECT,
				  "SELECT node_name, (node_uuid = $2::uuid)::text FROM " MEMBERS_SQL
				  " WHERE NOT EXISTS (SELECT FROM actorstore.node AS n WHERE n.node_uuid = m.node_uuid)",
				  2, args);

	/* a node that is no member any more still knows that it was one */
	as_text_query(gone, SPI_OK_DELETE_RETURNING,
				  "DELETE FROM actorstore.node AS n WHERE NOT is_self"
				  " AND NOT EXISTS (SELECT FROM " MEMBERS_SQL " WHERE m.node_uuid = n.node_uuid)"
				  " RETURNING node_number::text, node_name, node_uuid::text",
				  1, args);
	as_text_query(NULL, SPI_OK_INSERT,
				  "INSERT INTO actorstore.node AS n (node_number, node_name, conninfo, weight, node_uuid, incarnation, datacenter, rack, is_self)"
				  " SELECT m.*, m.node_uuid = $2::uuid FROM " MEMBERS_SQL
				  " ON CONFLICT (node_number) DO UPDATE SET node_name = excluded.node_name, conninfo = excluded.conninfo,"
				  " detour = CASE WHEN n.conninfo IS NOT DISTINCT FROM excluded.conninfo THEN n.detour END,"
				  " weight = excluded.weight, incarnation = greatest(n.incarnation, excluded.incarnation),"
				  " datacenter = excluded.datacenter, rack = excluded.rack",
				  2, args);
	say_members(arriving, &come, gone);
}

bool
as_ballot_learn(text *proposal)
{
	bool		arriving;
	AsRows		gone;

	as_ballot_lock();
	if (as_node_epoch() >= as_ballot_epoch_of(proposal))
		return false;
	arriving = as_node_count() == 0;
	learn_members(proposal, arriving, &gone);
	as_text_query(NULL, SPI_OK_INSERT,
				  "INSERT INTO actorstore.epoch (epoch, last_number, node_numbers, weights, owners, moving, rebalancing, lost)"
				  " SELECT ($1::jsonb -> 'epoch')::bigint, ($1::jsonb -> 'last_number')::smallint,"
				  " (SELECT array_agg(node_number ORDER BY node_number) FROM " MEMBERS_SQL "),"
				  " (SELECT array_agg(weight ORDER BY node_number) FROM " MEMBERS_SQL "),"
				  " string_to_array($1::jsonb ->> 'owners', ',')::smallint[],"
				  " coalesce($1::jsonb -> 'moving', '{}'), coalesce(($1::jsonb -> 'rebalancing')::boolean, false),"
				  " coalesce($1::jsonb -> 'lost', '{}')",
				  1, &proposal);
	as_text_query(NULL, SPI_OK_DELETE,
				  "DELETE FROM actorstore.ballot WHERE epoch <= ($1::jsonb -> 'epoch')::bigint",
				  1, &proposal);
	as_transit_learn(proposal);
	as_farewell(&gone, proposal);
	if (arriving)
		as_text_query(NULL, SPI_OK_DELETE, "DELETE FROM actorstore.arrival", 0, NULL);
	return true;
}

text *
as_ballot_owners_text(const int16 *owners)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int slot = 0; slot < AS_SLOTS; slot++)
		appendStringInfo(&list, "%s%d", slot == 0 ? "" : ",", owners[slot]);
	return cstring_to_text_with_len(list.data, list.len);
}

text *
as_ballot_in_force(void)
{
	AsRows		rows;

	as_text_query(&rows, SPI_OK_SELECT,
				  "SELECT jsonb_build_object('epoch', e.epoch, 'last_number', e.last_number, 'owners', array_to_string(e.owners, ','),"
				  " 'moving', e.moving, 'rebalancing', e.rebalancing, 'lost', e.lost,"
				  " 'members', (SELECT jsonb_agg(to_jsonb(n) - 'is_self' - 'detour' ORDER BY n.node_number) FROM actorstore.node AS n"
				  " WHERE n.node_number = ANY (e.node_numbers)))::text"
				  " FROM actorstore.epoch AS e ORDER BY e.epoch DESC LIMIT 1",
				  0, NULL);
	return rows.nrows == 0 ? NULL : as_cell(&rows, 0, 0);
}

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
#include "cluster/node.h"
#include "executor/spi.h"
#include "lib/slot_map.h"
#include "state/catalog.h"
#include "state/text_query.h"
#include "utils/builtins.h"
#include "utils/inval.h"

/* How long a step may wait for those that write actors just now. */
#define LOCK_TIMEOUT	"10s"

void
as_ballot_lock(void)
{
	as_sync_require();
	ForceSyncCommit();
	as_text_query(NULL, SPI_OK_UTILITY,
				  "LOCK TABLE actorstore.epoch IN SHARE ROW EXCLUSIVE MODE", 0, NULL);
	AcceptInvalidationMessages();
}

/* ---- Slots that hold something ---- */

#define OCCUPIED_SQL \
	"SELECT DISTINCT actorstore.slot_of(a.actor_type, a.actor_id)::text FROM (" \
	" SELECT actor_type, actor_id FROM actorstore.actor" \
	" UNION ALL SELECT actor_type, actor_id FROM actorstore.message" \
	" UNION ALL SELECT actor_type, actor_id FROM actorstore.timer" \
	" UNION ALL SELECT actor_type, actor_id FROM actorstore.dead_message" \
	" UNION ALL SELECT actor_type, actor_id FROM actorstore.group_member" \
	" UNION ALL SELECT actor_type, actor_id FROM actorstore.halted WHERE actor_id <> '') AS a"

void
as_ballot_occupied(bool *occupied)
{
	AsRows		rows;

	as_text_query(&rows, SPI_OK_SELECT, OCCUPIED_SQL, 0, NULL);
	memset(occupied, 0, AS_SLOTS * sizeof(bool));
	for (int i = 0; i < rows.nrows; i++)
		occupied[as_cell_int(&rows, i, 0)] = true;
}

void
as_ballot_owners(text *proposal, int16 *owners)
{
	AsRows		rows;

	as_text_query(&rows, SPI_OK_SELECT,
				  "SELECT owner FROM jsonb_array_elements_text($1::jsonb -> 'owners') WITH ORDINALITY AS o (owner, place) ORDER BY place",
				  1, &proposal);
	if (rows.nrows != AS_SLOTS)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("a proposal has %d slots", rows.nrows)));
	for (int slot = 0; slot < AS_SLOTS; slot++)
		owners[slot] = (int16) as_cell_int(&rows, slot, 0);
}

/* The slots that a proposal takes away from this node. */
static void
given_away(text *proposal, AsRows *rows)
{
	text	   *args[2] = {proposal, as_int_text(as_node_need_self()->number)};

	as_text_query(rows, SPI_OK_SELECT,
				  "SELECT (n.place - 1)::text FROM jsonb_array_elements_text($1::jsonb -> 'owners')"
				  " WITH ORDINALITY AS n (owner, place),"
				  " (SELECT owners FROM actorstore.epoch ORDER BY epoch DESC LIMIT 1) AS e"
				  " WHERE e.owners[n.place] = $2::int AND n.owner::int <> $2::int",
				  2, args);
}

static text *
slots_text(const AsRows *slots)
{
	StringInfoData array;

	initStringInfo(&array);
	appendStringInfoChar(&array, '{');
	for (int i = 0; i < slots->nrows; i++)
		appendStringInfo(&array, "%s" INT64_FORMAT, i == 0 ? "" : ",", as_cell_int(slots, i, 0));
	appendStringInfoChar(&array, '}');
	return cstring_to_text_with_len(array.data, array.len);
}

/* The slots given away, as an array; they hold nothing. */
static text *
check_given_away(text *proposal)
{
	bool		occupied[AS_SLOTS];
	AsRows		slots;

	given_away(proposal, &slots);
	if (slots.nrows == 0)
		return cstring_to_text("{}");
	as_text_query(NULL, SPI_OK_SELECT,
				  "SELECT set_config('lock_timeout', '" LOCK_TIMEOUT "', true)", 0, NULL);
	as_text_query(NULL, SPI_OK_UTILITY,
				  "LOCK TABLE actorstore.actor, actorstore.message, actorstore.timer,"
				  " actorstore.group_member, actorstore.halted IN SHARE MODE", 0, NULL);
	as_ballot_occupied(occupied);
	for (int i = 0; i < slots.nrows; i++)
	{
		int			slot = (int) as_cell_int(&slots, i, 0);

		if (occupied[slot])
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("slot %d of node \"%s\" is not empty", slot,
							as_node_need_self()->name)));
	}
	return slots_text(&slots);
}

/* ---- Votes ---- */

static int64
epoch_of(text *proposal)
{
	AsRows		rows;

	as_text_query(&rows, SPI_OK_SELECT, "SELECT $1::jsonb ->> 'epoch'", 1, &proposal);
	return as_cell_int(&rows, 0, 0);
}

static void
check_epoch(int64 epoch, text *proposal)
{
	if (epoch_of(proposal) != epoch)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the proposal is not one for epoch " INT64_FORMAT, epoch)));
}

/*
 * Is this the epoch that comes next here?  A node that was removed still tells
 * those who are behind which epoch that was.
 */
static bool
is_next(int64 epoch, AsVote *vote)
{
	memset(vote, 0, sizeof(AsVote));
	as_ballot_lock();
	vote->epoch = as_node_epoch();
	if (vote->epoch != epoch - 1)
		return false;
	(void) as_node_need_self();
	return true;
}

static void
read_vote(int64 epoch, AsVote *vote)
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

	if (!is_next(epoch, vote))
		return;
	vote->agreed = as_text_query(NULL, SPI_OK_INSERT,
								 "INSERT INTO actorstore.ballot AS b (epoch, promised) VALUES ($1::bigint, $2::bigint)"
								 " ON CONFLICT (epoch) DO UPDATE SET promised = excluded.promised WHERE b.promised < excluded.promised",
								 2, args) > 0;
	read_vote(epoch, vote);
}

void
as_ballot_consent(int64 epoch, int64 ballot, text *proposal, AsVote *vote)
{
	text	   *args[3] = {as_int_text(epoch), as_int_text(ballot)};

	if (!is_next(epoch, vote))
		return;
	check_epoch(epoch, proposal);
	args[2] = check_given_away(proposal);
	vote->agreed = as_text_query(NULL, SPI_OK_INSERT,
								 "INSERT INTO actorstore.ballot AS b (epoch, promised, given) VALUES ($1::bigint, $2::bigint, $3::smallint[])"
								 " ON CONFLICT (epoch) DO UPDATE SET promised = excluded.promised, given = b.given || excluded.given"
								 " WHERE b.promised <= excluded.promised",
								 3, args) > 0;
	read_vote(epoch, vote);
}

void
as_ballot_accept(int64 epoch, int64 ballot, text *proposal, AsVote *vote)
{
	text	   *args[3] = {as_int_text(epoch), as_int_text(ballot), proposal};

	if (!is_next(epoch, vote))
		return;
	check_epoch(epoch, proposal);
	vote->agreed = as_text_query(NULL, SPI_OK_INSERT,
								 "INSERT INTO actorstore.ballot AS b (epoch, promised, accepted, proposal)"
								 " VALUES ($1::bigint, $2::bigint, $2::bigint, $3::jsonb)"
								 " ON CONFLICT (epoch) DO UPDATE SET promised = excluded.promised, accepted = excluded.accepted,"
								 " proposal = excluded.proposal WHERE b.promised <= excluded.promised",
								 3, args) > 0;
	read_vote(epoch, vote);
}

/* ---- Decisions ---- */

#define MEMBERS_SQL \
	"jsonb_to_recordset($1::jsonb -> 'members') AS m (node_number smallint, node_name text, conninfo text," \
	" weight int, node_uuid uuid, incarnation bigint)"

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
learn_members(text *proposal)
{
	text	   *args[2] = {proposal, own_uuid(proposal)};

	/* a node that is no member any more still knows that it was one */
	as_text_query(NULL, SPI_OK_DELETE,
				  "DELETE FROM actorstore.node AS n WHERE NOT is_self"
				  " AND NOT EXISTS (SELECT FROM " MEMBERS_SQL " WHERE m.node_uuid = n.node_uuid)",
				  1, args);
	as_text_query(NULL, SPI_OK_INSERT,
				  "INSERT INTO actorstore.node AS n (node_number, node_name, conninfo, weight, node_uuid, incarnation, is_self)"
				  " SELECT m.*, m.node_uuid = $2::uuid FROM " MEMBERS_SQL
				  " ON CONFLICT (node_number) DO UPDATE SET node_name = excluded.node_name, conninfo = excluded.conninfo,"
				  " weight = excluded.weight, incarnation = greatest(n.incarnation, excluded.incarnation)",
				  2, args);
}

bool
as_ballot_learn(text *proposal)
{
	as_ballot_lock();
	if (as_node_epoch() >= epoch_of(proposal))
		return false;
	learn_members(proposal);
	as_text_query(NULL, SPI_OK_INSERT,
				  "INSERT INTO actorstore.epoch (epoch, last_number, node_numbers, weights, owners)"
				  " SELECT ($1::jsonb -> 'epoch')::bigint, ($1::jsonb -> 'last_number')::smallint,"
				  " (SELECT array_agg(node_number ORDER BY node_number) FROM " MEMBERS_SQL "),"
				  " (SELECT array_agg(weight ORDER BY node_number) FROM " MEMBERS_SQL "),"
				  " (SELECT array_agg(o.owner::smallint ORDER BY o.place) FROM"
				  " jsonb_array_elements_text($1::jsonb -> 'owners') WITH ORDINALITY AS o (owner, place))",
				  1, &proposal);
	as_text_query(NULL, SPI_OK_DELETE,
				  "DELETE FROM actorstore.ballot WHERE epoch <= ($1::jsonb -> 'epoch')::bigint",
				  1, &proposal);
	as_text_query(NULL, SPI_OK_DELETE, "DELETE FROM actorstore.arrival", 0, NULL);
	return true;
}

text *
as_ballot_in_force(void)
{
	AsRows		rows;

	as_text_query(&rows, SPI_OK_SELECT,
				  "SELECT jsonb_build_object('epoch', e.epoch, 'last_number', e.last_number, 'owners', to_jsonb(e.owners),"
				  " 'members', (SELECT jsonb_agg(to_jsonb(n) - 'is_self' ORDER BY n.node_number) FROM actorstore.node AS n"
				  " WHERE n.node_number = ANY (e.node_numbers)))::text"
				  " FROM actorstore.epoch AS e ORDER BY e.epoch DESC LIMIT 1",
				  0, NULL);
	return rows.nrows == 0 ? NULL : as_cell(&rows, 0, 0);
}

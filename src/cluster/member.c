/*-------------------------------------------------------------------------
 *
 * member.c
 *	  See member.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/member.h"

#include <math.h>

#include "cluster/arrival.h"
#include "cluster/ballot.h"
#include "cluster/conninfo.h"
#include "cluster/give.h"
#include "cluster/node.h"
#include "cluster/panel.h"
#include "cluster/registry.h"
#include "cluster/round.h"
#include "compat.h"
#include "executor/spi.h"
#include "lib/slot_map.h"
#include "state/text_query.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* All actors of a node are looked at. */
#define OCCUPIED_TIMEOUT_MS	60000

/* What is to be changed. */
typedef struct Change
{
	const char *name;
	const char *conninfo;
	int			weight;
	pg_uuid_t	uuid;
	int64		incarnation;
	bool		was_proposed;
	const char *own_conninfo;	/* NULL: it is known (conninfo.h) */
} Change;

/* ---- Proposals ---- */

static text *
one_text(const char *sql, int nargs, text **args)
{
	AsRows		rows;

	as_text_query(&rows, SPI_OK_SELECT, sql, nargs, args);
	return as_cell(&rows, 0, 0);
}

static int
read_members(text *proposal, AsMember *members)
{
	AsRows		rows;

	as_text_query(&rows, SPI_OK_SELECT,
				  "SELECT m ->> 'node_number', m ->> 'weight' FROM jsonb_array_elements($1::jsonb -> 'members') AS m",
				  1, &proposal);
	if (rows.nrows > AS_MAX_NODES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a cluster has at most %d nodes", AS_MAX_NODES)));
	for (int i = 0; i < rows.nrows; i++)
	{
		members[i].node = (int16) as_cell_int(&rows, i, 0);
		members[i].weight = (int32) as_cell_int(&rows, i, 1);
	}
	return rows.nrows;
}

void
as_member_check_weights(const AsMember *members, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (members[i].weight > 0)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("no node would have a weight above 0")));
}

/* Which of its slots hold something; all, if it cannot be asked. */
static void
ask_occupied(const AsNode *node, bool *occupied)
{
	AsPeer	   *peer;
	PGresult   *result;

	if (node->number == as_node_need_self()->number)
	{
		as_give_occupied(occupied);
		return;
	}
	memset(occupied, true, AS_SLOTS * sizeof(bool));
	peer = as_panel_reach(node);
	if (peer == NULL)
		return;
	as_peer_add(peer, "SELECT actorstore.local_occupied()", 0, NULL, false);
	(void) as_peer_launch(peer);
	(void) as_peers_wait(&peer, 1, as_peer_deadline(OCCUPIED_TIMEOUT_MS));
	if (peer->broken || peer->state != AS_PEER_IDLE || !as_peer_succeeded(peer, 0))
		return;
	result = as_peer_result(peer, 0);
	memset(occupied, false, AS_SLOTS * sizeof(bool));
	for (int i = 0; i < PQntuples(result); i++)
		occupied[pg_strtoint32(PQgetvalue(result, i, 0)) & (AS_SLOTS - 1)] = true;
}

/* Those who would give slots away keep the ones that are not empty. */
static void
keep_occupied(const int16 *now, int16 *next)
{
	for (int i = 0; i < as_node_count(); i++)
	{
		const AsNode *node = as_node_nth(i);
		bool		occupied[AS_SLOTS];
		bool		gives = false;

		for (int slot = 0; slot < AS_SLOTS; slot++)
			gives |= now[slot] == node->number && next[slot] != node->number;
		if (!gives)
			continue;
		ask_occupied(node, occupied);
		for (int slot = 0; slot < AS_SLOTS; slot++)
		{
			if (now[slot] == node->number && occupied[slot])
				next[slot] = now[slot];
		}
	}
}

/*
 * So do those whose slots are moving; and who gives or takes any cannot go now
 * (55006).
 */
static void
keep_moving(text *proposal, const int16 *now, int16 *next)
{
	AsRows		rows;

	as_text_query(&rows, SPI_OK_SELECT,
				  "SELECT key, value FROM jsonb_each_text($1::jsonb -> 'moving')", 1, &proposal);
	for (int i = 0; i < rows.nrows; i++)
	{
		int			slot = (int) as_cell_int(&rows, i, 0) & (AS_SLOTS - 1);
		AsRows		found;
		text	   *args[3] = {proposal, as_int_text(now[slot]), as_cell(&rows, i, 1)};

		next[slot] = now[slot];
		if (as_text_query(&found, SPI_OK_SELECT,
						  "SELECT FROM jsonb_array_elements($1::jsonb -> 'members') AS m"
						  " WHERE (m -> 'node_number')::int IN ($2::int, $3::int)", 3, args) < 2)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("a slot is moving from or to a node that would be none any more"),
					 errhint("Try again.")));
	}
}

/* Members are as they shall be: number the epoch, and give them their slots. */
static text *
complete(text *proposal, int16 *next)
{
	AsMember	members[AS_MAX_NODES];
	int			n = read_members(proposal, members);
	int16		now[AS_SLOTS];
	text	   *args[2] = {proposal};

	as_member_check_weights(members, n);
	as_node_owners(now);
	(void) as_slot_map_next(now, members, n, next);
	keep_occupied(now, next);
	keep_moving(proposal, now, next);
	args[1] = as_ballot_owners_text(next);
	return one_text("SELECT ($1::jsonb || jsonb_build_object('epoch', ($1::jsonb -> 'epoch')::bigint + 1, 'owners', $2::text))::text",
					2, args);
}

/* ---- Add ---- */

static bool
is_same(const pg_uuid_t *uuid, const pg_uuid_t *other)
{
	return memcmp(uuid, other, sizeof(pg_uuid_t)) == 0;
}

as_noreturn static void
throw_exists(const Change *change)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("node \"%s\" exists already", change->name)));
}

/* What nobody knew till now is part of it. */
static text *
in_force(const Change *change)
{
	text	   *args[3] = {as_ballot_in_force()};

	if (change->own_conninfo == NULL)
		return args[0];
	args[1] = as_int_text(as_node_need_self()->number);
	args[2] = cstring_to_text(change->own_conninfo);
	return one_text("SELECT ($1::jsonb || jsonb_build_object('members', (SELECT jsonb_agg(CASE WHEN (m -> 'node_number')::int = $2::int"
					" THEN m || jsonb_build_object('conninfo', $3::text) ELSE m END) FROM jsonb_array_elements($1::jsonb -> 'members') AS m)))::text",
					3, args);
}

static text *
propose_add(void *arg)
{
	Change	   *change = arg;
	const AsNode *known = as_node_by_name(change->name);
	int16		next[AS_SLOTS];
	text	   *args[6];

	if (known != NULL && is_same(&known->uuid, &change->uuid))
		return NULL;
	if (known != NULL)
		throw_exists(change);
	for (int i = 0; i < as_node_count(); i++)
	{
		if (is_same(&as_node_nth(i)->uuid, &change->uuid))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the other database is node \"%s\", or a copy of it",
							as_node_nth(i)->name)));
	}
	args[0] = in_force(change);
	args[1] = cstring_to_text(change->name);
	args[2] = cstring_to_text(change->conninfo);
	args[3] = as_int_text(change->weight);
	args[4] = cstring_to_text(DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&change->uuid))));
	args[5] = as_int_text(change->incarnation);
	return complete(one_text("SELECT ($1::jsonb || jsonb_build_object('last_number', ($1::jsonb -> 'last_number')::int + 1,"
							 " 'members', ($1::jsonb -> 'members') || jsonb_build_object("
							 "'node_number', ($1::jsonb -> 'last_number')::int + 1, 'node_name', $2::text, 'conninfo', $3::text,"
							 " 'weight', $4::int, 'node_uuid', $5::text, 'incarnation', $6::bigint)))::text",
							 6, args), next);
}

#define JOIN_SQL "SELECT * FROM actorstore.local_join($1::pg_catalog.jsonb)"

/*
 * The new one is told who it is, and what is in force; and the types as they are
 * now: they may have changed since they were handed over (registry.h).
 */
static void
tell_new(AsPeer *peer)
{
	const char *types[1];
	const char *epoch[1];

	as_registry_lock();
	types[0] = text_to_cstring(as_arrival_types());
	epoch[0] = text_to_cstring(as_ballot_in_force());
	(void) as_peer_add(peer, JOIN_SQL, 1, types, false);
	(void) as_peer_add(peer, "SELECT actorstore.local_learn($1::pg_catalog.jsonb)", 1, epoch, false);
	(void) as_peer_launch(peer);
	(void) as_peers_wait(&peer, 1, 0);
	(void) as_peer_result(peer, 1);
}

/* No operators: those of the other database may be anything. */
#define CLOCK_SQL "SELECT pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())"

/*
 * Timers, deadlines and what is said to have happened when go from node to node as
 * times of day.  The other clock is read, for all we know, in the middle of the
 * round trip; it may have been at any time of it, for which it gets the benefit
 * of the doubt.
 */
static void
check_clock(AsPeer *peer, const Change *change)
{
	TimestampTz before = GetCurrentTimestamp();
	PGresult   *result = as_peer_execute(peer, CLOCK_SQL, 0, NULL, false);
	double		half = (double) (GetCurrentTimestamp() - before) / 2;
	double		theirs = (strtod(PQntuples(result) == 1 ? PQgetvalue(result, 0, 0) : "nan", NULL) -
						  (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (double) SECS_PER_DAY) * USECS_PER_SEC;
	double		ahead = theirs - ((double) before + half);

	/* what is no number is not right, either */
	if (actorstore_max_clock_skew == 0 ||
		fabs(ahead) <= actorstore_max_clock_skew * 1000.0 + half)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the clocks of the two servers differ by %.3f s", fabs(ahead) / USECS_PER_SEC),
			 errdetail("That of node \"%s\" is %s, by more than actorstore.max_clock_skew (%g s) allows.",
					   change->name, ahead > 0 ? "ahead" : "behind", actorstore_max_clock_skew / 1000.0),
			 errhint("Have both set by NTP, or raise actorstore.max_clock_skew.")));
}

/* Types first: whoever owns slots must know what lives in them. */
static bool
hand_over_types(AsPeer *peer, Change *change)
{
	const char *values[1] = {text_to_cstring(as_arrival_types())};
	PGresult   *result = as_peer_execute(peer, JOIN_SQL, 1, values, false);

	change->uuid = *DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(PQgetvalue(result, 0, 0))));
	change->incarnation = pg_strtoint64(PQgetvalue(result, 0, 1));
	return PQgetvalue(result, 0, 2)[0] == 't';
}

/*
 * Nobody uses actors there any more.  If that cannot be had, the database is
 * left as it was, unless somebody may have had it decided that it is a node.
 */
static void
settle(AsPeer *peer, bool is_first)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		(void) as_peer_execute(peer, "SELECT actorstore.local_settle()", 0, NULL, false);
	}
	PG_CATCH();
	{
		MemoryContext error = MemoryContextSwitchTo(context);

		if (is_first && peer->state == AS_PEER_IDLE && !peer->broken)
		{
			as_peer_add(peer, "SELECT actorstore.local_leave()", 0, NULL, false);
			(void) as_peer_launch(peer);
			(void) as_peers_wait_quietly(&peer, 1, as_peer_deadline(actorstore_peer_timeout));
		}
		MemoryContextSwitchTo(error);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* Somebody has called init_node() there, too; local_join() says what becomes of that. */
static void
check_name(AsPeer *peer, const Change *change)
{
	PGresult   *result = as_peer_execute(peer, "SELECT node_name FROM actorstore.local_identity()", 0, NULL, false);
	const char *name = PQgetvalue(result, 0, 0);

	if (strcmp(name, change->name) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the other database is a node already"),
				 errdetail("It is node \"%s\".", name),
				 errhint("One that is alone and holds nothing can be added by its name: \"%s\".", name)));
}

static void
add(AsPeer *peer, Change *change)
{
	static const pg_uuid_t nobody = {{0}};
	const AsNode *known = as_node_by_name(change->name);

	if (known != NULL && (!is_same(&peer->uuid, &nobody) || known->conninfo == NULL ||
						  strcmp(known->conninfo, change->conninfo) != 0))
		throw_exists(change);
	if (!is_same(&peer->uuid, &nobody))
		check_name(peer, change);
	check_clock(peer, change);
	settle(peer, hand_over_types(peer, change));

	/* it may have been taken in before, but not told */
	if (known == NULL || !is_same(&known->uuid, &change->uuid))
		as_round_run(propose_add, change);
	tell_new(peer);
}

void
as_member_add(const char *name, const char *conninfo, int weight)
{
	Change		change = {.name = name, .conninfo = conninfo, .weight = weight};
	AsPeer	   *peer;
	bool		is_known;

	as_conninfo_check(conninfo);
	is_known = as_node_need_self()->conninfo != NULL;
	if (!is_known)
		as_conninfo_own_check(conninfo);
	peer = as_peer_open(name, conninfo);
	PG_TRY();
	{
		if (!is_known)
		{
			change.own_conninfo = as_conninfo_own_find(conninfo, peer);
			as_node_suppose_conninfo(change.own_conninfo);
		}
		add(peer, &change);
	}
	PG_FINALLY();
	{
		as_node_suppose_conninfo(NULL);
		as_peer_close(peer);
	}
	PG_END_TRY();
}

/* ---- Remove ---- */

static text *
propose_remove(void *arg)
{
	Change	   *change = arg;
	const AsNode *node = as_node_by_name(change->name);
	int16		next[AS_SLOTS];
	int			kept = 0;
	int			number;
	text	   *args[2];
	text	   *proposal;

	if (node == NULL && change->was_proposed)
		return NULL;
	number = as_node_need(change->name)->number;
	args[0] = as_ballot_in_force();
	args[1] = as_int_text(number);
	proposal = complete(one_text("SELECT ($1::jsonb || jsonb_build_object('members', coalesce("
								 "(SELECT jsonb_agg(m) FROM jsonb_array_elements($1::jsonb -> 'members') AS m"
								 " WHERE (m -> 'node_number')::int <> $2::int), '[]')))::text",
								 2, args), next);
	for (int slot = 0; slot < AS_SLOTS; slot++)
		kept += next[slot] == number;
	if (kept > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("node \"%s\" still owns %d slots that are not empty", change->name, kept)));
	change->was_proposed = true;
	return proposal;
}

static text *
propose_same(void *arg)
{
	text	   *in_force = as_ballot_in_force();

	return !as_give_is_stuck() ? NULL :
		one_text("SELECT ($1::jsonb || jsonb_build_object('epoch', ($1::jsonb -> 'epoch')::bigint + 1))::text",
				 1, &in_force);
}

void
as_member_unstick(void)
{
	if (as_give_is_stuck())
		as_round_run(propose_same, NULL);
}

void
as_member_remove(const char *name)
{
	Change		change = {.name = name};

	(void) as_node_need(name);
	as_round_run(propose_remove, &change);
}

/* ---- Reweight ---- */

static text *
propose_reweight(void *arg)
{
	Change	   *change = arg;
	const AsNode *node = as_node_need(change->name);
	int16		now[AS_SLOTS];
	int16		next[AS_SLOTS];
	text	   *args[3];
	text	   *proposal;

	args[0] = as_ballot_in_force();
	args[1] = as_int_text(node->number);
	args[2] = as_int_text(change->weight);
	proposal = complete(one_text("SELECT ($1::jsonb || jsonb_build_object('members',"
								 " (SELECT jsonb_agg(CASE WHEN (m -> 'node_number')::int = $2::int THEN m || jsonb_build_object('weight', $3::int) ELSE m END)"
								 " FROM jsonb_array_elements($1::jsonb -> 'members') AS m)))::text",
								 3, args), next);

	/* slots may have become empty since it got this weight */
	as_node_owners(now);
	if (node->weight == change->weight && memcmp(now, next, sizeof(now)) == 0)
		return NULL;
	return proposal;
}

void
as_member_reweight(const char *name, int weight)
{
	Change		change = {.name = name, .weight = weight};

	(void) as_node_need(name);
	as_round_run(propose_reweight, &change);
}

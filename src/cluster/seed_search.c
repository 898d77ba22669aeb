/*-------------------------------------------------------------------------
 *
 * seed_search.c
 *	  Looking for the other members: see seeds.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/seeds.h"

#include "cluster/catch_up.h"
#include "cluster/node.h"
#include "cluster/peer_stat.h"
#include "cluster/seed_place.h"
#include "executor/spi.h"
#include "state/own_transaction.h"
#include "state/text_query.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* an epoch that was learned may say where others are: look again, so often */
#define MAX_SEARCHES	3

typedef struct Member
{
	int16		number;
	char	   *name;
	char	   *conninfo;		/* as decided; NULL: not known */
	char	   *detour;			/* NULL: none */
	char	   *uuid;
	int64		incarnation;
} Member;

typedef struct Search
{
	char	   *conninfo;		/* this node's */
	char	   *uuid;
	int64		epoch;
	Member	   *members;		/* this one, too */
	int			nmembers;
	AsSeedAddress *seeds;
	int			nseeds;
	AsSeedPlace *places;
	int			nplaces;
} Search;

/* ---- Where to look ---- */

static char *
cell_string(const AsRows *rows, int row, int column)
{
	return as_cell(rows, row, column) == NULL ? NULL : text_to_cstring(as_cell(rows, row, column));
}

/* False if there are no others, or they would not know how to reach this one. */
static bool
read_members(Search *search)
{
	const AsNode *self;
	AsRows		rows = {0};

	as_own_transaction_begin();
	self = as_node_self();
	if (self != NULL && self->conninfo != NULL && as_node_has_others())
	{
		search->conninfo = pstrdup(self->conninfo);
		search->uuid = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&self->uuid)));
		search->epoch = as_node_epoch();
		(void) as_text_query(&rows, SPI_OK_SELECT,
							 "SELECT node_number::text, node_name, conninfo, detour, node_uuid::text, incarnation::text"
							 " FROM actorstore.node AS n ORDER BY n.node_number",
							 0, NULL);
	}
	as_own_transaction_end();
	search->nmembers = rows.nrows;
	search->members = palloc0(sizeof(Member) * (rows.nrows + 1));
	for (int i = 0; i < rows.nrows; i++)
	{
		Member	   *member = &search->members[i];

		member->number = (int16) as_cell_int(&rows, i, 0);
		member->name = cell_string(&rows, i, 1);
		member->conninfo = cell_string(&rows, i, 2);
		member->detour = cell_string(&rows, i, 3);
		member->uuid = cell_string(&rows, i, 4);
		member->incarnation = Max(as_cell_int(&rows, i, 5),
								  as_peer_stat_incarnation(as_peer_stat_find(member->number)));
	}
	return rows.nrows > 0;
}

static void
add_place(Search *search, const char *conninfo, const Member *looked_for, const AsSeedAddress *seed)
{
	AsSeedPlace *place = &search->places[search->nplaces++];

	memset(place, 0, sizeof(AsSeedPlace));
	place->conninfo = conninfo;
	place->looked_for = looked_for == NULL ? NULL : looked_for->uuid;
	place->seed = seed;
	if (conninfo == NULL)
	{
		place->state = AS_PLACE_UNRESOLVED;
		place->detail = seed->problem;
	}
}

static void
add_places(Search *search)
{
	/* room for what others know of each member, too */
	search->places = palloc(sizeof(AsSeedPlace) * (3 * search->nmembers + search->nseeds));
	search->nplaces = 0;
	for (int i = 0; i < search->nmembers; i++)
	{
		const Member *member = &search->members[i];

		if (member->conninfo != NULL)
			add_place(search, member->conninfo, member, NULL);
		if (member->detour != NULL)
			add_place(search, member->detour, member, NULL);
	}
	for (int i = 0; i < search->nseeds; i++)
		add_place(search, search->seeds[i].conninfo, NULL, &search->seeds[i]);
}

/* ---- Who is there ---- */

static const Member *
find_member(const Search *search, const char *uuid)
{
	for (int i = 0; i < search->nmembers; i++)
	{
		if (strcmp(uuid, search->members[i].uuid) == 0)
			return &search->members[i];
	}
	return NULL;
}

static bool
is_lost(const char *uuid)
{
	pg_uuid_t  *value = DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(uuid)));
	bool		is;

	as_own_transaction_begin();
	is = as_node_is_lost(value);
	as_own_transaction_end();
	return is;
}

/*
 * Why we do not believe it; NULL if we do.  Who has come while this node was down
 * is known once another member has told of it.
 */
static const char *
find_fault(const Search *search, const AsSeedPlace *place)
{
	const Member *member;

	if (place->uuid == NULL)
		return "It is no node, or is none any more.";
	if (is_lost(place->uuid))
		return "It has been declared lost.";
	member = find_member(search, place->uuid);
	if (member == NULL)
		return "It is no member that this node knows.";
	return place->incarnation < member->incarnation ? "It is an older incarnation than the one known." : NULL;
}

static void
visit(Search *search, int first)
{
	as_seed_places_visit(search->places + first, search->nplaces - first);
	for (int i = first; i < search->nplaces; i++)
	{
		AsSeedPlace *place = &search->places[i];

		if (place->state != AS_PLACE_UNKNOWN)
			continue;
		if (place->uuid != NULL && strcmp(place->uuid, search->uuid) == 0)
		{
			place->state = AS_PLACE_SELF;
			continue;
		}
		place->detail = find_fault(search, place);
		place->state = place->detail == NULL ? AS_PLACE_MEMBER : AS_PLACE_REFUSED;
	}
}

/* ---- What follows ---- */

/* Where a member was met, of several places where it should be; NULL: nowhere. */
static const AsSeedPlace *
find_meeting(const Search *search, const Member *member)
{
	const AsSeedPlace *other = NULL;

	for (int i = 0; i < search->nplaces; i++)
	{
		const AsSeedPlace *place = &search->places[i];

		if ((place->state != AS_PLACE_MEMBER && place->state != AS_PLACE_SELF) ||
			strcmp(place->uuid, member->uuid) != 0)
			continue;
		if (place->looked_for == member->uuid)
			return place;
		if (other == NULL)
			other = place;
	}
	return other;
}

/*
 * Put the newest epoch in force; false if there is none but ours.  Of several
 * who say that they are a member, only the one is heard that is where it should be.
 */
static bool
learn(const Search *search)
{
	const AsSeedPlace *newest = NULL;

	for (int i = 0; i < search->nmembers; i++)
	{
		const AsSeedPlace *place = find_meeting(search, &search->members[i]);

		if (place != NULL && place->state == AS_PLACE_MEMBER &&
			place->epoch > (newest == NULL ? search->epoch : newest->epoch))
			newest = place;
	}
	if (newest != NULL)
		as_catch_up_with(newest->in_force);
	return newest != NULL;
}

/* What another member has written down of one that is not met. */
static void
add_hearsay(Search *search, const Member *member)
{
	int			n = search->nplaces;

	for (int i = 0; i < n; i++)
	{
		text	   *args[3] = {NULL, cstring_to_text(member->uuid),
		cstring_to_text(member->conninfo == NULL ? "" : member->conninfo)};
		AsRows		rows;

		if (search->places[i].state != AS_PLACE_MEMBER)
			continue;
		args[0] = cstring_to_text(search->places[i].in_force);
		if (as_text_query_alone(&rows, SPI_OK_SELECT,
								"SELECT m ->> 'conninfo' FROM jsonb_array_elements($1::jsonb -> 'members') AS m"
								" WHERE m ->> 'node_uuid' = $2 AND m ->> 'conninfo' <> $3 LIMIT 1",
								3, args) == 0)
			continue;
		add_place(search, cell_string(&rows, 0, 0), member, NULL);
		return;
	}
}

/* It holds only as long as the conninfo is the one that we looked at. */
static void
set_detour(const Member *member, const char *detour, const AsSeedAddress *seed)
{
	text	   *args[3] = {as_int_text(member->number), detour == NULL ? NULL : cstring_to_text(detour),
	member->conninfo == NULL ? NULL : cstring_to_text(member->conninfo)};

	if (as_text_query_alone(NULL, SPI_OK_UPDATE,
							"UPDATE actorstore.node SET detour = $2 WHERE node_number = $1::smallint"
							" AND conninfo IS NOT DISTINCT FROM $3",
							3, args) == 0)
		return;
	if (detour == NULL)
		ereport(LOG,
				(errmsg("node \"%s\" is reached by its conninfo again", member->name)));
	else
		ereport(LOG,
				(errmsg("node \"%s\" is reached where its conninfo does not lead", member->name),
				 seed == NULL ? 0 : errdetail("It is at seed \"%s\", address \"%s\".", seed->seed, seed->address)));
}

static void
take_detours(Search *search)
{
	int			first = search->nplaces;

	for (int i = 0; i < search->nmembers; i++)
	{
		if (find_meeting(search, &search->members[i]) == NULL)
			add_hearsay(search, &search->members[i]);
	}
	visit(search, first);
	for (int i = 0; i < search->nmembers; i++)
	{
		Member	   *member = &search->members[i];
		const AsSeedPlace *place = find_meeting(search, member);
		const char *detour;

		if (place == NULL)
			continue;
		detour = member->conninfo != NULL && strcmp(place->conninfo, member->conninfo) == 0 ? NULL : place->conninfo;
		if (detour == NULL ? member->detour != NULL :
			member->detour == NULL || strcmp(detour, member->detour) != 0)
			set_detour(member, detour, place->seed);
	}
}

/* ---- What has come of it ---- */

static const char *const state_names[] = {"unknown", "unresolved", "unreachable", "refused", "self", "member"};

/* Into the log only if it is something else than the last time. */
static void
tell(const AsSeedPlace *place, const char *before)
{
	const char *shown = place->seed->address[0] == '\0' ? place->seed->seed : place->seed->address;

	if (before != NULL && strcmp(before, state_names[place->state]) == 0)
		return;
	switch (place->state)
	{
		case AS_PLACE_MEMBER:
			if (before != NULL)
				ereport(LOG, (errmsg("seed \"%s\" leads to a node of this cluster", shown)));
			break;
		case AS_PLACE_REFUSED:
			ereport(LOG,
					(errmsg("seed \"%s\" is refused", shown), errdetail_internal("%s", place->detail)));
			break;
		case AS_PLACE_UNREACHABLE:
			ereport(LOG,
					(errmsg("seed \"%s\" is out of reach", shown), errdetail_internal("%s", place->detail)));
			break;
		case AS_PLACE_UNRESOLVED:
			ereport(LOG,
					(errmsg("seed \"%s\" leads to no address", shown), errdetail_internal("%s", place->detail)));
			break;
		default:
			break;
	}
}

static void
write_one(const Search *search, const AsSeedPlace *place)
{
	const Member *member = place->state == AS_PLACE_MEMBER ? find_member(search, place->uuid) : NULL;
	text	   *args[5] = {cstring_to_text(place->seed->seed), cstring_to_text(place->seed->address),
		cstring_to_text(state_names[place->state]), member == NULL ? NULL : cstring_to_text(member->name),
	place->detail == NULL ? NULL : cstring_to_text(place->detail)};
	AsRows		rows;

	tell(place, as_text_query(&rows, SPI_OK_SELECT,
							  "SELECT state FROM actorstore.seed WHERE seed = $1 AND address = $2", 2, args) == 0 ?
		 NULL : text_to_cstring(as_cell(&rows, 0, 0)));
	(void) as_text_query(NULL, SPI_OK_INSERT,
						 "INSERT INTO actorstore.seed AS s (seed, address, state, node_name, detail, refused)"
						 " VALUES ($1, $2, $3, $4, $5, ($3 = 'refused')::int)"
						 " ON CONFLICT (seed, address) DO UPDATE SET state = excluded.state, node_name = excluded.node_name,"
						 " detail = excluded.detail, refused = s.refused + excluded.refused, tried_at = excluded.tried_at,"
						 " since = CASE WHEN s.state = excluded.state THEN s.since ELSE excluded.since END",
						 5, args);
}

static void
write_down(const Search *search)
{
	as_own_transaction_begin();
	for (int i = 0; i < search->nplaces; i++)
	{
		if (search->places[i].seed != NULL)
			write_one(search, &search->places[i]);
	}
	(void) as_text_query(NULL, SPI_OK_DELETE, "DELETE FROM actorstore.seed WHERE tried_at <> now()", 0, NULL);
	as_own_transaction_end();
}

void
as_seeds_search(void)
{
	Search		search = {0};
	bool		is_member;

	MemoryContextSwitchTo(AllocSetContextCreate(TopMemoryContext, "actorstore seeds", ALLOCSET_DEFAULT_SIZES));
	is_member = read_members(&search);
	if (!is_member)
		return;
	search.seeds = palloc(sizeof(AsSeedAddress) * AS_MAX_SEED_ADDRESSES);
	search.nseeds = as_seed_addresses(actorstore_seeds, search.conninfo, search.seeds);
	for (int i = 0; i < MAX_SEARCHES; i++)
	{
		add_places(&search);
		visit(&search, 0);
		if (!learn(&search) || i == MAX_SEARCHES - 1)
			break;
		is_member = read_members(&search);
		if (!is_member)
			break;
	}
	if (is_member)
		take_detours(&search);
	write_down(&search);
}

/*-------------------------------------------------------------------------
 *
 * write_there.c
 *	  Many actors written wherever they live: see sets_there.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "api/sets_there.h"

#include "api/errand.h"
#include "cluster/caller.h"
#include "cluster/global.h"
#include "cluster/route_stream.h"
#include "cluster/row_wire.h"
#include "utils/builtins.h"

#define WRITE_MANY_SQL "SELECT actorstore.local_write_many($1, $2, $3, $4, $5)"

/* What is written on one node */
typedef struct Part
{
	bytea	   *packed;			/* NULL: here */
	AsPeer	   *peer;
	int			number;			/* of the command */
} Part;

static bytea *
pack(const AsRouteGroup *group, text **ids, Datum *values)
{
	StringInfoData wire;
	Datum		columns[Natts_actor] = {0};

	as_wire_begin(&wire);
	for (int i = 0; i < group->n; i++)
	{
		columns[Anum_actor_id - 1] = PointerGetDatum(ids[group->places[i]]);
		columns[Anum_actor_value - 1] = values[group->places[i]];
		as_wire_write(&wire, columns, true, NULL);
	}
	return as_wire_end(&wire);
}

static void
send_part(Part *part, AsManyKind kind, text *type, const AsNode *node)
{
	static const int formats[5] = {0, 0, 0, 0, 1};
	int			lengths[5] = {0, 0, 0, 0, VARSIZE(part->packed) - VARHDRSZ};
	char		word[2] = {(char) kind, '\0'};
	const char *values[5] = {
		as_caller_name(), as_route_epoch_text(), word, text_to_cstring(type),
		VARDATA(part->packed)
	};
	AsPeerCommand command = {
		.sql = WRITE_MANY_SQL, .nvalues = lengthof(values), .values = values,
		.lengths = lengths, .formats = formats, .keep = true
	};

	part->peer = as_route_begin(node, false);
	part->number = as_peer_add_command(part->peer, &command);
	(void) as_peer_launch(part->peer);
	pfree(part->packed);
}

/* False: it does not own them all. */
static bool
was_written(AsPeer *peer, int number)
{
	PGresult   *result = as_peer_result(peer, number);
	char		answer = PQntuples(result) == 1 && PQnfields(result) == 1 ?
		PQgetvalue(result, 0, 0)[0] : '\0';

	if (answer != AS_CHUNK_ROWS && answer != AS_CHUNK_NOT_MINE)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("another node has given an unknown answer")));
	if (answer == AS_CHUNK_ROWS)
		as_global_wrote(peer);
	return answer == AS_CHUNK_ROWS;
}

static void
write_here(AsManyKind kind, text *type, const AsRouteGroup *group, text **ids,
		   Datum *values)
{
	text	  **some_ids = palloc(sizeof(text *) * group->n);
	Datum	   *some_values = palloc(sizeof(Datum) * group->n);

	for (int i = 0; i < group->n; i++)
	{
		some_ids[i] = ids[group->places[i]];
		some_values[i] = values[group->places[i]];
	}
	as_many_write(kind, type, group->n, some_ids, some_values);
}

/* Move those that are left to the front; returns how many. */
static int
compact(int n, text **ids, Datum *values, const bool *left)
{
	int			nleft = 0;

	for (int i = 0; i < n; i++)
	{
		if (!left[i])
			continue;
		ids[nleft] = ids[i];
		values[nleft++] = values[i];
	}
	return nleft;
}

static void
wait_for_parts(Part *parts, int n)
{
	AsPeer	  **peers = palloc(sizeof(AsPeer *) * n);

	for (int i = 0; i < n; i++)
		peers[i] = parts[i].peer;
	as_route_wait(peers, n);
}

/*
 * All other nodes work while this one does; unless triggers here could want one
 * of them, too.  Returns how many actors were not written because their node
 * does not own them; they are moved to the front, and *refuser is a node that said so.
 */
static int
write_groups(AsManyKind kind, text *type, int n, text **ids, Datum *values,
			 const AsNode **refuser)
{
	AsRouteGroup *groups;
	AsRouteGroup *here = NULL;
	int			ngroups = as_route_divide(type, n, ids, &groups);
	Part	   *parts = palloc0(sizeof(Part) * ngroups);
	bool	   *left = palloc0(sizeof(bool) * n);
	bool		at_once;

	for (int i = 0; i < ngroups; i++)
	{
		if (groups[i].node == NULL)
			here = &groups[i];
		else
			parts[i].packed = pack(&groups[i], ids, values);
	}
	at_once = here != NULL && (ngroups == 1 || !as_many_runs_code(type));
	for (int i = 0; i < ngroups; i++)
	{
		if (parts[i].packed != NULL)
			send_part(&parts[i], kind, type, groups[i].node);
	}
	if (at_once)
		write_here(kind, type, here, ids, values);
	wait_for_parts(parts, ngroups);
	for (int i = 0; i < ngroups; i++)
	{
		if (parts[i].peer == NULL || was_written(parts[i].peer, parts[i].number))
			continue;
		*refuser = groups[i].node;
		for (int j = 0; j < groups[i].n; j++)
			left[groups[i].places[j]] = true;
	}
	if (here != NULL && !at_once)
		write_here(kind, type, here, ids, values);
	return compact(n, ids, values, left);
}

void
as_many_write_anywhere(AsManyKind kind, text *type, int n, text **ids,
					   Datum *values)
{
	const AsNode *refuser = NULL;

	as_errand_check_right(type, AS_PRIV_WRITE);
	if (n == 0)
	{
		as_many_write(kind, type, n, ids, values);
		return;
	}
	(void) as_type_get_or_declare(type);
	n = write_groups(kind, type, n, ids, values, &refuser);
	if (n == 0)
		return;
	as_route_learn(refuser);
	if (write_groups(kind, type, n, ids, values, &refuser) > 0)
		as_route_refuse();
}

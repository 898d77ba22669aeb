/*-------------------------------------------------------------------------
 *
 * registry.c
 *	  Changes of types on all members: see registry.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/registry.h"

#include "catalog/pg_type.h"
#include "cluster/caller.h"
#include "cluster/global.h"
#include "cluster/node.h"
#include "commands/dbcommands.h"
#include "compat.h"
#include "miscadmin.h"
#include "runtime/flow.h"
#include "runtime/lifecycle.h"
#include "runtime/outgoing.h"
#include "runtime/stat.h"
#include "state/catalog.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

#define CHANGE_SQL \
	"SELECT actorstore.local_type($1, $2, $3, $4, $5, $6, $7, $8, $9, $10," \
	" $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)"

enum
{
	VALUE_CALLER,
	VALUE_EPOCH,
	VALUE_KIND,
	VALUE_TYPE,
	VALUE_EVENTS,
	VALUE_MESSAGE,
	VALUE_HANDLER,
	VALUE_SEARCH_PATH,
	VALUE_GRANTEE,
	VALUE_PRIVILEGES,
	VALUE_OPTIONS,
	NUM_VALUES = VALUE_OPTIONS + AS_NUM_OPTIONS
};

void
as_change_init(AsChange *change, const char *kind, text *type)
{
	memset(change, 0, sizeof(AsChange));
	change->kind = kind;
	change->type = type;
	for (int i = 0; i < AS_NUM_OPTIONS; i++)
		change->options.nulls[i] = true;
}

static bool
is_kind(const AsChange *change, const char *kind)
{
	return strcmp(change->kind, kind) == 0;
}

/* ---- Here ---- */

/* Are any messages of the type handled outside? */
static bool
has_outside(text *name)
{
	AsType	   *type = as_type_get(name);

	(void) as_handler_find(type, name);
	return type->noutside > 0;
}

static void
set_handler(AsChange *change)
{
	bool		was_outside = has_outside(change->type);

	as_type_set_handler(change->type, change->message, change->handler,
						change->search_path);

	/* what waits for a client may be a worker's now */
	if (was_outside)
		as_outgoing_note_sweep();
}

static void
drop(AsChange *change)
{
	as_type_check_owner(as_type_get(change->type));
	as_life_type_drops(change->type);
	as_type_drop(change->type, change->events);
	as_life_type_dropped(change->type);
	as_stat_type_dropped(change->type);
	as_outgoing_note_doubt();
}

static void
make_here(AsChange *change, bool for_superuser)
{
	if (is_kind(change, AS_CHANGE_CREATE))
		as_type_create(change->type, &change->options, for_superuser);
	else if (is_kind(change, AS_CHANGE_ALTER))
		as_type_alter(change->type, &change->options);
	else if (is_kind(change, AS_CHANGE_DROP))
		drop(change);
	else if (is_kind(change, AS_CHANGE_DECLARE))
		as_type_declare(change->type, for_superuser);
	else if (is_kind(change, AS_CHANGE_HANDLER))
		set_handler(change);
	else if (is_kind(change, AS_CHANGE_GRANT))
		as_type_grant(change->type, change->grantee, change->privileges);
	else if (is_kind(change, AS_CHANGE_REVOKE))
		as_type_revoke(change->type, change->grantee, change->privileges);
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unrecognized change of a type: \"%s\"", change->kind)));
	if (is_kind(change, AS_CHANGE_CREATE) || is_kind(change, AS_CHANGE_ALTER) ||
		is_kind(change, AS_CHANGE_DROP))
		as_flow_note_change();
}

/* The locks are held: nobody has come since then, or will until we have ended. */
static void
check_epoch(int64 epoch)
{
	if (as_node_epoch() > epoch)
		ereport(ERROR,
				(errcode(AS_ERRCODE_NOT_THE_OWNER),
				 errmsg("nodes have come or gone meanwhile"),
				 errhint("Try again.")));
}

void
as_registry_take(AsChange *change, int64 epoch, bool for_superuser)
{
	(void) as_node_need_self();
	make_here(change, for_superuser);
	check_epoch(epoch);
}

void
as_registry_lock(void)
{
	LockRelationOid(as_catalog()->type, ShareLock);
}

/* ---- There ---- */

static char *
option_text(AsTypeOption option, Datum value)
{
	Oid			output;
	bool		is_varlena;

	/* the shortest notation depends on a setting */
	if (as_option_types[option] == FLOAT8OID)
		return psprintf("%.17g", DatumGetFloat8(value));
	getTypeOutputInfo(as_option_types[option], &output, &is_varlena);
	return OidOutputFunctionCall(output, value);
}

/*
 * The change as parameters of local_type().  False if nobody else can be told:
 * rights of a role that has gone.
 */
static bool
write_change(const AsChange *change, int64 epoch, const char **values)
{
	memset(values, 0, sizeof(char *) * NUM_VALUES);
	values[VALUE_CALLER] = as_caller_name();
	values[VALUE_EPOCH] = psprintf(INT64_FORMAT, epoch);
	values[VALUE_KIND] = change->kind;
	values[VALUE_TYPE] = text_to_cstring(change->type);
	values[VALUE_EVENTS] = change->events ? "t" : "f";
	if (change->message != NULL)
		values[VALUE_MESSAGE] = text_to_cstring(change->message);
	if (OidIsValid(change->handler))
		values[VALUE_HANDLER] = format_procedure_qualified(change->handler);
	values[VALUE_SEARCH_PATH] = change->search_path;
	if (OidIsValid(change->grantee))
	{
		values[VALUE_GRANTEE] = GetUserNameFromId(change->grantee, true);
		if (values[VALUE_GRANTEE] == NULL)
			return false;
	}
	values[VALUE_PRIVILEGES] = psprintf("%d", change->privileges);
	for (int i = 0; i < AS_NUM_OPTIONS; i++)
	{
		if (!change->options.nulls[i])
			values[VALUE_OPTIONS + i] = option_text(i, change->options.values[i]);
	}
	return true;
}

typedef struct Sent
{
	AsPeer	   *peer;
	int			command;
} Sent;

static Sent
send_change(const AsNode *node, const char *const *values)
{
	Sent		sent = {.peer = as_global_enlist(node)};

	as_peer_add_settings(sent.peer);
	sent.command = as_peer_add(sent.peer, CHANGE_SQL, NUM_VALUES, values, true);
	as_global_wrote(sent.peer);
	(void) as_peer_launch(sent.peer);
	return sent;
}

/*
 * A superuser's type would be the login role's elsewhere, whose rights its
 * handlers would have.
 */
static void
finish_change(const AsChange *change, const Sent *sent)
{
	PGresult   *result = as_peer_result(sent->peer, sent->command);
	char	   *owner;

	if (!is_kind(change, AS_CHANGE_CREATE) && !is_kind(change, AS_CHANGE_DECLARE))
		return;
	owner = GetUserNameFromId(as_type_get(change->type)->owner, true);
	if (owner != NULL && strcmp(owner, PQgetvalue(result, 0, 0)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("actor type \"%s\" would belong to \"%s\" here, and to \"%s\" on node \"%s\"",
						text_to_cstring(change->type), owner,
						PQgetvalue(result, 0, 0), sent->peer->name),
				 errhint("Use SET ROLE to declare it as the role that shall own it.")));
}

static int
find_others(const AsNode **others)
{
	const AsNode *self = as_node_self();
	int			n = 0;

	if (self == NULL)
		return 0;
	for (int i = 0; i < as_node_count(); i++)
	{
		const AsNode *node = as_node_nth(i);

		if (node->number == self->number)
			continue;
		if (n == AS_MAX_PEERS)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("too many nodes")));
		others[n++] = node;
	}
	return n;
}

void
as_registry_change(AsChange *change)
{
	int64		epoch = as_node_epoch();	/* before we ask who they are */
	const AsNode *others[AS_MAX_PEERS];
	int			n = find_others(others);
	bool		is_first = n == 0 || as_node_self()->number < others[0]->number;
	const char *values[NUM_VALUES];
	Sent		sent[AS_MAX_PEERS];
	AsPeer	   *peers[AS_MAX_PEERS];

	if (n > 0 && !write_change(change, epoch, values))
		n = 0;
	if (is_first)
		make_here(change, false);
	for (int i = 0; i < n; i++)
	{
		sent[i] = send_change(others[i], values);
		peers[i] = sent[i].peer;
		if (i == 0 && !is_first)
		{
			(void) as_peers_wait(peers, 1, 0);
			(void) as_peer_result(peers[0], sent[0].command);
		}
	}
	if (!is_first)
		make_here(change, false);
	(void) as_peers_wait(peers, n, 0);
	for (int i = 0; i < n; i++)
		finish_change(change, &sent[i]);
	check_epoch(epoch);
}

/* ---- By their first use ---- */

static void
declare(text *type)
{
	AsChange	change;

	as_change_init(&change, AS_CHANGE_DECLARE, type);
	as_registry_change(&change);
}

void
as_registry_init(void)
{
	as_type_declare_hook = declare;
}

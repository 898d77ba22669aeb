/*-------------------------------------------------------------------------
 *
 * groups.c
 *	  See groups.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/groups.h"

#include "common/hashfn.h"
#include "lib/qunique.h"
#include "miscadmin.h"
#include "runtime/send.h"
#include "runtime/turn.h"
#include "state/catalog.h"
#include "state/owner.h"
#include "state/text_query.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/builtins.h"

/* Tells our locks on groups from the advisory locks of users */
#define GROUP_LOCK_CLASS	4

#define DEFAULT_PRIORITY	4

/* Who is the first decides whose the group is: one at a time. */
static void
lock_group(const text *group)
{
	uint64		hash = hash_bytes_extended((unsigned char *) VARDATA_ANY(group),
										   VARSIZE_ANY_EXHDR(group), 0);
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (hash >> 32),
						 (uint32) hash, GROUP_LOCK_CLASS);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* 42501 unless the group is the current role's. */
static void
check_owner(const text *group, Oid owner)
{
	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of group \"%s\"", text_to_cstring(group)),
				 errdetail("A group belongs to the role that made its first member join.")));
}

/* Whose group it is; InvalidOid if there is none. */
static Oid
find_owner(text *group, const char *sql)
{
	text	   *args[1] = {group};
	AsRows		rows;

	if (as_text_query_kept(&rows, SPI_OK_SELECT, sql, 1, args) == 0)
		return InvalidOid;
	return (Oid) as_cell_int(&rows, 0, 0);
}

static Oid
owner_here(text *group)
{
	return find_owner(group, "SELECT owner::oid::bigint::text FROM actorstore.group_member"
					  " WHERE group_name = $1 LIMIT 1");
}

static bool
insert(text *group, text *type, text *id, Oid owner)
{
	text	   *args[4] = {group, type, id, as_int_text(owner)};

	return as_text_query_kept(NULL, SPI_OK_INSERT,
							  "INSERT INTO actorstore.group_member (group_name, actor_type, actor_id, owner)"
							  " VALUES ($1, $2, $3, $4::oid) ON CONFLICT DO NOTHING",
							  4, args) > 0;
}

bool
as_group_join(text *group, text *type, text *id)
{
	Oid			owner;

	as_owner_need(type, id);
	owner = as_group_lock(group);
	return as_group_join_first(group, type, id, OidIsValid(owner) ? owner : GetUserId());
}

bool
as_group_join_others(text *group, text *type, text *id, bool *joined)
{
	Oid			owner;

	as_owner_need(type, id);
	owner = find_owner(group,
					   "SELECT owner::oid::bigint::text FROM actorstore.group_member"
					   " WHERE group_name = $1 LIMIT 1 FOR KEY SHARE");
	if (!OidIsValid(owner))
		return false;
	*joined = as_group_join_first(group, type, id, owner);
	return true;
}

Oid
as_group_lock(text *group)
{
	lock_group(group);
	return owner_here(group);
}

bool
as_group_join_first(text *group, text *type, text *id, Oid owner)
{
	as_owner_need(type, id);
	check_owner(group, owner);
	return insert(group, type, id, owner);
}

bool
as_group_leave(text *group, const AsType *actor_type, text *type, text *id)
{
	text	   *args[3] = {group, type, id};
	Oid			owner;

	as_owner_need(type, id);
	owner = as_group_lock(group);
	if (!as_type_is_mine(actor_type) && OidIsValid(owner))
		check_owner(group, owner);
	return as_text_query_kept(NULL, SPI_OK_DELETE,
							  "DELETE FROM actorstore.group_member"
							  " WHERE (group_name, actor_type, actor_id) = ($1, $2, $3)",
							  3, args) > 0;
}

/* ---- Broadcasts ---- */

int
as_group_members(text *group, AsGroupMember **members)
{
	text	   *args[1] = {group};
	AsRows		rows;

	(void) as_text_query_kept(&rows, SPI_OK_SELECT,
							  "SELECT actor_type, actor_id FROM actorstore.group_member AS m WHERE group_name = $1"
							  " AND NOT EXISTS (SELECT FROM actorstore.halted AS h WHERE h.stopped"
							  "  AND (h.actor_type, h.actor_id) = (m.actor_type, m.actor_id))",
							  1, args);
	*members = palloc(Max(rows.nrows, 1) * sizeof(AsGroupMember));
	for (int i = 0; i < rows.nrows; i++)
	{
		(*members)[i].type = as_cell(&rows, i, 0);
		(*members)[i].id = as_cell(&rows, i, 1);
	}
	return rows.nrows;
}

static int
compare_texts(const text *a, const text *b)
{
	int			len_a = VARSIZE_ANY_EXHDR(a);
	int			len_b = VARSIZE_ANY_EXHDR(b);
	int			result = memcmp(VARDATA_ANY(a), VARDATA_ANY(b), Min(len_a, len_b));

	return result != 0 ? result : len_a - len_b;
}

static int
compare_members(const void *a, const void *b)
{
	const AsGroupMember *one = a;
	const AsGroupMember *other = b;
	int			result = compare_texts(one->type, other->type);

	return result != 0 ? result : compare_texts(one->id, other->id);
}

/* Messages to the members from the first on that have its type; how many? */
static int
address_type(const AsGroupMember *members, int n, AsMessage *messages, text *name,
			 Datum body)
{
	int			i = 0;

	while (i < n && compare_texts(members[i].type, members[0].type) == 0)
	{
		AsMessage  *message = &messages[i];

		memset(message, 0, sizeof(AsMessage));
		message->actor_type = members[0].type;
		message->actor_id = members[i].id;
		message->name = name;
		message->body = body;
		message->priority = DEFAULT_PRIORITY;
		if (as_turn_current != NULL)
		{
			message->sender_type = as_turn_message()->actor_type;
			message->sender_id = as_turn_message()->actor_id;
		}
		i++;
	}
	return i;
}

int64
as_group_send(AsGroupMember *members, int n, text *message, Datum body,
			  void (*check) (text *type))
{
	AsMessage  *messages = palloc(Max(n, 1) * sizeof(AsMessage));
	int64		sent = 0;
	int			some;

	qsort(members, n, sizeof(AsGroupMember), compare_members);
	n = (int) qunique(members, n, sizeof(AsGroupMember), compare_members);
	for (int first = 0; first < n; first += some)
	{
		text	   *type = members[first].type;

		check(type);
		some = address_type(&members[first], n - first, messages, message, body);
		sent += as_send(as_type_get(type), messages, some);
	}
	return sent;
}

void
as_groups_leave(text *type, text *id)
{
	text	   *args[2] = {type, id};

	(void) as_text_query_kept(NULL, SPI_OK_DELETE,
							  "DELETE FROM actorstore.group_member WHERE (actor_type, actor_id) = ($1, $2)",
							  2, args);
}

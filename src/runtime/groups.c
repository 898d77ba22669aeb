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

/* Whose group it is: the current role's if there is none. */
static Oid
owner_of(text *group)
{
	text	   *args[1] = {group};
	AsRows		rows;
	Oid			owner;

	if (as_text_query(&rows, SPI_OK_SELECT,
					  "SELECT owner::oid::bigint::text FROM actorstore.group_member WHERE group_name = $1 LIMIT 1",
					  1, args) == 0)
		return GetUserId();
	owner = (Oid) as_cell_int(&rows, 0, 0);
	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of group \"%s\"", text_to_cstring(group)),
				 errdetail("A group belongs to the role that made its first member join.")));
	return owner;
}

bool
as_group_join(text *group, text *type, text *id)
{
	text	   *args[4] = {group, type, id};

	as_owner_need(type, id);
	lock_group(group);
	args[3] = as_int_text(owner_of(group));
	return as_text_query(NULL, SPI_OK_INSERT,
						 "INSERT INTO actorstore.group_member (group_name, actor_type, actor_id, owner)"
						 " VALUES ($1, $2, $3, $4::oid) ON CONFLICT DO NOTHING",
						 4, args) > 0;
}

bool
as_group_leave(text *group, const AsType *actor_type, text *type, text *id)
{
	text	   *args[3] = {group, type, id};

	as_owner_need(type, id);
	lock_group(group);
	if (!as_type_is_mine(actor_type))
		(void) owner_of(group);
	return as_text_query(NULL, SPI_OK_DELETE,
						 "DELETE FROM actorstore.group_member"
						 " WHERE (group_name, actor_type, actor_id) = ($1, $2, $3)",
						 3, args) > 0;
}

/* Messages to the members from the first on that have its type; how many? */
static int
address_type(const AsRows *rows, int first, AsMessage *messages, text *name,
			 Datum body, void (*check) (text *type))
{
	text	   *type = as_cell(rows, first, 0);
	int			n = 0;

	check(type);
	while (first + n < rows->nrows &&
		   strcmp(text_to_cstring(as_cell(rows, first + n, 0)),
				  text_to_cstring(type)) == 0)
	{
		AsMessage  *message = &messages[n];

		memset(message, 0, sizeof(AsMessage));
		message->actor_type = type;
		message->actor_id = as_cell(rows, first + n, 1);
		message->name = name;
		message->body = body;
		message->priority = DEFAULT_PRIORITY;
		if (as_turn_current != NULL)
		{
			message->sender_type = as_turn_message()->actor_type;
			message->sender_id = as_turn_message()->actor_id;
		}
		n++;
	}
	return n;
}

int64
as_group_broadcast(text *group, text *message, Datum body,
				   void (*check) (text *type))
{
	text	   *args[1] = {group};
	AsRows		rows;
	AsMessage  *messages;
	int64		sent = 0;
	int			n;

	(void) as_text_query(&rows, SPI_OK_SELECT,
						 "SELECT actor_type, actor_id FROM actorstore.group_member AS m WHERE group_name = $1"
						 " AND NOT EXISTS (SELECT FROM actorstore.halted AS h WHERE h.stopped"
						 "  AND (h.actor_type, h.actor_id) = (m.actor_type, m.actor_id)) ORDER BY 1, 2",
						 1, args);
	messages = palloc(Max(rows.nrows, 1) * sizeof(AsMessage));
	for (int first = 0; first < rows.nrows; first += n)
	{
		n = address_type(&rows, first, messages, message, body, check);
		sent += as_send(as_type_get(as_cell(&rows, first, 0)), messages, n);
	}
	return sent;
}

void
as_groups_leave(text *type, text *id)
{
	text	   *args[2] = {type, id};

	(void) as_text_query(NULL, SPI_OK_DELETE,
						 "DELETE FROM actorstore.group_member WHERE (actor_type, actor_id) = ($1, $2)",
						 2, args);
}

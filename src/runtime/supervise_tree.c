/*-------------------------------------------------------------------------
 *
 * supervise_tree.c
 *	  Who supervises whom: see supervise.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/supervise.h"

#include "lib/json_object.h"
#include "miscadmin.h"
#include "runtime/sched.h"
#include "state/catalog.h"
#include "state/owner.h"
#include "state/text_query.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"

/* Tells our lock on the tree from the advisory locks of users */
#define TREE_LOCK_CLASS		5

/* Two who change the tree at a time might make a circle of it. */
void
as_supervise_lock(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, TREE_LOCK_CLASS);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

void
as_supervise_refuse_circle(const AsSupervision *new, const char *chain)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("actor (%s, %s) cannot be supervised by itself",
					text_to_cstring(new->child_type),
					text_to_cstring(new->child_id)),
			 errdetail("%s.", chain)));
}

void
as_supervise_check_circle(const AsSupervision *new)
{
	text	   *args[4] = {new->parent_type, new->parent_id, new->child_type, new->child_id};
	AsRows		rows;

	(void) as_text_query_kept(&rows, SPI_OK_SELECT,
							  "WITH RECURSIVE above (actor_type, actor_id, chain) AS ("
							  "  SELECT $1 COLLATE \"C\", $2 COLLATE \"C\", format('(%s, %s)', $1, $2) COLLATE \"C\""
							  "  UNION ALL"
							  "  SELECT c.parent_type, c.parent_id, format('(%s, %s) supervises %s', c.parent_type, c.parent_id, a.chain) COLLATE \"C\""
							  "  FROM above AS a JOIN actorstore.child AS c ON (c.actor_type, c.actor_id) = (a.actor_type, a.actor_id)"
							  "  WHERE (a.actor_type, a.actor_id) <> ($3, $4))"
							  " SELECT chain FROM above WHERE (actor_type, actor_id) = ($3, $4)",
							  4, args);
	if (rows.nrows > 0)
		as_supervise_refuse_circle(new, text_to_cstring(as_cell(&rows, 0, 0)));
}

static void
check_no_other_parent(const AsSupervision *new)
{
	AsChild    *child = as_child_find(new->child_type, new->child_id);

	if (child == NULL ||
		(strcmp(text_to_cstring(child->parent_type), text_to_cstring(new->parent_type)) == 0 &&
		 strcmp(text_to_cstring(child->parent_id), text_to_cstring(new->parent_id)) == 0))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_UNIQUE_VIOLATION),
			 errmsg("actor (%s, %s) has a supervisor already",
					text_to_cstring(new->child_type),
					text_to_cstring(new->child_id)),
			 errdetail("It is (%s, %s).", text_to_cstring(child->parent_type),
					   text_to_cstring(child->parent_id)),
			 errhint("Call actorstore.unsupervise() first.")));
}

static void
log_change(text *parent_type, text *parent_id, text *child_type, text *child_id,
		   const char *event, text *strategy)
{
	AsLogLine	line = {.parent_type = parent_type, .parent_id = parent_id,
		.child_type = child_type, .child_id = child_id, .event = event,
	.strategy = strategy};

	as_system_log(&line);
}

int64
as_supervise_asked_last(text *type, text *id)
{
	text	   *args[2] = {type, id};
	AsRows		rows;

	(void) as_text_query_kept(&rows, SPI_OK_SELECT,
							  "SELECT greatest(max(number), max(asked_at),"
							  " (SELECT asked_at FROM actorstore.supervisor WHERE (actor_type, actor_id) = ($1, $2)))::text"
							  " FROM actorstore.supervised WHERE (actor_type, actor_id) = ($1, $2)", 2, args);
	return as_cell_int(&rows, 0, 0);
}

/* A new relation, or an old one of which something else is asked for now. */
static void
write_child(const AsSupervision *new)
{
	text	   *args[11] = {new->parent_type, new->parent_id, new->child_type,
		new->child_id, new->keep_state, new->restart, new->strategy,
		new->max_restarts, new->period, as_int_text(new->asked_at),
	as_int_text(as_message_id(as_sched_ids(1)))};

	(void) as_text_query_kept(NULL, SPI_OK_INSERT,
							  "INSERT INTO actorstore.child AS c (parent_type, parent_id, actor_type, actor_id, keep_state, restart,"
							  " strategy, max_restarts, period, asked_at, relation, number)"
							  " VALUES ($1, $2, $3, $4, $5::boolean, $6, $7, $8::int, $9::interval, $10::bigint, $11::bigint,"
							  " greatest($10::bigint, (SELECT max(number) + 1 FROM actorstore.supervised WHERE (actor_type, actor_id) = ($1, $2))))"
							  " ON CONFLICT (actor_type, actor_id) DO UPDATE"
							  " SET keep_state = excluded.keep_state, restart = excluded.restart, strategy = excluded.strategy,"
							  " max_restarts = excluded.max_restarts, period = excluded.period, asked_at = excluded.asked_at",
							  11, args);
}

/* The supervisor lives here, too. */
static void
write_parent(const AsSupervision *new)
{
	text	   *args[2] = {new->child_type, new->child_id};

	(void) as_text_query_kept(NULL, SPI_OK_INSERT,
							  "INSERT INTO actorstore.supervisor AS s (actor_type, actor_id, strategy, max_restarts, period, asked_at)"
							  " SELECT parent_type, parent_id, strategy, max_restarts, period, asked_at FROM actorstore.child"
							  " WHERE (actor_type, actor_id) = ($1, $2) ON CONFLICT (actor_type, actor_id) DO UPDATE"
							  " SET strategy = excluded.strategy, max_restarts = excluded.max_restarts, period = excluded.period,"
							  " asked_at = excluded.asked_at", 2, args);
	(void) as_text_query_kept(NULL, SPI_OK_INSERT,
							  "INSERT INTO actorstore.supervised AS c (actor_type, actor_id, child_type, child_id, relation, number, restart, keep_state, asked_at)"
							  " SELECT parent_type, parent_id, actor_type, actor_id, relation, number, restart, keep_state, asked_at FROM actorstore.child"
							  " WHERE (actor_type, actor_id) = ($1, $2) ON CONFLICT (actor_type, actor_id, child_type, child_id) DO UPDATE"
							  " SET relation = excluded.relation, number = excluded.number, restart = excluded.restart,"
							  " keep_state = excluded.keep_state, asked_at = excluded.asked_at", 2, args);
}

/* May what belongs to the actor be written here, in this transaction? */
static bool
is_held_here(text *type, text *id)
{
	return !as_lives_elsewhere(type, id) && as_owner_try(type, id);
}

void
as_supervise(const AsSupervision *new)
{
	bool		both;
	AsJson		json;

	as_owner_need(new->child_type, new->child_id);
	both = is_held_here(new->parent_type, new->parent_id);
	check_no_other_parent(new);
	write_child(new);
	log_change(new->parent_type, new->parent_id, new->child_type, new->child_id,
			   "supervised", new->strategy);
	as_json_begin(&json);
	as_json_text(&json, "actor_type", new->child_type);
	as_json_text(&json, "actor_id", new->child_id);
	if (both)
	{
		write_parent(new);

		/* should the supervisor exit meanwhile */
		as_json_int(&json, "relation",
					as_child_find(new->child_type, new->child_id)->relation);
	}
	else
		as_supervise_add_asked(&json, new->child_type, new->child_id);
	(void) as_system_send_from(new->child_type, new->child_id,
							   new->parent_type, new->parent_id,
							   both ? "$adopted" : "$adopt", as_json_end(&json), (Datum) 0);
}

/* The child has left: so does the supervisor's row. */
static void
forget_child(text *parent_type, text *parent_id, text *type, text *id,
			 int64 relation)
{
	text	   *args[4] = {parent_type, parent_id, type, id};

	if (!is_held_here(parent_type, parent_id))
	{
		as_say_left(parent_type, parent_id, type, id, relation);
		return;
	}
	(void) as_text_query_kept(NULL, SPI_OK_DELETE,
							  "DELETE FROM actorstore.supervised WHERE (actor_type, actor_id, child_type, child_id) = ($1, $2, $3, $4)",
							  4, args);
	(void) as_system_send(parent_type, parent_id, "$advance", (Datum) 0, (Datum) 0);
}

bool
as_unsupervise(text *child_type, text *child_id)
{
	text	   *args[2] = {child_type, child_id};
	AsRows		rows;

	as_supervise_lock();
	if (as_text_query_kept(&rows, SPI_OK_DELETE_RETURNING,
						   "DELETE FROM actorstore.child WHERE (actor_type, actor_id) = ($1, $2)"
						   " RETURNING parent_type, parent_id, relation::text", 2, args) == 0)
		return false;
	log_change(as_cell(&rows, 0, 0), as_cell(&rows, 0, 1), child_type, child_id,
			   "unsupervised", NULL);
	as_say_released(child_type, child_id, 0, false);
	forget_child(as_cell(&rows, 0, 0), as_cell(&rows, 0, 1), child_type, child_id,
				 as_cell_int(&rows, 0, 2));
	return true;
}

void
as_supervise_revived(text *type, text *id)
{
	text	   *args[2] = {type, id};

	if (as_text_query_kept(NULL, SPI_OK_SELECT,
						   "SELECT FROM actorstore.supervised WHERE (actor_type, actor_id) = ($1, $2) LIMIT 1",
						   2, args) > 0)
		(void) as_system_send(type, id, "$revived", (Datum) 0, (Datum) 0);
}

void
as_supervise_nobody(const AsMessage *message)
{
	char	   *name = text_to_cstring(message->name);

	/* a child that waits for what its supervisor says */
	if (strcmp(name, "$child") == 0 || strcmp(name, "$adopt") == 0)
		as_say_released(as_json_get_text(message->body, "actor_type"),
						as_json_get_text(message->body, "actor_id"),
						as_json_get_int(message->body, "relation"), true);
}

/* On all nodes at once: each sees to the actors that it has. */
void
as_supervise_type_drops(text *type)
{
	text	   *args[1] = {type};
	AsRows		rows;

	as_supervise_lock();
	(void) as_text_query(&rows, SPI_OK_SELECT,
						 "WITH gone AS (DELETE FROM actorstore.supervised WHERE child_type = $1 AND actor_type <> $1"
						 " RETURNING actor_type, actor_id) SELECT DISTINCT actor_type, actor_id FROM gone ORDER BY 1, 2", 1, args);
	for (int i = 0; i < rows.nrows; i++)
		(void) as_system_send(as_cell(&rows, i, 0), as_cell(&rows, i, 1),
							  "$advance", (Datum) 0, (Datum) 0);
	(void) as_text_query(&rows, SPI_OK_SELECT,
						 "SELECT actor_type, actor_id FROM actorstore.child"
						 " WHERE parent_type = $1 AND actor_type <> $1 ORDER BY 1, 2", 1, args);
	for (int i = 0; i < rows.nrows; i++)
		as_say_released(as_cell(&rows, i, 0), as_cell(&rows, i, 1), 0, false);
}

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

/* The supervisors above the parent: is the child among them? */
static void
check_no_circle(const AsSupervision *new)
{
	text	   *args[4] = {new->parent_type, new->parent_id, new->child_type, new->child_id};
	AsRows		rows;

	(void) as_text_query(&rows, SPI_OK_SELECT,
						 "WITH RECURSIVE above (actor_type, actor_id, chain) AS ("
						 "  SELECT $1 COLLATE \"C\", $2 COLLATE \"C\", format('(%s, %s)', $1, $2) COLLATE \"C\""
						 "  UNION ALL"
						 "  SELECT c.parent_type, c.parent_id, format('(%s, %s) supervises %s', c.parent_type, c.parent_id, a.chain) COLLATE \"C\""
						 "  FROM above AS a JOIN actorstore.child AS c ON (c.actor_type, c.actor_id) = (a.actor_type, a.actor_id)"
						 "  WHERE (a.actor_type, a.actor_id) <> ($3, $4))"
						 " SELECT chain FROM above WHERE (actor_type, actor_id) = ($3, $4)",
						 4, args);
	if (rows.nrows > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("actor (%s, %s) cannot be supervised by itself",
						text_to_cstring(new->child_type),
						text_to_cstring(new->child_id)),
				 errdetail("%s.", text_to_cstring(as_cell(&rows, 0, 0)))));
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

void
as_supervise(const AsSupervision *new)
{
	text	   *supervisor[5] = {new->parent_type, new->parent_id, new->strategy,
	new->max_restarts, new->period};
	text	   *child[6] = {new->parent_type, new->parent_id, new->child_type,
	new->child_id, new->keep_state, new->restart};
	AsJson		json;

	as_owner_need(new->parent_type, new->parent_id);
	as_owner_need(new->child_type, new->child_id);
	check_no_circle(new);
	check_no_other_parent(new);
	(void) as_text_query(NULL, SPI_OK_INSERT,
						 "INSERT INTO actorstore.supervisor AS s (actor_type, actor_id, strategy, max_restarts, period)"
						 " VALUES ($1, $2, $3, $4::int, $5::interval) ON CONFLICT (actor_type, actor_id) DO UPDATE"
						 " SET strategy = excluded.strategy, max_restarts = excluded.max_restarts, period = excluded.period",
						 5, supervisor);
	(void) as_text_query(NULL, SPI_OK_INSERT,
						 "INSERT INTO actorstore.child AS c (parent_type, parent_id, actor_type, actor_id, keep_state, restart)"
						 " VALUES ($1, $2, $3, $4, $5::boolean, $6) ON CONFLICT (actor_type, actor_id) DO UPDATE"
						 " SET keep_state = excluded.keep_state, restart = excluded.restart",
						 6, child);
	log_change(new->parent_type, new->parent_id, new->child_type, new->child_id,
			   "supervised", new->strategy);

	/* should the supervisor exit meanwhile */
	as_json_begin(&json);
	as_json_text(&json, "actor_type", new->child_type);
	as_json_text(&json, "actor_id", new->child_id);
	(void) as_system_send(new->parent_type, new->parent_id, "$adopted",
						  as_json_end(&json), (Datum) 0);
}

bool
as_unsupervise(text *child_type, text *child_id)
{
	text	   *args[2] = {child_type, child_id};
	AsRows		rows;

	as_supervise_lock();
	if (as_text_query(&rows, SPI_OK_DELETE_RETURNING,
					  "DELETE FROM actorstore.child WHERE (actor_type, actor_id) = ($1, $2)"
					  " RETURNING parent_type, parent_id", 2, args) == 0)
		return false;
	log_change(as_cell(&rows, 0, 0), as_cell(&rows, 0, 1), child_type, child_id,
			   "unsupervised", NULL);
	(void) as_system_send(child_type, child_id, "$released", (Datum) 0, (Datum) 0);
	(void) as_system_send(as_cell(&rows, 0, 0), as_cell(&rows, 0, 1), "$advance",
						  (Datum) 0, (Datum) 0);
	return true;
}

void
as_supervise_revived(text *type, text *id)
{
	text	   *args[2] = {type, id};

	if (as_text_query(NULL, SPI_OK_SELECT,
					  "SELECT FROM actorstore.child WHERE (parent_type, parent_id) = ($1, $2) LIMIT 1",
					  2, args) > 0)
		(void) as_system_send(type, id, "$revived", (Datum) 0, (Datum) 0);
}

void
as_supervise_nobody(const AsMessage *message)
{
	/* a child that waits for what its supervisor says */
	if (strcmp(text_to_cstring(message->name), "$child") == 0)
		(void) as_system_send(as_json_get_text(message->body, "actor_type"),
							  as_json_get_text(message->body, "actor_id"),
							  "$released", (Datum) 0, (Datum) 0);
}

void
as_supervise_type_drops(text *type)
{
	text	   *args[1] = {type};
	AsRows		rows;

	as_supervise_lock();
	(void) as_text_query(&rows, SPI_OK_SELECT,
						 "SELECT DISTINCT parent_type, parent_id FROM actorstore.child"
						 " WHERE actor_type = $1 AND parent_type <> $1 ORDER BY 1, 2", 1, args);
	for (int i = 0; i < rows.nrows; i++)
		(void) as_system_send(as_cell(&rows, i, 0), as_cell(&rows, i, 1),
							  "$advance", (Datum) 0, (Datum) 0);
	(void) as_text_query(&rows, SPI_OK_SELECT,
						 "SELECT actor_type, actor_id FROM actorstore.child"
						 " WHERE parent_type = $1 AND actor_type <> $1 ORDER BY 1, 2", 1, args);
	for (int i = 0; i < rows.nrows; i++)
		(void) as_system_send(as_cell(&rows, i, 0), as_cell(&rows, i, 1),
							  "$released", (Datum) 0, (Datum) 0);
}

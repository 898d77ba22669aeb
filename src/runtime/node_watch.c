/*-------------------------------------------------------------------------
 *
 * node_watch.c
 *	  Actors that are told when a node goes down, and when it is up again: see
 *	  node_watch.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/node_watch.h"

#include "executor/spi.h"
#include "lib/json_object.h"
#include "runtime/lifecycle.h"
#include "state/catalog.h"
#include "state/text_query.h"

bool
as_watch_node(AsTurn *turn, text *node_name)
{
	text	   *args[3] = {as_turn_type_name(turn), as_turn_id(turn), node_name};

	return as_text_query(NULL, SPI_OK_INSERT,
						 "INSERT INTO actorstore.monitor (actor_type, actor_id, peer_type, peer_id, number)"
						 " VALUES ($1, $2, '', $3, 0) ON CONFLICT DO NOTHING",
						 3, args) > 0;
}

void
as_unwatch_node(AsTurn *turn, text *node_name)
{
	text	   *args[3] = {as_turn_type_name(turn), as_turn_id(turn), node_name};

	(void) as_text_query(NULL, SPI_OK_DELETE,
						 "DELETE FROM actorstore.monitor"
						 " WHERE (actor_type, actor_id, peer_type, peer_id) = ($1, $2, '', $3)",
						 3, args);
}

void
as_tell_watcher(text *type, text *id, text *node_name, bool down)
{
	AsJson		json;

	as_json_begin(&json);
	as_json_text(&json, "node_name", node_name);
	(void) as_system_send(type, id, down ? "$nodedown" : "$nodeup", as_json_end(&json), (Datum) 0);
}

void
as_tell_watchers(text *node_name, bool down)
{
	text	   *args[1] = {node_name};
	AsRows		rows;

	(void) as_text_query(&rows, SPI_OK_SELECT,
						 "SELECT actor_type, actor_id FROM actorstore.monitor AS m"
						 " WHERE (peer_type, peer_id) = ('', $1) ORDER BY 1, 2", 1, args);
	for (int i = 0; i < rows.nrows; i++)
		as_tell_watcher(as_cell(&rows, i, 0), as_cell(&rows, i, 1), node_name, down);
}

bool
as_watch_handle(AsTurn *turn, AsMessage *message)
{
	text	   *args[3] = {message->actor_type, message->actor_id,
	as_json_get_text(message->body, "node_name")};

	return turn->halt != AS_NOT_HALTED ||
		as_text_query(NULL, SPI_OK_SELECT,
					  "SELECT FROM actorstore.monitor"
					  " WHERE (actor_type, actor_id, peer_type, peer_id) = ($1, $2, '', $3)",
					  3, args) == 0 ||
		as_handler_find(turn->type, message->name) == NULL;
}

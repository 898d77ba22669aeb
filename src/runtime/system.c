/*-------------------------------------------------------------------------
 *
 * system.c
 *	  Messages of the system, and the log of supervision: see lifecycle.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/lifecycle.h"

#include "lib/key_hash.h"
#include "runtime/send.h"
#include "state/catalog.h"
#include "state/text_query.h"
#include "utils/builtins.h"

int64
as_system_send_from(text *sender_type, text *sender_id, text *type, text *id,
					const char *name, Datum body, Datum headers)
{
	AsType	   *receiver = as_type_find(type);
	AsMessage	message = {0};

	if (receiver == NULL)
		return 0;
	message.actor_type = type;
	message.actor_id = id;
	message.name = cstring_to_text(name);
	message.body = body;
	message.headers = headers;
	message.priority = AS_SYSTEM_PRIORITY;
	message.sender_type = sender_type;
	message.sender_id = sender_id;
	(void) as_send(receiver, &message, 1);
	return message.message_id;
}

int64
as_system_send(text *type, text *id, const char *name, Datum body,
			   Datum headers)
{
	bool		in_turn = as_turn_current != NULL;

	return as_system_send_from(in_turn ? as_turn_message()->actor_type : NULL,
							   in_turn ? as_turn_message()->actor_id : NULL,
							   type, id, name, body, headers);
}

bool
as_lives_elsewhere(const text *type, const text *id)
{
	return as_is_elsewhere != NULL &&
		as_is_elsewhere(as_key_hash(VARDATA_ANY(type), VARSIZE_ANY_EXHDR(type),
									VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id)));
}

bool
as_is_in_node(void)
{
	return as_is_node != NULL && as_is_node();
}

void
as_system_log(const AsLogLine *line)
{
	text	   *args[8] = {line->parent_type, line->parent_id,
		line->child_type, line->child_id, cstring_to_text(line->event),
		line->reason == NULL ? NULL : cstring_to_text(line->reason),
		line->strategy,
	line->restarts == 0 ? NULL : as_int_text(line->restarts)};

	(void) as_text_query(NULL, SPI_OK_INSERT,
						 "INSERT INTO actorstore.supervision_event"
						 " (parent_type, parent_id, child_type, child_id, event, reason, strategy, restarts)"
						 " VALUES ($1, $2, $3, $4, $5, $6, $7, $8::int)",
						 8, args);
}

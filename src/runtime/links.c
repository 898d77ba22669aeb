/*-------------------------------------------------------------------------
 *
 * links.c
 *	  See links.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/links.h"

#include "lib/json_object.h"
#include "runtime/lifecycle.h"
#include "runtime/send.h"
#include "state/catalog.h"
#include "state/text_query.h"
#include "utils/builtins.h"

/* The row of the turn's actor that points to another one */
#define ROW			"(actor_type, actor_id, peer_type, peer_id) = ($1, $2, $3, $4)"

static bool
is_itself(AsTurn *turn, const text *type, const text *id)
{
	const text *my_type = as_turn_type_name(turn);
	const text *my_id = as_turn_id(turn);

	return VARSIZE_ANY_EXHDR(type) == VARSIZE_ANY_EXHDR(my_type) &&
		VARSIZE_ANY_EXHDR(id) == VARSIZE_ANY_EXHDR(my_id) &&
		memcmp(VARDATA_ANY(type), VARDATA_ANY(my_type),
			   VARSIZE_ANY_EXHDR(type)) == 0 &&
		memcmp(VARDATA_ANY(id), VARDATA_ANY(my_id),
			   VARSIZE_ANY_EXHDR(id)) == 0;
}

/* Run SQL with the turn's actor as $1, $2, the other one as $3, $4. */
static int
query(AsTurn *turn, text *type, text *id, int expected, const char *sql)
{
	text	   *args[4] = {as_turn_type_name(turn), as_turn_id(turn), type, id};

	return as_text_query_kept(NULL, expected, sql, 4, args);
}

/* {"actor_type", "actor_id", "reason"}: an actor, and what happened to it */
static Datum
actor_body(text *type, text *id, const char *reason)
{
	AsJson		json;

	as_json_begin(&json);
	as_json_text(&json, "actor_type", type);
	as_json_text(&json, "actor_id", id);
	if (reason != NULL)
		as_json_string(&json, "reason", reason);
	return as_json_end(&json);
}

static Datum
monitor_header(int64 number)
{
	AsJson		json;

	as_json_begin(&json);
	as_json_int(&json, "monitor", number);
	return as_json_end(&json);
}

/* The numbers of links, separated by commas */
static Datum
links_header(text *numbers)
{
	AsJson		json;

	as_json_begin(&json);
	as_json_text(&json, "links", numbers);
	return as_json_end(&json);
}

/* An actor, perhaps no longer there, says something of itself; "reason" may be NULL. */
static int64
say(text *from_type, text *from_id, const char *reason, text *type, text *id,
	const char *name, Datum headers)
{
	return as_system_send_from(from_type, from_id, type, id, name,
							   actor_body(from_type, from_id, reason), headers);
}

/*
 * $exit or $unlink: the actor's links of these numbers with the other one are no
 * more.  $linked: are they?
 */
static void
say_unlinked(text *from_type, text *from_id, const char *reason, text *type,
			 text *id, const char *name, text *numbers)
{
	(void) say(from_type, from_id, reason, type, id, name, links_header(numbers));
}

/* The row of a link between $1, $2 and $3, $4 */
static void
insert_link(text **args, int64 number)
{
	text	   *all[5] = {args[0], args[1], args[2], args[3], as_int_text(number)};

	(void) as_text_query_kept(NULL, SPI_OK_INSERT,
							  "INSERT INTO actorstore.link (actor_type, actor_id, peer_type, peer_id, number)"
							  " VALUES ($1, $2, $3, $4, $5::bigint) ON CONFLICT DO NOTHING",
							  5, all);
}

/* Delete all links between $1, $2 and $3, $4, and say so to the latter. */
static void
delete_links(text **args)
{
	AsRows		rows;

	(void) as_text_query_kept(&rows, SPI_OK_SELECT,
							  "WITH gone AS (DELETE FROM actorstore.link WHERE " ROW " RETURNING number)"
							  " SELECT string_agg(number::text, ',') FROM gone HAVING count(*) > 0",
							  4, args);
	if (rows.nrows > 0)
		say_unlinked(args[0], args[1], NULL, args[2], args[3], "$unlink",
					 as_cell(&rows, 0, 0));
}

/* ---- What handlers ask for ---- */

void
as_link(AsTurn *turn, text *type, text *id)
{
	text	   *args[4] = {as_turn_type_name(turn), as_turn_id(turn), type, id};

	if (is_itself(turn, type, id) ||
		query(turn, type, id, SPI_OK_SELECT,
			  "SELECT FROM actorstore.link WHERE " ROW) > 0)
		return;
	insert_link(args, say(args[0], args[1], NULL, type, id, "$link", (Datum) 0));
}

void
as_unlink(AsTurn *turn, text *type, text *id)
{
	text	   *args[4] = {as_turn_type_name(turn), as_turn_id(turn), type, id};

	delete_links(args);
}

void
as_monitor(AsTurn *turn, text *type, text *id)
{
	text	   *args[5] = {as_turn_type_name(turn), as_turn_id(turn), type, id};
	int64		number;

	if (is_itself(turn, type, id) ||
		query(turn, type, id, SPI_OK_SELECT,
			  "SELECT FROM actorstore.monitor WHERE " ROW) > 0)
		return;
	number = say(args[0], args[1], NULL, type, id, "$monitor", (Datum) 0);
	args[4] = as_int_text(number);
	(void) as_text_query_kept(NULL, SPI_OK_INSERT,
							  "INSERT INTO actorstore.monitor (actor_type, actor_id, peer_type, peer_id, number)"
							  " VALUES ($1, $2, $3, $4, $5::bigint)", 5, args);
}

/* The watcher's row is gone: so is to be the target's. */
static void
say_demonitor(text *const *watcher, text *type, text *id, int64 number)
{
	(void) say(watcher[0], watcher[1], NULL, type, id, "$demonitor",
			   monitor_header(number));
}

void
as_demonitor(AsTurn *turn, text *type, text *id)
{
	text	   *args[4] = {as_turn_type_name(turn), as_turn_id(turn), type, id};
	AsRows		rows;

	if (as_text_query_kept(&rows, SPI_OK_DELETE_RETURNING,
						   "DELETE FROM actorstore.monitor WHERE " ROW " RETURNING number::text",
						   4, args) > 0 && as_is_in_node())
		say_demonitor(args, type, id, as_cell_int(&rows, 0, 0));
}

/* ---- An exit ---- */

void
as_links_announce(AsTurn *turn, const char *reason)
{
	text	   *type = as_turn_type_name(turn);
	text	   *id = as_turn_id(turn);
	text	   *args[2] = {type, id};
	AsRows		rows;

	(void) as_text_query_kept(&rows, SPI_OK_SELECT,
							  "WITH gone AS (DELETE FROM actorstore.watcher WHERE (actor_type, actor_id) = ($1, $2)"
							  "   RETURNING watcher_type, watcher_id, number)"
							  " SELECT actor_type, actor_id, number::text FROM ("
							  "SELECT actor_type, actor_id, number FROM actorstore.monitor WHERE (peer_type, peer_id) = ($1, $2)"
							  " UNION SELECT * FROM gone) AS m ORDER BY m.number", 2, args);
	for (int i = 0; i < rows.nrows; i++)
		(void) say(type, id, reason, as_cell(&rows, i, 0), as_cell(&rows, i, 1),
				   "$down", monitor_header(as_cell_int(&rows, i, 2)));

	(void) as_text_query_kept(&rows, SPI_OK_SELECT,
							  "WITH gone AS (DELETE FROM actorstore.link WHERE (actor_type, actor_id) = ($1, $2)"
							  "   RETURNING peer_type, peer_id, number)"
							  " SELECT peer_type, peer_id, string_agg(number::text, ',') FROM gone GROUP BY 1, 2 ORDER BY 1, 2",
							  2, args);
	for (int i = 0; i < rows.nrows; i++)
		say_unlinked(type, id, reason, as_cell(&rows, i, 0), as_cell(&rows, i, 1),
					 "$exit", as_cell(&rows, i, 2));

	(void) as_text_query_kept(&rows, SPI_OK_DELETE_RETURNING,
							  "DELETE FROM actorstore.monitor WHERE (actor_type, actor_id) = ($1, $2)"
							  " RETURNING peer_type, peer_id, number::text", 2, args);
	for (int i = 0; i < rows.nrows && as_is_in_node(); i++)
		say_demonitor(args, as_cell(&rows, i, 0), as_cell(&rows, i, 1),
					  as_cell_int(&rows, i, 2));
}

/* Who is meant by the message */
#define body_type(message)	as_json_get_text((message)->body, "actor_type")
#define body_id(message)	as_json_get_text((message)->body, "actor_id")

/* The monitor that the $down is about; true if it was there. */
static bool
take_monitor(const AsMessage *message)
{
	text	   *args[5] = {message->actor_type, message->actor_id,
		body_type(message), body_id(message),
	as_int_text(as_json_get_int(message->headers, "monitor"))};

	return as_text_query_kept(NULL, SPI_OK_DELETE,
							  "DELETE FROM actorstore.monitor WHERE " ROW
							  " AND number = $5::bigint", 5, args) > 0;
}

/* The links that the $exit or $unlink is about; true if one of them was there. */
static bool
take_links(const AsMessage *message)
{
	text	   *args[5] = {message->actor_type, message->actor_id,
		body_type(message), body_id(message),
	as_json_get_text(message->headers, "links")};

	return as_text_query_kept(NULL, SPI_OK_DELETE,
							  "DELETE FROM actorstore.link WHERE " ROW
							  " AND number = ANY (string_to_array($5, ',')::bigint[])", 5, args) > 0;
}

/*
 * The same of an $exit.  Of an exit an actor hears once: a link to the other
 * one that was under way as that exited goes, too.
 */
static bool
take_exit(const AsMessage *message)
{
	text	   *args[4] = {message->actor_type, message->actor_id,
	body_type(message), body_id(message)};

	if (!take_links(message))
		return false;
	delete_links(args);
	return true;
}

bool
as_links_handle_down(AsTurn *turn, AsMessage *message)
{
	return turn->halt != AS_NOT_HALTED || !take_monitor(message) ||
		as_handler_find(turn->type, message->name) == NULL;
}

bool
as_links_handle_exit(AsTurn *turn, AsMessage *message)
{
	AsExit		how = {0};

	if (turn->halt != AS_NOT_HALTED || !take_exit(message))
		return true;
	if (as_handler_find(turn->type, message->name) != NULL)
		return false;
	how.reason = text_to_cstring(as_json_get_text(message->body, "reason"));
	if (!as_life_is_normal(how.reason))
		as_life_exit(turn, &how);
	return true;
}

void
as_links_given_up(const AsMessage *message)
{
	char	   *name = text_to_cstring(message->name);

	if (strcmp(name, "$down") == 0)
		(void) take_monitor(message);
	else if (strcmp(name, "$exit") == 0)
		(void) take_exit(message);
}

/* ---- Requests ---- */

static void
say_no_proc(const AsMessage *message, const char *name, Datum headers)
{
	(void) say(message->actor_type, message->actor_id, "noproc",
			   body_type(message), body_id(message), name, headers);
}

bool
as_links_handle_monitor(AsTurn *turn, AsMessage *message)
{
	text	   *args[5] = {as_turn_type_name(turn), as_turn_id(turn),
	body_type(message), body_id(message), as_int_text(message->message_id)};

	if (turn->halt != AS_NOT_HALTED || !as_life_exists(turn))
		say_no_proc(message, "$down", monitor_header(message->message_id));
	else if (as_is_in_node() && as_type_find(args[2]) != NULL)
		(void) as_text_query_kept(NULL, SPI_OK_INSERT,
								  "INSERT INTO actorstore.watcher (actor_type, actor_id, watcher_type, watcher_id, number)"
								  " VALUES ($1, $2, $3, $4, $5::bigint) ON CONFLICT DO NOTHING",
								  5, args);
	return true;
}

bool
as_links_handle_demonitor(AsTurn *turn, AsMessage *message)
{
	text	   *args[5] = {as_turn_type_name(turn), as_turn_id(turn),
	body_type(message), body_id(message),
	as_int_text(as_json_get_int(message->headers, "monitor"))};

	(void) as_text_query_kept(NULL, SPI_OK_DELETE,
							  "DELETE FROM actorstore.watcher WHERE (actor_type, actor_id, watcher_type, watcher_id) = ($1, $2, $3, $4)"
							  " AND number = $5::bigint", 5, args);
	return true;
}

bool
as_links_handle_link(AsTurn *turn, AsMessage *message)
{
	text	   *args[4] = {as_turn_type_name(turn), as_turn_id(turn),
	body_type(message), body_id(message)};

	if (turn->halt != AS_NOT_HALTED || !as_life_exists(turn))
	{
		say_no_proc(message, "$exit", links_header(as_int_text(message->message_id)));
		return true;
	}
	insert_link(args, message->message_id);
	if (as_type_find(args[2]) == NULL)
		say_unlinked(args[2], args[3], "noproc", args[0], args[1], "$exit",
					 as_int_text(message->message_id));
	else if (as_lives_elsewhere(args[2], args[3]))
		say_unlinked(args[0], args[1], NULL, args[2], args[3], "$linked",
					 as_int_text(message->message_id));
	return true;
}

/* Has the other one made its half of a link that is no more? */
bool
as_links_handle_linked(AsTurn *turn, AsMessage *message)
{
	text	   *numbers = as_json_get_text(message->headers, "links");
	text	   *args[5] = {as_turn_type_name(turn), as_turn_id(turn),
	body_type(message), body_id(message), numbers};

	if (as_text_query_kept(NULL, SPI_OK_SELECT,
						   "SELECT FROM actorstore.link WHERE " ROW
						   " AND number = ANY (string_to_array($5, ',')::bigint[])", 5, args) > 0)
		return true;
	if (turn->halt != AS_NOT_HALTED)
		say_no_proc(message, "$exit", links_header(numbers));
	else
		say_unlinked(args[0], args[1], NULL, args[2], args[3], "$unlink", numbers);
	return true;
}

bool
as_links_handle_unlink(AsTurn *turn, AsMessage *message)
{
	(void) take_links(message);
	return true;
}

void
as_links_nobody(const AsMessage *message)
{
	char	   *name = text_to_cstring(message->name);

	if (strcmp(name, "$monitor") == 0)
		say_no_proc(message, "$down", monitor_header(message->message_id));
	else if (strcmp(name, "$link") == 0)
		say_no_proc(message, "$exit", links_header(as_int_text(message->message_id)));
	else if (strcmp(name, "$linked") == 0)
		say_no_proc(message, "$exit", links_header(as_json_get_text(message->headers, "links")));
}

void
as_links_type_dropped(text *type)
{
	text	   *args[1] = {type};
	AsRows		rows;

	(void) as_text_query(&rows, SPI_OK_SELECT,
						 "SELECT actor_type, actor_id, peer_id, number::text FROM actorstore.monitor AS m"
						 " WHERE peer_type = $1 AND actor_type <> $1 ORDER BY m.number", 1, args);
	for (int i = 0; i < rows.nrows; i++)
		(void) say(type, as_cell(&rows, i, 2), "noproc", as_cell(&rows, i, 0),
				   as_cell(&rows, i, 1), "$down",
				   monitor_header(as_cell_int(&rows, i, 3)));

	/* From its own side: the other's may still be under way. */
	(void) as_text_query(&rows, SPI_OK_SELECT,
						 "WITH gone AS (DELETE FROM actorstore.link WHERE actor_type = $1 RETURNING *)"
						 " SELECT peer_type, peer_id, actor_id, string_agg(number::text, ',') FROM gone"
						 " WHERE peer_type <> $1 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3", 1, args);
	for (int i = 0; i < rows.nrows; i++)
		say_unlinked(type, as_cell(&rows, i, 2), "noproc", as_cell(&rows, i, 0),
					 as_cell(&rows, i, 1), "$exit", as_cell(&rows, i, 3));
}

void
as_links_become_node(void)
{
	(void) as_text_query(NULL, SPI_OK_UTILITY,
						 "LOCK TABLE actorstore.monitor IN SHARE ROW EXCLUSIVE MODE", 0, NULL);
	(void) as_text_query(NULL, SPI_OK_INSERT,
						 "INSERT INTO actorstore.watcher (actor_type, actor_id, watcher_type, watcher_id, number)"
						 " SELECT peer_type, peer_id, actor_type, actor_id, number FROM actorstore.monitor"
						 " WHERE peer_type <> '' ON CONFLICT DO NOTHING", 0, NULL);
}

/* They have no rows left there to say it by. */
void
as_links_lost(text *slots)
{
	AsRows		rows;

	(void) as_text_query(&rows, SPI_OK_SELECT,
						 "SELECT actor_type, actor_id, peer_type, peer_id, number::text FROM actorstore.monitor AS m"
						 " WHERE peer_type <> '' AND " AS_IS_LOST("peer_type", "peer_id")
						 " AND NOT (" AS_IS_LOST("actor_type", "actor_id") ") ORDER BY m.number", 1, &slots);
	for (int i = 0; i < rows.nrows; i++)
		(void) say(as_cell(&rows, i, 2), as_cell(&rows, i, 3), "nodedown",
				   as_cell(&rows, i, 0), as_cell(&rows, i, 1), "$down",
				   monitor_header(as_cell_int(&rows, i, 4)));
	(void) as_text_query(&rows, SPI_OK_SELECT,
						 "SELECT actor_type, actor_id, peer_type, peer_id, string_agg(number::text, ',') FROM actorstore.link"
						 " WHERE " AS_IS_LOST("peer_type", "peer_id") " AND NOT (" AS_IS_LOST("actor_type", "actor_id") ")"
						 " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4", 1, &slots);
	for (int i = 0; i < rows.nrows; i++)
		say_unlinked(as_cell(&rows, i, 2), as_cell(&rows, i, 3), "nodedown",
					 as_cell(&rows, i, 0), as_cell(&rows, i, 1), "$exit",
					 as_cell(&rows, i, 4));
	(void) as_text_query(NULL, SPI_OK_DELETE,
						 "DELETE FROM actorstore.watcher WHERE " AS_IS_LOST("watcher_type", "watcher_id"), 1, &slots);
}

/*-------------------------------------------------------------------------
 *
 * life_check.c
 *	  Messages of the system that have come from another node: see
 *	  as_life_objection().
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/lifecycle.h"

#include <ctype.h>

#include "lib/json_object.h"
#include "lib/same_text.h"
#include "runtime/supervise.h"
#include "utils/builtins.h"

/* What of a message's body and headers its handling relies on */
#define NEEDS_ACTOR		1		/* body: actor_type, actor_id */
#define NEEDS_REASON	2		/* body: reason */
#define NEEDS_LINKS		4		/* headers: links */
#define NEEDS_NUMBER	8		/* headers: monitor */
#define NEEDS_RELATION	16		/* body: relation; step may be there, and is no less than 0 */
#define NEEDS_ASKED		32		/* body: what was asked for a child */
#define MAY_HAVE_ASKED	64		/* the same, or nothing of it */
#define NEEDS_SENDER	128		/* NEEDS_ACTOR, and it is the sender */
#define NOT_KNOWN		256		/* or said on the actor's own node only */

static const struct
{
	const char *name;
	int			needs;
}			kinds[] =
{
	{"$start", NEEDS_REASON},
	{"$down", NEEDS_ACTOR | NEEDS_SENDER | NEEDS_REASON | NEEDS_NUMBER},
	{"$exit", NEEDS_ACTOR | NEEDS_SENDER | NEEDS_REASON | NEEDS_LINKS},
	{"$monitor", NEEDS_ACTOR | NEEDS_SENDER},
	{"$demonitor", NEEDS_ACTOR | NEEDS_SENDER | NEEDS_NUMBER},
	{"$link", NEEDS_ACTOR | NEEDS_SENDER},
	{"$linked", NEEDS_ACTOR | NEEDS_SENDER | NEEDS_LINKS},
	{"$unlink", NEEDS_ACTOR | NEEDS_SENDER | NEEDS_LINKS},
	{"$child", NEEDS_ACTOR | NEEDS_SENDER | NEEDS_REASON | NEEDS_RELATION | MAY_HAVE_ASKED},
	{"$adopt", NEEDS_ACTOR | NEEDS_SENDER | NEEDS_RELATION | NEEDS_ASKED},
	{"$left", NEEDS_ACTOR | NEEDS_SENDER | NEEDS_RELATION},
	{"$kept", NEEDS_RELATION},
	{"$terminated", NEEDS_RELATION},
	{"$started", NEEDS_RELATION},
	{"$restart", NEEDS_REASON | NEEDS_RELATION},
	{"$shutdown", NEEDS_RELATION},
	{"$released", NEEDS_RELATION},
};

static int
needs_of(const AsMessage *message)
{
	char	   *name = text_to_cstring(message->name);

	for (int i = 0; i < (int) lengthof(kinds); i++)
	{
		if (strcmp(kinds[i].name, name) == 0)
			return kinds[i].needs;
	}
	return NOT_KNOWN;
}

static bool
is_name(const text *name)
{
	return name != NULL && VARSIZE_ANY_EXHDR(name) > 0 &&
		VARSIZE_ANY_EXHDR(name) <= AS_MAX_NAME_BYTES;
}

/* Numbers of messages, separated by commas */
static bool
are_numbers(const text *list)
{
	const char *at = list == NULL ? "" : text_to_cstring(list);
	char	   *end;

	for (;; at = end + 1)
	{
		errno = 0;
		if (!isdigit((unsigned char) *at) || strtoll(at, &end, 10) <= 0 || errno != 0)
			return false;
		if (*end != ',')
			return *end == '\0';
	}
}

static bool
has_what_it_needs(const AsMessage *message, int needs)
{
	if (needs & NOT_KNOWN)
		return false;
	return (!(needs & NEEDS_NUMBER) ||
			as_json_get_int(message->headers, "monitor") > 0) &&
		(!(needs & NEEDS_ACTOR) ||
			(is_name(as_json_get_text(message->body, "actor_type")) &&
			 is_name(as_json_get_text(message->body, "actor_id")))) &&
		(!(needs & NEEDS_REASON) ||
		 as_json_get_text(message->body, "reason") != NULL) &&
		(!(needs & NEEDS_LINKS) ||
		 are_numbers(as_json_get_text(message->headers, "links"))) &&
		(!(needs & NEEDS_RELATION) ||
		 (as_json_get_int(message->body, "relation") > 0 &&
		  as_json_get_int(message->body, "step") >= 0)) &&
		(!(needs & NEEDS_ASKED) || as_supervise_is_asked(message->body)) &&
		(!(needs & MAY_HAVE_ASKED) ||
		 as_json_get_text(message->body, "strategy") == NULL ||
		 as_supervise_is_asked(message->body));
}

/* No actor speaks for another one. */
static bool
is_senders_own(const AsMessage *message)
{
	return message->sender_type != NULL && message->sender_id != NULL &&
		as_same_text(message->sender_type, as_json_get_text(message->body, "actor_type")) &&
		as_same_text(message->sender_id, as_json_get_text(message->body, "actor_id"));
}

static const char *
objection(const AsMessage *message)
{
	int			needs = needs_of(message);

	if (!has_what_it_needs(message, needs))
		return "not a message of the system that another node can send";
	if ((needs & NEEDS_SENDER) && !is_senders_own(message))
		return "a message of the system in the name of another actor than its sender";
	return NULL;
}

const char *
as_life_objection(const AsMessage *message)
{
	MemoryContext context = CurrentMemoryContext;
	const char *volatile why = NULL;

	/* a number may be too large, or none; nothing but memory is used */
	PG_TRY();
	{
		why = objection(message);
	}
	PG_CATCH();
	{
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		why = "a message of the system with a number that is none";
	}
	PG_END_TRY();
	return why;
}

/*-------------------------------------------------------------------------
 *
 * caller.h
 *	  In whose name a routed command runs.
 *
 * Sessions between nodes log in as the role of the conninfo.  It may execute
 * the local_* functions, which nobody else may, and needs nothing more.  The
 * first argument of a local_* function that acts for somebody is the name of
 * the role that called on the coordinator; the function becomes that role, does
 * what the local function does, with the same checks, and returns:
 *
 *		AsCaller	saved;
 *
 *		as_caller_become(fcinfo, &saved);
 *		...
 *		as_caller_return(&saved);
 *
 * The name is mapped here, to a role of this server.  A superuser's name is
 * refused, so is a name that nobody has: another node can do here what users
 * can do with actors, and nothing else.  Where a superuser called, no name
 * travels (NULL), and the command runs with the login role's own rights; or, for
 * an actor type that exists, as its owner, which the other node could have named
 * as well (as_caller_stand_in).
 *
 * Handlers and triggers of that role, and of others, run in between, in a
 * session that can become anybody.  Nothing of theirs may be left in it, and
 * nothing of it may serve them.  So:
 *
 *	- What runs is a security-restricted operation, as PostgreSQL's own
 *	  maintenance of users' tables is: no SET ROLE, no temporary objects, no
 *	  cursors WITH HOLD, no PREPARE or DEALLOCATE (the coordinator executes
 *	  statements that it has prepared), no LISTEN.
 *	- Constraints that could be deferred are checked at once: at the end of the
 *	  transaction their functions would run as the login role.
 *	- Settings are what they were before, afterwards.
 *	- pg_temp is looked through last.
 *
 * An error in between undoes all of it with the (sub)transaction.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_CALLER_H
#define AS_CALLER_H

#include "actorstore.h"

typedef struct AsCaller
{
	Oid			user;
	int			sec_context;
	int			guc_level;
} AsCaller;

/*
 * On the coordinator: the name to send, in the current memory context; NULL
 * for a superuser.  To be asked with the user in force who called.
 */
extern char *as_caller_name(void);

/*
 * On the other side: become the role that argument 0 names.  The function must
 * not be STRICT.  42501 unless it was called by another node, directly, in a
 * session of a role that may execute it; 42501 for a superuser, 42704 for a
 * role that there is not.
 */
extern void as_caller_become(FunctionCallInfo fcinfo, AsCaller *saved);

/*
 * After that, for what is done with actors of a type: where a superuser called,
 * act as the type's owner, unless that is a superuser, or there is no such type.
 */
extern void as_caller_stand_in(FunctionCallInfo fcinfo, const text *type);

extern void as_caller_return(AsCaller *saved);

#endif							/* AS_CALLER_H */

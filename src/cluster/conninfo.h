/*-------------------------------------------------------------------------
 *
 * conninfo.h
 *	  How nodes are reached; and this one, where init_node() was not told.
 *
 * A node that is alone need not know.  When the first other one is taken in, this
 * node speaks to it already: what it needed for that (role, certificates) the
 * other one needs as well, and the address at this end of the connection is one by
 * which it can be reached from there, if this server listens on it.  So this
 * makes a conninfo of the other one's options, this address and port, and this
 * database, and looks whether that leads here.  It becomes known with the epoch
 * that makes the other one a member (member.h), not before.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_CONNINFO_H
#define AS_CONNINFO_H

#include "actorstore.h"

#include "cluster/peer.h"
#include "lib/stringinfo.h"

/* 22023 if it is none, is empty, or says a password. */
extern void as_conninfo_check(const char *conninfo);

/* One more option of a conninfo that is being made, quoted. */
extern void as_conninfo_append(StringInfo to, const char *keyword, const char *value);

/*
 * Before anybody is connected to: 55000 if nothing could be found out by this
 * conninfo of another node.
 */
extern void as_conninfo_own_check(const char *theirs);

/*
 * Find it out by a connection to that node, and tell the caller's client; 55000
 * if it does not lead here.
 */
extern char *as_conninfo_own_find(const char *theirs, AsPeer *peer);

#endif							/* AS_CONNINFO_H */

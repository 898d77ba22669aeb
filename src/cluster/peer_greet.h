/*-------------------------------------------------------------------------
 *
 * peer_greet.h
 *	  Who is at the other end of a connection that has just been made?  For
 *	  peer.c.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_PEER_GREET_H
#define AS_PEER_GREET_H

#include "cluster/peer.h"
#include "compat.h"

/*
 * Ask it, before anything else is sent.  08006 if it does not say, or is a standby,
 * 55000 if it is not what it should be; node may be NULL: anybody.  That it has been
 * replaced is no error yet.
 */
extern void as_peer_greet(AsPeer *peer, const AsNode *node);

/* Is a later incarnation of the node known? */
extern bool as_peer_is_replaced(const AsPeer *peer, const AsNode *node);

/* Raise 55000 for that. */
as_noreturn extern void as_peer_throw_replaced(AsPeer *peer, const AsNode *node);

/* Raise 08006. */
as_noreturn extern void as_peer_throw_unreachable(AsPeer *peer, const char *why);

#endif							/* AS_PEER_GREET_H */

/*-------------------------------------------------------------------------
 *
 * probe.h
 *	  A connection over which another node is asked whether it is there: see
 *	  health.h.
 *
 *		CLOSED --time to try--> CONNECTING --> READY --ask--> WAITING --answer--> READY
 *		any --failure, or too long--> CLOSED
 *
 * A primary that has been replaced may still answer.  That is no answer of the node's: it
 * is looked for behind that host.
 *
 * Nothing here waits: as_probe_go_on() does what can be done.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_PROBE_H
#define AS_PROBE_H

#include "actorstore.h"
#include "cluster/peer.h"
#include "lib/phi.h"
#include "lib/vclock.h"

typedef enum AsProbeState
{
	AS_PROBE_CLOSED,
	AS_PROBE_CONNECTING,
	AS_PROBE_READY,
	AS_PROBE_WAITING
} AsProbeState;

typedef struct AsProbe
{
	int16		node;
	char	   *name;
	char	   *conninfo;
	char		uuid[37];		/* as text */
	int			stat;			/* its entry (peer_stat.h) */
	int64		known;			/* its incarnation by the table; the caller's to set */

	AsProbeState state;
	PGconn	   *conn;			/* NULL: closed */
	PostgresPollingStatusType polling;	/* while connecting */
	int64		began;			/* the try to connect, to all hosts */
	int64		since;			/* connecting to this host, or waiting */
	int			nhosts;			/* that share the time to connect */
	int64		incarnation;	/* of who has answered over it; 0: nobody yet */
	int64		next_try;
	int			backoff;		/* ms */
	bool		tried;
	bool		refuses;		/* the last try to connect, or to ask, failed at once */
	bool		complained;		/* in the log */

	AsPhi		phi;
	AsVclock   *theirs;			/* what it has heard; NULL: not told */
	int64		their_hash;
	int64		told;			/* hash of what we had heard when it was told our
								 * clock */
} AsProbe;

/* Begin: nothing is known, and nothing suspected yet. */
extern void as_probe_begin(AsProbe *probe, const AsNode *node);
extern void as_probe_end(AsProbe *probe);

/* Once a beat: ask, or connect, or give up what takes too long. */
extern void as_probe_beat(AsProbe *probe);

/* The socket that it waits for; false if it waits for none. */
extern bool as_probe_wants(const AsProbe *probe, AsPeerSocket *socket);

/* Its socket is ready. */
extern void as_probe_go_on(AsProbe *probe);

#endif							/* AS_PROBE_H */

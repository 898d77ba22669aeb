/*-------------------------------------------------------------------------
 *
 * peer.h
 *	  Connections of this backend to the other nodes.
 *
 * One a backend and node, opened at the first use, kept, closed when it is
 * older than actorstore.peer_lifetime or the node's row has changed.  Before
 * anything else is sent the peer must show who it is: the uuid that stands in
 * actorstore.node, an incarnation not older than the one there, a server and
 * an extension at most one version away, no standby.
 *
 * Commands go in flights: as_peer_add() queues any number of them,
 * as_peer_launch() sends them off, as_peers_wait() waits for the answers of
 * all the peers named, as_peer_result() hands them out.  Several peers work
 * at once if all are launched before one waits.  A command that fails takes
 * the rest of its flight with it.
 *
 *		IDLE --add--> LOADING --launch--> FLYING --wait--> IDLE
 *		any state --failure, or left while FLYING--> broken, closed
 *
 * An error that passes by while a flight is under way leaves the connection
 * FLYING: nobody knows what the peer has done.  Whoever had no transaction
 * there finds it closed and opens another; transactions (global.h) cancel,
 * wait for the end, and roll back.
 *
 * Each command is one protocol message of its own with its values beside it:
 * no value is ever written into SQL.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_PEER_H
#define AS_PEER_H

#include "actorstore.h"
#include "cluster/node.h"
#include "datatype/timestamp.h"
#include "lib/nap.h"
#include "libpq-fe.h"
#include "utils/uuid.h"

/* nodes that one backend speaks to */
#define AS_MAX_PEERS	256

/* commands in one flight */
#define AS_PEER_MAX_COMMANDS	24

/* settings, defined in peer_settings.c; one more in peer_stat.h */
extern int	actorstore_peer_lifetime;	/* seconds */
extern int	actorstore_peer_timeout;	/* ms */
extern int	actorstore_max_clock_skew;	/* ms; 0: any */
extern bool actorstore_require_tls;

/* Define them. */
extern void as_peer_init(void);

typedef enum AsPeerState
{
	AS_PEER_IDLE,
	AS_PEER_LOADING,
	AS_PEER_FLYING
} AsPeerState;

typedef struct AsPeer
{
	int16		number;			/* the node; 0: not known yet */
	char	   *name;
	char	   *conninfo;
	PGconn	   *conn;
	AsPeerState state;
	bool		broken;			/* of no use any more */
	bool		unkept;			/* close it once it is not needed */
	bool		in_transaction; /* of ours: not to be closed (global.h) */
	TimestampTz opened_at;
	int64		said_incarnation;	/* ours, as it was told (fence.h) */
	uint64		connection;		/* no other of this process has that number */

	/* what the peer says it is */
	pg_uuid_t	uuid;
	int64		incarnation;
	int			max_prepared;	/* its max_prepared_transactions */

	/* the flight */
	int			ncommands;		/* sent */
	int			nadded;			/* of these, the callers' */
	int			nresults;		/* arrived */
	PGresult   *results[AS_PEER_MAX_COMMANDS];
	int			statement[AS_PEER_MAX_COMMANDS];	/* its name's number, to
													 * be noted as prepared */
	bool		just_launched;	/* nobody has looked for an answer yet */
	bool		alone;			/* one command, outside of libpq's pipeline mode */
	int			nskip;			/* flights before it that nobody waits for */
	uint64		nfailed;		/* answers in such flights that were errors */
	int			streamed;		/* the command whose rows are, while it has not
								 * begun to answer; or -1 */
	bool		keeps_row;		/* somebody takes the rows */
	PGresult   *row;			/* that has come */
	bool		unreplicated;	/* a commit there was not waited for by its
								 * standbys */

	/* this session's settings, as the peer has them; NULL: unknown */
	char	   *settings;
	uint64		settings_seen;	/* when they were last seen to be these */

	/* statements prepared there */
	char	  **prepared;
	int			nprepared;

	int			stat;			/* of ours in shared memory */
} AsPeer;

/*
 * The connection to a node, opened if there is none.  08006 if it cannot be
 * reached or is a standby, 55000 if it is not what it should be.
 */
extern AsPeer *as_peer_get(const AsNode *node);

/*
 * A connection that is not kept, to a database that need not be a node yet, and
 * is called by that name.
 */
extern AsPeer *as_peer_open(const char *name, const char *conninfo);

/* Close a connection and forget it. */
extern void as_peer_close(AsPeer *peer);

/* A command, where it is more than text. */
typedef struct AsPeerCommand
{
	const char *sql;
	int			nvalues;
	const char *const *values;	/* may be NULL, as may each of them */
	const int  *lengths;		/* of those that are binary */
	const int  *formats;		/* 1: binary, 0: text; NULL: all are text */
	bool		keep;			/* the same text will come again: the peer keeps
								 * it prepared */
	bool		binary;			/* the answer is to be */
	bool		streamed;		/* its rows are taken as they come; the last one
								 * of its flight */
} AsPeerCommand;

/* Queue a command; returns its number in its flight. */
extern int	as_peer_add_command(AsPeer *peer, const AsPeerCommand *command);

/* The same where all is text. */
extern int	as_peer_add(AsPeer *peer, const char *sql, int nvalues,
						const char *const *values, bool keep);

/*
 * The commands queued so far are a transaction that ends with the flight.  If
 * that fails, the error is the answer to the command whose number is returned,
 * else there is none.
 */
extern int	as_peer_add_end(AsPeer *peer);

/* Should the flight be sent, as few more commands fit in? */
extern bool as_peer_is_nearly_full(const AsPeer *peer);

/*
 * Queue what lets the peer read and show values as this session does, and
 * stop when it would: search_path, formats, time-outs; if it does not already.
 */
extern void as_peer_add_settings(AsPeer *peer);

/* They may have been undone with a transaction. */
extern void as_peer_forget_settings(AsPeer *peer);

/*
 * Send what the connection takes of what is queued so far: the peer begins with
 * it, but commits nothing before the flight is launched.  Never throws.
 */
extern void as_peer_hurry(AsPeer *peer);

/* Send what was queued.  Never throws; false: the connection broke. */
extern bool as_peer_launch(AsPeer *peer);

/*
 * A flight of this command alone, launched, to be awaited: not left.  Where
 * nothing else is under way it goes as a simple query, which takes the peer less
 * time than to parse, bind, describe and execute a statement.
 */
extern void as_peer_launch_alone(AsPeer *peer, const char *sql);

/*
 * Wait for the flights of these peers (NULL ones are left out), at most till
 * the deadline (0: none).  Can be cancelled.  Throws nothing else: afterwards
 * each peer is IDLE, or broken, or still FLYING if time was up; true if all
 * are IDLE.
 */
extern bool as_peers_wait(AsPeer *const *peers, int n, TimestampTz deadline);

/* As as_peers_wait(), with interrupts held: ends only by answers or the deadline. */
extern bool as_peers_wait_quietly(AsPeer *const *peers, int n,
								  TimestampTz deadline);

/*
 * Rows that are streamed: nothing is kept of them but what has come and was
 * not taken yet, the peer waits.  as_peers_wait_for_row() waits until one of
 * the peers (NULL ones are left out) has a row, or none will come any more, or
 * not at all; it returns the place of one that has, or -1.  The row is the
 * caller's, to be cleared.  Whoever waits for the flight instead, drops them.
 */
extern int	as_peers_wait_for_row(AsPeer *const *peers, int n, bool wait);
extern PGresult *as_peer_take_row(AsPeer *peer);

/* Go on without the answers of the flight: the next one will skip them. */
extern void as_peer_leave(AsPeer *peer);

/*
 * The same once all of the flight, launched, has been sent.  Can be cancelled;
 * 08006 if the connection breaks.
 */
extern void as_peer_send_off(AsPeer *peer);

/* Does the flight prepare statements?  Then somebody must see its answers. */
extern bool as_peer_prepares(const AsPeer *peer);

/*
 * The answer to a command of the last flight, the first being 0.  Throws what
 * the peer threw, with its SQLSTATE, if it was an error, and 08006 if it never
 * came.  It stays the peer's, till the next flight.
 */
extern PGresult *as_peer_result(AsPeer *peer, int command);

/* Did the command succeed?  Never throws. */
extern bool as_peer_succeeded(AsPeer *peer, int command);

/* Was it not executed, as one before it in its flight had failed? */
extern bool as_peer_was_skipped(AsPeer *peer, int command);

/* Its SQLSTATE, or NULL where no answer came. */
extern const char *as_peer_sqlstate(AsPeer *peer, int command);

/* A flight of one command, awaited, and its answer. */
extern PGresult *as_peer_execute(AsPeer *peer, const char *sql, int nvalues,
								 const char *const *values, bool keep);

/*
 * Ask the peer to give up what it is doing, over another connection.  Never
 * throws and ends at the deadline; the flight must still be awaited.
 */
extern void as_peer_cancel(AsPeer *peer, TimestampTz deadline);

/*
 * Ask in the same way whether it is in a transaction and has not come to its
 * PREPARE yet.  False, too, if it does not say.
 */
extern bool as_peer_is_executing(AsPeer *peer, TimestampTz deadline);

/* Was this session opened by another node? */
extern bool as_peer_is_own_session(void);

/* Then, let everybody know for whom it works (life.h). */
extern void as_peer_tell_coordinator(void);

/* The process that did, on its own server; 0 if none did. */
extern int	as_peer_coordinator(void);

/* The uuid of the node that did, if that has said so. */
extern bool as_peer_origin(pg_uuid_t *uuid);

/* Its incarnation when it did; 0 if it has not said so. */
extern int64 as_peer_origin_incarnation(void);

/*
 * While the error of an attempt to connect is handled: does it say that the node
 * cannot be reached, or must not be spoken to?
 */
extern bool as_peer_is_out_of_reach(void);

/*
 * Sleep so many milliseconds, at least one, unless interrupted, whatever sets the
 * latch; it is set afterwards, if it was.
 */
extern void as_peer_nap(int ms, AsNap wait);

/* Deadline after so many milliseconds. */
extern TimestampTz as_peer_deadline(int ms);

/*
 * Begin to connect, with the parameters that all our connections have; to be
 * gone on with by PQconnectPoll().  NULL if there is no memory.
 */
extern PGconn *as_peer_start_connection(const char *conninfo);

/*
 * Of several hosts in a conninfo libpq tries the next one only when one has
 * failed, not when it says nothing.  How many there are from the one on that a
 * connection is made to; and another connection, to one of those behind it (NULL
 * if there are none), or to that one only.
 */
extern int	as_peer_hosts_from(PGconn *conn);
extern PGconn *as_peer_start_next_host(PGconn *conn, const char *conninfo);
extern PGconn *as_peer_start_same_host(PGconn *conn, const char *conninfo);

/*
 * For peer_io.c and peer.c: wait till one of the sockets can be used, the
 * latch is set or the deadline has come.  Can be cancelled, unless quietly:
 * then nothing throws, and the latch does not count either.
 */
typedef struct AsPeerSocket
{
	int			socket;
	int			events;			/* WL_SOCKET_READABLE, ... */
} AsPeerSocket;

typedef enum AsPeerWait
{
	AS_PEER_WAIT_ONCE,			/* libpq may close the socket */
	AS_PEER_WAIT_AGAIN,			/* of a connection that stands */
	AS_PEER_WAIT_QUIETLY
} AsPeerWait;

extern void as_peer_wait_for_sockets(const AsPeerSocket *sockets, int n,
									 TimestampTz deadline, AsPeerWait how);
extern bool as_peer_socket_is_ready(const AsPeerSocket *socket);

/* To be called when sockets are opened or closed. */
extern void as_peer_forget_waits(void);

#endif							/* AS_PEER_H */

/*-------------------------------------------------------------------------
 *
 * global_commit.c
 *	  How a transaction over several nodes ends: see global.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/global.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "cluster/fault.h"
#include "cluster/life.h"
#include "cluster/peer_stat.h"
#include "compat.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

/* What a COMMIT must wait for; PREPARE has the receipt for that. */
#define REQUIRE_SYNC_SQL \
	"SELECT pg_catalog.set_config('synchronous_commit', 'on', true)" \
	" WHERE pg_catalog.current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')"

static int
collect(AsPeer **peers)
{
	for (int i = 0; i < as_global_nmembers; i++)
		peers[i] = as_global_members[i].peer;
	return as_global_nmembers;
}

static int
count_writers(void)
{
	int			n = 0;

	AS_FOR_EACH_MEMBER(member)
		n += member->wrote;
	return n;
}

as_noreturn static void
throw_unanswered(AsPart *member, int code, const char *what)
{
	ereport(ERROR,
			(errcode(code),
			 errmsg("node \"%s\" has not answered to %s", member->peer->name, what)));
}

as_noreturn static void
throw_unreplicated(AsPeer *peer)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRANSACTION_ROLLBACK),
			 errmsg("node \"%s\" has not waited for its standbys", peer->name)));
}

/* ---- One phase ---- */

void
as_global_check_answer(AsPeer *peer, int command)
{
	const char *state = as_peer_sqlstate(peer, command);

	if (as_peer_succeeded(peer, command) ||
		(state != NULL && strncmp(state, "57P", 3) != 0 && strncmp(state, "08", 2) != 0))
		return;
	peer->broken = true;
	ereport(ERROR,
			(errcode(ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN),
			 errmsg("node \"%s\" has not answered to COMMIT: the transaction may be committed there",
					peer->name)));
}

/* The answer to COMMIT, where it is known what the transaction has come to. */
static void
check_committed(AsPart *member, int command)
{
	AsPeer	   *peer = member->peer;

	if (peer->state == AS_PEER_FLYING && !peer->broken)
		throw_unanswered(member, ERRCODE_CONNECTION_FAILURE, "COMMIT in time");
	if (strcmp(PQcmdStatus(as_peer_result(peer, command)), "COMMIT") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRANSACTION_ROLLBACK),
				 errmsg("node \"%s\" has rolled back its part of the transaction", peer->name)));
}

/*
 * Those that only read held their locks till now, when all others that there
 * are to be are held, too: they let them go, which proves that they still had
 * them.  A server that is deposed, and may have given locks on what others had
 * changed elsewhere, is found out: no standby takes its COMMIT.
 */
static void
commit_readers(void)
{
	AsPeer	   *peers[AS_MAX_PEERS] = {NULL};
	int			commit[AS_MAX_PEERS];
	int			n = 0;

	AS_FOR_EACH_MEMBER(member)
	{
		if (member->wrote)
			continue;
		if (member->locked)
			(void) as_peer_add(member->peer, REQUIRE_SYNC_SQL, 0, NULL, true);
		commit[n] = as_peer_add(member->peer, "COMMIT", 0, NULL, true);
		(void) as_peer_launch(member->peer);
		peers[n++] = member->peer;
	}
	if (n == 0)
		return;
	(void) as_peers_wait(peers, n, as_peer_deadline(actorstore_peer_timeout));
	n = 0;
	AS_FOR_EACH_MEMBER(member)
	{
		if (member->wrote)
			continue;
		check_committed(member, commit[n++]);
		member->state = AS_PART_ENDED;
		member->level = 0;
		if (member->locked && member->peer->unreplicated)
			throw_unreplicated(member->peer);
	}
}

/*
 * COMMIT to the only member that wrote.  Whether it did is not known without its
 * answer: not even a cancelled wait may end as anything else.
 */
static void
commit_writer(AsPart *member)
{
	AsPeer	   *peer = member->peer;
	int			commit = as_peer_add(peer, "COMMIT", 0, NULL, true);

	member->state = AS_PART_ENDED;
	(void) as_peer_launch(peer);
	AS_FAULT("one_phase");
	(void) as_peers_wait_quietly(&peer, 1, as_peer_deadline(actorstore_peer_timeout));
	as_global_check_answer(peer, commit);
	check_committed(member, commit);
	as_peer_stat_count(peer->stat, AS_PEER_ONE_PHASE, 1);
}

/* ---- The first phase ---- */

static void
write_gids(FullTransactionId xid)
{
	AsGid		parts;

	parts.uuid = as_global_self.uuid;
	parts.incarnation = as_global_self.incarnation;
	parts.boot = as_boot_get();
	parts.xid = xid;
	AS_FOR_EACH_MEMBER(member)
	{
		parts.participant = member->peer->number;
		if (member->wrote)
			as_gid_write(member->gid, &parts);
	}
}

static void
begin_first_phase(void)
{
	FullTransactionId xid;

	as_life_set(AS_LIFE_PREPARING);
	AS_FAULT("K1");
	xid = GetTopFullTransactionId();
	write_gids(xid);
	as_life_set_xid(xid);
	AS_FAULT("K2");
}

static void
decide(void)
{
	int16		nodes[AS_MAX_PEERS];
	char	   *gids[AS_MAX_PEERS];
	AsDecisionPlace place;
	int			n = 0;

	AS_FOR_EACH_MEMBER(member)
	{
		if (!member->wrote)
			continue;
		nodes[n] = member->peer->number;
		gids[n++] = member->gid;
	}
	PushActiveSnapshot(GetTransactionSnapshot());
	as_decision_write(GetTopFullTransactionId(), as_global_self.incarnation, n, nodes, gids, &place);
	PopActiveSnapshot();
	as_global_note_decision(&place);
}

static void
write_command(char *command, const char *begin, const char *gid)
{
	strcpy(stpcpy(stpcpy(command, begin), gid), "'");
}

static void
send_prepare(AsPart *member)
{
	char		command[AS_GID_SIZE + 32];

	write_command(command, "PREPARE TRANSACTION '", member->gid);
	member->state = AS_PART_PREPARING;
	if (member->peer->state == AS_PEER_IDLE)
	{
		member->prepare = 0;
		as_peer_launch_alone(member->peer, command);
		return;
	}
	member->prepare = as_peer_add(member->peer, command, 0, NULL, false);
	(void) as_peer_launch(member->peer);
}

static void
send_prepares(void)
{
	bool		first = true;

	AS_FOR_EACH_MEMBER(member)
	{
		if (!member->wrote)
			continue;
		send_prepare(member);
		if (!first)
			continue;
		first = false;
#ifdef ACTORSTORE_FAULTS
		(void) as_peers_wait(&member->peer, 1, as_peer_deadline(actorstore_peer_timeout));
#endif
		AS_FAULT("K3");
	}
}

void
as_global_launch_last(void)
{
	AS_FOR_EACH_MEMBER(member)
		member->wrote = true;
	begin_first_phase();
	send_prepares();
}

static void
check_prepared(AsPart *member)
{
	AsPeer	   *peer = member->peer;
	int			command = member->prepare;
	const char *state = as_peer_sqlstate(peer, command);

	if (peer->state == AS_PEER_FLYING && !peer->broken)
		throw_unanswered(member, ERRCODE_CONNECTION_FAILURE, "PREPARE TRANSACTION in time");
	if (state != NULL && strcmp(state, "53200") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("node \"%s\" has no room for another prepared transaction", peer->name),
				 errhint("Put this line, or one with a larger number, into postgresql.conf there and restart: max_prepared_transactions = %d",
						 Max(MaxConnections, 2 * peer->max_prepared))));
	if (strcmp(PQcmdStatus(as_peer_result(peer, command)), "PREPARE TRANSACTION") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRANSACTION_ROLLBACK),
				 errmsg("node \"%s\" has rolled back its part of the transaction", peer->name)));
	if (peer->unreplicated)
		throw_unreplicated(peer);
}

/* The decision's row is written while they prepare: it counts only once this transaction has committed. */
static void
await_prepared(void)
{
	AsPart	   *writers[AS_MAX_PEERS];
	AsPeer	   *peers[AS_MAX_PEERS];
	int			n = 0;
	TimestampTz deadline = as_peer_deadline(actorstore_peer_timeout);

	AS_FOR_EACH_MEMBER(member)
	{
		if (!member->wrote)
			continue;
		writers[n] = member;
		peers[n++] = member->peer;
	}
	decide();
	AS_FAULT("decided");
	(void) as_peers_wait(peers, n, deadline);
	for (int i = 0; i < n; i++)
	{
		int			command = writers[i]->prepare;

		if (as_peer_succeeded(peers[i], command) &&
			strcmp(PQcmdStatus(as_peer_result(peers[i], command)), "PREPARE TRANSACTION") == 0)
		{
			writers[i]->state = AS_PART_PREPARED;
			as_peer_stat_count(peers[i]->stat, AS_PEER_PREPARED, 1);
		}
	}
	for (int i = 0; i < n; i++)
		check_prepared(writers[i]);
}

/* Have they been sent PREPARE with what they had to do? */
static bool
is_preparing(void)
{
	AS_FOR_EACH_MEMBER(member)
	{
		if (member->state == AS_PART_PREPARING)
			return true;
	}
	return false;
}

static void
prepare_in_two_phases(void)
{
	if (!is_preparing())
	{
		begin_first_phase();
		send_prepares();
	}
	await_prepared();
	commit_readers();
	as_life_set(AS_LIFE_PREPARED);
	AS_FAULT("K4");
	as_global_delete_before();
}

void
as_global_prepare(void)
{
	int			nwriters = count_writers();
	bool		wrote_here = TransactionIdIsValid(GetTopTransactionIdIfAny());

	if (is_preparing() || nwriters > 1 || (nwriters == 1 && (wrote_here || IsolationIsSerializable())))
	{
		prepare_in_two_phases();
		return;
	}
	commit_readers();
	AS_FOR_EACH_MEMBER(member)
	{
		if (member->wrote)
			commit_writer(member);
	}
}

/* ---- The second phase ---- */

static void
send_commit(AsPart *member, bool first)
{
	char		command[AS_GID_SIZE + 32];

	write_command(command, "COMMIT PREPARED '", member->gid);
	if (actorstore_wait_for_phase_two)
		as_peer_launch_alone(member->peer, command);
	else
	{
		(void) as_peer_add(member->peer, command, 0, NULL, false);
		(void) as_peer_launch(member->peer);
	}
	if (!first)
		return;
#ifdef ACTORSTORE_FAULTS
	(void) as_peers_wait_quietly(&member->peer, 1, as_peer_deadline(actorstore_phase_two_timeout));
#endif
	AS_FAULT("K6");
}

static void
warn_of_rest(int nleft, const char *name)
{
	(void) as_resolver_poke();
	ereport(WARNING,
			(errmsg("the transaction is committed, but not yet on node \"%s\"%s", name,
					nleft > 1 ? " and others" : ""),
			 errdetail("It will be once the node answers.")));
}

/* Returns whether all have committed. */
static bool
await_commits(void)
{
	AsPeer	   *peers[AS_MAX_PEERS];
	int			nleft = 0;
	const char *name = NULL;

	(void) as_peers_wait_quietly(peers, collect(peers),
								 as_peer_deadline(actorstore_phase_two_timeout));
	AS_FOR_EACH_MEMBER(member)
	{
		if (member->state == AS_PART_PREPARED && !as_peer_succeeded(member->peer, 0))
		{
			nleft++;
			name = member->peer->name;
		}
		else if (member->state == AS_PART_PREPARED)
			as_peer_stat_count(member->peer->stat, AS_PEER_COMMITTED, 1);
	}
	if (nleft > 0)
		warn_of_rest(nleft, name);
	return nleft == 0;
}

/* All that wrote are prepared, the others have ended. */
static void
finish(void)
{
	const char *name = "";
	bool		first = true;

	as_global_forget_before();
	AS_FAULT("K5");
	if (!as_sync_acknowledged(XactLastCommitEnd))
	{
		/* not safe yet: the resolver waits till it is */
		AS_FOR_EACH_MEMBER(member)
		{
			if (member->state == AS_PART_PREPARED)
				name = member->peer->name;
		}
		warn_of_rest(count_writers(), name);
		return;
	}
	AS_FOR_EACH_MEMBER(member)
	{
		if (member->state != AS_PART_PREPARED)
			continue;
		send_commit(member, first);
		first = false;
	}
	if (!actorstore_wait_for_phase_two)
	{
		AS_FOR_EACH_MEMBER(member)
			as_peer_leave(member->peer);
		as_global_note_told();
	}
	else if (await_commits())
		as_global_note_told();
	AS_FAULT("K7");
}

static bool
all_ended(void)
{
	AS_FOR_EACH_MEMBER(member)
	{
		if (member->state != AS_PART_ENDED)
			return false;
	}
	return true;
}

/*
 * The transaction is committed: an error would be a PANIC.  There should be
 * none; if there is, the resolver does what was not done.
 */
void
as_global_finish(void)
{
	MemoryContext context = CurrentMemoryContext;

	if (all_ended())
		return;
	as_life_set(AS_LIFE_COMMITTING);
	PG_TRY();
	{
		finish();
	}
	PG_CATCH();
	{
		as_global_give_up(context);
	}
	PG_END_TRY();
}

/*-------------------------------------------------------------------------
 *
 * round.c
 *	  See round.h.
 *
 * A node that nobody else can reach needs no votes: it decides in the caller's
 * transaction.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/round.h"

#include "cluster/ballot.h"
#include "cluster/fault.h"
#include "cluster/give.h"
#include "cluster/node.h"
#include "cluster/panel.h"
#include "common/pg_prng.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* A ballot is a counter, and who counts. */
#define BALLOT(counter, node)	((int64) (((uint64) (counter) << 16) | (uint16) (node)))
#define COUNTER_OF(ballot)		((ballot) >> 16)

/* columns of a vote */
enum
{
	EPOCH, AGREED, PROMISED, ACCEPTED, PROPOSAL
};

/* who gives slots away may wait so many times actorstore.peer_timeout */
#define CONSENT_TIMEOUTS	3

#define MAX_ROUNDS		50
#define MIN_NAP_MS		100

typedef struct Round
{
	int64		epoch;			/* to be decided */
	int64		ballot;
	int64		highest;		/* ballot heard of */
	const char *values[3];		/* epoch, ballot and proposal, for the members */
	TimestampTz began_at;
	AsPanel		panel;
	bool		voted[AS_MAX_NODES];
	bool		gives[AS_MAX_NODES];	/* slots away, by the proposal */
	text	   *proposal;
	bool		is_ours;
	bool		is_behind;		/* somebody, in epochs */
} Round;

typedef enum Outcome
{
	DECIDED,
	BEHIND,						/* of a later epoch somewhere */
	OUTVOTED,
	FEW							/* no majority answered */
} Outcome;

/* ---- Members ---- */

static void
begin_round(Round *round, int64 highest)
{
	const AsNode *self;

	AcceptInvalidationMessages();
	self = as_node_need_self();
	memset(round, 0, sizeof(Round));
	round->epoch = as_node_epoch() + 1;
	round->highest = highest;
	round->began_at = GetCurrentTimestamp();
	round->ballot = BALLOT(COUNTER_OF(highest) + 1, self->number);
	round->values[0] = psprintf(INT64_FORMAT, round->epoch);
	round->values[1] = psprintf(INT64_FORMAT, round->ballot);
	as_panel_open(&round->panel);
}

int
as_round_proposer(int64 ballot)
{
	return (int) (ballot & 0xffff);
}

static int
majority(const Round *round)
{
	return round->panel.n / 2 + 1;
}

static int
count_votes(const Round *round)
{
	int			n = 0;

	for (int i = 0; i < round->panel.n; i++)
		n += round->voted[i];
	return n;
}

/* ---- Votes ---- */

static int64
number_at(const PGresult *result, int column)
{
	return PQgetisnull(result, 0, column) ? 0 :
		pg_strtoint64(PQgetvalue(result, 0, column));
}

/*
 * Votes for our ballot; the epochs that the others are at, and the highest
 * ballots.  Returns whether one is ahead of us.  A vote that the member's
 * standbys may not have is none.
 */
static bool
read_votes(Round *round)
{
	bool		is_ahead = false;

	round->is_behind = false;
	memset(round->voted, 0, sizeof(round->voted));
	for (int i = 0; i < round->panel.n; i++)
	{
		PGresult   *result = as_panel_answer(&round->panel, i);

		if (result == NULL)
			continue;
		is_ahead |= number_at(result, EPOCH) >= round->epoch;
		round->is_behind |= number_at(result, EPOCH) < round->epoch - 1;
		round->highest = Max(round->highest, number_at(result, PROMISED));
		round->voted[i] = PQgetvalue(result, 0, AGREED)[0] == 't' &&
			!round->panel.peers[i]->unreplicated;
	}
	return is_ahead;
}

/* Somebody was faster than us in a slot: see once more which ones are empty. */
static bool
was_occupied(Round *round)
{
	for (int i = 0; i < round->panel.n; i++)
	{
		const char *state;

		if (!round->panel.asked[i] || round->panel.peers[i] == NULL)
			continue;
		state = as_peer_sqlstate(round->panel.peers[i], 0);
		if (state != NULL && strcmp(state, "55006") == 0)
			return true;
	}
	return false;
}

/*
 * Too few have voted.  An error of a member's own is thrown: it says why.  Else
 * another ballot was in the way if all who are needed have answered.
 */
static Outcome
too_few(Round *round, bool only_givers)
{
	int			answers;

	if (only_givers && was_occupied(round))
		return OUTVOTED;
	answers = as_panel_throw(&round->panel);
	for (int i = 0; i < round->panel.n && only_givers; i++)
	{
		if (round->gives[i] && round->panel.peers[i] == NULL)
			return FEW;
	}
	return only_givers || answers >= majority(round) ? OUTVOTED : FEW;
}

/* ---- Learning ---- */

/* Tell all what is decided; nothing is lost if one does not hear. */
static void
teach(Round *round, text *proposal)
{
	const char *values[1] = {text_to_cstring(proposal)};

	as_panel_ask(&round->panel, NULL, actorstore_peer_timeout,
				 "SELECT actorstore.local_learn($1::pg_catalog.jsonb)", 1, values);
	AcceptInvalidationMessages();
}

/* Fetch the epoch of a member that is ahead, and put it in force here. */
static void
catch_up(Round *round)
{
	for (int i = 0; i < round->panel.n; i++)
	{
		PGresult   *result = as_panel_answer(&round->panel, i);

		if (result == NULL || number_at(result, EPOCH) < round->epoch)
			continue;
		result = as_peer_execute(round->panel.peers[i], "SELECT actorstore.local_in_force()", 0, NULL, false);
		teach(round, cstring_to_text(PQgetvalue(result, 0, 0)));
		return;
	}
}

/* ---- Those who give slots away ---- */

static bool
givers_voted(const Round *round)
{
	for (int i = 0; i < round->panel.n; i++)
	{
		if (round->gives[i] && !round->voted[i])
			return false;
	}
	return true;
}

/* ---- A round ---- */

/*
 * What the one with the highest ballot among those who voted has accepted must
 * be proposed again.
 */
static void
take_accepted(Round *round)
{
	int64		best = 0;

	for (int i = 0; i < round->panel.n; i++)
	{
		PGresult   *result;

		if (!round->voted[i])
			continue;
		result = as_peer_result(round->panel.peers[i], 0);
		if (number_at(result, ACCEPTED) <= best)
			continue;
		best = number_at(result, ACCEPTED);
		round->proposal = cstring_to_text(PQgetvalue(result, 0, PROPOSAL));
	}
}

static Outcome
promises(Round *round)
{
	as_panel_ask(&round->panel, NULL, actorstore_peer_timeout,
				 "SELECT * FROM actorstore.local_promise($1::pg_catalog.int8, $2::pg_catalog.int8)", 2, round->values);
	if (read_votes(round))
		return BEHIND;
	if (round->is_behind)
	{
		/* it may be one of those who give slots away */
		teach(round, as_ballot_in_force());
		return OUTVOTED;
	}
	if (count_votes(round) >= majority(round))
		return DECIDED;
	return too_few(round, false);
}

static Outcome
ask_givers(Round *round, int nvalues, const char *sql)
{
	as_panel_ask(&round->panel, round->gives, CONSENT_TIMEOUTS * actorstore_peer_timeout,
				 sql, nvalues, round->values);
	if (read_votes(round))
		return BEHIND;
	return givers_voted(round) ? DECIDED : too_few(round, true);
}

/* Those who give slots away all consent; before anybody is asked to accept. */
static Outcome
consents(Round *round)
{
	Outcome		outcome = ask_givers(round, 3,
									 "SELECT * FROM actorstore.local_close($1::pg_catalog.int8, $2::pg_catalog.int8, $3::pg_catalog.jsonb)");

	if (outcome != DECIDED)
		return outcome;
	AS_FAULT("member_closed");
	return ask_givers(round, 2,
					  "SELECT * FROM actorstore.local_consent($1::pg_catalog.int8, $2::pg_catalog.int8)");
}

/* Not all have consented: what they have closed may be open again. */
static void
withdraw(Round *round)
{
	as_panel_ask(&round->panel, round->gives, actorstore_peer_timeout,
				 "SELECT actorstore.local_withdraw($1::pg_catalog.int8, $2::pg_catalog.int8)", 2, round->values);
}

static Outcome
get_consents(Round *round)
{
	MemoryContext context = CurrentMemoryContext;
	volatile Outcome outcome = FEW;

	as_give_find(round->proposal, round->panel.members, round->panel.n, round->gives);
	if (memchr(round->gives, true, sizeof(round->gives)) == NULL)
		return DECIDED;
	PG_TRY();
	{
		outcome = consents(round);
	}
	PG_CATCH();
	{
		MemoryContext error = MemoryContextSwitchTo(context);

		withdraw(round);
		MemoryContextSwitchTo(error);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (outcome == OUTVOTED || outcome == FEW)
		withdraw(round);
	return outcome;
}

static Outcome
acceptances(Round *round)
{
	as_panel_ask(&round->panel, NULL, actorstore_peer_timeout,
				 "SELECT * FROM actorstore.local_accept($1::pg_catalog.int8, $2::pg_catalog.int8, $3::pg_catalog.jsonb)",
				 3, round->values);
	if (read_votes(round))
		return BEHIND;
	if (count_votes(round) >= majority(round))
		return DECIDED;
	return too_few(round, false);
}

/* What we want, with the consent of those who must give; or nothing. */
static Outcome
propose_ours(Round *round, AsProposing propose, void *arg)
{
	Outcome		outcome;

	round->is_ours = true;
	round->proposal = propose(arg);
	if (round->proposal == NULL)
		return DECIDED;
	AS_FAULT("member_promised");
	if (as_ballot_epoch_of(round->proposal) != round->epoch)
		return OUTVOTED;		/* another one was learned meanwhile */
	round->values[2] = text_to_cstring(round->proposal);
	outcome = get_consents(round);
	AS_FAULT("member_consented");
	return outcome;
}

static Outcome
run_round(Round *round, AsProposing propose, void *arg)
{
	Outcome		outcome = promises(round);

	if (outcome != DECIDED)
		return outcome;
	take_accepted(round);
	if (round->proposal == NULL)
		outcome = propose_ours(round, propose, arg);
	if (outcome != DECIDED || round->proposal == NULL)
		return outcome;
	round->values[2] = text_to_cstring(round->proposal);
	outcome = acceptances(round);
	if (outcome != DECIDED)
		return outcome;
	AS_FAULT("member_accepted");
	teach(round, round->proposal);
	if (as_node_epoch() < round->epoch)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("epoch " INT64_FORMAT " is decided, but this node could not write it down", round->epoch),
				 errhint("Any later change of membership will find it.")));
	return DECIDED;
}

/* Long enough for somebody else's round, which takes as long as ours. */
static void
nap(const Round *round)
{
	long		took = TimestampDifferenceMilliseconds(round->began_at, GetCurrentTimestamp());
	int			most = (int) Min(Max(MIN_NAP_MS, 2 * took), actorstore_peer_timeout);

	as_peer_nap((int) (pg_prng_double(&pg_global_prng_state) * most), AS_NAP_EPOCH);
}

static void
no_majority(const Round *round)
{
	StringInfoData missing;

	initStringInfo(&missing);
	for (int i = 0; i < round->panel.n; i++)
	{
		/* who has promised more to somebody else was heard */
		if (!round->voted[i] && (round->panel.peers[i] == NULL || round->panel.peers[i]->unreplicated))
			appendStringInfo(&missing, "%s%s", missing.len > 0 ? ", " : "",
							 round->panel.members[i].name);
	}
	ereport(ERROR,
			(errcode(AS_ERRCODE_NO_MAJORITY),
			 errmsg("no majority of the nodes agrees to a change of membership"),
			 errdetail("%d of %d are needed, and those that give slots away; not heard: %s.",
					   majority(round), round->panel.n, missing.data),
			 errhint("Try again when more of them can be reached.")));
}

static void
decide_alone(AsProposing propose, void *arg)
{
	text	   *proposal;

	as_ballot_lock();
	proposal = propose(arg);
	if (proposal != NULL)
		(void) as_ballot_learn(proposal);
}

/* True if our proposal is decided; else the next round's ballot is above *highest. */
static bool
finish_round(Round *round, Outcome outcome, int64 *highest)
{
	*highest = 0;
	switch (outcome)
	{
		case DECIDED:
			return round->is_ours;
		case BEHIND:
			catch_up(round);
			break;
		case OUTVOTED:
			*highest = round->highest;
			nap(round);
			break;
		case FEW:
			no_majority(round);
	}
	return false;
}

/* *highest is the highest ballot heard of, before and after. */
static bool
one_round(AsProposing propose, void *arg, int64 *highest)
{
	Round	   *round = palloc0(sizeof(Round));
	volatile bool is_over = false;

	PG_TRY();
	{
		begin_round(round, *highest);
		is_over = finish_round(round, run_round(round, propose, arg), highest);
	}
	PG_FINALLY();
	{
		as_panel_close(&round->panel);
	}
	PG_END_TRY();
	return is_over;
}

void
as_round_run(AsProposing propose, void *arg)
{
	int64		highest = 0;

	if (as_node_need_self()->conninfo == NULL)
	{
		decide_alone(propose, arg);
		return;
	}
	for (int i = 0; i < MAX_ROUNDS; i++)
	{
		if (one_round(propose, arg, &highest))
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("other changes of membership were always faster")));
}

/*
 * epoch.pml
 *	  The next epoch is decided by single-decree Paxos (src/cluster/ballot.h,
 *	  round.c): three nodes, some of which propose, each a map of its own.
 *
 * Each step here is what one short transaction of one member does when it is
 * asked:
 *
 *	promise		local_promise(): for the next epoch only, and above what it has
 *				promised; answers what it has accepted
 *	accept		local_accept(): not below what it has promised
 *	learn		local_learn(): unless an epoch is in force already
 *
 * What stands in a member's tables survives.  What a proposer knows is lost when
 * it dies, and it begins anew; it may do so whenever a flight is over.  A flight asks the
 * members in any order, and ends at any time: who has not been asked then was out
 * of reach, or the proposer has died.  Whether answers to "accept" are heard is left open: a
 * proposer goes on if a majority has voted, or does not.
 *
 * A ballot is a counter and the number of a node, BALLOT() of round.c.  Counters are
 * chosen freely here, also one that was used before: what a proposer had heard of
 * it may have forgotten.  PROPOSERS says who there are, a bit for each: 1, 2 and 4 for
 * the three nodes, 8 for a second session of the first one, which has the same
 * ballots.
 *
 * Checked: no ballot is accepted with two maps; no two maps are decided, that is
 * accepted under one ballot by a majority; none is put in force that was not
 * decided.  With a guard taken away one of these must fail: -DBROKEN=1, a
 * proposer does not take over what was accepted; 2, a member accepts below what it has
 * promised; 3, it promises a ballot twice; 4, one vote is a majority.
 *
 * Not here: the consent of those who give slots away (give.h), without which a
 * proposer does not go on to "accept", which is the same as one that dies there; and
 * a node that was declared lost (force.h), which is one that is never asked.
 */
#ifndef BROKEN
#define BROKEN 0
#endif
#ifndef COUNTERS
#define COUNTERS 2
#endif
#ifndef PROPOSERS
#define PROPOSERS 3
#endif

#define NODES		3
#if BROKEN == 4
#define MAJORITY	1
#else
#define MAJORITY	2
#endif

#define BALLOT(counter, p)	((counter) * 3 + ((p) == 3 -> 0 : (p)) - 2)	/* from 1 on */
#define BALLOTS		(COUNTERS * 3)

#define HAS(set, i)	(((set) >> (i)) & 1)
#define SIZE(set)	(HAS(set, 0) + HAS(set, 1) + HAS(set, 2))

/* ---- In the tables of each node ---- */

byte in_force[NODES];			/* the map of the next epoch; 0: it is not known here */
byte promised[NODES];
byte accepted[NODES];			/* a ballot; 0: nothing */
byte proposal[NODES];

/* ---- What has happened, by ballot ---- */

byte votes[BALLOTS + 1];		/* who has accepted under it */
byte maps[BALLOTS + 1];			/* what */
byte decided;					/* 0: nothing */

#if BROKEN == 3
#define MAY_PROMISE(i)	(promised[i] <= ballot)
#else
#define MAY_PROMISE(i)	(promised[i] < ballot)
#endif
#if BROKEN == 2
#define MAY_ACCEPT(i)	true
#else
#define MAY_ACCEPT(i)	(promised[i] <= ballot)
#endif

/* Somebody who was not asked yet, and is not ahead; who says no might as well not have been asked */
#define ASK(i, may)	!HAS(asked, i) && in_force[i] == 0 && may(i) -> asked = asked | (1 << i); who = i
#define PICK(may)	if :: ASK(0, may) :: ASK(1, may) :: ASK(2, may) fi
#define MAY_LEARN(i)	true

proctype proposer(byte p)
{
	byte ballot, asked, yes, best, map, who;

	do
	:: atomic {
			/* begin_round() */
			select(ballot : 1 .. COUNTERS);
			ballot = BALLOT(ballot, p)
		};

		/* promises(), take_accepted() */
		do
		:: atomic {
				PICK(MAY_PROMISE);
				promised[who] = ballot;
				yes++;
				if
				:: accepted[who] > best -> best = accepted[who]; map = proposal[who]
				:: else
				fi;
				who = 0
			}
		:: atomic {
				yes >= MAJORITY ->
				asked = 0; yes = 0;
				if
				:: best == 0 || BROKEN == 1 -> map = p + 1
				:: else
				fi;
				best = 0;
				break
			}
		:: goto over
		od;

		/* acceptances() */
		do
		:: atomic {
				PICK(MAY_ACCEPT);
				promised[who] = ballot; accepted[who] = ballot; proposal[who] = map;
				assert(votes[ballot] == 0 || maps[ballot] == map);
				maps[ballot] = map;
				votes[ballot] = votes[ballot] | (1 << who);
				if
				:: SIZE(votes[ballot]) >= MAJORITY -> assert(decided == 0 || decided == map); decided = map
				:: else
				fi;
				who = 0
			}
		:: atomic { SIZE(votes[ballot]) >= MAJORITY -> asked = 0; break }
		:: goto over
		od;

		/* teach(): the first one learns; whoever learns forgets how it has voted */
		if
		:: atomic {
				PICK(MAY_LEARN);
				assert(decided == map);
				in_force[who] = map;
				promised[who] = 0; accepted[who] = 0; proposal[who] = 0;
				who = 0
			}
		:: skip
		fi;

over:	atomic { asked = 0; yes = 0; best = 0; map = 0; ballot = 0 }

	/* catch_up(): the others, from a member that is ahead */
	:: atomic {
			if
			:: in_force[0] != 0 -> map = in_force[0]
			:: in_force[1] != 0 -> map = in_force[1]
			:: in_force[2] != 0 -> map = in_force[2]
			fi;
			PICK(MAY_LEARN);
			assert(decided == map);
			in_force[who] = map;
			promised[who] = 0; accepted[who] = 0; proposal[who] = 0;
			who = 0; map = 0; asked = 0
		}
	od
}

init
{
	atomic {
		if :: HAS(PROPOSERS, 0) -> run proposer(0) :: else fi;
		if :: HAS(PROPOSERS, 1) -> run proposer(1) :: else fi;
		if :: HAS(PROPOSERS, 2) -> run proposer(2) :: else fi;
		if :: HAS(PROPOSERS, 3) -> run proposer(3) :: else fi
	}
}

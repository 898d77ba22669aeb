/*-------------------------------------------------------------------------
 *
 * admission.c
 *	  See admission.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/admission.h"

#include <limits.h>

#include "access/xact.h"
#include "cluster/lane.h"
#include "cluster/node.h"
#include "cluster/outbox.h"
#include "lib/nap.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

/* for a sender that is a little too fast */
#define MAX_WAIT_MS		1000

static int	peer_message_rate = 0;

/* Of the batch at hand */
static int	lane = -1;

/* The lane of a node; of those that are not known, our own. */
static int
lane_of(const pg_uuid_t *uuid)
{
	for (int i = 0; i < as_node_count(); i++)
	{
		if (memcmp(&as_node_nth(i)->uuid, uuid, UUID_LEN) == 0)
			return as_lane_find(as_node_nth(i)->number);
	}
	return as_lane_find(as_node_need_self()->number);
}

void
as_admission_refuse(int sqlerrcode, const char *why)
{
	if (lane >= 0)
		as_lane_count(lane, AS_LANE_REFUSED, 1);
	ereport(FATAL,
			(errcode(sqlerrcode),
			 errmsg("a batch of messages from another node is refused"),
			 errdetail_internal("%s", why)));
	pg_unreachable();
}

void
as_admission_refuse_duplicate(void)
{
	if (lane >= 0)
		as_lane_count(lane, AS_LANE_DUPLICATES, 1);
	as_admission_refuse(ERRCODE_PROTOCOL_VIOLATION, "It is here already.");
}

/* ---- How much ---- */

/* Has the transaction been let in already, with fewer batches than it may have? */
static bool
is_let_in(void)
{
	static TimestampTz began_at = 0;
	static int	nbatches = 0;
	TimestampTz now = GetCurrentTransactionStartTimestamp();

	if (now != began_at)
	{
		began_at = now;
		nbatches = 1;
		return false;
	}
	return nbatches++ < AS_FLIGHT;
}

static void
wait_for_turn(void)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), MAX_WAIT_MS);

	for (;;)
	{
		int64		ms = (as_lane_debt(lane) + 999) / 1000;
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);

		if (ms == 0)
			return;
		if (ms > left)
			break;
		(void) as_nap((long) ms, AS_NAP_RATE);
		CHECK_FOR_INTERRUPTS();
	}
	as_lane_count(lane, AS_LANE_LIMITED, 1);
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("more messages come from this node than actorstore.peer_message_rate allows"),
			 errhint("They wait where they are.")));
}

bool
as_admission_count(int n)
{
	if (lane < 0)
		return false;
	as_lane_count(lane, AS_LANE_RECEIVED, n);
	if (peer_message_rate == 0)
		return false;
	as_lane_pay(lane, (int64) n * 1000000 / peer_message_rate);
	return as_lane_debt(lane) > 0;
}

/* ---- Whether at all ---- */

void
as_admission_check(const AsSigned *what, const char **bytes, Size *length)
{
	const char *wrong;

	lane = lane_of(&what->sender);
	wrong = as_signing_check(what, bytes, length);
	if (wrong != NULL)
		as_admission_refuse(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, wrong);
	if (peer_message_rate > 0 && lane >= 0 && !is_let_in())
		wait_for_turn();
}

void
as_admission_init(void)
{
	DefineCustomIntVariable("actorstore.peer_message_rate",
							"How many messages a second are taken from each other node, on average; 0: any number.",
							NULL,
							&peer_message_rate,
							0, 0, 1000000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
}

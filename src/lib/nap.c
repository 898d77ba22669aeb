/*-------------------------------------------------------------------------
 *
 * nap.c
 *	  See nap.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/nap.h"

#include "compat.h"
#include "miscadmin.h"
#include "storage/latch.h"

static const char *const names[] = {
	[AS_NAP_ANSWER] = "ActorstoreAnswer",
	[AS_NAP_CHANGES] = "ActorstoreChanges",
	[AS_NAP_CHECKOUT] = "ActorstoreCheckout",
	[AS_NAP_EPOCH] = "ActorstoreEpoch",
	[AS_NAP_LEAVE] = "ActorstoreNodeLeave",
	[AS_NAP_MAILBOX] = "ActorstoreMailboxRoom",
	[AS_NAP_MOVER_COPY] = "ActorstoreMoverCopy",
	[AS_NAP_OUTBOX] = "ActorstoreOutboxRoom",
	[AS_NAP_PEER] = "ActorstorePeer",
	[AS_NAP_RATE] = "ActorstorePeerRate",
	[AS_NAP_RESOLVER] = "ActorstoreResolverPass",
	[AS_NAP_SETTLE] = "ActorstoreNodeSettle",
	[AS_NAP_SLOT] = "ActorstoreSlotMove",
	[AS_NAP_TIMER] = "ActorstoreTimerArrival",
	[AS_NAP_WAL] = "ActorstoreWalWrite",
	[AS_NAP_WORKERS] = "ActorstoreWorkersLeave",
	[AS_NAP_FORWARDER_MAIN] = "ActorstoreForwarderMain",
	[AS_NAP_KEEPER_MAIN] = "ActorstoreKeeperMain",
	[AS_NAP_LAUNCHER_MAIN] = "ActorstoreLauncherMain",
	[AS_NAP_MOVER_MAIN] = "ActorstoreMoverMain",
	[AS_NAP_RESOLVER_MAIN] = "ActorstoreResolverMain",
	[AS_NAP_STEWARD_MAIN] = "ActorstoreStewardMain",
	[AS_NAP_WORKER_BUSY] = "ActorstoreWorkerBusy",
	[AS_NAP_WORKER_MAIN] = "ActorstoreWorkerMain"
};

StaticAssertDecl(lengthof(names) == AS_NNAPS, "each wait has a name");

/* Named when it is waited for first, by each process. */
uint32
as_wait_event(AsNap wait)
{
	static uint32 events[AS_NNAPS];

	if (events[wait] == 0)
		events[wait] = as_new_wait_event(names[wait]);
	return events[wait];
}

bool
as_nap(long ms, AsNap wait)
{
	int			events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
								   ms, as_wait_event(wait));

	ResetLatch(MyLatch);
	return (events & WL_LATCH_SET) != 0;
}

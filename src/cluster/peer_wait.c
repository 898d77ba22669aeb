/*-------------------------------------------------------------------------
 *
 * peer_wait.c
 *	  Waiting for the sockets of connections to other nodes: see peer.h.
 *
 * To make a set of events and to give it back costs more system calls than to
 * wait for it, so a few sets are kept.  A set is of no use once one of its
 * sockets was closed, though another may get its number: all are forgotten
 * when a connection is closed or opened.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/peer.h"

#include <poll.h>

#include "compat.h"
#include "lib/nap.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* look so often whether the postmaster is there, where nobody tells */
#define SLICE_MS		1000

#define MAX_SETS		4
#define MAX_SOCKETS		8		/* of a set that is kept */

typedef struct KeptSet
{
	WaitEventSet *set;			/* NULL: none */
	int			n;
	AsPeerSocket sockets[MAX_SOCKETS];
} KeptSet;

static KeptSet kept[MAX_SETS];

void
as_peer_nap(int ms, AsNap wait)
{
	TimestampTz until = as_peer_deadline(Max(ms, 1));
	bool		was_set = false;
	long		left;

	CHECK_FOR_INTERRUPTS();
	while ((left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until)) > 0)
	{
		was_set |= as_nap(left, wait);
		CHECK_FOR_INTERRUPTS();
	}
	if (was_set)
		SetLatch(MyLatch);
}

TimestampTz
as_peer_deadline(int ms)
{
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
}

static long
time_left(TimestampTz deadline)
{
	if (deadline == 0)
		return SLICE_MS;
	return Min(SLICE_MS,
			   TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline));
}

/* Where nothing may throw: no memory, no resource owner, no latch. */
static int
poll_quietly(const AsPeerSocket *sockets, int n, long ms)
{
	struct pollfd fds[AS_MAX_PEERS];

	for (int i = 0; i < n; i++)
	{
		fds[i].fd = sockets[i].socket;
		fds[i].events = ((sockets[i].events & WL_SOCKET_READABLE) ? POLLIN : 0) |
			((sockets[i].events & WL_SOCKET_WRITEABLE) ? POLLOUT : 0);
		fds[i].revents = 0;
	}
	return poll(fds, n, (int) ms);
}

bool
as_peer_socket_is_ready(const AsPeerSocket *socket)
{
	return poll_quietly(socket, 1, 0) > 0;
}

static void
fill(WaitEventSet *set, const AsPeerSocket *sockets, int n)
{
	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < n; i++)
		AddWaitEventToSet(set, sockets[i].events, sockets[i].socket, NULL, NULL);
}

static void
forget(KeptSet *one)
{
	if (one->set != NULL)
		FreeWaitEventSet(one->set);
	one->set = NULL;
}

void
as_peer_forget_waits(void)
{
	for (int i = 0; i < MAX_SETS; i++)
		forget(&kept[i]);
}

static bool
is_for(const KeptSet *one, const AsPeerSocket *sockets, int n)
{
	if (one->set == NULL || one->n != n)
		return false;
	for (int i = 0; i < n; i++)
	{
		if (one->sockets[i].socket != sockets[i].socket ||
			one->sockets[i].events != sockets[i].events)
			return false;
	}
	return true;
}

static WaitEventSet *
get_kept(const AsPeerSocket *sockets, int n)
{
	static int	next = 0;
	KeptSet    *one;

	for (int i = 0; i < MAX_SETS; i++)
	{
		if (is_for(&kept[i], sockets, n))
			return kept[i].set;
	}
	one = &kept[next];
	next = (next + 1) % MAX_SETS;
	forget(one);

	/* not to be waited for till it is whole */
	one->n = 0;
	one->set = as_create_lasting_wait_event_set(n + 2);
	fill(one->set, sockets, n);
	memcpy(one->sockets, sockets, sizeof(AsPeerSocket) * n);
	one->n = n;
	return one->set;
}

void
as_peer_wait_for_sockets(const AsPeerSocket *sockets, int n,
						 TimestampTz deadline, AsPeerWait how)
{
	WaitEvent	event;

	if (how == AS_PEER_WAIT_QUIETLY)
	{
		(void) poll_quietly(sockets, n, time_left(deadline));
		return;
	}
	if (how == AS_PEER_WAIT_AGAIN && n <= MAX_SOCKETS)
		(void) WaitEventSetWait(get_kept(sockets, n), time_left(deadline), &event, 1,
								as_wait_event(AS_NAP_PEER));
	else
	{
		WaitEventSet *set = as_create_wait_event_set(n + 2);

		fill(set, sockets, n);
		(void) WaitEventSetWait(set, time_left(deadline), &event, 1,
								as_wait_event(AS_NAP_PEER));
		FreeWaitEventSet(set);
	}
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

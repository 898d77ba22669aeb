/*-------------------------------------------------------------------------
 *
 * spread.c
 *	  See spread.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/spread.h"

void
as_spread(const AsLocation *locations, int n, int *order)
{
	bool		has_datacenter[AS_MAX_NODES] = {false};
	bool		has_rack[AS_MAX_NODES] = {false};
	bool		chosen[AS_MAX_NODES] = {false};
	int			nchosen = 0;

	Assert(n <= AS_MAX_NODES);
	for (int step = 1; step <= 3; step++)
	{
		for (int i = 0; i < n; i++)
		{
			const AsLocation *at = &locations[i];

			if (chosen[i] || (step == 1 && has_datacenter[at->datacenter]) ||
				(step == 2 && has_rack[at->rack]))
				continue;
			has_datacenter[at->datacenter] = true;
			has_rack[at->rack] = true;
			chosen[i] = true;
			order[nchosen++] = i;
		}
	}
}

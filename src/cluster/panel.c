/*-------------------------------------------------------------------------
 *
 * panel.c
 *	  See panel.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/panel.h"

#include "cluster/node.h"

AsPeer *
as_panel_reach(const AsNode *node)
{
	MemoryContext context = CurrentMemoryContext;
	AsPeer	   *volatile peer = NULL;

	PG_TRY();
	{
		peer = as_peer_get(node);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (!as_peer_is_out_of_reach())
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	return peer;
}

void
as_panel_open(AsPanel *panel)
{
	memset(panel, 0, sizeof(AsPanel));
	for (int i = 0; i < as_node_count(); i++)
		panel->members[panel->n++] = *as_node_nth(i);
	for (int i = 0; i < panel->n; i++)
	{
		panel->peers[i] = as_panel_reach(&panel->members[i]);

		/* nobody else may close it as long as we have it */
		if (panel->peers[i] != NULL)
			panel->peers[i]->in_transaction = true;
	}
}

void
as_panel_close(AsPanel *panel)
{
	for (int i = 0; i < panel->n; i++)
	{
		if (panel->peers[i] != NULL)
			panel->peers[i]->in_transaction = false;
	}
}

/* Not so if the session there was ended, or the server is. */
static bool
has_answered(AsPeer *peer)
{
	const char *state = as_peer_sqlstate(peer, 0);

	return as_peer_succeeded(peer, 0) ||
		(state != NULL && strncmp(state, "08", 2) != 0 && strncmp(state, "57P", 3) != 0);
}

void
as_panel_ask(AsPanel *panel, const bool *whom, int timeout, const char *sql,
			 int nvalues, const char *const *values)
{
	for (int i = 0; i < panel->n; i++)
	{
		panel->asked[i] = panel->peers[i] != NULL && (whom == NULL || whom[i]);
		if (!panel->asked[i])
			continue;
		as_peer_add(panel->peers[i], sql, nvalues, values, false);
		(void) as_peer_launch(panel->peers[i]);
	}
	(void) as_peers_wait(panel->peers, panel->n, as_peer_deadline(timeout));
	for (int i = 0; i < panel->n; i++)
	{
		AsPeer	   *peer = panel->peers[i];

		if (peer != NULL && (peer->broken || peer->state != AS_PEER_IDLE ||
							 (panel->asked[i] && !has_answered(peer))))
		{
			as_peer_close(peer);
			panel->peers[i] = NULL;
		}
	}
}

PGresult *
as_panel_answer(AsPanel *panel, int i)
{
	return panel->asked[i] && panel->peers[i] != NULL && as_peer_succeeded(panel->peers[i], 0) ?
		as_peer_result(panel->peers[i], 0) : NULL;
}

int
as_panel_throw(AsPanel *panel)
{
	int			answers = 0;

	for (int i = 0; i < panel->n; i++)
	{
		if (!panel->asked[i] || panel->peers[i] == NULL)
			continue;
		(void) as_peer_result(panel->peers[i], 0);
		answers++;
	}
	return answers;
}

/*-------------------------------------------------------------------------
 *
 * location.c
 *	  See location.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/location.h"

#include "cluster/ballot.h"
#include "cluster/node.h"
#include "cluster/round.h"
#include "executor/spi.h"
#include "state/text_query.h"
#include "utils/builtins.h"

typedef struct Labels
{
	const char *name;			/* of the node */
	text	   *datacenter;
	text	   *rack;
} Labels;

static bool
has_label(const char *label, const text *wanted)
{
	if (label == NULL || wanted == NULL)
		return label == NULL && wanted == NULL;
	return strcmp(label, text_to_cstring(wanted)) == 0;
}

static text *
propose_labels(void *arg)
{
	const Labels *labels = arg;
	const AsNode *node = as_node_need(labels->name);
	text	   *args[4] = {as_ballot_in_force(), as_int_text(node->number), labels->datacenter, labels->rack};
	AsRows		rows;

	if (has_label(node->datacenter, labels->datacenter) && has_label(node->rack, labels->rack))
		return NULL;
	as_text_query(&rows, SPI_OK_SELECT,
				  "SELECT ($1::jsonb || jsonb_build_object('epoch', ($1::jsonb -> 'epoch')::bigint + 1, 'members',"
				  " (SELECT jsonb_agg(CASE WHEN (m -> 'node_number')::int = $2::int"
				  " THEN m || jsonb_build_object('datacenter', $3::text, 'rack', $4::text) ELSE m END)"
				  " FROM jsonb_array_elements($1::jsonb -> 'members') AS m)))::text",
				  4, args);
	return as_cell(&rows, 0, 0);
}

void
as_location_set(const char *name, text *datacenter, text *rack)
{
	Labels		labels = {name, datacenter, rack};

	(void) as_node_need_self();
	(void) as_node_need(name);
	as_round_run(propose_labels, &labels);
}

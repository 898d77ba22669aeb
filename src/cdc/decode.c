/*-------------------------------------------------------------------------
 *
 * decode.c
 *	  The output plugin: logical decoding of the changes of actors.
 *
 * Only partitions of actorstore.actor are looked at.  Each of their changes
 * gets a number in its transaction before any filter, so that a change has
 * the same sequence for every consumer, whatever they ask for.
 *
 * Rows that change their table but not their actor (create_type moves them)
 * are written under DoNotReplicateId as their origin and are left out before
 * they are decoded.
 *
 * There are no callbacks for prepared or streamed transactions: a sequence
 * needs the LSN of the commit, so nothing is shown before there is one.
 * Prepared transactions then appear at COMMIT PREPARED, and large ones spill
 * to disk.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "cdc/decode.h"
#include "cdc/options.h"
#include "compat.h"
#include "replication/logical.h"
#include "replication/origin.h"
#include "replication/output_plugin.h"
#include "utils/catcache.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* Column numbers of actorstore.actor */
#define Anum_actor_type		1
#define Anum_actor_id		2
#define Anum_actor_value	3
#define Anum_actor_version	4
#define Natts_actor			6

/* Ask for a keepalive after so many changes without output. */
#define CHANGES_PER_KEEPALIVE 100

extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *cb);

typedef struct RelationEntry
{
	Oid			relid;			/* hash key */
	bool		valid;
	bool		is_actor;		/* a partition of actorstore.actor? */
} RelationEntry;

typedef struct Decoder
{
	AsCdcOptions *options;
	MemoryContext change_context;	/* reset with each change */
	int			silent_changes; /* since the last output or keepalive */
	AsEventSink sink;			/* NULL: events go to the client */
	void	   *sink_arg;
} Decoder;

/* What is known of a transaction while its changes come. */
typedef struct DecodedTxn
{
	uint32		nchanges;		/* numbers given so far */
	bool		framed;			/* frame is filled in */
	bool		begun;			/* a BEGIN line was written */
	AsEventFrame frame;
} DecodedTxn;

static HTAB *relations = NULL;

/* for the next session */
static AsEventSink next_sink = NULL;
static void *next_sink_arg;

void
as_decode_into(AsEventSink sink, void *arg)
{
	next_sink = sink;
	next_sink_arg = arg;
}

/* A relation has changed (InvalidOid: any may have). */
static void
forget_relation(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS i;
	RelationEntry *entry;

	if (relations == NULL)
		return;
	if (OidIsValid(relid))
	{
		entry = hash_search(relations, &relid, HASH_FIND, NULL);
		if (entry != NULL)
			entry->valid = false;
		return;
	}
	hash_seq_init(&i, relations);
	while ((entry = hash_seq_search(&i)) != NULL)
		entry->valid = false;
}

static void
init_relations(void)
{
	HASHCTL		ctl = {
		.keysize = sizeof(Oid),
		.entrysize = sizeof(RelationEntry),
		.hcxt = CacheMemoryContext
	};

	if (relations != NULL)
	{
		/* another decoding session of this process has other snapshots */
		forget_relation((Datum) 0, InvalidOid);
		return;
	}
	if (CacheMemoryContext == NULL)
		CreateCacheMemoryContext();
	relations = hash_create("actorstore relations", 64, &ctl,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
}

static bool
is_actor_table(Relation rel)
{
	Oid			parent;

	if (!rel->rd_rel->relispartition ||
		RelationGetNumberOfAttributes(rel) != Natts_actor)
		return false;
	parent = get_partition_parent(RelationGetRelid(rel), true);
	return get_relname_relid("actor", get_namespace_oid("actorstore", true)) == parent;
}

static bool
is_actor_relation(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	RelationEntry *entry;
	bool		found;

	entry = hash_search(relations, &relid, HASH_ENTER, &found);
	if (!found)
		entry->valid = false;
	if (!entry->valid)
	{
		entry->valid = true;	/* an invalidation meanwhile unsets it */
		entry->is_actor = is_actor_table(rel);
	}
	return entry->is_actor;
}

static void
decode_startup(LogicalDecodingContext *ctx, OutputPluginOptions *output,
			   bool is_init)
{
	Decoder    *decoder = palloc0(sizeof(Decoder));

	decoder->options = as_cdc_options(ctx->output_plugin_options);
	decoder->change_context = AllocSetContextCreate(ctx->context,
													"actorstore change",
													ALLOCSET_DEFAULT_SIZES);
	decoder->sink = next_sink;
	decoder->sink_arg = next_sink_arg;
	next_sink = NULL;
	ctx->output_plugin_private = decoder;
	output->output_type = decoder->options->format == AS_FORMAT_BINARY ?
		OUTPUT_PLUGIN_BINARY_OUTPUT : OUTPUT_PLUGIN_TEXTUAL_OUTPUT;
	output->receive_rewrites = false;
	if (!is_init)
		init_relations();
}

static bool
decode_filter_by_origin(LogicalDecodingContext *ctx, RepOriginId origin)
{
	return origin == DoNotReplicateId;
}

static DecodedTxn *
decoded_txn(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	if (txn->output_plugin_private == NULL)
		txn->output_plugin_private =
			MemoryContextAllocZero(ctx->context, sizeof(DecodedTxn));
	return txn->output_plugin_private;
}

static void
decode_begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	/* whatever is to be said waits for the first change that is wanted */
}

static void
write_transaction_line(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
					   DecodedTxn *decoded, const char *what)
{
	Decoder    *decoder = ctx->output_plugin_private;
	AsSequence	sequence = {txn->end_lsn, 0};

	OutputPluginPrepareWrite(ctx, true);
	if (decoder->options->format == AS_FORMAT_BINARY)
		as_transaction_binary(ctx->out, what, txn->xid, sequence,
							  &decoded->frame);
	else
		as_transaction_json(ctx->out, what, txn->xid, sequence,
							&decoded->frame);
	OutputPluginWrite(ctx, true);
}

/* The transaction's part of all its lines, made with the first one. */
static void
begin_output(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
			 DecodedTxn *decoded)
{
	Decoder    *decoder = ctx->output_plugin_private;

	if (!decoded->framed)
	{
		as_event_frame(&decoded->frame, txn->xact_time.commit_time);
		decoded->framed = true;
	}
	if (decoder->options->include_transaction && !decoded->begun)
	{
		write_transaction_line(ctx, txn, decoded, "BEGIN");
		decoded->begun = true;
	}
}

static void
write_event(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
			DecodedTxn *decoded, const AsEvent *event)
{
	Decoder    *decoder = ctx->output_plugin_private;

	begin_output(ctx, txn, decoded);
	OutputPluginPrepareWrite(ctx, true);
	if (decoder->options->format == AS_FORMAT_BINARY)
		as_event_binary(ctx->out, event, &decoded->frame);
	else
		as_event_json(ctx->out, event, &decoded->frame);
	OutputPluginWrite(ctx, true);
}

static AsOperation
operation_of(ReorderBufferChange *change)
{
	switch (change->action)
	{
		case REORDER_BUFFER_CHANGE_INSERT:
			return AS_OP_INSERT;
		case REORDER_BUFFER_CHANGE_UPDATE:
			return AS_OP_UPDATE;
		case REORDER_BUFFER_CHANGE_DELETE:
			return AS_OP_DELETE;
		default:
			elog(ERROR, "unexpected change of a row: %d", change->action);
	}
}

/* Is the change among those that its place in the stream lets through? */
static bool
position_wanted(const AsCdcOptions *options, ReorderBufferTXN *txn,
				AsSequence sequence, AsOperation operation)
{
	return (options->operations & operation) != 0 &&
		(!options->has_after ||
		 as_sequence_compare(sequence, options->after) > 0) &&
		(!options->has_since || txn->xact_time.commit_time >= options->since) &&
		(!options->only_local || txn->origin_id == InvalidRepOriginId);
}

/* A row taken apart. */
typedef struct DecodedRow
{
	Datum		values[Natts_actor];
	bool		nulls[Natts_actor];
} DecodedRow;

/* Take the key columns of a row; false if nobody wants its actor. */
static bool
key_wanted(const AsCdcOptions *options, const DecodedRow *row, AsEvent *event)
{
	text	   *type = DatumGetTextPP(row->values[Anum_actor_type - 1]);
	text	   *id = DatumGetTextPP(row->values[Anum_actor_id - 1]);

	event->actor_type = VARDATA_ANY(type);
	event->actor_type_len = VARSIZE_ANY_EXHDR(type);
	event->actor_id = VARDATA_ANY(id);
	event->actor_id_len = VARSIZE_ANY_EXHDR(id);
	return as_cdc_type_wanted(options, event->actor_type,
							  event->actor_type_len) &&
		(options->prefix == NULL ||
		 (event->actor_id_len >= (int) options->prefix_len &&
		  memcmp(event->actor_id, options->prefix, options->prefix_len) == 0));
}

/*
 * Take value and version of a row.  A value that was too large for the row
 * and did not change stands only in the old row, which holds it whole.
 */
static void
decode_side(AsEventSide *side, const DecodedRow *row, const DecodedRow *old)
{
	Datum		value = row->values[Anum_actor_value - 1];

	side->present = true;
	if (row->nulls[Anum_actor_value - 1])
		return;
	if (old != NULL && VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value)))
		value = old->values[Anum_actor_value - 1];
	side->has_value = true;
	side->value = DatumGetJsonbP(value);
	side->version = DatumGetInt64(row->values[Anum_actor_version - 1]);
}

/*
 * Make the event of a change, but for what it has already; false if nobody
 * wants its actor.
 */
static bool
decode_rows(const AsCdcOptions *options, TupleDesc desc, HeapTuple new_tuple,
			HeapTuple old_tuple, AsEvent *event)
{
	DecodedRow	new_row;
	DecodedRow	old_row;

	if (new_tuple != NULL)
		heap_deform_tuple(new_tuple, desc, new_row.values, new_row.nulls);
	if (old_tuple != NULL)
		heap_deform_tuple(old_tuple, desc, old_row.values, old_row.nulls);
	if (!key_wanted(options, new_tuple != NULL ? &new_row : &old_row, event))
		return false;
	if (new_tuple != NULL)
		decode_side(&event->new, &new_row,
					old_tuple != NULL ? &old_row : NULL);
	if (old_tuple != NULL && options->include_previous)
		decode_side(&event->previous, &old_row, NULL);
	return true;
}

/* So that a consumer who wants none of many changes can confirm them. */
static void
keep_alive(LogicalDecodingContext *ctx)
{
	Decoder    *decoder = ctx->output_plugin_private;

	if (++decoder->silent_changes < CHANGES_PER_KEEPALIVE)
		return;
	decoder->silent_changes = 0;
	OutputPluginUpdateProgress(ctx, false);
}

static void
decode_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
			  Relation rel, ReorderBufferChange *change)
{
	Decoder    *decoder = ctx->output_plugin_private;
	AsCdcOptions *options = decoder->options;
	HeapTuple	new_row = as_tuple_buffer_row(change->data.tp.newtuple);
	HeapTuple	old_row = as_tuple_buffer_row(change->data.tp.oldtuple);
	DecodedTxn *decoded;
	AsEvent		event = {0};
	MemoryContext old_context;

	if (!is_actor_relation(rel))
	{
		keep_alive(ctx);
		return;
	}

	decoded = decoded_txn(ctx, txn);
	event.operation = operation_of(change);
	event.sequence.lsn = txn->end_lsn;
	event.sequence.number = decoded->nchanges++;

	old_context = MemoryContextSwitchTo(decoder->change_context);
	if (position_wanted(options, txn, event.sequence, event.operation) &&
		(new_row != NULL || old_row != NULL) &&
		decode_rows(options, RelationGetDescr(rel), new_row, old_row, &event))
	{
		if (decoder->sink != NULL)
			decoder->sink(decoder->sink_arg, &event, txn->xid,
						  txn->xact_time.commit_time);
		else
			write_event(ctx, txn, decoded, &event);
		decoder->silent_changes = 0;
	}
	else
		keep_alive(ctx);
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(decoder->change_context);
}

/* A type has become unlogged, which ends its events, or logged again. */
static void
write_persistence(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
				  DecodedTxn *decoded, AsSequence sequence,
				  const char *type, int len, bool unlogged)
{
	Decoder    *decoder = ctx->output_plugin_private;

	if (decoder->sink != NULL)
	{
		ereport(WARNING,
				(errmsg("actor type \"%.*s\" has become %s", len, type,
						unlogged ? "unlogged" : "logged"),
				 unlogged ? errdetail("Its changes give no events any more.") :
				 errdetail("Its changes give events again; those made meanwhile have given none.")));
		return;
	}
	begin_output(ctx, txn, decoded);
	OutputPluginPrepareWrite(ctx, true);
	if (decoder->options->format == AS_FORMAT_BINARY)
		as_persistence_binary(ctx->out, type, len, unlogged, sequence,
							  &decoded->frame);
	else
		as_persistence_json(ctx->out, type, len, unlogged, sequence,
							&decoded->frame);
	OutputPluginWrite(ctx, true);
	decoder->silent_changes = 0;
}

static void
decode_message(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
			   XLogRecPtr lsn, bool transactional, const char *prefix,
			   Size size, const char *message)
{
	Decoder    *decoder = ctx->output_plugin_private;
	const char *blank;
	AsSequence	sequence;
	DecodedTxn *decoded;
	int			len;

	/* anybody may write any message */
	if (!transactional || strcmp(prefix, AS_PERSISTENCE_MESSAGE) != 0 ||
		(blank = memchr(message, ' ', size)) == NULL)
		return;
	len = (int) (message + size - (blank + 1));
	if (len == 0 || len > AS_MAX_NAME_BYTES)
		return;

	decoded = decoded_txn(ctx, txn);
	sequence.lsn = txn->end_lsn;
	sequence.number = decoded->nchanges++;
	if (position_wanted(decoder->options, txn, sequence,
						decoder->options->operations) &&
		as_cdc_type_wanted(decoder->options, blank + 1, len))
		write_persistence(ctx, txn, decoded, sequence, blank + 1, len,
						  message[0] == 'u');
}

static void
decode_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
			  XLogRecPtr commit_lsn)
{
	DecodedTxn *decoded = txn->output_plugin_private;
	bool		silent = (decoded == NULL || !decoded->framed);

	OutputPluginUpdateProgress(ctx, silent);
	if (decoded == NULL)
		return;
	if (decoded->begun)
		write_transaction_line(ctx, txn, decoded, "COMMIT");
	pfree(decoded);
	txn->output_plugin_private = NULL;
}

void
_PG_output_plugin_init(OutputPluginCallbacks *cb)
{
	cb->startup_cb = decode_startup;
	cb->filter_by_origin_cb = decode_filter_by_origin;
	cb->begin_cb = decode_begin;
	cb->change_cb = decode_change;
	cb->message_cb = decode_message;
	cb->commit_cb = decode_commit;
}

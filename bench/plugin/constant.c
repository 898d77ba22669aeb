/*-------------------------------------------------------------------------
 *
 * constant.c
 *	  An output plugin for bench/cdc.sh that writes the same bytes for every
 *	  change: what a plugin costs that has nothing to work out.
 *
 * Options: length (in bytes), binary (declare the output binary).
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/parsenodes.h"
#include "replication/logical.h"
#include "replication/output_plugin.h"
#include "utils/builtins.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *cb);

typedef struct Constant
{
	char	   *bytes;
	int			length;
} Constant;

static void
constant_startup(LogicalDecodingContext *ctx, OutputPluginOptions *output,
				 bool is_init)
{
	Constant   *constant = palloc0(sizeof(Constant));
	ListCell   *cell;

	output->output_type = OUTPUT_PLUGIN_TEXTUAL_OUTPUT;
	foreach(cell, ctx->output_plugin_options)
	{
		DefElem    *option = lfirst(cell);

		if (strcmp(option->defname, "length") == 0)
			constant->length = atoi(strVal(option->arg));
		else if (strcmp(option->defname, "binary") == 0)
			output->output_type = OUTPUT_PLUGIN_BINARY_OUTPUT;
		else
			elog(ERROR, "unknown option: %s", option->defname);
	}
	constant->bytes = palloc(constant->length);
	memset(constant->bytes, 'x', constant->length);
	ctx->output_plugin_private = constant;
}

static void
constant_begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
}

static void
constant_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
				Relation rel, ReorderBufferChange *change)
{
	Constant   *constant = ctx->output_plugin_private;

	OutputPluginPrepareWrite(ctx, true);
	appendBinaryStringInfo(ctx->out, constant->bytes, constant->length);
	OutputPluginWrite(ctx, true);
}

static void
constant_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
				XLogRecPtr commit_lsn)
{
}

void
_PG_output_plugin_init(OutputPluginCallbacks *cb)
{
	cb->startup_cb = constant_startup;
	cb->begin_cb = constant_begin;
	cb->change_cb = constant_change;
	cb->commit_cb = constant_commit;
}

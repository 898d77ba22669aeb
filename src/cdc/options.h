/*-------------------------------------------------------------------------
 *
 * options.h
 *	  What a consumer of the output plugin may ask for.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_CDC_OPTIONS_H
#define AS_CDC_OPTIONS_H

#include "actorstore.h"

#include "datatype/timestamp.h"
#include "lib/sequence.h"
#include "nodes/pg_list.h"

typedef enum AsOperation
{
	AS_OP_INSERT = 1 << 0,
	AS_OP_UPDATE = 1 << 1,
	AS_OP_DELETE = 1 << 2
} AsOperation;

typedef enum AsFormat
{
	AS_FORMAT_JSON,
	AS_FORMAT_BINARY
} AsFormat;

/* One name of the list actor_types */
typedef struct AsTypeName
{
	uint32		len;
	const char *name;
} AsTypeName;

typedef struct AsCdcOptions
{
	int			ntypes;			/* 0: all types */
	AsTypeName *types;			/* in ascending order */
	uint32		prefix_len;		/* 0: all ids */
	const char *prefix;
	int			operations;		/* set of AsOperation */
	bool		has_after;		/* only changes behind this one */
	AsSequence	after;
	bool		has_since;		/* only commits at this time or later */
	TimestampTz since;
	bool		only_local;		/* leave out what came from elsewhere */
	bool		include_previous;
	bool		include_transaction;
	AsFormat	format;
} AsCdcOptions;

/*
 * Read the options of an output plugin, a list of DefElem.  22023 for an
 * unknown one, one given twice, or a bad value.  All memory is taken from
 * the current context.
 */
extern AsCdcOptions *as_cdc_options(List *options);

/* Read a timestamp with time zone; false if it is none. */
extern bool as_cdc_parse_time(const char *value, TimestampTz *time);

/* Is the type among those asked for? */
extern bool as_cdc_type_wanted(const AsCdcOptions *options, const char *name,
							   uint32 len);

#endif							/* AS_CDC_OPTIONS_H */

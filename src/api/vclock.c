/*-------------------------------------------------------------------------
 *
 * vclock.c
 *	  The SQL type vclock, written {1:5,2:7}: node 1 counted to 5, 2 to 7.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "common/hashfn.h"
#include "compat.h"
#include "lib/stringinfo.h"
#include "lib/vclock.h"
#include "libpq/pqformat.h"

PG_FUNCTION_INFO_V1(actorstore_vclock_in);
PG_FUNCTION_INFO_V1(actorstore_vclock_out);
PG_FUNCTION_INFO_V1(actorstore_vclock_recv);
PG_FUNCTION_INFO_V1(actorstore_vclock_send);
PG_FUNCTION_INFO_V1(actorstore_vclock_eq);
PG_FUNCTION_INFO_V1(actorstore_vclock_ne);
PG_FUNCTION_INFO_V1(actorstore_vclock_before);
PG_FUNCTION_INFO_V1(actorstore_vclock_after);
PG_FUNCTION_INFO_V1(actorstore_vclock_before_eq);
PG_FUNCTION_INFO_V1(actorstore_vclock_after_eq);
PG_FUNCTION_INFO_V1(actorstore_vclock_concurrent);
PG_FUNCTION_INFO_V1(actorstore_vclock_lt);
PG_FUNCTION_INFO_V1(actorstore_vclock_le);
PG_FUNCTION_INFO_V1(actorstore_vclock_gt);
PG_FUNCTION_INFO_V1(actorstore_vclock_ge);
PG_FUNCTION_INFO_V1(actorstore_vclock_cmp);
PG_FUNCTION_INFO_V1(actorstore_vclock_hash);
PG_FUNCTION_INFO_V1(actorstore_vclock_hash_extended);
PG_FUNCTION_INFO_V1(actorstore_vclock_merge);
PG_FUNCTION_INFO_V1(actorstore_vclock_increment);
PG_FUNCTION_INFO_V1(actorstore_vclock_counter);

#define ARG_VCLOCK(n)	((AsVclock *) PG_DETOAST_DATUM(PG_GETARG_DATUM(n)))

as_noreturn static void
too_many(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("a vector clock has at most %d nodes", AS_VCLOCK_MAX)));
}

/* ---- Text and binary form ---- */

Datum
actorstore_vclock_in(PG_FUNCTION_ARGS)
{
	const char *input = PG_GETARG_CSTRING(0);
	const char *problem;
	AsVclock   *clock = as_vclock_parse(input, &problem);

	if (clock != NULL)
		PG_RETURN_POINTER(clock);
	if (problem == as_vclock_too_many)
		too_many();
	if (problem == as_vclock_out_of_range)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("value is out of range for type %s: \"%s\"",
						"actorstore.vclock", input)));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type %s: \"%s\"",
					"actorstore.vclock", input),
			 errdetail("%s", problem),
			 errhint("A vector clock is written like {1:5,2:7}: numbers of nodes, and their counters.")));
}

Datum
actorstore_vclock_out(PG_FUNCTION_ARGS)
{
	StringInfoData out;

	initStringInfo(&out);
	as_vclock_print(&out, ARG_VCLOCK(0));
	PG_RETURN_CSTRING(out.data);
}

/* int32 count, then for each node, ascending: int32 node, int64 counter. */
Datum
actorstore_vclock_recv(PG_FUNCTION_ARGS)
{
	StringInfo	in = (StringInfo) PG_GETARG_POINTER(0);
	int32		count = pq_getmsgint(in, 4);
	int32		last = 0;
	AsVclock   *clock;

	if (count < 0 || count > AS_VCLOCK_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid number of nodes in a vector clock: %d",
						count)));
	clock = as_vclock_make(count);
	for (; clock->count < count; clock->count++)
	{
		int32		node = pq_getmsgint(in, 4);
		int64		counter = pq_getmsgint64(in);

		if (node <= last || counter <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
					 errmsg("invalid entry of a vector clock"),
					 errdetail("Nodes must ascend from 1, and counters be above 0.")));
		clock->entries[clock->count].node = last = node;
		clock->entries[clock->count].counter = counter;
	}
	SET_VARSIZE(clock, AS_VCLOCK_SIZE(count));
	PG_RETURN_POINTER(clock);
}

Datum
actorstore_vclock_send(PG_FUNCTION_ARGS)
{
	AsVclock   *clock = ARG_VCLOCK(0);
	StringInfoData out;

	pq_begintypsend(&out);
	pq_sendint32(&out, clock->count);
	for (int i = 0; i < clock->count; i++)
	{
		pq_sendint32(&out, clock->entries[i].node);
		pq_sendint64(&out, clock->entries[i].counter);
	}
	PG_RETURN_BYTEA_P(pq_endtypsend(&out));
}

/* ---- The partial order ---- */

#define ORDER_FUNCTION(name, condition) \
Datum \
actorstore_vclock_##name(PG_FUNCTION_ARGS) \
{ \
	AsVclockOrder order = as_vclock_order(ARG_VCLOCK(0), ARG_VCLOCK(1)); \
\
	PG_RETURN_BOOL(condition); \
}

ORDER_FUNCTION(eq, order == AS_VCLOCK_EQUAL)
ORDER_FUNCTION(ne, order != AS_VCLOCK_EQUAL)
ORDER_FUNCTION(before, order == AS_VCLOCK_BEFORE)
ORDER_FUNCTION(after, order == AS_VCLOCK_AFTER)
ORDER_FUNCTION(before_eq, order == AS_VCLOCK_BEFORE || order == AS_VCLOCK_EQUAL)
ORDER_FUNCTION(after_eq, order == AS_VCLOCK_AFTER || order == AS_VCLOCK_EQUAL)
ORDER_FUNCTION(concurrent, order == AS_VCLOCK_CONCURRENT)

/* ---- The total order, and hashes ---- */

#define COMPARE_FUNCTION(name, operator) \
Datum \
actorstore_vclock_##name(PG_FUNCTION_ARGS) \
{ \
	PG_RETURN_BOOL(as_vclock_compare(ARG_VCLOCK(0), ARG_VCLOCK(1)) operator 0); \
}

COMPARE_FUNCTION(lt, <)
COMPARE_FUNCTION(le, <=)
COMPARE_FUNCTION(gt, >)
COMPARE_FUNCTION(ge, >=)

Datum
actorstore_vclock_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(as_vclock_compare(ARG_VCLOCK(0), ARG_VCLOCK(1)));
}

Datum
actorstore_vclock_hash(PG_FUNCTION_ARGS)
{
	AsVclock   *clock = ARG_VCLOCK(0);

	return hash_any((unsigned char *) clock->entries,
					clock->count * sizeof(AsVclockEntry));
}

Datum
actorstore_vclock_hash_extended(PG_FUNCTION_ARGS)
{
	AsVclock   *clock = ARG_VCLOCK(0);

	return hash_any_extended((unsigned char *) clock->entries,
							 clock->count * sizeof(AsVclockEntry),
							 PG_GETARG_INT64(1));
}

/* ---- Counting ---- */

Datum
actorstore_vclock_merge(PG_FUNCTION_ARGS)
{
	AsVclock   *merged = as_vclock_merge(ARG_VCLOCK(0), ARG_VCLOCK(1));

	if (merged == NULL)
		too_many();
	PG_RETURN_POINTER(merged);
}

static int32
arg_node(FunctionCallInfo fcinfo)
{
	int32		node = PG_GETARG_INT32(1);

	if (node <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid number of a node: %d", node),
				 errhint("Nodes are numbered from 1.")));
	return node;
}

Datum
actorstore_vclock_increment(PG_FUNCTION_ARGS)
{
	int32		node = arg_node(fcinfo);
	AsVclock   *next = as_vclock_increment(ARG_VCLOCK(0), node);

	if (next == NULL)
	{
		if (as_vclock_counter(ARG_VCLOCK(0), node) < PG_INT64_MAX)
			too_many();
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("counter of node %d is out of range", node)));
	}
	PG_RETURN_POINTER(next);
}

Datum
actorstore_vclock_counter(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(as_vclock_counter(ARG_VCLOCK(0), arg_node(fcinfo)));
}

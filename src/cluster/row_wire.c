/*-------------------------------------------------------------------------
 *
 * row_wire.c
 *	  See row_wire.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/row_wire.h"

#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "state/partition.h"
#include "state/type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

/* ---- Writing ---- */

void
as_wire_begin(StringInfo wire)
{
	initStringInfo(wire);
	wire->len = VARHDRSZ;
}

bytea *
as_wire_end(StringInfo wire)
{
	SET_VARSIZE(wire->data, wire->len);
	return (bytea *) wire->data;
}

static void
write_id(StringInfo wire, const text *id)
{
	int			start;
	uint16		n;

	pq_sendint16(wire, 0);
	start = wire->len;
	appendBinaryStringInfo(wire, VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
	n = pg_hton16((uint16) (wire->len - start));
	memcpy(wire->data + start - sizeof(n), &n, sizeof(n));
}

static void
write_value(StringInfo wire, Jsonb *value, const Jsonb *sent)
{
	int			start;
	uint32		n;

	if (sent != NULL && VARSIZE(sent) == VARSIZE(value) &&
		memcmp(sent, value, VARSIZE(value)) == 0)
	{
		pq_sendint32(wire, AS_WIRE_AS_SENT);
		return;
	}

	pq_sendint32(wire, 0);
	start = wire->len;
	(void) JsonbToCString(wire, &value->root, VARSIZE(value));
	n = pg_hton32((uint32) (wire->len - start));
	memcpy(wire->data + start - sizeof(n), &n, sizeof(n));
	pq_sendbyte(wire, 0);
}

void
as_wire_write(StringInfo wire, const Datum *columns, bool with_id, const Jsonb *sent)
{
	Jsonb	   *value = DatumGetJsonbP(columns[Anum_actor_value - 1]);

	if (with_id)
		write_id(wire, DatumGetTextPP(columns[Anum_actor_id - 1]));
	else
		pq_sendint16(wire, 0);
	pq_sendint64(wire, DatumGetInt64(columns[Anum_actor_version - 1]));
	pq_sendint64(wire, DatumGetTimestampTz(columns[Anum_actor_created_at - 1]));
	pq_sendint64(wire, DatumGetTimestampTz(columns[Anum_actor_updated_at - 1]));
	write_value(wire, value, sent);
	if ((Pointer) value != DatumGetPointer(columns[Anum_actor_value - 1]))
		pfree(value);
}

/* ---- Reading ---- */

as_noreturn static void
refuse(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("another node has sent an actor with an invalid %s", what)));
}

static Datum
read_id(const char *bytes, int n)
{
	text	   *id;

	(void) pg_verifymbstr(bytes, n, false);
	id = cstring_to_text_with_len(bytes, n);
	as_check_name("actor_id", id);
	return PointerGetDatum(id);
}

static Datum
read_value(StringInfo wire, Datum sent)
{
	int			n = (int) pq_getmsgint(wire, 4);
	const char *bytes;

	if (n == AS_WIRE_AS_SENT && sent != (Datum) 0)
		return sent;
	if (n < 0 || n == PG_INT32_MAX)
		refuse("value");
	bytes = pq_getmsgbytes(wire, n + 1);
	if (bytes[n] != '\0')
		refuse("value");
	(void) pg_verifymbstr(bytes, n, false);
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(bytes));
}

static Datum
read_time(StringInfo wire)
{
	TimestampTz time = pq_getmsgint64(wire);

	if (!IS_VALID_TIMESTAMP(time))
		refuse("time");
	return TimestampTzGetDatum(time);
}

void
as_wire_read(StringInfo wire, Datum *columns, Datum sent)
{
	int			n = (int) pq_getmsgint(wire, 2);

	if (n > 0)
		columns[Anum_actor_id - 1] = read_id(pq_getmsgbytes(wire, n), n);
	columns[Anum_actor_version - 1] = Int64GetDatum(pq_getmsgint64(wire));
	columns[Anum_actor_created_at - 1] = read_time(wire);
	columns[Anum_actor_updated_at - 1] = read_time(wire);
	columns[Anum_actor_value - 1] = read_value(wire, sent);
}

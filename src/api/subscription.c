/*-------------------------------------------------------------------------
 *
 * subscription.c
 *	  A subscription's row, locked and taken apart.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "api/subscription.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "cdc/slot.h"
#include "lib/key_hash.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "state/type.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

text *
as_arg_subscription(FunctionCallInfo fcinfo, int n)
{
	text	   *name;

	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("subscription must not be NULL")));
	name = PG_GETARG_TEXT_PP(n);
	as_check_name("subscription", name);
	return name;
}

text *
as_sequence_text(AsSequence sequence)
{
	char		buffer[AS_SEQUENCE_LEN];

	as_sequence_print(sequence, buffer);
	return cstring_to_text_with_len(buffer, AS_SEQUENCE_LEN);
}

AsSequence
as_sequence_arg(const text *value, const char *what)
{
	AsSequence	sequence;

	if (!as_sequence_parse(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value),
						   &sequence))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid %s: \"%s\"", what, text_to_cstring(value)),
				 errhint("A sequence has 16 and 8 upper-case hexadecimal digits with a hyphen between them.")));
	return sequence;
}

/* ---- The row ---- */

/* A column of the row just read; SPI's memory goes with as_admin_leave(). */
static Datum
column(int n, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, n,
						 isnull);
}

/* A copy of a text or array; NULL for NULL. */
static void *
copy_column(int n, MemoryContext context)
{
	bool		isnull;
	Datum		value = column(n, &isnull);
	MemoryContext old;
	void	   *copy;

	if (isnull)
		return NULL;
	old = MemoryContextSwitchTo(context);
	copy = PG_DETOAST_DATUM_COPY(value);
	MemoryContextSwitchTo(old);
	return copy;
}

static bool
sequence_column(int n, AsSequence *sequence)
{
	text	   *value = copy_column(n, CurrentMemoryContext);

	if (value == NULL)
		return false;
	*sequence = as_sequence_arg(value, "sequence of a subscription");
	return true;
}

static void
read_row(AsSubscription *subscription, MemoryContext context)
{
	bool		isnull;

	subscription->slot = text_to_cstring(copy_column(1, context));
	subscription->slot = MemoryContextStrdup(context, subscription->slot);
	subscription->owner = DatumGetObjectId(column(2, &isnull));
	subscription->types = copy_column(3, context);
	subscription->prefix = copy_column(4, context);
	subscription->start_lsn = DatumGetLSN(column(5, &isnull));
	subscription->since = DatumGetTimestampTz(column(6, &isnull));
	subscription->has_since = !isnull;
	subscription->reading = DatumGetBool(column(7, &isnull));
	subscription->read_type = copy_column(8, context);
	subscription->read_id = copy_column(9, context);
	subscription->nread = DatumGetInt64(column(10, &isnull));
	subscription->has_fetched = sequence_column(11, &subscription->fetched);
	subscription->has_acked = sequence_column(12, &subscription->acked);
	subscription->uncommitted =
		TransactionIdIsCurrentTransactionId(DatumGetTransactionId(column(13, &isnull)));
	subscription->has_pages = DatumGetBool(column(14, &isnull));
	subscription->gone_types = copy_column(15, context);
	subscription->barred = DatumGetBool(column(16, &isnull));
}

static bool
find_row(AsSubscription *subscription)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {PointerGetDatum(subscription->name)};
	AsAdmin		admin;
	bool		found;

	as_admin_begin(&admin);
	found = as_admin_execute("SELECT slot::text, owner::oid, actor_types, key_prefix, start_lsn, since, "
							 "reading, read_type, read_id, nread, fetched, acked, xmin, "
							 "EXISTS (SELECT FROM actorstore.subscription_page AS p WHERE p.subscription = s.subscription), "
							 "gone_types, barred "
							 "FROM actorstore.subscription AS s WHERE subscription = $1",
							 SPI_OK_SELECT, 1, types, values, NULL) > 0;
	if (found)
		read_row(subscription, context);
	as_admin_leave(&admin);
	return found;
}

AsSubscription *
as_subscription_get(text *name)
{
	AsSubscription *subscription = palloc0(sizeof(AsSubscription));
	char	   *slot;

	/* what the row says counts once we have the lock */
	subscription->name = name;
	do
	{
		if (!find_row(subscription))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("subscription \"%s\" does not exist",
							text_to_cstring(name))));
		as_subscription_check_owner(subscription);
		slot = subscription->slot;
		if (!as_slot_lock(slot))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("subscription \"%s\" is in use by another session",
							text_to_cstring(name)),
					 errdetail("A transaction that has called a function on the subscription has it until it ends.")));
	} while (!find_row(subscription) || strcmp(slot, subscription->slot) != 0);
	return subscription;
}

/* ---- Rights ---- */

void
as_subscription_check_owner(const AsSubscription *subscription)
{
	if (!has_privs_of_role(GetUserId(), subscription->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of subscription \"%s\"",
						text_to_cstring(subscription->name))));
}

int
as_subscription_types(ArrayType *types, text ***names)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(types, TEXTOID, -1, false, TYPALIGN_INT, &elements,
					  &nulls, &n);
	*names = palloc(Max(n, 1) * sizeof(text *));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("actor_type must not be NULL")));
		(*names)[i] = DatumGetTextPP(elements[i]);
	}
	return n;
}

/* Is there a type, and does nobody else own one? */
static bool
owns_all_types(void)
{
	Oid			types[1] = {OIDOID};
	Datum		values[1] = {ObjectIdGetDatum(GetUserId())};
	bool		isnull;
	AsAdmin		admin;
	bool		all;

	as_admin_begin(&admin);
	as_admin_execute("SELECT coalesce(bool_and(pg_has_role($1, owner::oid, 'USAGE')), false) FROM actorstore.type",
					 SPI_OK_SELECT, 1, types, values, NULL);
	all = DatumGetBool(column(1, &isnull));
	as_admin_leave(&admin);
	return all;
}

static void
check_all_types(bool barred)
{
	if (!superuser() && (barred || !owns_all_types()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for all actor types"),
				 errdetail("Only a superuser or the owner of all types may subscribe to all of them."),
				 errhint("Name the types in actor_types.")));
}

static bool
contains(ArrayType *types, const text *name)
{
	text	  **names;
	int			n = types != NULL ? as_subscription_types(types, &names) : 0;

	for (int i = 0; i < n; i++)
	{
		if (VARSIZE_ANY_EXHDR(names[i]) == VARSIZE_ANY_EXHDR(name) &&
			memcmp(VARDATA_ANY(names[i]), VARDATA_ANY(name),
				   VARSIZE_ANY_EXHDR(name)) == 0)
			return true;
	}
	return false;
}

void
as_subscription_check_types(ArrayType *types, ArrayType *gone, bool barred)
{
	text	  **names;
	int			n;

	if (types == NULL)
	{
		check_all_types(barred);
		return;
	}
	n = as_subscription_types(types, &names);
	for (int i = 0; i < n; i++)
	{
		AsType	   *type = as_type_find(names[i]);

		if (type != NULL)
			as_type_check(type, AS_PRIV_READ);
		else if (!superuser() && !contains(gone, names[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied for actor type \"%s\"",
							text_to_cstring(names[i])),
					 errdetail("The privilege \"read\" on the type was required when it was dropped.")));
	}
}

/*-------------------------------------------------------------------------
 *
 * options.c
 *	  See options.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cdc/options.h"

#include "lib/stringinfo.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static void
raise_bad_value(const char *option, const char *value, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\": \"%s\"", option, value),
			 hint ? errhint("%s", hint) : 0));
}

static int
compare_types(const void *a, const void *b)
{
	const AsTypeName *left = a;
	const AsTypeName *right = b;
	int			result = memcmp(left->name, right->name,
								Min(left->len, right->len));

	if (result != 0)
		return result;
	return left->len < right->len ? -1 : left->len > right->len;
}

/*
 * The next item of a list with commas between the items: the text up to the
 * next comma without the blanks around it, or a text in double quotes, in
 * which any character may stand, a double quote twice.  NULL behind the last
 * one.  *cursor moves on; *list_ok becomes false where the list is wrong.
 */
static char *
next_item(const char **cursor, bool *list_ok)
{
	const char *c = *cursor;
	StringInfoData item;

	if (c == NULL)
		return NULL;
	initStringInfo(&item);
	while (*c == ' ')
		c++;
	if (*c == '"')
	{
		for (c++; *c != '\0' && (*c != '"' || c[1] == '"'); c++)
		{
			if (*c == '"')
				c++;
			appendStringInfoChar(&item, *c);
		}
		if (*c == '"')
			c++;
		else
			*list_ok = false;
		while (*c == ' ')
			c++;
	}
	else
	{
		while (*c != '\0' && *c != ',')
			appendStringInfoChar(&item, *c++);
		while (item.len > 0 && item.data[item.len - 1] == ' ')
			item.data[--item.len] = '\0';
	}

	if (item.len == 0 || (*c != '\0' && *c != ','))
		*list_ok = false;
	*cursor = (*c == ',') ? c + 1 : NULL;
	return item.data;
}

static void
set_types(AsCdcOptions *options, const char *option, const char *value)
{
	const char *cursor = value;
	bool		ok = true;
	char	   *item;
	int			allocated = 8;

	options->types = palloc(allocated * sizeof(AsTypeName));
	while (ok && (item = next_item(&cursor, &ok)) != NULL)
	{
		if (options->ntypes == allocated)
		{
			allocated *= 2;
			options->types = repalloc(options->types,
									  allocated * sizeof(AsTypeName));
		}
		options->types[options->ntypes].name = item;
		options->types[options->ntypes].len = strlen(item);
		if (options->types[options->ntypes].len > AS_MAX_NAME_BYTES)
			ok = false;
		options->ntypes++;
	}
	if (!ok)
		raise_bad_value(option, value,
						"Give actor types with commas between them; quote one that holds a comma or begins with a blank.");
	qsort(options->types, options->ntypes, sizeof(AsTypeName), compare_types);
}

static void
set_prefix(AsCdcOptions *options, const char *option, const char *value)
{
	options->prefix = pstrdup(value);
	options->prefix_len = strlen(value);
	if (options->prefix_len > AS_MAX_NAME_BYTES)
		raise_bad_value(option, value, "An actor_id has at most 512 bytes.");
}

static void
set_operations(AsCdcOptions *options, const char *option, const char *value)
{
	const char *cursor = value;
	bool		ok = true;
	char	   *item;

	options->operations = 0;
	while (ok && (item = next_item(&cursor, &ok)) != NULL)
	{
		if (pg_strcasecmp(item, "insert") == 0)
			options->operations |= AS_OP_INSERT;
		else if (pg_strcasecmp(item, "update") == 0)
			options->operations |= AS_OP_UPDATE;
		else if (pg_strcasecmp(item, "delete") == 0)
			options->operations |= AS_OP_DELETE;
		else
			ok = false;
	}
	if (!ok)
		raise_bad_value(option, value,
						"Give one or more of insert, update and delete, with commas between them.");
}

static void
set_after(AsCdcOptions *options, const char *option, const char *value)
{
	options->has_after = true;
	if (!as_sequence_parse(value, strlen(value), &options->after))
		raise_bad_value(option, value,
						"A sequence has 16 and 8 upper-case hexadecimal digits with a hyphen between them.");
}

bool
as_cdc_parse_time(const char *value, TimestampTz *time)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool ok = false;

	PG_TRY();
	{
		*time = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
														CStringGetDatum(value),
														ObjectIdGetDatum(InvalidOid),
														Int32GetDatum(-1)));
		ok = true;
	}
	PG_CATCH();
	{
		/* a pure function has failed: there is nothing to clean up */
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	return ok;
}

static void
set_since(AsCdcOptions *options, const char *option, const char *value)
{
	options->has_since = true;
	if (!as_cdc_parse_time(value, &options->since))
		raise_bad_value(option, value, "Give a timestamp with time zone.");
}

static void
set_format(AsCdcOptions *options, const char *option, const char *value)
{
	if (strcmp(value, "json") == 0)
		options->format = AS_FORMAT_JSON;
	else if (strcmp(value, "binary") == 0)
		options->format = AS_FORMAT_BINARY;
	else
		raise_bad_value(option, value,
						"The formats are \"json\" and \"binary\".");
}

static bool
get_bool(const char *option, const char *value)
{
	bool		result;

	/* an option without a value is switched on */
	if (value == NULL)
		return true;
	if (!parse_bool(value, &result))
		raise_bad_value(option, value, "Give on or off.");
	return result;
}

/* Options that want a value */
static const struct
{
	const char *name;
	void		(*set) (AsCdcOptions *options, const char *option,
						const char *value);
}			setters[] =
{
	{"actor_types", set_types},
	{"key_prefix", set_prefix},
	{"operations", set_operations},
	{"after", set_after},
	{"since", set_since},
	{"format", set_format},
};

static void
set_option(AsCdcOptions *options, const char *name, const char *value)
{
	if (strcmp(name, "include_previous") == 0)
		options->include_previous = get_bool(name, value);
	else if (strcmp(name, "include_transaction") == 0)
		options->include_transaction = get_bool(name, value);
	else if (strcmp(name, "only_local") == 0)
		options->only_local = get_bool(name, value);
	else
	{
		for (int i = 0; i < (int) lengthof(setters); i++)
		{
			if (strcmp(name, setters[i].name) != 0)
				continue;
			if (value == NULL)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("option \"%s\" needs a value", name)));
			setters[i].set(options, name, value);
			return;
		}
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unrecognized option: \"%s\"", name),
				 errhint("The options are actor_types, key_prefix, operations, after, since, only_local, include_previous, include_transaction and format.")));
	}
}

AsCdcOptions *
as_cdc_options(List *list)
{
	AsCdcOptions *options = palloc0(sizeof(AsCdcOptions));
	ListCell   *cell;

	options->operations = AS_OP_INSERT | AS_OP_UPDATE | AS_OP_DELETE;
	options->include_previous = true;

	foreach(cell, list)
	{
		DefElem    *elem = lfirst(cell);

		for (int i = 0; i < foreach_current_index(cell); i++)
		{
			if (strcmp(((DefElem *) list_nth(list, i))->defname,
					   elem->defname) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("option \"%s\" is given twice",
								elem->defname)));
		}
		set_option(options, elem->defname,
				   elem->arg == NULL ? NULL : strVal(elem->arg));
	}
	return options;
}

bool
as_cdc_type_wanted(const AsCdcOptions *options, const char *name, uint32 len)
{
	AsTypeName	key = {len, name};

	return options->ntypes == 0 ||
		bsearch(&key, options->types, options->ntypes, sizeof(AsTypeName),
				compare_types) != NULL;
}

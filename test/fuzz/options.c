/*-------------------------------------------------------------------------
 *
 * options.c
 *	  What a fuzzer gives to src/cdc/options (make fuzz).
 *
 * An input is the options as a client sends them, with zeros between them:
 * "name=value", or "name" for one without a value.  What is refused must be
 * refused with 22023; what is accepted must be what the texts say, by other
 * means than the parser's, and must find exactly the types that it lists.
 * test/unit/options_corpus.c gives the same to the inputs that are kept.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cdc/options.c"
#include "lib/sequence.c"

#include "backend.h"

#define MOST_OPTIONS	32

extern int	LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

/* ---- What the parser leaves to PostgreSQL ---- */

/* Only the way back from it is of interest: a text is a time if it begins with a digit. */
Datum
timestamptz_in(PG_FUNCTION_ARGS)
{
	must(false);				/* is not called */
	return (Datum) 0;
}

Datum
DirectFunctionCall3Coll(PGFunction function, Oid collation, Datum text, Datum type, Datum typmod)
{
	const char *value = DatumGetCString(text);

	must(function == timestamptz_in);
	if (value[0] < '0' || value[0] > '9')
		ereport(ERROR, (errcode(ERRCODE_INVALID_DATETIME_FORMAT), errmsg("invalid: \"%s\"", value)));
	return TimestampTzGetDatum(strlen(value));
}

bool
parse_bool(const char *value, bool *result)
{
	*result = strcmp(value, "on") == 0;
	return *result || strcmp(value, "off") == 0;
}

/* ---- The model ---- */

static const char *
value_of(List *list, const char *name)
{
	ListCell   *cell;

	foreach(cell, list)
	{
		DefElem    *elem = lfirst(cell);

		if (strcmp(elem->defname, name) == 0)
			return elem->arg == NULL ? "on" : strVal(elem->arg);
	}
	return NULL;
}

static bool
lists(const AsCdcOptions *options, const char *name, size_t len)
{
	for (int i = 0; i < options->ntypes; i++)
	{
		if (options->types[i].len == len && memcmp(options->types[i].name, name, len) == 0)
			return true;
	}
	return false;
}

/* A list without quotes says its items by its commas alone. */
static void
check_plain(const AsCdcOptions *options, const char *value)
{
	int			n = 0;

	for (const char *item = value; item != NULL; n++)
	{
		const char *comma = strchr(item, ',');
		const char *end = comma != NULL ? comma : item + strlen(item);
		const char *last = end;

		while (*item == ' ')
			item++;
		while (last > item && last[-1] == ' ')
			last--;
		must(lists(options, item, last - item));
		item = comma != NULL ? comma + 1 : NULL;
	}
	must(n == options->ntypes);
}

/* Written in quotes and read once more, the list is the same. */
static void
check_quoted(const AsCdcOptions *options)
{
	AsCdcOptions again = {0};
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < options->ntypes; i++)
	{
		appendStringInfoString(&text, i == 0 ? "\"" : " , \"");
		for (uint32 j = 0; j < options->types[i].len; j++)
		{
			if (options->types[i].name[j] == '"')
				appendStringInfoChar(&text, '"');
			appendStringInfoChar(&text, options->types[i].name[j]);
		}
		appendStringInfoChar(&text, '"');
	}
	set_types(&again, "actor_types", text.data);
	must(again.ntypes == options->ntypes);
	for (int i = 0; i < again.ntypes; i++)
		must(compare_types(&again.types[i], &options->types[i]) == 0);
}

static void
check_types(const AsCdcOptions *options, const char *value)
{
	if (value == NULL)
	{
		must(options->ntypes == 0 && as_cdc_type_wanted(options, "any", 3));
		return;
	}
	must(options->ntypes > 0 && !as_cdc_type_wanted(options, "", 0));
	for (int i = 0; i < options->ntypes; i++)
	{
		const AsTypeName *type = &options->types[i];

		must(type->len > 0 && type->len <= AS_MAX_NAME_BYTES && strlen(type->name) == type->len);
		must(i == 0 || compare_types(&options->types[i - 1], type) <= 0);
		must(as_cdc_type_wanted(options, type->name, type->len));
		must(as_cdc_type_wanted(options, type->name, type->len - 1) == lists(options, type->name, type->len - 1));
	}
	if (strchr(value, '"') == NULL)
		check_plain(options, value);
	check_quoted(options);
}

static void
check_flag(bool flag, const char *value)
{
	must(flag == (value != NULL && strcmp(value, "on") == 0));
}

static void
check(const AsCdcOptions *options, List *list)
{
	const char *value = value_of(list, "after");
	char		text[AS_SEQUENCE_LEN];

	check_types(options, value_of(list, "actor_types"));
	must(options->has_after == (value != NULL));
	if (value != NULL)
	{
		as_sequence_print(options->after, text);
		must(strlen(value) == sizeof(text) && memcmp(value, text, sizeof(text)) == 0);
	}
	value = value_of(list, "key_prefix");
	must(options->prefix_len == (value == NULL ? 0 : strlen(value)) && options->prefix_len <= AS_MAX_NAME_BYTES);
	must(value == NULL || strcmp(options->prefix, value) == 0);
	value = value_of(list, "since");
	must(options->has_since == (value != NULL));
	must(value == NULL || options->since == (TimestampTz) strlen(value));
	value = value_of(list, "format");
	must(options->format == (value != NULL && strcmp(value, "binary") == 0 ? AS_FORMAT_BINARY : AS_FORMAT_JSON));
	must(options->operations > 0 && options->operations <= (AS_OP_INSERT | AS_OP_UPDATE | AS_OP_DELETE));
	check_flag(options->only_local, value_of(list, "only_local"));
	check_flag(options->include_transaction, value_of(list, "include_transaction"));
	value = value_of(list, "include_previous");
	check_flag(options->include_previous, value == NULL ? "on" : value);
}

/* ---- Giving it to the parser ---- */

/* The options of an input; the texts are copies that end where they do. */
static List *
make_list(const char *data, size_t size)
{
	List	   *list = palloc0(sizeof(List));
	const char *end = data + size;

	list->type = T_List;
	list->elements = palloc0(MOST_OPTIONS * sizeof(ListCell));
	list->max_length = MOST_OPTIONS;
	while (data < end && list->length < MOST_OPTIONS)
	{
		size_t		len = strnlen(data, end - data);
		char	   *text = memcpy(palloc0(len + 1), data, len);
		char	   *equals = strchr(text, '=');
		DefElem    *elem = palloc0(sizeof(DefElem));

		if (equals != NULL)
		{
			String	   *value = palloc0(sizeof(String));

			*equals = '\0';
			value->type = T_String;
			value->sval = pstrdup(equals + 1);
			elem->arg = (Node *) value;
		}
		elem->type = T_DefElem;
		elem->defname = pstrdup(text);
		list->elements[list->length++].ptr_value = elem;
		data += len + 1;
	}
	return list->length > 0 ? list : NIL;
}

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	List	   *list = make_list((const char *) data, size);
	AsCdcOptions *volatile options = NULL;

	PG_TRY();
	{
		options = as_cdc_options(list);
	}
	PG_CATCH();
	{
		must(error_code == ERRCODE_INVALID_PARAMETER_VALUE);
	}
	PG_END_TRY();
	if (options != NULL)
		check(options, list);
	free_all();
	return 0;
}

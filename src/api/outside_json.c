/*-------------------------------------------------------------------------
 *
 * outside_json.c
 *	  See outside_json.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "api/outside_json.h"

#include "api/args.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#define DEFAULT_PRIORITY	4

/* ---- Messages ---- */

static void
push_key(JsonbParseState **state, const char *key)
{
	JsonbValue	name;

	name.type = jbvString;
	name.val.string.val = unconstify(char *, key);
	name.val.string.len = strlen(key);
	(void) pushJsonbValue(state, WJB_KEY, &name);
}

static void
push_bytes(JsonbParseState **state, const char *key, const char *bytes, int len)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, bytes);
	value.val.string.len = len;
	push_key(state, key);
	(void) pushJsonbValue(state, WJB_VALUE, &value);
}

static void
push_text(JsonbParseState **state, const char *key, const text *value)
{
	push_bytes(state, key, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

static void
push_int(JsonbParseState **state, const char *key, int64 number)
{
	JsonbValue	value;

	value.type = jbvNumeric;
	value.val.numeric = int64_to_numeric(number);
	push_key(state, key);
	(void) pushJsonbValue(state, WJB_VALUE, &value);
}

static void
push_bool(JsonbParseState **state, const char *key, bool flag)
{
	JsonbValue	value;

	value.type = jbvBool;
	value.val.boolean = flag;
	push_key(state, key);
	(void) pushJsonbValue(state, WJB_VALUE, &value);
}

/* A jsonb, or null for 0 */
static void
push_json(JsonbParseState **state, const char *key, Datum json)
{
	JsonbValue	value = {.type = jbvNull};

	if (json != (Datum) 0)
	{
		Jsonb	   *jsonb = DatumGetJsonbP(json);

		if (JB_ROOT_IS_SCALAR(jsonb))
			(void) JsonbExtractScalar(&jsonb->root, &value);
		else
			JsonbToJsonbValue(jsonb, &value);
	}
	push_key(state, key);
	(void) pushJsonbValue(state, WJB_VALUE, &value);
}

static void
push_message(JsonbParseState **state, const AsMessage *message)
{
	char		id[32];
	char		sent_at[MAXDATELEN + 1];

	(void) pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	(void) pg_lltoa(message->message_id, id);
	push_bytes(state, "message_id", pstrdup(id), strlen(id));
	push_text(state, "message", message->name);
	push_json(state, "body", message->body);
	push_int(state, "attempt", message->attempts + 1);
	push_bool(state, "ask", as_request_is_asked(message));
	JsonEncodeDateTime(sent_at, TimestampTzGetDatum(message->sent_at),
					   TIMESTAMPTZOID, NULL);
	push_bytes(state, "sent_at", pstrdup(sent_at), strlen(sent_at));
	push_int(state, "priority", message->cell != 0 ? DEFAULT_PRIORITY :
			 message->priority);
	if (message->headers != (Datum) 0)
		push_json(state, "headers", message->headers);
	if (message->sender_type != NULL)
	{
		push_text(state, "sender_type", message->sender_type);
		push_text(state, "sender_id", message->sender_id);
	}
	(void) pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

Datum
as_outside_messages_json(const AsTurn *turn)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < turn->nmessages; i++)
		push_message(&state, &turn->messages[i]);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state,
														   WJB_END_ARRAY,
														   NULL)));
}

/* ---- What is to be sent ---- */

static void
raise_bad_send(const char *key, int keylen, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%.*s\" of a message to be sent must be %s", keylen, key,
					expected)));
}

static text *
need_text(const JsonbValue *key, const JsonbValue *value)
{
	if (value->type != jbvString)
		raise_bad_send(key->val.string.val, key->val.string.len, "a string");
	return cstring_to_text_with_len(value->val.string.val,
									value->val.string.len);
}

static char *
need_string(const JsonbValue *key, const JsonbValue *value)
{
	return text_to_cstring(need_text(key, value));
}

/* 1.0 is a whole number, 1.5 is none; what is too large for an int is just out of range. */
static int
need_priority(const JsonbValue *key, const JsonbValue *value)
{
	for (int priority = 0; value->type == jbvNumeric && priority < AS_LANES; priority++)
	{
		if (DatumGetBool(DirectFunctionCall2(numeric_eq,
											 NumericGetDatum(value->val.numeric),
											 NumericGetDatum(int64_to_numeric(priority)))))
			return priority;
	}
	raise_bad_send(key->val.string.val, key->val.string.len,
				   "a whole number from 0 to 9");
	return -1;					/* keep compiler quiet */
}

static TimestampTz
need_time(const JsonbValue *key, const JsonbValue *value)
{
	return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
												   CStringGetDatum(need_string(key, value)),
												   ObjectIdGetDatum(InvalidOid),
												   Int32GetDatum(-1)));
}

static TimestampTz
need_delay(const JsonbValue *key, const JsonbValue *value)
{
	TimestampTz now = GetCurrentTimestamp();
	Datum		delay = DirectFunctionCall3(interval_in,
											CStringGetDatum(need_string(key, value)),
											ObjectIdGetDatum(InvalidOid),
											Int32GetDatum(-1));
	TimestampTz due = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
															  TimestampTzGetDatum(now),
															  delay));

	if (due < now || TIMESTAMP_NOT_FINITE(due))
		raise_bad_send("delay", 5, "a finite interval that is not negative");
	return due;
}

static Datum
need_headers(const JsonbValue *key, JsonbValue *value)
{
	Jsonb	   *headers = JsonbValueToJsonb(value);

	if (!JB_ROOT_IS_OBJECT(headers))
		raise_bad_send(key->val.string.val, key->val.string.len, "an object");
	return JsonbPGetDatum(headers);
}

static bool
is_key(const JsonbValue *key, const char *name)
{
	return key->val.string.len == (int) strlen(name) &&
		memcmp(key->val.string.val, name, key->val.string.len) == 0;
}

/* One member of an object that is not null. */
static void
take_member(AsMessage *message, const JsonbValue *key, JsonbValue *value)
{
	if (is_key(key, "actor_type"))
		message->actor_type = need_text(key, value);
	else if (is_key(key, "actor_id"))
		message->actor_id = need_text(key, value);
	else if (is_key(key, "message"))
		message->name = need_text(key, value);
	else if (is_key(key, "priority"))
		message->priority = need_priority(key, value);
	else if (is_key(key, "delay") || is_key(key, "deliver_at"))
	{
		if (message->due != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("delay and deliver_at must not be given together")));
		message->due = is_key(key, "delay") ? need_delay(key, value) :
			need_time(key, value);
	}
	else if (is_key(key, "dedup_key"))
		message->dedup_key = need_text(key, value);
	else if (is_key(key, "headers"))
		message->headers = need_headers(key, value);
	else if (is_key(key, "expires_at"))
		message->expires_at = as_expires_at(need_time(key, value));
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a message to be sent has no \"%.*s\"",
						key->val.string.len, key->val.string.val),
				 errhint("It has actor_type, actor_id, message, and may have body, priority, delay, deliver_at, dedup_key, headers, expires_at.")));
}

static void
check_send(AsMessage *message)
{
	if (message->actor_type == NULL || message->actor_id == NULL ||
		message->name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a message to be sent must have actor_type, actor_id and message")));
	as_check_name("actor_type", message->actor_type);
	as_check_name("actor_id", message->actor_id);
	as_check_message(message->name);
	if (message->dedup_key != NULL)
		as_check_name("dedup_key", message->dedup_key);
	if (TIMESTAMP_NOT_FINITE(message->due))
		raise_bad_send("deliver_at", 10, "a time to come");
}

static void
parse_send(JsonbValue *object, AsMessage *message)
{
	JsonbIterator *at = JsonbIteratorInit(object->val.binary.data);
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	message->priority = DEFAULT_PRIORITY;
	(void) JsonbIteratorNext(&at, &value, true);
	while ((token = JsonbIteratorNext(&at, &key, true)) == WJB_KEY)
	{
		(void) JsonbIteratorNext(&at, &value, true);
		if (is_key(&key, "body"))
			message->body = JsonbPGetDatum(JsonbValueToJsonb(&value));
		else if (value.type != jbvNull)
			take_member(message, &key, &value);
	}
	check_send(message);
}

void
as_outside_parse_sends(Datum sends, AsCompletion *completion)
{
	Jsonb	   *array = DatumGetJsonbP(sends);
	int			n;

	if (!JB_ROOT_IS_ARRAY(array) || JB_ROOT_IS_SCALAR(array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sends must be a JSON array")));
	n = JB_ROOT_COUNT(array);
	completion->sends = palloc0(Max(n, 1) * sizeof(AsMessage));
	for (int i = 0; i < n; i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(&array->root, i);

		if (element->type != jbvBinary ||
			!JsonContainerIsObject(element->val.binary.data))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a message to be sent must be a JSON object")));
		parse_send(element, &completion->sends[completion->nsends++]);
	}
}

/* ---- Replies ---- */

static int64
parse_id(const JsonbValue *key)
{
	char	   *text = pnstrdup(key->val.string.val, key->val.string.len);
	char	   *end;
	int64		id;

	errno = 0;
	id = strtoll(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("replies must be given by message ids"),
				 errdetail("\"%s\" is none.", text)));
	return id;
}

void
as_outside_parse_replies(Datum replies, AsCompletion *completion)
{
	Jsonb	   *object = DatumGetJsonbP(replies);
	JsonbIterator *at;
	JsonbValue	key;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("replies must be a JSON object")));
	completion->replies = palloc0(Max(JB_ROOT_COUNT(object), 1) * sizeof(AsReply));
	at = JsonbIteratorInit(&object->root);
	(void) JsonbIteratorNext(&at, &value, true);
	while (JsonbIteratorNext(&at, &key, true) == WJB_KEY)
	{
		AsReply    *reply = &completion->replies[completion->nreplies++];

		(void) JsonbIteratorNext(&at, &value, true);
		reply->message_id = parse_id(&key);
		reply->value = JsonbPGetDatum(JsonbValueToJsonb(&value));
	}
}

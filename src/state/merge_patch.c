/*-------------------------------------------------------------------------
 *
 * merge_patch.c
 *	  JSON merge patch (RFC 7396) on jsonb.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/actor.h"

#include "miscadmin.h"
#include "utils/jsonb.h"

static JsonbValue *merge_objects(JsonbParseState **state,
								 JsonbContainer *target,
								 JsonbContainer *patch);

static bool
is_object(JsonbValue *value)
{
	return value->type == jbvBinary &&
		JsonContainerIsObject(value->val.binary.data);
}

/* Push what the patch makes of a member that the target does not have. */
static void
push_new_member(JsonbParseState **state, JsonbValue *patch)
{
	if (is_object(patch))
		merge_objects(state, NULL, patch->val.binary.data);
	else
		pushJsonbValue(state, WJB_VALUE, patch);
}

/*
 * Push the object that an object patch makes of a target, NULL for one that
 * is no object.  The order of the members does not matter: pushJsonbValue()
 * sorts them.
 */
static JsonbValue *
merge_objects(JsonbParseState **state, JsonbContainer *target,
			  JsonbContainer *patch)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	check_stack_depth();
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);

	/* what the target has: kept, unless the patch names it */
	if (target != NULL)
	{
		it = JsonbIteratorInit(target);
		while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
		{
			JsonbValue	change;

			if (token != WJB_KEY)
				continue;
			(void) JsonbIteratorNext(&it, &value, true);

			if (getKeyJsonValueFromContainer(patch, key.val.string.val,
											 key.val.string.len,
											 &change) == NULL)
			{
				pushJsonbValue(state, WJB_KEY, &key);
				pushJsonbValue(state, WJB_VALUE, &value);
			}
			else if (change.type == jbvNull)
				continue;
			else
			{
				pushJsonbValue(state, WJB_KEY, &key);
				if (is_object(&change) && is_object(&value))
					merge_objects(state, value.val.binary.data,
								  change.val.binary.data);
				else
					push_new_member(state, &change);
			}
		}
	}

	/* what only the patch has */
	it = JsonbIteratorInit(patch);
	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		JsonbValue	present;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&it, &value, true);

		if (value.type == jbvNull ||
			(target != NULL &&
			 getKeyJsonValueFromContainer(target, key.val.string.val,
										  key.val.string.len,
										  &present) != NULL))
			continue;
		pushJsonbValue(state, WJB_KEY, &key);
		push_new_member(state, &value);
	}

	return pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

Jsonb *
as_merge_patch(Jsonb *target, Jsonb *patch)
{
	JsonbParseState *state = NULL;

	if (!JB_ROOT_IS_OBJECT(patch))
		return patch;
	return JsonbValueToJsonb(merge_objects(&state,
										   JB_ROOT_IS_OBJECT(target) ? &target->root : NULL,
										   &patch->root));
}

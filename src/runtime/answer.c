/*-------------------------------------------------------------------------
 *
 * answer.c
 *	  See answer.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/answer.h"

#include "compat.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/memutils.h"

static void *arena_place;
static dsa_area *arena = NULL;

/* ---- The arena ---- */

Size
as_arena_shmem_size(void)
{
	return Max((Size) actorstore_arena_size * 1024, dsa_minimum_size());
}

void
as_arena_shmem_init(void)
{
	bool		found;
	dsa_area   *area;

	arena_place = ShmemInitStruct("actorstore arena", as_arena_shmem_size(),
								  &found);
	if (found)
		return;

	/* it stays in the memory that it was made in, and for ever */
	area = dsa_create_in_place(arena_place, as_arena_shmem_size(),
							   GetNamedLWLockTranche("actorstore")->lock.tranche,
							   NULL);
	dsa_pin(area);
	dsa_set_size_limit(area, as_arena_shmem_size());
	dsa_detach(area);
}

/* The arena as this process sees it. */
static dsa_area *
my_arena(void)
{
	if (arena == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		arena = dsa_attach_in_place(arena_place, NULL);
		dsa_pin_mapping(arena);
		on_shmem_exit(dsa_on_shmem_exit_release_in_place,
					  PointerGetDatum(arena_place));
		MemoryContextSwitchTo(old);
	}
	return arena;
}

void
as_arena_attach(void)
{
	(void) my_arena();
}

char *
as_bytes_put(AsCellBytes *content, uint8 *form, Size size)
{
	if (size <= AS_CELL_BYTES)
		return content->bytes;
	content->place = dsa_allocate_extended(my_arena(), size, DSA_ALLOC_NO_OOM);
	if (!DsaPointerIsValid(content->place))
		return NULL;
	*form |= AS_FORM_IN_ARENA;
	return dsa_get_address(my_arena(), content->place);
}

char *
as_bytes_get(AsCellBytes *content, uint8 form)
{
	if (form & AS_FORM_IN_ARENA)
		return dsa_get_address(my_arena(), content->place);
	return content->bytes;
}

void
as_bytes_free(AsCellBytes *content, uint8 form)
{
	if (form & AS_FORM_IN_ARENA)
		dsa_free(my_arena(), content->place);
}

/* ---- Answers ---- */

/* How an error stands in an answer; each text with its zero. */
typedef struct ErrorHead
{
	int			sqlerrcode;
	uint32		sizes[4];		/* message, detail, hint, context; 0: none */
} ErrorHead;

static void
error_texts(const ErrorData *error, const char **texts)
{
	texts[0] = error->message;
	texts[1] = error->detail;
	texts[2] = error->hint;
	texts[3] = error->context;
}

void
as_answer_make(AsAnswer *answer, Datum value)
{
	struct varlena *body;
	char	   *at;

	answer->form = 0;
	answer->size = 0;
	if (value == (Datum) 0)
	{
		answer->form = AS_FORM_NULL;
		return;
	}
	body = PG_DETOAST_DATUM_PACKED(value);
	answer->size = VARSIZE_ANY_EXHDR(body);
	at = as_bytes_put(&answer->content, &answer->form, answer->size);
	if (at == NULL)
		ereport(ERROR,
				(errcode(AS_ERRCODE_MAILBOX_FULL),
				 errmsg("there is no room for the answer"),
				 errdetail("It has %u bytes.", answer->size),
				 errhint("See \"actorstore.arena_size\".")));
	memcpy(at, VARDATA_ANY(body), answer->size);
}

void
as_answer_make_error(AsAnswer *answer, const ErrorData *error)
{
	const char *texts[4];
	ErrorHead	head = {.sqlerrcode = error->sqlerrcode};
	Size		size = sizeof(ErrorHead);
	char	   *at;

	error_texts(error, texts);
	for (int i = 0; i < 4; i++)
	{
		head.sizes[i] = texts[i] == NULL ? 0 : strlen(texts[i]) + 1;
		size += head.sizes[i];
	}
	answer->form = AS_FORM_ERROR;
	answer->size = size;
	at = as_bytes_put(&answer->content, &answer->form, size);
	if (at == NULL)
	{
		/* the SQLSTATE at least */
		memset(head.sizes, 0, sizeof(head.sizes));
		answer->size = sizeof(ErrorHead);
		memcpy(answer->content.bytes, &head, sizeof(ErrorHead));
		return;
	}
	memcpy(at, &head, sizeof(ErrorHead));
	at += sizeof(ErrorHead);
	for (int i = 0; i < 4; i++)
	{
		if (head.sizes[i] > 0)
			memcpy(at, texts[i], head.sizes[i]);
		at += head.sizes[i];
	}
}

void
as_answer_discard(AsAnswer *answer)
{
	as_bytes_free(&answer->content, answer->form);
	answer->form = AS_FORM_NULL;
}

static as_noreturn void
raise_answer(const char *at)
{
	ErrorHead	head;
	const char *texts[4];

	memcpy(&head, at, sizeof(ErrorHead));
	at += sizeof(ErrorHead);
	for (int i = 0; i < 4; i++)
	{
		texts[i] = head.sizes[i] > 0 ? at : NULL;
		at += head.sizes[i];
	}
	ereport(ERROR,
			(errcode(head.sqlerrcode),
			 errmsg_internal("%s", texts[0] != NULL ? texts[0] : "the actor has failed"),
			 texts[1] != NULL ? errdetail_internal("%s", texts[1]) : 0,
			 texts[2] != NULL ? errhint("%s", texts[2]) : 0,
			 texts[3] != NULL ? errcontext("%s", texts[3]) : 0));
	pg_unreachable();
}

Datum
as_answer_read(char *copy, uint8 form)
{
	if (form & AS_FORM_ERROR)
		raise_answer(VARDATA(copy));
	return PointerGetDatum(copy);
}

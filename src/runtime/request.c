/*-------------------------------------------------------------------------
 *
 * request.c
 *	  See request.h.
 *
 * One file of more than 500 lines: all that changes the status of a cell
 * stands together.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/request.h"

#include "compat.h"
#include "miscadmin.h"
#include "runtime/sched.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

typedef struct RequestsShared
{
	pg_atomic_uint64 ntold;		/* handled; written by workers */
	pg_atomic_uint64 nlost;		/* by whoever drops one */
	char		pad[PG_CACHE_LINE_SIZE];
} RequestsShared;

static RequestsShared *requests = NULL;
static AsCellShared *cells;
static pg_atomic_uint64 *blockers;	/* of each cell: kind << 32 | xid */
static AsPoolShared *pool;

/* ---- Memory ---- */

Size
as_requests_shmem_size(void)
{
	Size		n = actorstore_message_pool_size;
	Size		size = CACHELINEALIGN(sizeof(RequestsShared));

	size = add_size(size, mul_size(n, sizeof(AsCellShared)));
	size = add_size(size, CACHELINEALIGN(mul_size(n, sizeof(pg_atomic_uint64))));
	size = add_size(size, as_pool_size(n));
	return add_size(size, PG_CACHE_LINE_SIZE);
}

void
as_requests_shmem_init(void)
{
	bool		found;
	char	   *at;
	uint32		n = actorstore_message_pool_size;

	StaticAssertStmt(sizeof(AsCellShared) == 64, "a cell has 64 bytes");
	requests = ShmemInitStruct("actorstore requests", as_requests_shmem_size(),
							   &found);
	at = (char *) CACHELINEALIGN((char *) requests + sizeof(RequestsShared));
	cells = (AsCellShared *) at;
	at += n * sizeof(AsCellShared);
	blockers = (pg_atomic_uint64 *) at;
	at += CACHELINEALIGN(n * sizeof(pg_atomic_uint64));
	pool = (AsPoolShared *) at;
	if (found)
		return;
	pg_atomic_init_u64(&requests->ntold, 0);
	pg_atomic_init_u64(&requests->nlost, 0);
	as_pool_init(pool, n);
	for (uint32 i = 0; i < n; i++)
	{
		pg_atomic_init_u32(&cells[i].status, AS_REQUEST_TOLD);
		pg_atomic_init_u32(&cells[i].runner, 0);
		pg_atomic_init_u64(&blockers[i], 0);
	}
}

uint32
as_requests_size(void)
{
	return pool->size;
}

uint32
as_requests_free(void)
{
	return as_pool_count(pool);
}

void
as_requests_count_told(uint64 *handled, uint64 *lost)
{
	*handled = pg_atomic_read_u64(&requests->ntold);
	*lost = pg_atomic_read_u64(&requests->nlost);
}

void
as_request_free(uint32 number)
{
	as_bytes_free(&cells[number].content, cells[number].form);
	as_pool_give(pool, number);
}

/* ---- Who asks and tells ---- */

static char *
put_text(char *at, const text *value)
{
	memcpy(at, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	return at + VARSIZE_ANY_EXHDR(value);
}

/* Write the words of a request; false if there is no room. */
static bool
put_words(AsCellShared *cell, const AsMessage *message,
		  const struct varlena *body)
{
	uint16		dedup_len = 0;
	uint8		form = 0;
	Size		size;
	char	   *at;

	cell->type_len = VARSIZE_ANY_EXHDR(message->actor_type);
	cell->id_len = VARSIZE_ANY_EXHDR(message->actor_id);
	cell->name_len = VARSIZE_ANY_EXHDR(message->name);
	size = cell->type_len + cell->id_len + cell->name_len;
	if (body != NULL)
		size += VARSIZE_ANY_EXHDR(body);
	if (message->dedup_key != NULL)
	{
		dedup_len = VARSIZE_ANY_EXHDR(message->dedup_key);
		form |= AS_FORM_DEDUP;
		size += sizeof(uint16) + dedup_len;
	}
	cell->size = size;
	at = as_bytes_put(&cell->content, &form, size);
	cell->form = form;
	if (at == NULL)
		return false;
	if (message->dedup_key != NULL)
	{
		memcpy(at, &dedup_len, sizeof(uint16));
		at = put_text(at + sizeof(uint16), message->dedup_key);
	}
	at = put_text(at, message->actor_type);
	at = put_text(at, message->actor_id);
	at = put_text(at, message->name);
	if (body != NULL)
		memcpy(at, VARDATA_ANY(body), VARSIZE_ANY_EXHDR(body));
	return true;
}

uint32
as_request_make(const AsMessage *message, bool asks, bool *in_arena)
{
	const struct varlena *body = message->body == 0 ? NULL :
	PG_DETOAST_DATUM_PACKED(message->body);
	uint32		number;
	AsCellShared *cell;

	/* nothing may fail once a cell is ours */
	as_arena_attach();
	*in_arena = false;
	number = as_pool_take(pool);
	if (number == AS_POOL_NONE)
		return AS_POOL_NONE;
	cell = &cells[number];
	if (!put_words(cell, message, body))
	{
		as_pool_give(pool, number);
		*in_arena = true;
		return AS_POOL_NONE;
	}
	cell->sent_at = message->sent_at;
	cell->procno = as_my_proc_number;
	cell->database = MyDatabaseId;
	pg_atomic_write_u32(&cell->runner, 0);
	pg_atomic_write_u64(&blockers[number], 0);
	pg_atomic_write_u32(&cell->status,
						asks ? AS_REQUEST_WAITING : AS_REQUEST_TOLD);
	return number;
}

bool
as_request_post(uint32 home, uint64 key_hash, uint32 number)
{
	AsSlotRef	ref;

	do
	{
		ref = as_slot_claim(home, key_hash, !as_sched_is_swept(home));
		if (ref == AS_NO_SLOT)
			return false;
	} while (!as_slot_pin(ref));
	as_list_push(pool, &as_slot(ref)->requests, number);
	if (as_slot_unpin(ref))
		as_sched_queue(home, ref);
	return true;
}

AsRequestStatus
as_request_status(uint32 number)
{
	AsRequestStatus status = pg_atomic_read_u32(&cells[number].status);

	/* the answer was written before */
	pg_read_barrier();
	return status;
}

void
as_request_abandon(uint32 number)
{
	uint32		status = AS_REQUEST_WAITING;

	if (!pg_atomic_compare_exchange_u32(&cells[number].status, &status,
										AS_REQUEST_ABANDONED))
		as_request_free(number);
}

bool
as_request_withdraw(uint32 number)
{
	uint32		status = AS_REQUEST_WAITING;

	return pg_atomic_compare_exchange_u32(&cells[number].status, &status,
										  AS_REQUEST_WITHDRAWN);
}

int
as_request_runner(uint32 number)
{
	return (int) pg_atomic_read_u32(&cells[number].runner) - 1;
}

AsBlockerKind
as_request_blocker(uint32 number, TransactionId *xid)
{
	uint64		blocker = pg_atomic_read_u64(&blockers[number]);

	*xid = (TransactionId) blocker;
	return (AsBlockerKind) (blocker >> 32);
}

char *
as_request_copy_answer(uint32 number, uint8 *form)
{
	AsCellShared *cell = &cells[number];
	char	   *copy = NULL;

	Assert(pg_atomic_read_u32(&cell->status) == AS_REQUEST_ANSWERED);
	*form = cell->form;
	if ((cell->form & AS_FORM_NULL) == 0)
	{
		copy = palloc(VARHDRSZ + cell->size);
		SET_VARSIZE(copy, VARHDRSZ + cell->size);
		memcpy(VARDATA(copy), as_bytes_get(&cell->content, cell->form), cell->size);
	}
	return copy;
}

/* ---- Workers ---- */

static void *
take_bytes(char **to, const char **from, Size size)
{
	char	   *result = *to;

	SET_VARSIZE(result, VARHDRSZ + size);
	memcpy(VARDATA(result), *from, size);
	*to += MAXALIGN(VARHDRSZ + size);
	*from += size;
	return result;
}

/* Copy a request. */
static void
take_words(uint32 number, AsMessage *message)
{
	AsCellShared *cell = &cells[number];
	const char *from = as_bytes_get(&cell->content, cell->form);
	const char *end = from + cell->size;
	uint16		dedup_len = 0;
	char	   *to;

	memset(message, 0, sizeof(AsMessage));
	message->cell = number + 1;
	message->asked = as_request_status(number) != AS_REQUEST_TOLD;
	message->sent_at = cell->sent_at;

	/* five words, each with a header, aligned: in one piece */
	to = palloc(5 * MAXALIGN(VARHDRSZ + MAXIMUM_ALIGNOF) + cell->size);
	if (cell->form & AS_FORM_DEDUP)
	{
		memcpy(&dedup_len, from, sizeof(uint16));
		from += sizeof(uint16);
		message->dedup_key = take_bytes(&to, &from, dedup_len);
	}
	message->actor_type = take_bytes(&to, &from, cell->type_len);
	message->actor_id = take_bytes(&to, &from, cell->id_len);
	message->name = take_bytes(&to, &from, cell->name_len);
	if (from < end)
		message->body = PointerGetDatum(take_bytes(&to, &from, end - from));
}

/* What has arrived since, the oldest first. */
static uint32
take_arrived(AsSlotShared *slot)
{
	uint32		last;

	return as_list_reverse(pool, as_list_take(&slot->requests), &last);
}

static void
wake_asker(uint32 procno)
{
	SetLatch(&ProcGlobal->allProcs[procno].procLatch);
}

static void
return_request(uint32 number)
{
	uint32		status = AS_REQUEST_WAITING;
	uint32		procno = cells[number].procno;

	if (pg_atomic_compare_exchange_u32(&cells[number].status, &status,
									   AS_REQUEST_RETURNED))
	{
		wake_asker(procno);
		return;
	}
	if (status == AS_REQUEST_TOLD)
		(void) pg_atomic_fetch_add_u64(&requests->nlost, 1);
	as_request_free(number);
}

int
as_requests_read(AsSlotRef ref, AsMessage *messages, int max)
{
	AsSlotShared *slot = as_slot(ref);
	uint32		before = AS_POOL_NONE;
	uint32		number = slot->pending - 1;
	int			n = 0;

	while (n < max)
	{
		uint32		next;

		if (number == AS_POOL_NONE)
		{
			number = take_arrived(slot);
			if (number == AS_POOL_NONE)
				break;
			if (before == AS_POOL_NONE)
				slot->pending = number + 1;
			else
				as_pool_link(pool, before, number);
		}
		next = as_pool_next(pool, number);
		if (as_request_status(number) < AS_REQUEST_ABANDONED &&
			cells[number].database == MyDatabaseId)
		{
			take_words(number, &messages[n++]);
			pg_atomic_write_u32(&cells[number].runner, as_my_proc_number + 1);
			before = number;
		}
		else
		{
			if (before == AS_POOL_NONE)
				slot->pending = next + 1;
			else
				as_pool_link(pool, before, next);
			return_request(number);
		}
		number = next;
	}
	return n;
}

bool
as_request_is_asked(const AsMessage *message)
{
	return message->cell != 0 &&
		pg_atomic_read_u32(&cells[message->cell - 1].status) != AS_REQUEST_TOLD;
}

bool
as_request_is_withdrawn(const AsMessage *message)
{
	return as_request_status(message->cell - 1) == AS_REQUEST_WITHDRAWN;
}

/* The last step of a worker with a request that is asked. */
static void
give_answer(uint32 number, AsAnswer *answer)
{
	AsCellShared *cell = &cells[number];
	uint32		status = AS_REQUEST_WAITING;
	uint32		procno = cell->procno;

	as_bytes_free(&cell->content, cell->form);
	cell->form = answer->form;
	cell->size = answer->size;
	cell->content = answer->content;
	answer->form = AS_FORM_NULL;	/* it is the cell's now */
	pg_write_barrier();
	if (pg_atomic_compare_exchange_u32(&cell->status, &status,
									   AS_REQUEST_ANSWERED))
		wake_asker(procno);
	else
		as_request_free(number);
}

void
as_requests_answer(AsSlotRef ref, AsAnswer *answers, int n)
{
	AsSlotShared *slot = as_slot(ref);
	uint32		first_told = AS_POOL_NONE;
	uint32		last_told = AS_POOL_NONE;
	int			ntold = 0;

	for (int i = 0; i < n; i++)
	{
		uint32		number = slot->pending - 1;

		slot->pending = as_pool_next(pool, number) + 1;
		if (pg_atomic_read_u32(&cells[number].status) != AS_REQUEST_TOLD)
		{
			give_answer(number, &answers[i]);
			continue;
		}

		/* those that were told go back to the pool together */
		as_bytes_free(&cells[number].content, cells[number].form);
		if (first_told == AS_POOL_NONE)
			first_told = number;
		else
			as_pool_link(pool, last_told, number);
		last_told = number;
		ntold++;
	}
	if (ntold == 0)
		return;
	as_pool_give_chain(pool, first_told, last_told);
	(void) pg_atomic_fetch_add_u64(&requests->ntold, ntold);
}

void
as_requests_leave(const AsMessage *messages, int n, AsBlockerKind kind,
				  TransactionId blocker)
{
	uint64		word = ((uint64) kind << 32) | blocker;

	for (int i = 0; i < n; i++)
	{
		uint32		number = messages[i].cell - 1;

		pg_atomic_write_u32(&cells[number].runner, 0);
		if (pg_atomic_read_u64(&blockers[number]) == word)
			continue;
		pg_atomic_write_u64(&blockers[number], word);
		pg_memory_barrier();
		if (kind != AS_BLOCKED_NOT && as_request_is_asked(&messages[i]))
			wake_asker(cells[number].procno);
	}
}

void
as_requests_return(AsSlotShared *slot)
{
	uint32		lists[2];

	lists[0] = slot->pending - 1;
	lists[1] = as_list_take(&slot->requests);
	slot->pending = 0;
	for (int i = 0; i < 2; i++)
	{
		uint32		number = lists[i];

		while (number != AS_POOL_NONE)
		{
			uint32		next = as_pool_next(pool, number);

			return_request(number);
			number = next;
		}
	}
}

void
as_requests_fail(AsSlotShared *slot, int n)
{
	ErrorData	error = {.sqlerrcode = ERRCODE_ADMIN_SHUTDOWN};

	for (int i = 0; i < n && slot->pending != 0; i++)
	{
		uint32		number = slot->pending - 1;
		AsAnswer	answer;

		slot->pending = as_pool_next(pool, number) + 1;
		if (pg_atomic_read_u32(&cells[number].status) == AS_REQUEST_TOLD)
		{
			as_request_free(number);
			continue;
		}
		as_answer_make_error(&answer, &error);
		give_answer(number, &answer);
	}
}

void
as_requests_note_runner(AsSlotRef ref, int n, int procno)
{
	uint32		number = as_slot(ref)->pending - 1;

	for (int i = 0; i < n && number != AS_POOL_NONE; i++)
	{
		pg_atomic_write_u32(&cells[number].runner, (uint32) (procno + 1));
		number = as_pool_next(pool, number);
	}
}

void
as_requests_copy(AsSlotRef ref, AsMessage *messages, int n)
{
	uint32		number = as_slot(ref)->pending - 1;

	for (int i = 0; i < n && number != AS_POOL_NONE; i++)
	{
		take_words(number, &messages[i]);
		number = as_pool_next(pool, number);
	}
}

/*-------------------------------------------------------------------------
 *
 * slot.c
 *	  See slot.h.
 *
 * The table is an array of sets of SLOTS_PER_SET; a key may be in any slot of
 * the set that its hash chooses.
 *
 * One file of more than 500 lines: all that changes the state word stands
 * together.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/slot.h"

#include "port/pg_bitutils.h"
#include "storage/shmem.h"

#define SLOTS_PER_SET	16

/* How often to look whether a slot can be forgotten. */
#define MAX_FORGET_TRIES	10000

/* What slots of a set must not trust */
#define DOUBT_POSITIONS	1
#define DOUBT_DEPTH		2

#define SETS_PER_WORD	32

#define STATUS(state)		((AsSlotStatus) ((state) & 0xFF))
#define GENERATION(state)	((uint32) ((state) >> 32))
#define PINS(state)			((state) & UINT64CONST(0xFFFFFF00))
#define ONE_PIN				UINT64CONST(0x100)
#define STATE(generation, status) \
	(((uint64) (generation) << 32) | (uint64) (status))

typedef struct SlotTableShared
{
	uint32		nsets;			/* a power of two; immutable */
	char		pad[PG_CACHE_LINE_SIZE - sizeof(uint32)];
	AsSlotShared slots[FLEXIBLE_ARRAY_MEMBER];
} SlotTableShared;

static SlotTableShared *table = NULL;

/*
 * Behind the slots: for each set, whether any of its slots was ever claimed, so
 * that who counts them need not look at all.  Never taken back.
 */
static pg_atomic_uint32 *set_words;

static uint32
sets_wanted(void)
{
	return pg_nextpower2_32(Max(actorstore_max_active_actors / SLOTS_PER_SET, 1));
}

Size
as_slots_shmem_size(void)
{
	Size		size = add_size(offsetof(SlotTableShared, slots),
								mul_size(mul_size(sets_wanted(), SLOTS_PER_SET),
										 sizeof(AsSlotShared)));

	return add_size(size, mul_size(sets_wanted() / SETS_PER_WORD + 1,
								   sizeof(pg_atomic_uint32)));
}

uint32
as_slots_number(void)
{
	return sets_wanted() * SLOTS_PER_SET;
}

AsSlotRef
as_slot_by_number(uint32 n)
{
	return as_slot_ref(n, GENERATION(pg_atomic_read_u64(&table->slots[n].state)));
}

static void
clear(AsSlotShared *slot)
{
	pg_atomic_write_u32(&slot->lanes, 0);
	pg_atomic_write_u32(&slot->depth, 0);
	pg_atomic_write_u32(&slot->depth_known, 1);
	for (int lane = 0; lane < AS_LANES; lane++)
		pg_atomic_write_u64(&slot->low[lane], AS_NO_POSITION);
	slot->careful = 0;
	slot->conflicts = 0;
	slot->deaths = 0;
	Assert(slot->pending == 0);
}

void
as_slots_shmem_init(void)
{
	bool		found;

	StaticAssertStmt(sizeof(AsSlotShared) <= 128, "a slot is two cache lines");
	table = ShmemInitStruct("actorstore slots", as_slots_shmem_size(), &found);
	set_words = (pg_atomic_uint32 *) &table->slots[as_slots_number()];
	if (found)
		return;
	table->nsets = sets_wanted();
	for (uint32 i = 0; i < table->nsets / SETS_PER_WORD + 1; i++)
		pg_atomic_init_u32(&set_words[i], 0);
	for (uint32 i = 0; i < table->nsets * SLOTS_PER_SET; i++)
	{
		AsSlotShared *slot = &table->slots[i];

		pg_atomic_init_u64(&slot->state, STATE(0, AS_FREE));
		pg_atomic_init_u64(&slot->key_hash, 0);
		pg_atomic_init_u32(&slot->home, 0);
		pg_atomic_init_u32(&slot->lanes, 0);
		pg_atomic_init_u32(&slot->depth, 0);
		pg_atomic_init_u32(&slot->depth_known, 0);
		pg_atomic_init_u32(&slot->doubts, 0);
		pg_atomic_init_u32(&slot->requests, 0);
		slot->pending = 0;
		for (int lane = 0; lane < AS_LANES; lane++)
			pg_atomic_init_u64(&slot->low[lane], AS_NO_POSITION);
		clear(slot);
	}
}

AsSlotShared *
as_slot(AsSlotRef ref)
{
	return &table->slots[as_ref_number(ref)];
}

static uint32
first_of_set(uint32 home, uint64 key_hash)
{
	return (uint32) ((key_hash ^ ((uint64) home * UINT64CONST(0x9E3779B97F4A7C15))) &
					 (table->nsets - 1)) * SLOTS_PER_SET;
}

/*
 * Look through a set for the key, from slot number first on, leaving out the
 * slot number except.  AS_NO_SLOT if it is not there; *busy then says whether
 * somebody is about to put in a key that cannot be seen yet.
 */
static AsSlotRef
find_in_set(uint32 first, uint32 home, uint64 key_hash, uint32 except,
			bool *busy)
{
	*busy = false;
	for (uint32 number = first; number < first + SLOTS_PER_SET; number++)
	{
		AsSlotShared *slot = &table->slots[number];
		uint64		state = pg_atomic_read_u64(&slot->state);

		if (number == except || STATUS(state) == AS_FREE)
			continue;
		if (STATUS(state) == AS_CLAIMED)
		{
			*busy = true;
			continue;
		}
		pg_read_barrier();
		if (pg_atomic_read_u64(&slot->key_hash) != key_hash ||
			pg_atomic_read_u32(&slot->home) != home)
			continue;
		pg_read_barrier();
		if (GENERATION(pg_atomic_read_u64(&slot->state)) == GENERATION(state))
			return as_slot_ref(number, GENERATION(state));
	}
	return AS_NO_SLOT;
}

AsSlotRef
as_slot_find(uint32 home, uint64 key_hash)
{
	bool		busy;

	return find_in_set(first_of_set(home, key_hash), home, key_hash,
					   PG_UINT32_MAX, &busy);
}

/* For all but who runs the slot, or has CLAIMED it, this is a guess. */
static bool
has_requests(AsSlotShared *slot)
{
	return slot->pending != 0 || pg_atomic_read_u32(&slot->requests) != 0;
}

/*
 * Take a slot of the set that has that status; AS_NO_SLOT if there is none.
 * It is CLAIMED then, and holds what it held.
 */
static AsSlotRef
take_in_set(uint32 first, uint64 key_hash, AsSlotStatus status)
{
	for (uint32 i = 0; i < SLOTS_PER_SET; i++)
	{
		/* everybody begins elsewhere, so that few meet */
		uint32		number = first + ((uint32) (key_hash >> 32) + i) % SLOTS_PER_SET;
		AsSlotShared *slot = &table->slots[number];
		uint64		state = pg_atomic_read_u64(&slot->state);
		uint32		generation = GENERATION(state) + 1;

		if (STATUS(state) == status && PINS(state) == 0 &&
			(status != AS_IDLE || !has_requests(slot)) &&
			pg_atomic_compare_exchange_u64(&slot->state, &state,
										   STATE(generation, AS_CLAIMED)))
			return as_slot_ref(number, generation);
	}
	return AS_NO_SLOT;
}

/* Before the first slot of a set is claimed. */
static void
note_set(uint32 first)
{
	uint32		set = first / SLOTS_PER_SET;
	pg_atomic_uint32 *word = &set_words[set / SETS_PER_WORD];
	uint32		bit = (uint32) 1 << set % SETS_PER_WORD;

	if ((pg_atomic_read_u32(word) & bit) == 0)
		(void) pg_atomic_fetch_or_u32(word, bit);
}

/* Take the slot of an actor that does not need it now. */
static AsSlotRef
evict_in_set(uint32 first, uint64 key_hash)
{
	AsSlotRef	ref = take_in_set(first, key_hash, AS_IDLE);
	uint32		doubts = 0;

	if (ref == AS_NO_SLOT)
		return AS_NO_SLOT;
	if (has_requests(as_slot(ref)))
	{
		/* it was offered: put it back as it was */
		pg_atomic_write_u64(&as_slot(ref)->state,
							STATE(as_ref_generation(ref) - 1, AS_IDLE));
		return AS_NO_SLOT;
	}
	if (pg_atomic_read_u32(&as_slot(ref)->lanes) != 0)
		doubts = DOUBT_POSITIONS | DOUBT_DEPTH;
	else if (pg_atomic_read_u32(&as_slot(ref)->depth) != 0 ||
			 pg_atomic_read_u32(&as_slot(ref)->depth_known) == 0)
		doubts = DOUBT_DEPTH;
	if (doubts & ~pg_atomic_read_u32(&table->slots[first].doubts))
		(void) pg_atomic_fetch_or_u32(&table->slots[first].doubts, doubts);
	return ref;
}

AsSlotRef
as_slot_claim(uint32 home, uint64 key_hash, bool unknown)
{
	uint32		first = first_of_set(home, key_hash);
	bool		busy;
	AsSlotRef	ref = find_in_set(first, home, key_hash, PG_UINT32_MAX, &busy);
	AsSlotShared *slot;
	uint32		doubts;

	if (ref != AS_NO_SLOT)
		return ref;
	note_set(first);
	ref = take_in_set(first, key_hash, AS_FREE);
	if (ref == AS_NO_SLOT)
		ref = evict_in_set(first, key_hash);
	if (ref == AS_NO_SLOT)
		return AS_NO_SLOT;

	slot = as_slot(ref);
	doubts = pg_atomic_read_u32(&table->slots[first].doubts);
	clear(slot);
	pg_atomic_write_u64(&slot->key_hash, key_hash);
	pg_atomic_write_u32(&slot->home, home);
	if (unknown || doubts != 0)
		pg_atomic_write_u32(&slot->depth_known, 0);
	pg_write_barrier();
	pg_atomic_write_u64(&slot->state, STATE(as_ref_generation(ref), AS_IDLE));
	pg_memory_barrier();

	if (find_in_set(first, home, key_hash, as_ref_number(ref),
					&busy) != AS_NO_SLOT)
		unknown = true;
	pg_read_barrier();
	doubts = pg_atomic_read_u32(&table->slots[first].doubts);
	if (unknown || busy || (doubts & DOUBT_POSITIONS))
		as_slot_lower_all(ref);
	return ref;
}

bool
as_slot_is_current(AsSlotRef ref)
{
	uint64		state = pg_atomic_read_u64(&as_slot(ref)->state);

	return GENERATION(state) == as_ref_generation(ref) &&
		STATUS(state) != AS_FREE;
}

bool
as_slot_is_anothers(AsSlotRef ref)
{
	return GENERATION(pg_atomic_read_u64(&as_slot(ref)->state)) !=
		as_ref_generation(ref);
}

static void
lower(pg_atomic_uint64 *low, uint64 position)
{
	uint64		old = pg_atomic_read_u64(low);

	while (position < old &&
		   !pg_atomic_compare_exchange_u64(low, &old, position))
		;
}

void
as_slot_lower(AsSlotRef ref, int lane, uint64 position)
{
	AsSlotShared *slot = as_slot(ref);

	lower(&slot->low[lane], position);
	(void) pg_atomic_fetch_or_u32(&slot->lanes, 1U << lane);
}

void
as_slot_lower_all(AsSlotRef ref)
{
	AsSlotShared *slot = as_slot(ref);

	for (int lane = 0; lane < AS_LANES; lane++)
		lower(&slot->low[lane], 0);
	(void) pg_atomic_fetch_or_u32(&slot->lanes, AS_ALL_LANES);
}

/*
 * Change the status, where the word is as the caller thinks, in *state; false
 * if it was another, which is then in *state.  Pins stay.
 */
static bool
change(AsSlotRef ref, uint64 *state, AsSlotStatus status)
{
	return pg_atomic_compare_exchange_u64(&as_slot(ref)->state, state,
										  STATE(as_ref_generation(ref), status) |
										  PINS(*state));
}

bool
as_slot_schedule(AsSlotRef ref, bool *gone)
{
	uint64		state;

	/* whoever runs the slot must see the positions, or us must see RUNNING */
	pg_memory_barrier();
	state = pg_atomic_read_u64(&as_slot(ref)->state);
	*gone = false;
	for (;;)
	{
		if (GENERATION(state) != as_ref_generation(ref))
		{
			*gone = true;
			return false;
		}
		switch (STATUS(state))
		{
			case AS_IDLE:
				if (change(ref, &state, AS_SCHEDULED))
					return true;
				break;
			case AS_RUNNING:
				if (change(ref, &state, AS_AGAIN))
					return false;
				break;
			case AS_SCHEDULED:
			case AS_AGAIN:
				return false;
			case AS_FREE:
			case AS_CLAIMED:
				*gone = true;
				return false;
		}
	}
}

static void
take_positions(AsSlotShared *slot, AsPositions *positions)
{
	positions->lanes = pg_atomic_exchange_u32(&slot->lanes, 0);
	for (uint32 lanes = positions->lanes; lanes != 0; lanes &= lanes - 1)
	{
		int			lane = pg_rightmost_one_pos32(lanes);

		positions->low[lane] = pg_atomic_exchange_u64(&slot->low[lane],
													  AS_NO_POSITION);
	}
}

bool
as_slot_run(AsSlotRef ref, AsPositions *positions)
{
	uint64		state = pg_atomic_read_u64(&as_slot(ref)->state);

	do
	{
		if (GENERATION(state) != as_ref_generation(ref) ||
			STATUS(state) != AS_SCHEDULED)
			return false;
	} while (!change(ref, &state, AS_RUNNING));
	take_positions(as_slot(ref), positions);
	return true;
}

bool
as_slot_take(AsSlotRef ref, AsPositions *positions)
{
	uint64		state = pg_atomic_read_u64(&as_slot(ref)->state);

	while (GENERATION(state) == as_ref_generation(ref))
	{
		switch (STATUS(state))
		{
			case AS_IDLE:
			case AS_SCHEDULED:
				if (!change(ref, &state, AS_RUNNING))
					break;
				take_positions(as_slot(ref), positions);
				return true;
			case AS_RUNNING:
				if (change(ref, &state, AS_AGAIN))
					return false;
				break;
			default:
				return false;
		}
	}
	return false;
}

bool
as_slot_is_resting(AsSlotRef ref)
{
	uint64		state = pg_atomic_read_u64(&as_slot(ref)->state);

	return GENERATION(state) == as_ref_generation(ref) &&
		STATUS(state) == AS_IDLE;
}

bool
as_slot_seize(AsSlotRef ref)
{
	uint64		state = pg_atomic_read_u64(&as_slot(ref)->state);

	do
	{
		if (GENERATION(state) != as_ref_generation(ref) ||
			STATUS(state) != AS_IDLE)
			return false;
	} while (!change(ref, &state, AS_RUNNING));
	return true;
}

bool
as_slot_rest(AsSlotRef ref)
{
	uint64		state = pg_atomic_read_u64(&as_slot(ref)->state);

	for (;;)
	{
		Assert(STATUS(state) == AS_RUNNING || STATUS(state) == AS_AGAIN);
		if (STATUS(state) == AS_AGAIN)
		{
			if (change(ref, &state, AS_RUNNING))
				return false;
		}
		else if (change(ref, &state, AS_IDLE))
			return true;
	}
}

bool
as_slot_has_mail(AsSlotRef ref)
{
	return pg_atomic_read_u32(&as_slot(ref)->lanes) != 0;
}

bool
as_slot_has_requests(AsSlotRef ref)
{
	return has_requests(as_slot(ref));
}

bool
as_slot_is_called(AsSlotRef ref)
{
	return STATUS(pg_atomic_read_u64(&as_slot(ref)->state)) == AS_AGAIN;
}

uint64
as_slot_low(AsSlotRef ref, int lane)
{
	return pg_atomic_read_u64(&as_slot(ref)->low[lane]);
}

bool
as_slot_is_alone(AsSlotRef ref)
{
	AsSlotShared *mine = as_slot(ref);
	AsSlotShared *first = &table->slots[as_ref_number(ref) / SLOTS_PER_SET *
										SLOTS_PER_SET];
	uint64		key_hash = pg_atomic_read_u64(&mine->key_hash);

	/* one that is CLAIMED may be about to be SCHEDULED again */
	for (AsSlotShared *slot = first; slot < first + SLOTS_PER_SET; slot++)
	{
		if (slot != mine &&
			STATUS(pg_atomic_read_u64(&slot->state)) != AS_FREE &&
			pg_atomic_read_u64(&slot->key_hash) == key_hash &&
			pg_atomic_read_u32(&slot->home) == pg_atomic_read_u32(&mine->home))
			return false;
	}
	return true;
}

void
as_slot_put_back(AsSlotRef ref, const AsPositions *positions)
{
	for (uint32 lanes = positions->lanes; lanes != 0; lanes &= lanes - 1)
	{
		int			lane = pg_rightmost_one_pos32(lanes);

		if (positions->low[lane] != AS_NO_POSITION)
			as_slot_lower(ref, lane, positions->low[lane]);
	}
}

bool
as_slot_pin(AsSlotRef ref)
{
	pg_atomic_uint64 *word = &as_slot(ref)->state;
	uint64		state = pg_atomic_read_u64(word);

	do
	{
		if (GENERATION(state) != as_ref_generation(ref) ||
			STATUS(state) < AS_IDLE)
			return false;
	} while (!pg_atomic_compare_exchange_u64(word, &state, state + ONE_PIN));
	return true;
}

bool
as_slot_unpin(AsSlotRef ref)
{
	pg_atomic_uint64 *word = &as_slot(ref)->state;
	uint64		state = pg_atomic_read_u64(word);
	AsSlotStatus next;

	do
	{
		Assert(PINS(state) > 0 && STATUS(state) >= AS_IDLE);
		next = STATUS(state);
		if (next == AS_IDLE)
			next = AS_SCHEDULED;
		else if (next == AS_RUNNING)
			next = AS_AGAIN;
	} while (!pg_atomic_compare_exchange_u64(word, &state,
											 (STATE(GENERATION(state), next) |
											  PINS(state)) - ONE_PIN));
	return STATUS(state) == AS_IDLE;
}

bool
as_slot_done(AsSlotRef ref, bool more, bool empty)
{
	AsSlotShared *slot = as_slot(ref);
	uint64		state = pg_atomic_read_u64(&slot->state);
	AsSlotStatus next;

	if (has_requests(slot))
		more = true;
	do
	{
		Assert(GENERATION(state) == as_ref_generation(ref));
		Assert(STATUS(state) == AS_RUNNING || STATUS(state) == AS_AGAIN);

		/* somebody may have called meanwhile, and calls no more */
		if (more || STATUS(state) == AS_AGAIN)
			next = AS_SCHEDULED;

		/* delayed messages are counted, and not seen */
		else if (empty && PINS(state) == 0 &&
				 (int) pg_atomic_read_u32(&slot->depth) <= 0)
			next = AS_FREE;
		else
			next = AS_IDLE;
	} while (!change(ref, &state, next));
	return next == AS_SCHEDULED;
}

bool
as_slot_release(AsSlotRef ref)
{
	AsSlotShared *slot = as_slot(ref);
	uint64		state = STATE(as_ref_generation(ref), AS_IDLE);
	AsSlotStatus next;

	/* who is counted in keeps it from us, and needs it */
	if ((int) pg_atomic_read_u32(&slot->depth) > 0 ||
		!change(ref, &state, AS_CLAIMED))
		return false;
	next = pg_atomic_read_u32(&slot->lanes) != 0 || has_requests(slot) ?
		AS_SCHEDULED : AS_FREE;
	pg_write_barrier();
	pg_atomic_write_u64(&slot->state, STATE(as_ref_generation(ref), next));
	return next == AS_SCHEDULED;
}

bool
as_slot_hold(AsSlotRef ref)
{
	uint64		state = pg_atomic_read_u64(&as_slot(ref)->state);
	AsSlotStatus next;

	do
	{
		if (GENERATION(state) != as_ref_generation(ref) ||
			STATUS(state) != AS_SCHEDULED)
			return false;
		next = PINS(state) == 0 ? AS_CLAIMED : AS_IDLE;
	} while (!change(ref, &state, next));
	return next == AS_CLAIMED;
}

void
as_slot_let_go(AsSlotRef ref)
{
	AsSlotShared *slot = as_slot(ref);
	bool		needed = slot->careful > 0 || slot->conflicts > 0 ||
	slot->deaths > 0;

	pg_memory_barrier();
	pg_atomic_write_u64(&slot->state, STATE(as_ref_generation(ref),
											needed ? AS_IDLE : AS_FREE));
}

void
as_slot_add_depth(AsSlotRef ref, int n)
{
	if (pg_atomic_read_u32(&as_slot(ref)->depth_known) == 0)
		return;
	(void) pg_atomic_fetch_add_u32(&as_slot(ref)->depth, n);
}

AsSlotRef
as_slot_count_out(uint32 home, uint64 key_hash, int n)
{
	AsSlotRef	ref = as_slot_find(home, key_hash);

	if (ref != AS_NO_SLOT)
		as_slot_add_depth(ref, -n);
	return ref;
}

void
as_slot_doubt_depth(uint32 home, uint64 key_hash)
{
	pg_atomic_uint32 *doubts = &table->slots[first_of_set(home, key_hash)].doubts;

	if ((pg_atomic_read_u32(doubts) & DOUBT_DEPTH) == 0)
		(void) pg_atomic_fetch_or_u32(doubts, DOUBT_DEPTH);
}

void
as_slots_doubt(uint32 home)
{
	for (uint32 number = 0; number < table->nsets * SLOTS_PER_SET; number++)
	{
		AsSlotShared *slot = &table->slots[number];
		uint64		state = pg_atomic_read_u64(&slot->state);
		uint32		generation = GENERATION(state);

		/* should it be another actor's by now, that costs a look */
		if (STATUS(state) == AS_FREE ||
			pg_atomic_read_u32(&slot->home) != home)
			continue;
		pg_atomic_write_u32(&slot->depth_known, 0);
		as_slot_lower_all(as_slot_ref(number, generation));
		state = pg_atomic_read_u64(&slot->state);

		/* a worker that is about to leave it IDLE looks once more */
		while (GENERATION(state) == generation && STATUS(state) == AS_RUNNING &&
			   !change(as_slot_ref(number, generation), &state, AS_AGAIN))
			;
	}
}

void
as_slots_forget(uint32 home, void (*forget) (AsSlotShared *slot))
{
	for (uint32 i = 0; i < table->nsets * SLOTS_PER_SET; i++)
	{
		AsSlotShared *slot = &table->slots[i];
		uint64		state = pg_atomic_read_u64(&slot->state);

		/* others may change it under us; one who is counted in is soon out */
		for (int tries = 0; tries < MAX_FORGET_TRIES; tries++)
		{
			if (STATUS(state) < AS_IDLE ||
				pg_atomic_read_u32(&slot->home) != home)
				break;
			if (PINS(state) != 0)
			{
				pg_usleep(10L);
				state = pg_atomic_read_u64(&slot->state);
			}
			else if (pg_atomic_compare_exchange_u64(&slot->state, &state,
													STATE(GENERATION(state),
														  AS_CLAIMED)))
			{
				forget(slot);
				pg_write_barrier();
				pg_atomic_write_u64(&slot->state, STATE(GENERATION(state),
														AS_FREE));
				break;
			}
		}
	}
}

uint32
as_slots_count(uint32 *by_status)
{
	memset(by_status, 0, (AS_AGAIN + 1) * sizeof(uint32));
	for (uint32 set = 0; set < table->nsets; set++)
	{
		AsSlotShared *first = &table->slots[set * SLOTS_PER_SET];

		if ((pg_atomic_read_u32(&set_words[set / SETS_PER_WORD]) &
			 (uint32) 1 << set % SETS_PER_WORD) == 0)
		{
			by_status[AS_FREE] += SLOTS_PER_SET;
			continue;
		}
		for (AsSlotShared *slot = first; slot < first + SLOTS_PER_SET; slot++)
			by_status[STATUS(pg_atomic_read_u64(&slot->state))]++;
	}
	return table->nsets * SLOTS_PER_SET;
}

AsSlotRef
as_slot_idle(uint32 n, uint32 home)
{
	AsSlotShared *slot = &table->slots[n];
	uint64		state = pg_atomic_read_u64(&slot->state);

	if (STATUS(state) != AS_IDLE || pg_atomic_read_u32(&slot->home) != home)
		return AS_NO_SLOT;
	return as_slot_ref(n, GENERATION(state));
}

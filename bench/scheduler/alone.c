/*
 * alone: how many hints a second the scheduler takes in and gives out, without a server around it, and how many items its
 * queues do beside those of other libraries.
 *
 *		alone WAY PART ITEMS
 *
 * The scheduler is the product's: this is linked with src/runtime/sched.c, slot.c and urgent.c as they are.  What they
 * need of the server stands at the end: shared memory, and latches that nobody waits on.
 *
 * PART is what is timed:
 *		put, take	by one process, which puts BURST items and takes them
 *		flow		from one process to another, each pinned to a core, from the first put to the last take; at most
 *					WINDOW items are under way
 *
 * Prints items a second.  Every item must come out, once: their number and sum are compared, and no hint may be dropped.
 */
#define _LGPL_SOURCE			/* liburcu's functions inline */
#include "actorstore.h"

#include "lib/deque.h"
#include "lib/ring.h"
#include "runtime/request.h"
#include "runtime/sched.h"
#include "runtime/timing.h"
#include "runtime/urgent.h"
#include "storage/lwlock.h"
#include "storage/latch.h"
#include "storage/proc.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <ck_ring.h>
#include <urcu/wfcqueue.h>

#undef printf
#undef fprintf

#define BURST	1024
#define WINDOW	2048
#define ACTORS	10000			/* more than are under way: each hint is a turn of its own */
#define CAPACITY	4096		/* of each queue: a worker's default */
#define LANE	4				/* the default priority's */

typedef struct Link
{
	struct cds_wfcq_node link;
	uint64		item;
} Link;

/* What both processes see */
typedef struct Common
{
	pg_atomic_uint64 given;		/* by who puts */
	char		pad1[PG_CACHE_LINE_SIZE - sizeof(pg_atomic_uint64)];
	pg_atomic_uint64 taken;		/* by who takes, now and then */
	pg_atomic_uint64 sum;
	pg_atomic_uint32 ready;
	char		pad2[PG_CACHE_LINE_SIZE];
	struct ck_ring ck;
	struct ck_ring_buffer ck_buffer[CAPACITY];
	struct __cds_wfcq_head head;
	char		pad3[PG_CACHE_LINE_SIZE];
	struct cds_wfcq_tail tail;
	Link		nodes[CAPACITY];
} Common;

typedef struct Way
{
	const char *name;
	bool		(*put) (uint64 item);
	bool		(*take) (uint64 *item);
} Way;

static Common *common;
static AsRingShared *ring;
static AsDequeShared *deque;

/* A handler that does nothing, which the compiler cannot know. */
static void
nothing(uint64 key_hash)
{
}

static void (*volatile handler) (uint64 key_hash) = nothing;

/* ---- The scheduler ---- */

static uint64
hash_of(uint64 item)
{
	uint64		x = item % ACTORS + 1;

	x = (x ^ (x >> 30)) * UINT64CONST(0xBF58476D1CE4E5B9);
	x = (x ^ (x >> 27)) * UINT64CONST(0x94D049BB133111EB);
	return x ^ (x >> 31);
}

/* As a backend that has committed a message; its number is the item. */
static bool
put_hint(uint64 item)
{
	as_sched_self = -1;
	return as_sched_hint(0, AS_NO_SLOT, hash_of(item), LANE, item, AS_NO_DEADLINE) != AS_NO_SLOT;
}

/* As a worker whose turn has sent one: into its own deque. */
static bool
put_own_hint(uint64 item)
{
	as_sched_self = 0;
	return as_sched_hint(0, AS_NO_SLOT, hash_of(item), LANE, item, AS_NO_DEADLINE) != AS_NO_SLOT;
}

/* As worker n: a turn that finds its message and leaves an empty mailbox. */
static bool
take_hint(int n, uint64 *item)
{
	AsPositions positions;
	AsSlotRef	ref;

	as_sched_self = n;
	ref = as_sched_take();
	if (ref == AS_NO_SLOT || !as_slot_run(ref, &positions))
		return false;
	*item = positions.low[LANE];
	handler(pg_atomic_read_u64(&as_slot(ref)->key_hash));
	if (as_slot_done(ref, false, true))
		as_sched_queue(0, ref);
	return true;
}

static bool
take_as_worker(uint64 *item)
{
	return take_hint(0, item);
}

static bool
take_as_thief(uint64 *item)
{
	return take_hint(1, item);
}

/* ---- The bare queues ---- */

static bool
put_ring(uint64 item)
{
	return as_ring_push(ring, item);
}

static bool
take_ring(uint64 *item)
{
	return as_ring_pop(ring, item);
}

static bool
put_deque(uint64 item)
{
	return as_deque_push(deque, item);
}

/* workers take from their own at this end, too */
static bool
take_deque(uint64 *item)
{
	return as_deque_steal(deque, item);
}

static bool
put_ck_mpmc(uint64 item)
{
	return ck_ring_enqueue_mpmc(&common->ck, common->ck_buffer, (void *) item);
}

static bool
take_ck_mpmc(uint64 *item)
{
	return ck_ring_dequeue_mpmc(&common->ck, common->ck_buffer, item);
}

static bool
put_ck_spmc(uint64 item)
{
	return ck_ring_enqueue_spmc(&common->ck, common->ck_buffer, (void *) item);
}

static bool
take_ck_spmc(uint64 *item)
{
	return ck_ring_dequeue_spmc(&common->ck, common->ck_buffer, item);
}

/* the pacing keeps a node from being used again before it is out */
static bool
put_wfcq(uint64 item)
{
	Link	   *node = &common->nodes[item % CAPACITY];

	node->item = item;
	cds_wfcq_node_init(&node->link);
	cds_wfcq_enqueue(&common->head, &common->tail, &node->link);
	return true;
}

/* the one consumer needs no lock */
static bool
take_wfcq(uint64 *item)
{
	struct cds_wfcq_node *link = __cds_wfcq_dequeue_nonblocking(&common->head, &common->tail);

	if (link == NULL || link == CDS_WFCQ_WOULDBLOCK)
		return false;
	*item = caa_container_of(link, Link, link)->item;
	return true;
}

static const Way ways[] = {
	{"hint", put_hint, take_as_worker},
	{"own_hint", put_own_hint, take_as_worker},
	{"stolen_hint", put_own_hint, take_as_thief},
	{"ring", put_ring, take_ring},
	{"deque", put_deque, take_deque},
	{"ck_mpmc", put_ck_mpmc, take_ck_mpmc},
	{"ck_spmc", put_ck_spmc, take_ck_spmc},
	{"wfcq", put_wfcq, take_wfcq},
};

/* ---- What is timed ---- */

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void
die(const char *what)
{
	fprintf(stderr, "alone: %s\n", what);
	exit(1);
}

static void
pin(int core)
{
	cpu_set_t	set;

	CPU_ZERO(&set);
	CPU_SET(core % sysconf(_SC_NPROCESSORS_ONLN), &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		die("cannot be pinned to a core");
}

static double
bursts(const Way *way, bool puts, uint64 items, uint64 *sum)
{
	double		puts_took = 0,
				takes_took = 0;

	pin(0);
	for (uint64 first = 1; first <= items; first += BURST)
	{
		double		start = now(),
					middle;
		uint64		item;

		for (uint64 i = first; i < first + BURST; i++)
		{
			if (!way->put(i))
				die("full");
		}
		middle = now();
		for (uint64 i = first; i < first + BURST; i++)
		{
			if (!way->take(&item))
				die("empty");
			*sum += item;
		}
		takes_took += now() - middle;
		puts_took += middle - start;
	}
	return puts ? puts_took : takes_took;
}

static void
take_all(const Way *way, uint64 items)
{
	uint64		taken = 0,
				sum = 0,
				item;

	pin(1);
	pg_atomic_write_u32(&common->ready, 1);
	while (taken < items)
	{
		bool		found = way->take(&item);

		if (found)
		{
			sum += item;
			taken++;
		}
		if (!found || taken % 64 == 0)
			pg_atomic_write_u64(&common->taken, taken);
	}
	pg_atomic_write_u64(&common->sum, sum);
	pg_memory_barrier();
	pg_atomic_write_u64(&common->taken, taken);
}

static double
flow(const Way *way, uint64 items, uint64 *sum)
{
	double		start;
	int			status;
	pid_t		child = fork();

	if (child < 0)
		die("cannot fork");
	if (child == 0)
	{
		take_all(way, items);
		_exit(0);
	}
	pin(0);
	while (pg_atomic_read_u32(&common->ready) == 0)
		pg_spin_delay();
	start = now();
	for (uint64 i = 1; i <= items; i++)
	{
		while (i - pg_atomic_read_u64(&common->taken) > WINDOW)
			pg_spin_delay();
		while (!way->put(i))
			pg_spin_delay();
	}
	while (pg_atomic_read_u64(&common->taken) < items)
		pg_spin_delay();
	start = now() - start;
	if (waitpid(child, &status, 0) != child || status != 0)
		die("the process that takes has failed");
	*sum = pg_atomic_read_u64(&common->sum);
	return start;
}

/* ---- Setting up ---- */

static void
set_up(void)
{
	bool		found;

	common = ShmemInitStruct("common", sizeof(Common), &found);
	ck_ring_init(&common->ck, CAPACITY);
	__cds_wfcq_init(&common->head, &common->tail);
	ring = ShmemInitStruct("ring", as_ring_size(CAPACITY), &found);
	as_ring_init(ring, CAPACITY);
	deque = ShmemInitStruct("deque", as_deque_size(CAPACITY), &found);
	as_deque_init(deque, CAPACITY);

	as_slots_shmem_init();
	as_sched_shmem_init();
	as_urgent_shmem_init();

	/* a database that has been looked through, and two workers awake */
	pg_atomic_write_u32(&as_home(0)->database, 1);
	pg_atomic_write_u64(&as_home(0)->swept, pg_atomic_read_u64(&as_home(0)->lost));
	for (int i = 0; i < 2; i++)
		pg_atomic_write_u32(&as_worker(i)->status, AS_WORKER_READY);
}

int
main(int argc, char **argv)
{
	uint64		items = argc == 4 ? strtoull(argv[3], NULL, 10) / BURST * BURST : 0;
	uint64		sum = 0;

	if (items == 0)
		die("alone WAY put|take|flow ITEMS");
	set_up();
	for (int i = 0; i < (int) lengthof(ways); i++)
	{
		double		took;

		if (strcmp(ways[i].name, argv[1]) != 0)
			continue;
		if (strcmp(argv[2], "flow") == 0)
			took = flow(&ways[i], items, &sum);
		else
			took = bursts(&ways[i], strcmp(argv[2], "put") == 0, items, &sum);
		if (sum != items * (items + 1) / 2)
			die("what came out is not what went in");
		if (pg_atomic_read_u64(&as_home(0)->noverflows) != 0)
			die("hints were dropped");
		printf("%.0f\n", items / took);
		return 0;
	}
	die("no such way");
}

/* ---- What the scheduler needs of the server, and of the rest of the product ---- */

int			actorstore_workers = 2;
int			actorstore_worker_queue_capacity = CAPACITY;
int			actorstore_global_queue_capacity = 32768;
int			actorstore_max_active_actors = 65536;
bool		actorstore_enable_work_stealing = true;

int			MaxBackends = 100;
Oid			MyDatabaseId = 1;
PGPROC	   *MyProc = NULL;
PROC_HDR   *ProcGlobal = NULL;

Size
add_size(Size a, Size b)
{
	return a + b;
}

Size
mul_size(Size a, Size b)
{
	return a * b;
}

/* made before the fork, so it stands at the same place in both */
void *
ShmemInitStruct(const char *name, Size size, bool *found)
{
	void	   *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		die("no memory");
	*found = false;
	return memory;
}

LWLockPadded *
GetNamedLWLockTranche(const char *name)
{
	static LWLockPadded locks[8];

	return locks;
}

bool
LWLockAcquire(LWLock *lock, LWLockMode mode)
{
	die("a lock was wanted");
	return true;
}

void
LWLockRelease(LWLock *lock)
{
}

void
ConditionVariableInit(ConditionVariable *cv)
{
}

void
SetLatch(Latch *latch)
{
	die("nobody sleeps");
}

void
pg_usleep(long us)
{
}

void
as_timing_wake(uint32 home)
{
}

void
as_requests_return(AsSlotShared *slot)
{
}

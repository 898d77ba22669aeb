/*
 * replay.c
 *	  Replays a file of flights into actors, one actor an airport.
 *
 * Several client processes take flights from one list, in order. A flight is
 * one transaction of two writes: its departure at the origin, its arrival at
 * the destination. Each write reads the airport's state, works out the next
 * one here, in the client, and puts it in place by compare-and-swap; where
 * another client was faster, it starts again from the state that won.
 *
 * Where to connect to is told by the environment (PGHOST, PGDATABASE, ...), as
 * for psql. The actor type "airport" must have been created.
 *
 * Copyright (c) 2026, the actorstore developers
 */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define DEFAULT_CLIENTS 4
#define MAX_CLIENTS 64
#define HEADER "date,delay,distance,origin,destination"
#define UNIQUE_VIOLATION "23505"

typedef struct Flight
{
	char		origin[8];
	char		destination[8];
	int			delay;			/* minutes; negative: early */
} Flight;

/* An airport's state. A flight's delay counts at both of its airports. */
typedef struct Airport
{
	long		departures;
	long		arrivals;
	long		total_delay;	/* of all these flights, in minutes */
	long		worst_delay;	/* the largest of them */
} Airport;

/* What the client processes share; each field is only ever counted up. */
typedef struct Shared
{
	_Atomic long taken;			/* flights begun */
	_Atomic long done;			/* flights committed */
	_Atomic long retries;		/* writes begun again */
	atomic_bool failed;			/* some client gave up: stop */
} Shared;

/* The columns of a state, in the order in which read_state() takes them. */
#define STATE \
	"version, value->>'departures', value->>'arrivals'," \
	" value->>'total_delay', value->>'worst_delay'"

static const char *const statements[][2] = {
	{"get", "SELECT " STATE " FROM actorstore.get('airport', $1)"},
	{"insert", "SELECT version FROM actorstore.insert('airport', $1, $2)"},
	{"swap", "SELECT " STATE ", swapped"
		" FROM actorstore.compare_and_swap('airport', $1, $2, $3)"},
};

#define COLUMN_VERSION 0
#define COLUMN_SWAPPED 5

static Shared *shared;

static void die(const char *format,...)
			__attribute__((format(printf, 1, 2), noreturn));

static void
die(const char *format,...)
{
	va_list		arguments;

	fprintf(stderr, "replay: ");
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\n");
	exit(1);
}

/* ---- the file ---- */

static Flight *
read_flights(const char *path, long *count)
{
	FILE	   *file = fopen(path, "r");
	Flight	   *flights = NULL;
	long		capacity = 0;
	char		line[128];

	if (file == NULL || fgets(line, sizeof(line), file) == NULL)
		die("cannot read %s", path);
	line[strcspn(line, "\r\n")] = '\0';
	if (strcmp(line, HEADER) != 0)
		die("%s does not begin with %s", path, HEADER);

	for (*count = 0; fgets(line, sizeof(line), file) != NULL; (*count)++)
	{
		if (*count == capacity)
		{
			capacity = capacity ? 2 * capacity : 1024;
			flights = realloc(flights, capacity * sizeof(Flight));
			if (flights == NULL)
				die("out of memory");
		}
		if (sscanf(line, "%*[0-9],%d,%*[0-9],%7[^,],%7[^,\r\n]",
				   &flights[*count].delay, flights[*count].origin,
				   flights[*count].destination) != 3)
			die("%s, line %ld is no flight", path, *count + 2);
	}
	if (ferror(file))
		die("cannot read %s", path);
	fclose(file);
	return flights;
}

/* ---- a client ---- */

static PGconn *
connect_and_prepare(void)
{
	PGconn	   *conn = PQconnectdb("application_name=replay");

	if (PQstatus(conn) != CONNECTION_OK)
		die("%s", PQerrorMessage(conn));
	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++)
	{
		PGresult   *result = PQprepare(conn, statements[i][0],
									   statements[i][1], 0, NULL);

		if (PQresultStatus(result) != PGRES_COMMAND_OK)
			die("%s", PQerrorMessage(conn));
		PQclear(result);
	}
	return conn;
}

/* Runs a prepared statement; NULL if it failed with the SQLSTATE "expected". */
static PGresult *
run(PGconn *conn, const char *statement, int count, const char *const *values,
	const char *expected)
{
	PGresult   *result = PQexecPrepared(conn, statement, count, values,
										NULL, NULL, 0);
	const char *sqlstate;

	if (PQresultStatus(result) == PGRES_TUPLES_OK)
		return result;
	sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	if (expected == NULL || sqlstate == NULL || strcmp(sqlstate, expected) != 0)
		die("%s", PQerrorMessage(conn));
	PQclear(result);
	return NULL;
}

/*
 * Takes version and state from the result's row; false where there is no such
 * actor. The version stays text: it is only ever handed back.
 */
static bool
read_state(const PGresult *result, char version[32], Airport *airport)
{
	if (PQntuples(result) == 0 || PQgetisnull(result, 0, COLUMN_VERSION))
		return false;
	snprintf(version, 32, "%s", PQgetvalue(result, 0, COLUMN_VERSION));
	airport->departures = atol(PQgetvalue(result, 0, 1));
	airport->arrivals = atol(PQgetvalue(result, 0, 2));
	airport->total_delay = atol(PQgetvalue(result, 0, 3));
	airport->worst_delay = atol(PQgetvalue(result, 0, 4));
	return true;
}

static void
add_flight(Airport *airport, bool departs, int delay)
{
	bool		first = airport->departures + airport->arrivals == 0;

	if (departs)
		airport->departures++;
	else
		airport->arrivals++;
	airport->total_delay += delay;
	if (first || delay > airport->worst_delay)
		airport->worst_delay = delay;
}

static void
print_state(const Airport *airport, char *json, size_t size)
{
	snprintf(json, size,
			 "{\"departures\": %ld, \"arrivals\": %ld,"
			 " \"total_delay\": %ld, \"worst_delay\": %ld}",
			 airport->departures, airport->arrivals,
			 airport->total_delay, airport->worst_delay);
}

/*
 * One write: read, work out, compare and swap, until it is in. False if the
 * airport was new and another client has just made it, too: then the
 * transaction is lost.
 */
static bool
record(PGconn *conn, const char *id, bool departs, int delay)
{
	char		version[32];
	char		json[256];
	const char *const insert_values[] = {id, json};
	const char *const swap_values[] = {id, version, json};
	Airport		airport = {0};
	PGresult   *result = run(conn, "get", 1, &id, NULL);
	bool		exists = read_state(result, version, &airport);
	bool		swapped = false;

	PQclear(result);
	if (!exists)
	{
		add_flight(&airport, departs, delay);
		print_state(&airport, json, sizeof(json));
		result = run(conn, "insert", 2, insert_values, UNIQUE_VIOLATION);
		PQclear(result);
		return result != NULL;
	}
	for (;;)
	{
		add_flight(&airport, departs, delay);
		print_state(&airport, json, sizeof(json));
		result = run(conn, "swap", 3, swap_values, NULL);
		swapped = *PQgetvalue(result, 0, COLUMN_SWAPPED) == 't';

		/* If another was faster, the answer holds the state that won. */
		if (!swapped && !read_state(result, version, &airport))
			die("airport %s has vanished", id);
		PQclear(result);
		if (swapped)
			return true;
		atomic_fetch_add(&shared->retries, 1);
	}
}

static void
execute(PGconn *conn, const char *command)
{
	PGresult   *result = PQexec(conn, command);

	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		die("%s", PQerrorMessage(conn));
	PQclear(result);
}

/*
 * A flight's two writes commit together or not at all. In order of the
 * airports' ids, so that no two clients wait for each other.
 */
static void
fly(PGconn *conn, const Flight *flight)
{
	bool		origin_first = strcmp(flight->origin, flight->destination) < 0;
	const char *first = origin_first ? flight->origin : flight->destination;
	const char *second = origin_first ? flight->destination : flight->origin;

	for (;;)
	{
		bool		written;

		execute(conn, "BEGIN");
		written = record(conn, first, origin_first, flight->delay) &&
			record(conn, second, !origin_first, flight->delay);
		execute(conn, written ? "COMMIT" : "ROLLBACK");
		if (written)
			return;
		atomic_fetch_add(&shared->retries, 1);
	}
}

static void
client(const Flight *flights, long count)
{
	PGconn	   *conn = connect_and_prepare();
	long		i;

	while (!atomic_load(&shared->failed) &&
		   (i = atomic_fetch_add(&shared->taken, 1)) < count)
	{
		fly(conn, &flights[i]);
		atomic_fetch_add(&shared->done, 1);
	}
	PQfinish(conn);
}

/* ---- the parent: starts them, shows how far they are ---- */

static double
seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - start->tv_sec) + (now.tv_nsec - start->tv_nsec) / 1e9;
}

/* On a terminal one line that fills; else, now and then, a line of its own. */
static void
show_progress(long count, double seconds, bool terminal)
{
	static const char marks[] = "####################";
	const int	width = sizeof(marks) - 1;
	long		done = atomic_load(&shared->done);
	int			filled = (int) (count > 0 ? done * width / count : width);

	printf("%s[%-*.*s] %3ld %%  %ld of %ld  %.0f flights/s  %ld retries%s",
		   terminal ? "\r" : "", width, filled, marks,
		   count > 0 ? done * 100 / count : 100, done, count,
		   seconds > 0 ? done / seconds : 0.0, atomic_load(&shared->retries),
		   terminal ? " " : "\n");
	fflush(stdout);
}

/* Waits until all clients have ended; true if all ended well. */
static bool
watch(int clients, long count, const struct timespec *start)
{
	const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};
	const bool	terminal = isatty(STDOUT_FILENO);
	const double interval = terminal ? 0.2 : 5;
	double		shown = 0;

	while (clients > 0)
	{
		int			status;
		double		now = seconds_since(start);

		if (waitpid(-1, &status, WNOHANG) > 0)
		{
			clients--;
			if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
				atomic_store(&shared->failed, true);
			continue;
		}
		if (now - shown >= interval)
		{
			show_progress(count, now, terminal);
			shown = now;
		}
		nanosleep(&pause, NULL);
	}
	show_progress(count, seconds_since(start), terminal);
	if (terminal)
		printf("\n");
	return !atomic_load(&shared->failed);
}

int
main(int argc, char **argv)
{
	int			clients = DEFAULT_CLIENTS;
	long		count;
	long		writes;
	Flight	   *flights;
	struct timespec start;
	double		seconds;
	int			option;

	while ((option = getopt(argc, argv, "c:")) == 'c')
		clients = atoi(optarg);
	if (option != -1 || optind != argc - 1 || clients < 1 || clients > MAX_CLIENTS)
		die("usage: replay [-c clients, 1 to %d] file.csv", MAX_CLIENTS);

	flights = read_flights(argv[optind], &count);
	shared = mmap(NULL, sizeof(Shared), PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("out of memory");

	fflush(stdout);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (int i = 0; i < clients; i++)
	{
		pid_t		pid = fork();

		if (pid == 0)
		{
			client(flights, count);
			exit(0);
		}
		if (pid < 0)
		{
			atomic_store(&shared->failed, true);
			die("cannot start client %d", i + 1);
		}
	}
	if (!watch(clients, count, &start))
		die("a client failed after %ld of %ld flights",
			atomic_load(&shared->done), count);

	seconds = seconds_since(&start);
	writes = 2 * count;
	printf("%ld flights, %ld writes by %d clients in %.1f s: %.0f flights/s,"
		   " %ld retries (%.1f per 100 writes)\n",
		   count, writes, clients, seconds, count / seconds,
		   atomic_load(&shared->retries),
		   writes > 0 ? 100.0 * atomic_load(&shared->retries) / writes : 0.0);
	return 0;
}

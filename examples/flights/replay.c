/*
 * replay.c
 *	  Replays a file of flights as messages to actors, one actor an airport.
 *
 * Several client processes take batches of flights from one list. A batch is
 * one transaction: a message "departure" to each flight's origin, a message
 * "arrival" to each destination, and a row in the client's own table that says
 * that the batch is sent. They commit together, so a client that loses its
 * connection can look afterwards whether the batch was sent, and go on.
 *
 * In the middle, with -k, the parent kills a worker of the server's with
 * SIGKILL. PostgreSQL restarts all of its processes then; the clients connect
 * again, and nothing is lost or counted twice.
 *
 * Where to connect to is told by the environment (PGHOST, PGDATABASE, ...), as
 * for psql; load.sql has made what is needed there.
 *
 * Copyright (c) 2026, the actorstore developers
 */
#include <signal.h>
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
#define BATCH 100				/* flights in a transaction */
#define PATIENCE 60				/* seconds to wait for the server */
#define HEADER "date,delay,distance,origin,destination"

typedef struct Flight
{
	char		origin[8];
	char		destination[8];
	int			delay;			/* minutes; negative: early */
} Flight;

/* What the client processes share; each field is only ever counted up. */
typedef struct Shared
{
	_Atomic long taken;			/* batches begun */
	_Atomic long sent;			/* flights whose batch has committed */
	_Atomic long reconnects;
	atomic_bool failed;			/* some client gave up: stop */
} Shared;

/* Sends a batch, unless it was sent; true if it was not. */
#define SEND_BATCH "SELECT send_batch($1, $2, $3, $4)"

/* What the actors have counted, and how long 99 of 100 messages waited. */
#define ASK_PROGRESS \
	"SELECT coalesce(sum((value->>'departures')::int + (value->>'arrivals')::int), 0)," \
	" (SELECT round(waiting_p99) FROM actorstore.stat_latency WHERE actor_type = 'airport')" \
	" FROM actorstore.actor_airport"

#define ASK_WORKER "SELECT pid FROM actorstore.stat_workers LIMIT 1"

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

/* What the server says while it restarts is no news. */
static void
say_nothing(void *arg, const char *notice)
{
	(void) arg;
	(void) notice;
}

/* Connects, again and again while the server restarts. */
static PGconn *
connect_patiently(void)
{
	const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};

	for (int tries = 0;; tries++)
	{
		PGconn	   *conn = PQconnectdb("application_name=replay");

		if (PQstatus(conn) == CONNECTION_OK)
		{
			PQsetNoticeProcessor(conn, say_nothing, NULL);
			return conn;
		}
		if (tries >= PATIENCE * 10)
			die("%s", PQerrorMessage(conn));
		PQfinish(conn);
		nanosleep(&pause, NULL);
	}
}

/* The text of an array, "{a,b}", of what is printed for each flight. */
static char *
print_array(const Flight *flights, long count, char *buffer,
			int (*print) (const Flight *flight, char *to))
{
	char	   *to = buffer;

	*to++ = '{';
	for (long i = 0; i < count; i++)
	{
		if (i > 0)
			*to++ = ',';
		to += print(&flights[i], to);
	}
	strcpy(to, "}");
	return buffer;
}

static int
print_origin(const Flight *flight, char *to)
{
	return sprintf(to, "%s", flight->origin);
}

static int
print_destination(const Flight *flight, char *to)
{
	return sprintf(to, "%s", flight->destination);
}

static int
print_body(const Flight *flight, char *to)
{
	return sprintf(to, "\"{\\\"delay\\\": %d}\"", flight->delay);
}

/*
 * Sends a batch. If the connection breaks, nobody knows whether it was sent:
 * try again, and the server sees whether it knows the batch.
 */
static void
send_batch(PGconn **conn, long batch, const Flight *flights, long count)
{
	static char number[32],
				origins[BATCH * 16],
				destinations[BATCH * 16],
				bodies[BATCH * 48];
	const char *const values[] = {number, origins, destinations, bodies};

	snprintf(number, sizeof(number), "%ld", batch);
	print_array(flights, count, origins, print_origin);
	print_array(flights, count, destinations, print_destination);
	print_array(flights, count, bodies, print_body);
	for (;;)
	{
		PGresult   *result = PQexecParams(*conn, SEND_BATCH, 4, NULL, values,
										  NULL, NULL, 0);
		bool		sent = PQresultStatus(result) == PGRES_TUPLES_OK;

		PQclear(result);
		if (sent)
			return;
		if (PQstatus(*conn) == CONNECTION_OK &&
			PQtransactionStatus(*conn) == PQTRANS_IDLE)
			die("%s", PQerrorMessage(*conn));
		PQfinish(*conn);
		*conn = connect_patiently();
		atomic_fetch_add(&shared->reconnects, 1);
	}
}

static void
client(const Flight *flights, long count)
{
	PGconn	   *conn = connect_patiently();
	long		first;

	while (!atomic_load(&shared->failed) &&
		   (first = BATCH * atomic_fetch_add(&shared->taken, 1)) < count)
	{
		long		n = count - first < BATCH ? count - first : BATCH;

		send_batch(&conn, first / BATCH, &flights[first], n);
		atomic_fetch_add(&shared->sent, n);
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

/* Runs a query; NULL while the server restarts. */
static PGresult *
ask(PGconn **conn, const char *query)
{
	PGresult   *result = PQexec(*conn, query);

	if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0)
		return result;
	PQclear(result);
	if (PQstatus(*conn) != CONNECTION_OK)
	{
		PQfinish(*conn);
		*conn = connect_patiently();
	}
	return NULL;
}

/*
 * How many messages the actors have counted, -1 if the server does not answer.
 * On a terminal one line that fills; else, now and then, a line of its own.
 */
static long
show_progress(PGconn **conn, long count, double seconds, bool terminal,
			  bool show)
{
	static const char marks[] = "####################";
	const int	width = sizeof(marks) - 1;
	PGresult   *result = ask(conn, ASK_PROGRESS);
	long		handled;

	if (result == NULL)
		return -1;
	handled = atol(PQgetvalue(result, 0, 0));
	if (show)
		printf("%s[%-*.*s] %3ld %%  sent %ld, handled %ld of %ld messages  %.0f/s  p99 %s ms%s",
			   terminal ? "\r" : "", width,
			   (int) (handled * width / (2 * count)), marks,
			   handled * 100 / (2 * count), 2 * atomic_load(&shared->sent),
			   handled, 2 * count, seconds > 0 ? handled / seconds : 0.0,
			   PQgetvalue(result, 0, 1), terminal ? " " : "\n");
	fflush(stdout);
	PQclear(result);
	return handled;
}

static void
kill_worker(PGconn **conn)
{
	PGresult   *result = ask(conn, ASK_WORKER);
	pid_t		pid;

	if (result == NULL)
		die("the server has no worker to kill");
	pid = atoi(PQgetvalue(result, 0, 0));
	PQclear(result);
	if (kill(pid, SIGKILL) != 0)
		die("cannot kill process %d", (int) pid);
	printf("\nkilled worker %d with SIGKILL: the server restarts its processes\n",
		   (int) pid);
}

/* Waits until all clients have ended and all is handled; true if all is well. */
static bool
watch(int clients, long count, const struct timespec *start, bool kills)
{
	const struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};
	const bool	terminal = isatty(STDOUT_FILENO);
	const double interval = terminal ? 0.1 : 1;
	PGconn	   *conn = connect_patiently();
	double		shown = 0;
	long		handled = 0;

	while (clients > 0 || handled < 2 * count)
	{
		int			status;
		double		now = seconds_since(start);

		while (clients > 0 && waitpid(-1, &status, WNOHANG) > 0)
		{
			clients--;
			if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
				atomic_store(&shared->failed, true);
		}
		if (clients == 0 && atomic_load(&shared->failed))
			break;
		if (kills && 2 * atomic_load(&shared->sent) > count)
		{
			kill_worker(&conn);
			kills = false;
		}
		handled = show_progress(&conn, count, now, terminal,
								now - shown >= interval);
		if (now - shown >= interval)
			shown = now;
		nanosleep(&pause, NULL);
	}
	(void) show_progress(&conn, count, seconds_since(start), terminal, true);
	if (terminal)
		printf("\n");
	PQfinish(conn);
	return !atomic_load(&shared->failed);
}

int
main(int argc, char **argv)
{
	int			clients = DEFAULT_CLIENTS;
	bool		kills = false;
	long		count;
	Flight	   *flights;
	struct timespec start;
	double		seconds;
	int			option;

	while ((option = getopt(argc, argv, "c:k")) != -1)
	{
		if (option == 'c')
			clients = atoi(optarg);
		else if (option == 'k')
			kills = true;
		else
			clients = 0;
	}
	if (optind != argc - 1 || clients < 1 || clients > MAX_CLIENTS)
		die("usage: replay [-k] [-c clients, 1 to %d] file.csv", MAX_CLIENTS);

	flights = read_flights(argv[optind], &count);
	if (count == 0)
		die("%s holds no flights", argv[optind]);
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
	if (!watch(clients, count, &start, kills))
		die("a client failed after %ld of %ld flights",
			atomic_load(&shared->sent), count);

	seconds = seconds_since(&start);
	printf("%ld flights, %ld messages by %d clients in %.1f s: %.0f messages/s sent and handled, %ld reconnections\n",
		   count, 2 * count, clients, seconds, 2 * count / seconds,
		   atomic_load(&shared->reconnects));
	return 0;
}

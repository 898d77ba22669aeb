/*-------------------------------------------------------------------------
 *
 * queue_latency.c
 *	  For bench/queue_latency.sh: how long from the COMMIT of a message to that
 *	  of who handles it.
 *
 * queue_latency COUNT RATE ACTORS SEND [HANDLE]: one thread sends COUNT
 * messages, RATE a second, each in a transaction of its own by the statement
 * SEND, with the actor's id and the body as parameters.  With HANDLE, another
 * thread listens to the channel bench and, each time it is notified, runs
 * that statement until it returns 0.
 *
 * The times of both commits are those that the server's processes took
 * themselves (bench_mark in handler.c): mark 2n of the sender, 2n + 1 of who
 * handles message n, whose number is in the body.  HANDLED_AT in the
 * environment is the conninfo of the server where they are handled, if that is
 * another one of this machine.
 *
 * It prints, in milliseconds: the median and the 99th percentile from commit
 * to commit, and the same from when the sender had its answer.  The first
 * second is left out.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define PATIENCE 10				/* seconds for the last messages */

static int	count,
			rate,
			actors;
static double *answered;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void
give_up(const char *what, PGconn *conn)
{
	fprintf(stderr, "queue_latency: %s: %s", what, conn ? PQerrorMessage(conn) : "\n");
	exit(1);
}

static void
expect(PGconn *conn, PGresult *result, ExecStatusType status)
{
	if (PQresultStatus(result) != status)
		give_up("unexpected answer", conn);
	PQclear(result);
}

static PGconn *
connect_to_server(const char *conninfo)
{
	PGconn	   *conn = PQconnectdb(conninfo);

	if (PQstatus(conn) != CONNECTION_OK)
		give_up("no connection", conn);
	return conn;
}

static int
handle(PGconn *conn)
{
	PGresult   *result = PQexecPrepared(conn, "handle", 0, NULL, NULL, NULL, 0);
	int			n;

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		give_up("handling", conn);
	n = atoi(PQgetvalue(result, 0, 0));
	PQclear(result);
	return n;
}

static void *
consume(void *arg)
{
	PGconn	   *conn = arg;

	for (;;)
	{
		struct pollfd socket = {.fd = PQsocket(conn), .events = POLLIN};
		PGnotify   *notify;
		int			notified = 0;

		poll(&socket, 1, -1);
		if (!PQconsumeInput(conn))
			give_up("the consumer's connection", conn);
		for (; (notify = PQnotifies(conn)) != NULL; PQfreemem(notify))
			notified = 1;
		while (notified && handle(conn) > 0)
			;
	}
	return NULL;
}

static void
send_messages(PGconn *conn)
{
	double		start = now();

	for (int i = 0; i < count; i++)
	{
		char		id[16],
					body[256],
					mark[16];
		const char *params[] = {id, body};
		const char *marks[] = {mark};
		double		wait = start + (double) i / rate - now();

		if (wait > 0)
			usleep(wait * 1e6);
		snprintf(id, sizeof(id), "%d", 1 + rand() % actors);
		snprintf(mark, sizeof(mark), "%d", 2 * i);
		snprintf(body, sizeof(body),
				 "{\"number\": %d, \"customer\": \"c4ca4238a0b923820dcc509a6f75849b\", \"note\": \"leave at the door\"}",
				 2 * i + 1);
		expect(conn, PQexec(conn, "BEGIN"), PGRES_COMMAND_OK);
		expect(conn, PQexecPrepared(conn, "send", 2, params, NULL, NULL, 0), PGRES_TUPLES_OK);
		expect(conn, PQexecPrepared(conn, "mark", 1, marks, NULL, NULL, 0), PGRES_TUPLES_OK);
		expect(conn, PQexec(conn, "COMMIT"), PGRES_COMMAND_OK);
		answered[i] = now();
	}
}

/* The marks of one server, in seconds, where it has any. */
static void
read_marks(PGconn *conn, double *marks)
{
	char		query[64];
	PGresult   *result;

	snprintf(query, sizeof(query), "SELECT unnest(bench_marks(%d))", 2 * count);
	result = PQexec(conn, query);
	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 2 * count)
		give_up("marks", conn);
	for (int i = 0; i < 2 * count; i++)
	{
		double		mark = atof(PQgetvalue(result, i, 0)) / 1e6;

		if (mark != 0)
			marks[i] = mark;
	}
	PQclear(result);
}

/* Returns whether all marks are there. */
static int
read_all_marks(PGconn *conn, PGconn *there, double *marks)
{
	int			all = 1;

	read_marks(conn, marks);
	if (there)
		read_marks(there, marks);
	for (int i = 0; i < 2 * count; i++)
		all = all && marks[i] != 0;
	return all;
}

static int
compare(const void *a, const void *b)
{
	double		d = *(const double *) a - *(const double *) b;

	return (d > 0) - (d < 0);
}

int
main(int argc, char **argv)
{
	PGconn	   *conn = connect_to_server("");
	PGconn	   *there = getenv("HANDLED_AT") ? connect_to_server(getenv("HANDLED_AT")) : NULL;
	double	   *marks,
			   *latency;
	double		deadline;
	int			n;

	if (argc < 5)
		give_up("usage: queue_latency COUNT RATE ACTORS SEND [HANDLE]", NULL);
	count = atoi(argv[1]);
	rate = atoi(argv[2]);
	actors = atoi(argv[3]);
	if (rate < 1 || count <= rate || actors < 1)
		give_up("more than a second's messages are needed", NULL);
	n = count - rate;
	answered = calloc(count, sizeof(double));
	latency = calloc(n, sizeof(double));
	marks = calloc(2 * count, sizeof(double));

	expect(conn, PQexec(conn, "SELECT bench_forget_marks()"), PGRES_TUPLES_OK);
	if (there)
		expect(there, PQexec(there, "SELECT bench_forget_marks()"), PGRES_TUPLES_OK);
	expect(conn, PQprepare(conn, "send", argv[4], 0, NULL), PGRES_COMMAND_OK);
	expect(conn, PQprepare(conn, "mark", "SELECT bench_mark($1)", 0, NULL), PGRES_COMMAND_OK);
	if (argc > 5)
	{
		PGconn	   *consumer = connect_to_server("");
		pthread_t	thread;

		expect(consumer, PQprepare(consumer, "handle", argv[5], 0, NULL), PGRES_COMMAND_OK);
		expect(consumer, PQexec(consumer, "LISTEN bench"), PGRES_COMMAND_OK);
		pthread_create(&thread, NULL, consume, consumer);
	}
	send_messages(conn);
	for (deadline = now() + PATIENCE; !read_all_marks(conn, there, marks); usleep(50000))
	{
		if (now() > deadline)
			give_up("not all messages were handled", NULL);
	}

	for (int i = 0; i < n; i++)
		latency[i] = marks[2 * (i + rate) + 1] - marks[2 * (i + rate)];
	qsort(latency, n, sizeof(double), compare);
	printf("%.4f %.4f", latency[n / 2] * 1e3, latency[n - 1 - n / 100] * 1e3);
	for (int i = 0; i < n; i++)
		latency[i] = marks[2 * (i + rate) + 1] - answered[i + rate];
	qsort(latency, n, sizeof(double), compare);
	printf(" %.4f %.4f\n", latency[n / 2] * 1e3, latency[n - 1 - n / 100] * 1e3);
	return 0;
}

/*-------------------------------------------------------------------------
 *
 * notify_echo.c
 *	  For bench/ask.sh: request and reply by hand over LISTEN and NOTIFY.
 *
 * notify_echo SECONDS: one thread notifies the channel bench_request and waits
 * for bench_reply, again and again; another one, with a connection of its own,
 * does the opposite.  Prints the median of a round trip in milliseconds.
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

#include <libpq-fe.h>

#define MAX_TRIPS	10000000

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
	fprintf(stderr, "notify_echo: %s: %s", what, PQerrorMessage(conn));
	exit(1);
}

static void
run(PGconn *conn, const char *sql)
{
	PGresult   *result = PQexec(conn, sql);

	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		give_up(sql, conn);
	PQclear(result);
}

static PGconn *
connect_and_listen(const char *listen)
{
	PGconn	   *conn = PQconnectdb("");

	if (PQstatus(conn) != CONNECTION_OK)
		give_up("connect", conn);
	run(conn, listen);
	return conn;
}

/* Wait for the next notification of somebody else. */
static void
wait_for_notification(PGconn *conn)
{
	for (;;)
	{
		PGnotify   *notify = PQnotifies(conn);
		struct pollfd fd = {.fd = PQsocket(conn), .events = POLLIN};

		if (notify != NULL)
		{
			PQfreemem(notify);
			return;
		}
		if (poll(&fd, 1, -1) < 0 || !PQconsumeInput(conn))
			give_up("wait", conn);
	}
}

static void *
answer(void *arg)
{
	PGconn	   *conn = arg;

	for (;;)
	{
		wait_for_notification(conn);
		run(conn, "NOTIFY bench_reply");
	}
	return NULL;
}

static int
compare(const void *a, const void *b)
{
	double		difference = *(const double *) a - *(const double *) b;

	return difference < 0 ? -1 : difference > 0;
}

int
main(int argc, char **argv)
{
	double	   *trips = malloc(MAX_TRIPS * sizeof(double));
	PGconn	   *asker = connect_and_listen("LISTEN bench_reply");
	PGconn	   *answerer = connect_and_listen("LISTEN bench_request");
	pthread_t	thread;
	double		end = now() + (argc > 1 ? atof(argv[1]) : 1);
	int			n = 0;

	if (pthread_create(&thread, NULL, answer, answerer) != 0)
		return 1;
	while (now() < end && n < MAX_TRIPS)
	{
		double		start = now();

		run(asker, "NOTIFY bench_request");
		wait_for_notification(asker);
		trips[n++] = now() - start;
	}
	qsort(trips, n, sizeof(double), compare);
	printf("%.4f\n", trips[n / 2] * 1000);
	return 0;
}

/*-------------------------------------------------------------------------
 *
 * latency.c
 *	  For bench/cdc_latency.sh: how long from COMMIT to the event.
 *
 * latency SLOT OPTIONS COUNT RATE ACTORS: one thread updates COUNT actors,
 * RATE a second, each in a transaction of its own; another one reads the
 * slot's stream.  Both look at the same clock.  Each new value carries its
 * number, which the reader looks for in whatever the plugin has written, so
 * the plugin makes no difference to this program.
 *
 * It prints, in milliseconds: the median and the 99th percentile from just
 * before COMMIT is sent until the event is there, and the same until the
 * writer has the server's answer.  The first second is left out.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define MARK "\"mark\": "
#define XLOGDATA_HEADER (1 + 8 + 8 + 8)
#define PATIENCE 20				/* seconds for the last events to come */

static int	count,
			rate,
			actors;
static double *sent,
		   *answered,
		   *arrived;

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
	fprintf(stderr, "latency: %s: %s", what, conn ? PQerrorMessage(conn) : "\n");
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
connect_to(const char *conninfo)
{
	PGconn	   *conn = PQconnectdb(conninfo);

	if (PQstatus(conn) != CONNECTION_OK)
		give_up("no connection", conn);
	return conn;
}

/* Nothing is confirmed: the slot is dropped after the run. */
static void
reply(PGconn *conn)
{
	char		message[1 + 8 + 8 + 8 + 8 + 1] = {'r'};

	if (PQputCopyData(conn, message, sizeof(message)) != 1 || PQflush(conn))
		give_up("reply", conn);
}

/* The number that the new value carries: it comes after the previous one. */
static int
mark_of(char *data, int len)
{
	char	   *mark = NULL;
	char	   *end = data + len;

	while ((data = memmem(data, end - data, MARK, strlen(MARK))) != NULL)
		mark = data += strlen(MARK);
	return mark ? atoi(mark) : -1;
}

static void *
read_stream(void *arg)
{
	PGconn	   *conn = arg;
	int			left = count;

	while (left > 0)
	{
		char	   *data;
		int			len = PQgetCopyData(conn, &data, 0);
		double		when = now();

		if (len < 0)
			give_up("the stream has ended", conn);
		if (data[0] == 'w')
		{
			int			i = mark_of(data + XLOGDATA_HEADER, len - XLOGDATA_HEADER);

			if (i >= 0 && i < count)
			{
				if (arrived[i] != 0)
					give_up("an event has come twice", NULL);
				arrived[i] = when;
				left--;
			}
		}
		else if (data[0] == 'k' && data[len - 1])
			reply(conn);
		PQfreemem(data);
	}
	return NULL;
}

static void
write_changes(PGconn *conn)
{
	double		start = now();

	expect(conn, PQprepare(conn, "update", "SELECT (actorstore.update('item', $1, $2)).version", 0, NULL),
		   PGRES_COMMAND_OK);
	for (int i = 0; i < count; i++)
	{
		char		id[16],
					value[256];
		const char *params[] = {id, value};
		double		wait = start + (double) i / rate - now();

		if (wait > 0)
			usleep(wait * 1e6);
		snprintf(id, sizeof(id), "%d", 1 + rand() % actors);
		snprintf(value, sizeof(value),
				 "{\"owner\": \"c4ca4238a0b923820dcc509a6f75849b\", \"items\": [3, 14, 15, 92, 65], "
				 "\"currency\": \"EUR\", \"open\": true, \"note\": \"leave at the door\", " MARK "%d}", i);
		expect(conn, PQexec(conn, "BEGIN"), PGRES_COMMAND_OK);
		expect(conn, PQexecPrepared(conn, "update", 2, params, NULL, NULL, 0), PGRES_TUPLES_OK);
		sent[i] = now();
		expect(conn, PQexec(conn, "COMMIT"), PGRES_COMMAND_OK);
		answered[i] = now();
	}
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
	PGconn	   *stream;
	pthread_t	reader;
	struct timespec deadline;
	char		command[1024];
	int			n;

	if (argc != 6)
		give_up("usage: latency SLOT OPTIONS COUNT RATE ACTORS", NULL);
	count = atoi(argv[3]);
	rate = atoi(argv[4]);
	actors = atoi(argv[5]);
	if (rate < 1 || count <= rate || actors < 1)
		give_up("more than a second's changes are needed", NULL);
	sent = calloc(count, sizeof(double));
	answered = calloc(count, sizeof(double));
	arrived = calloc(count, sizeof(double));

	stream = connect_to("replication=database");
	snprintf(command, sizeof(command), "START_REPLICATION SLOT \"%s\" LOGICAL 0/0 %s", argv[1], argv[2]);
	expect(stream, PQexec(stream, command), PGRES_COPY_BOTH);
	pthread_create(&reader, NULL, read_stream, stream);

	write_changes(connect_to(""));
	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += PATIENCE;
	if (pthread_timedjoin_np(reader, NULL, &deadline) != 0)
		give_up("not all events have come", NULL);

	n = count - rate;
	for (int i = 0; i < n; i++)
	{
		arrived[i] = arrived[i + rate] - sent[i + rate];
		answered[i] = answered[i + rate] - sent[i + rate];
	}
	qsort(arrived, n, sizeof(double), compare);
	qsort(answered, n, sizeof(double), compare);
	printf("%.4f %.4f %.4f %.4f\n", arrived[n / 2] * 1e3, arrived[n - 1 - n / 100] * 1e3,
		   answered[n / 2] * 1e3, answered[n - 1 - n / 100] * 1e3);
	return 0;
}

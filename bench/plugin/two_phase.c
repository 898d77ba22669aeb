/*-------------------------------------------------------------------------
 *
 * two_phase.c
 *	  Changes a row on two servers, on both or on none, again and again:
 *	  two_phase HOW CLIENTS SECONDS ROWS CONNINFO CONNINFO [STATEMENT]
 *
 * HOW "parallel": BEGIN with UPDATE, PREPARE TRANSACTION, COMMIT PREPARED,
 * each sent to both servers before an answer is awaited.  HOW "last": the
 * first server is not prepared: PREPARE on the second, COMMIT on the first,
 * COMMIT PREPARED on the second.  HOW "statement": the STATEMENT, prepared, on
 * the first server, which sees to the second.  $1 is the row, 1 to ROWS.
 *
 * Prints transactions a second, those at the beginning not counted, and how
 * many there were with these.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include <libpq-fe.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_CLIENTS	64
#define WARM_UP		100
#define UPDATE		"UPDATE account SET amount = amount + 1 WHERE id = $1"

static const char *how;
static int	nclients;
static double seconds;
static int	nrows;
static char **conninfos;
static const char *statement;

static pthread_barrier_t warm;

typedef struct Client
{
	pthread_t	thread;
	int			number;
	unsigned	seed;
	PGconn	   *conns[2];
	long		ndone;			/* all */
	double		rate;			/* of those after the beginning, a second */
} Client;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static void
die(PGconn *conn)
{
	fprintf(stderr, "%s", PQerrorMessage(conn));
	exit(1);
}

static void
check(PGconn *conn, PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		die(conn);
	PQclear(result);
}

static PGconn *
open_connection(const char *conninfo)
{
	PGconn	   *conn = PQconnectdb(conninfo);

	if (PQstatus(conn) != CONNECTION_OK)
		die(conn);
	return conn;
}

/* ---- By hand ---- */

static void
send_update(PGconn *conn, const char *row)
{
	if (!PQenterPipelineMode(conn) ||
		!PQsendQueryPrepared(conn, "begin", 0, NULL, NULL, NULL, 0) ||
		!PQsendQueryPrepared(conn, "update", 1, &row, NULL, NULL, 0) ||
		!PQpipelineSync(conn))
		die(conn);
}

static void
await_update(PGconn *conn)
{
	PGresult   *result;

	for (int i = 0; i < 2; i++)
	{
		check(conn, PQgetResult(conn));
		if (PQgetResult(conn) != NULL)
			die(conn);
	}
	result = PQgetResult(conn);
	if (PQresultStatus(result) != PGRES_PIPELINE_SYNC)
		die(conn);
	PQclear(result);
	if (!PQexitPipelineMode(conn))
		die(conn);
}

/* To the connections from the first one to before the last one, at once. */
static void
command(PGconn **conns, int first, int last, const char *sql)
{
	for (int i = first; i < last; i++)
	{
		if (!PQsendQuery(conns[i], sql))
			die(conns[i]);
	}
	for (int i = first; i < last; i++)
	{
		PGresult   *result;

		while ((result = PQgetResult(conns[i])) != NULL)
			check(conns[i], result);
	}
}

static void
change_by_hand(Client *client, const char *row)
{
	int			first = strcmp(how, "last") == 0 ? 1 : 0;
	char		sql[64];

	for (int i = 0; i < 2; i++)
		send_update(client->conns[i], row);
	for (int i = 0; i < 2; i++)
		await_update(client->conns[i]);
	snprintf(sql, sizeof(sql), "PREPARE TRANSACTION 'by_hand_%d_%ld'", client->number, client->ndone);
	command(client->conns, first, 2, sql);
	command(client->conns, 0, first, "COMMIT");
	snprintf(sql, sizeof(sql), "COMMIT PREPARED 'by_hand_%d_%ld'", client->number, client->ndone);
	command(client->conns, first, 2, sql);
}

/* ---- By a statement ---- */

static void
change_by_statement(Client *client, const char *row)
{
	check(client->conns[0],
		  PQexecPrepared(client->conns[0], "statement", 1, &row, NULL, NULL, 0));
}

/* ---- Clients ---- */

/* Rows are each client's own: a deadlock between two servers is seen by none. */
static void
change(Client *client)
{
	char		row[16];
	int			nown = nrows / nclients;

	snprintf(row, sizeof(row), "%d",
			 1 + client->number + nclients * (int) (rand_r(&client->seed) % (unsigned) nown));
	if (statement != NULL)
		change_by_statement(client, row);
	else
		change_by_hand(client, row);
	client->ndone++;
}

static void
set_up(Client *client)
{
	client->conns[0] = open_connection(conninfos[0]);
	if (statement != NULL)
	{
		check(client->conns[0], PQprepare(client->conns[0], "statement", statement, 0, NULL));
		return;
	}
	client->conns[1] = open_connection(conninfos[1]);
	for (int i = 0; i < 2; i++)
	{
		check(client->conns[i], PQprepare(client->conns[i], "begin", "BEGIN", 0, NULL));
		check(client->conns[i], PQprepare(client->conns[i], "update", UPDATE, 0, NULL));
	}
}

static void *
run(void *arg)
{
	Client	   *client = arg;
	long		before;
	double		start,
				end;

	set_up(client);
	for (int i = 0; i < WARM_UP; i++)
		change(client);
	pthread_barrier_wait(&warm);
	before = client->ndone;
	start = now();
	do
	{
		change(client);
		end = now();
	} while (end < start + seconds);
	client->rate = (double) (client->ndone - before) / (end - start);
	for (int i = 0; i < 2; i++)
		PQfinish(client->conns[i]);
	return NULL;
}

int
main(int argc, char **argv)
{
	static Client clients[MAX_CLIENTS];
	long		ndone = 0;
	double		rate = 0;

	if (argc < 7)
		return 2;
	how = argv[1];
	nclients = atoi(argv[2]);
	seconds = atof(argv[3]);
	nrows = atoi(argv[4]);
	conninfos = argv + 5;
	statement = argv[7];
	if (nclients < 1 || nclients > MAX_CLIENTS || nrows < nclients ||
		(strcmp(how, "statement") == 0) != (statement != NULL))
		return 2;
	pthread_barrier_init(&warm, NULL, (unsigned) nclients);
	for (int i = 0; i < nclients; i++)
	{
		clients[i].number = i;
		clients[i].seed = (unsigned) i + 1;
		pthread_create(&clients[i].thread, NULL, run, &clients[i]);
	}
	for (int i = 0; i < nclients; i++)
	{
		pthread_join(clients[i].thread, NULL);
		ndone += clients[i].ndone;
		rate += clients[i].rate;
	}
	printf("%.1f %ld\n", rate, ndone);
	return 0;
}

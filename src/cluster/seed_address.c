/*-------------------------------------------------------------------------
 *
 * seed_address.c
 *	  See seed_address.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/seed_address.h"

#include <netinet/in.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <resolv.h>
#include <sys/socket.h>

#include "cluster/conninfo.h"
#include "common/pg_prng.h"
#include "lib/srv_answer.h"
#include "lib/stringinfo.h"
#include "libpq-fe.h"
#include "miscadmin.h"

/* SRV records of a name that are used */
#define MAX_RECORDS		128

/* the longest answer */
#define MAX_ANSWER		65535

/*
 * What a try to ask a name server may take, in seconds, and how many there are: a
 * server that is to stop waits for it.
 */
#define MAX_TRY			2
#define MAX_TRIES		2

typedef struct Addresses
{
	const PQconninfoOption *options;	/* of the conninfo given */
	char	   *seed;			/* the entry at hand */
	bool		said_by_dns;	/* are its hosts what SRV records say? */
	AsSeedAddress *all;
	int			n;
} Addresses;

/* ---- Conninfos ---- */

static const char *
value_of(const PQconninfoOption *options, const char *keyword)
{
	for (; options->keyword != NULL; options++)
	{
		if (strcmp(options->keyword, keyword) == 0)
			return options->val;
	}
	return NULL;
}

/*
 * A service may say where it is: what is said here stands above that, and so
 * must be said, be it that there is no hostaddr.  Of several ports, one for each
 * host, the first one will do.  A password that the service has is not for hosts
 * that only the DNS has named; a passfile says for whom its own are.
 */
static char *
make_conninfo(const Addresses *into, const char *host, const char *hostaddr, int port)
{
	StringInfoData conninfo;
	const char *its_port = value_of(into->options, "port");

	initStringInfo(&conninfo);
	for (const PQconninfoOption *option = into->options; option->keyword != NULL; option++)
	{
		if (option->val != NULL && strcmp(option->keyword, "host") != 0 &&
			strcmp(option->keyword, "hostaddr") != 0 && strcmp(option->keyword, "port") != 0)
			as_conninfo_append(&conninfo, option->keyword, option->val);
	}
	as_conninfo_append(&conninfo, "host", host);
	as_conninfo_append(&conninfo, "hostaddr", hostaddr);
	if (port != 0)
		as_conninfo_append(&conninfo, "port", psprintf("%d", port));
	else if (its_port != NULL)
		as_conninfo_append(&conninfo, "port", pnstrdup(its_port, strcspn(its_port, ",")));
	if (into->said_by_dns)
		as_conninfo_append(&conninfo, "password", "");
	return conninfo.data;
}

/* ---- Addresses ---- */

static void
add(Addresses *into, char *address, char *conninfo, char *problem)
{
	AsSeedAddress *new;

	for (int i = 0; i < into->n; i++)
	{
		if (strcmp(into->all[i].seed, into->seed) == 0 && strcmp(into->all[i].address, address) == 0)
			return;
	}
	if (into->n == AS_MAX_SEED_ADDRESSES)
		return;
	new = &into->all[into->n++];
	new->seed = into->seed;
	new->address = address;
	new->conninfo = conninfo;
	new->problem = problem;
}

static char *
show(const AsSeed *seed)
{
	char		text[AS_SEED_HOST_SIZE + 32];

	as_seed_print(seed, text, sizeof(text));
	return pstrdup(text);
}

/* The name stays beside the address: certificates say it. */
static void
add_resolved(Addresses *into, const AsSeed *seed, const struct addrinfo *found)
{
	AsSeed		shown = *seed;

	if (getnameinfo(found->ai_addr, found->ai_addrlen, shown.host, sizeof(shown.host), NULL, 0, NI_NUMERICHOST) != 0)
		return;
	add(into, show(&shown), make_conninfo(into, seed->host, shown.host, seed->port), NULL);
}

/* If there is none it is shown as that address. */
static void
add_host(Addresses *into, const AsSeed *seed, char *address)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	int			error = getaddrinfo(seed->host, NULL, &hints, &found);

	if (error != 0)
	{
		add(into, address, NULL, pstrdup(gai_strerror(error)));
		return;
	}
	for (const struct addrinfo *one = found; one != NULL; one = one->ai_next)
		add_resolved(into, seed, one);
	freeaddrinfo(found);
}

/* ---- Services ---- */

static double
draw(void)
{
	return pg_prng_double(&pg_global_prng_state);
}

static void
add_service(Addresses *into, const AsSeed *seed)
{
	unsigned char *answer = palloc(MAX_ANSWER);
	AsSrvRecord *records = palloc(sizeof(AsSrvRecord) * MAX_RECORDS);
	int			length = res_search(seed->host, ns_c_in, ns_t_srv, answer, MAX_ANSWER);
	int			n = length < 0 ? 0 : as_srv_read(answer, Min(length, MAX_ANSWER), records, MAX_RECORDS);

	if (length < 0)
		add(into, "", NULL, pstrdup(hstrerror(h_errno)));
	else if (n < 0)
		add(into, "", NULL, "The answer cannot be read.");
	else if (n == 0)
		add(into, "", NULL, "There is no such service.");
	as_srv_order(records, Max(n, 0), draw);
	for (int i = 0; i < n; i++)
	{
		AsSeed		target = {.kind = AS_SEED_HOST, .port = records[i].port};

		CHECK_FOR_INTERRUPTS();
		strlcpy(target.host, records[i].target, sizeof(target.host));
		add_host(into, &target, show(&target));
	}
	pfree(answer);
	pfree(records);
}

/* ---- All ---- */

/* What libc was told may be older than resolv.conf, and its own times are long. */
static void
prepare_lookups(void)
{
	(void) res_init();
	_res.retrans = Min(_res.retrans, MAX_TRY);
	_res.retry = Min(_res.retry, MAX_TRIES);
}

static void
add_seed(Addresses *into, const AsSeed *seed)
{
	into->seed = show(seed);
	into->said_by_dns = seed->kind == AS_SEED_SRV;
	switch (seed->kind)
	{
		case AS_SEED_HOST:
			add_host(into, seed, "");
			break;
		case AS_SEED_SOCKET:
			add(into, show(seed), make_conninfo(into, seed->host, "", seed->port), NULL);
			break;
		case AS_SEED_SRV:
			add_service(into, seed);
			break;
	}
}

int
as_seed_addresses(const char *list, const char *conninfo, AsSeedAddress *addresses)
{
	PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
	Addresses	into = {.options = options, .all = addresses};
	AsSeed		seed;
	const char *problem;

	if (options == NULL || as_seed_count(list, &problem) <= 0)
		return 0;
	prepare_lookups();
	while (as_seed_next(&list, &seed, &problem))
	{
		CHECK_FOR_INTERRUPTS();
		add_seed(&into, &seed);
	}
	PQconninfoFree(options);
	return into.n;
}

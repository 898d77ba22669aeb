/*-------------------------------------------------------------------------
 *
 * names.c
 *	  Another name server, for one server of a test.
 *
 * Loaded before libc (LD_PRELOAD).  libc's resolver asks 127.0.0.1 at the port
 * that ACTORSTORE_NAMES says, and nobody else, in whatever process.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdlib.h>
#include <string.h>

/* The header has a macro of that name. */
#undef res_init

static void
redirect(void)
{
	const char *port = getenv("ACTORSTORE_NAMES");
	struct sockaddr_in server;

	if (port == NULL)
		return;
	memset(&server, 0, sizeof(server));
	server.sin_family = AF_INET;
	server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	server.sin_port = htons((unsigned short) atoi(port));
	_res.nscount = 1;
	_res.nsaddr_list[0] = server;
}

int
__res_init(void)
{
	int			(*real) (void) = (int (*) (void)) dlsym(RTLD_NEXT, "__res_init");
	int			result = real();

	redirect();
	return result;
}

int
res_init(void)
{
	return __res_init();
}

/* The first process; those that it forks have what it has. */
__attribute__((constructor)) static void
begin(void)
{
	(void) __res_init();
}

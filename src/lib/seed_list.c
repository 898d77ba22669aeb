/*-------------------------------------------------------------------------
 *
 * seed_list.c
 *	  See seed_list.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/seed_list.h"

#define SRV_PREFIX		"srv:"

/* names of services begin so; a host named srv may have a port */
#define SRV_START		SRV_PREFIX "_"

#define MAX_PORT		65535

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_of_name(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		c == '-' || c == '.' || c == '_';
}

/* A scope may stand behind the address: fe80::1%eth0. */
static bool
is_of_address(char c)
{
	return is_of_name(c) || c == ':' || c == '%';
}

static bool
is_of_path(char c)
{
	return (unsigned char) c > ' ' && c != 0x7f;
}

static const char *
take_port(const char *at, const char *end, int *port)
{
	*port = 0;
	if (at == end)
		return "A port is missing behind a colon.";
	for (; at < end; at++)
	{
		if (!is_digit(*at))
			return "A port is a number.";
		*port = *port * 10 + (*at - '0');
		if (*port > MAX_PORT)
			break;
	}
	return *port < 1 || *port > MAX_PORT ? "A port is between 1 and 65535." : NULL;
}

static const char *
take_host(const char *at, const char *end, bool (*is_of) (char c), AsSeed *seed)
{
	if (at == end)
		return "A host is missing.";
	if (end - at >= AS_SEED_HOST_SIZE)
		return "A host is too long.";
	for (const char *c = at; c < end; c++)
	{
		if (!is_of(*c))
			return "A host has a character in it that none has.";
	}
	memcpy(seed->host, at, end - at);
	seed->host[end - at] = '\0';
	return NULL;
}

static const char *
find(const char *at, const char *end, char wanted)
{
	const char *found = memchr(at, wanted, end - at);

	return found == NULL ? end : found;
}

/* host, or host:port */
static const char *
take_plain(const char *at, const char *end, bool (*is_of) (char c), AsSeed *seed)
{
	const char *colon = find(at, end, ':');
	const char *problem;

	if (colon < end && find(colon + 1, end, ':') < end)
		return "An IPv6 address stands in brackets.";
	problem = take_host(at, colon, is_of, seed);
	return problem != NULL || colon == end ? problem :
		take_port(colon + 1, end, &seed->port);
}

static const char *
take_bracketed(const char *at, const char *end, AsSeed *seed)
{
	const char *bracket = find(at, end, ']');
	const char *problem;

	if (bracket == end)
		return "A bracket is not closed.";
	problem = find(at, bracket, ':') == bracket ? "In brackets stands an IPv6 address." :
		take_host(at + 1, bracket, is_of_address, seed);
	if (problem != NULL || bracket + 1 == end)
		return problem;
	if (bracket[1] != ':')
		return "Behind a bracket there can be a colon and a port.";
	return take_port(bracket + 2, end, &seed->port);
}

static const char *
take(const char *at, const char *end, AsSeed *seed)
{
	memset(seed, 0, sizeof(AsSeed));
	if (at == end)
		return "An entry is empty.";
	if (end - at >= (int) strlen(SRV_START) && memcmp(at, SRV_START, strlen(SRV_START)) == 0)
	{
		seed->kind = AS_SEED_SRV;
		return take_host(at + strlen(SRV_PREFIX), end, is_of_name, seed);
	}
	if (*at == '[')
		return take_bracketed(at, end, seed);
	if (*at != '/')
		return take_plain(at, end, is_of_name, seed);
	seed->kind = AS_SEED_SOCKET;
	return take_plain(at, end, is_of_path, seed);
}

bool
as_seed_next(const char **at, AsSeed *seed, const char **problem)
{
	const char *start = *at;
	const char *end;

	*problem = NULL;
	if (*start == '\0')
		return false;
	end = find(start, start + strlen(start), ',');

	/* a comma must have an entry behind it: let the next call see an empty one */
	*at = *end == ',' && end[1] != '\0' ? end + 1 : end;
	if (*end == ',' && end[1] == '\0')
		*problem = "An entry is empty.";
	while (start < end && is_blank(*start))
		start++;
	while (end > start && is_blank(end[-1]))
		end--;
	if (*problem == NULL)
		*problem = take(start, end, seed);
	return *problem == NULL;
}

int
as_seed_count(const char *list, const char **problem)
{
	AsSeed		seed;
	int			n = 0;

	*problem = NULL;
	if (list[strspn(list, " \t\r\n")] == '\0')
		return 0;
	while (as_seed_next(&list, &seed, problem))
		n++;
	if (*problem == NULL && n > AS_MAX_SEEDS)
		*problem = "There are more than 256 entries.";
	return *problem == NULL ? n : -1;
}

int
as_seed_print(const AsSeed *seed, char *out, Size size)
{
	bool		brackets = strchr(seed->host, ':') != NULL;
	const char *prefix = seed->kind == AS_SEED_SRV ? SRV_PREFIX : "";
	char		port[16] = "";

	if (seed->port != 0)
		snprintf(port, sizeof(port), ":%d", seed->port);
	return snprintf(out, size, "%s%s%s%s%s", prefix, brackets ? "[" : "", seed->host,
					brackets ? "]" : "", port);
}

/*-------------------------------------------------------------------------
 *
 * srv_answer.c
 *	  See srv_answer.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "lib/srv_answer.h"

#include <netinet/in.h>
#include <arpa/nameser.h>
#include <resolv.h>

/* priority, weight and port stand before the target */
#define TARGET_OFFSET	6

/* the longest message */
#define MAX_LENGTH		65535

static bool
is_host(const char *name)
{
	Size		length = strlen(name);

	return length > 0 && name[0] != '.' && name[0] != '-' &&
		length == strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._");
}

/* False if the record is damaged; a target that is none is left empty. */
static bool
read_record(ns_msg *message, const ns_rr *rr, AsSrvRecord *record)
{
	const unsigned char *data = ns_rr_rdata(*rr);
	char		target[NS_MAXDNAME];
	int			length;

	memset(record, 0, sizeof(AsSrvRecord));
	if (ns_rr_rdlen(*rr) <= TARGET_OFFSET)
		return false;
	record->priority = (uint16) (data[0] << 8 | data[1]);
	record->weight = (uint16) (data[2] << 8 | data[3]);
	record->port = (uint16) (data[4] << 8 | data[5]);
	length = ns_name_uncompress(ns_msg_base(*message), ns_msg_end(*message), data + TARGET_OFFSET,
								target, sizeof(target));
	if (length < 0 || length != ns_rr_rdlen(*rr) - TARGET_OFFSET)
		return false;
	if (is_host(target) && strlen(target) < AS_SEED_HOST_SIZE)
		strlcpy(record->target, target, sizeof(record->target));
	return true;
}

int
as_srv_read(const unsigned char *answer, Size length, AsSrvRecord *records, int max)
{
	ns_msg		message;
	int			n = 0;

	if (length > MAX_LENGTH || ns_initparse(answer, (int) length, &message) != 0)
		return -1;
	for (int i = 0; i < ns_msg_count(message, ns_s_an); i++)
	{
		ns_rr		rr;

		if (ns_parserr(&message, ns_s_an, i, &rr) != 0)
			return -1;
		if (ns_rr_type(rr) != ns_t_srv || ns_rr_class(rr) != ns_c_in || n == max)
			continue;
		if (!read_record(&message, &rr, &records[n]))
			return -1;
		if (records[n].target[0] != '\0' && records[n].port != 0)
			n++;
	}
	return n;
}

/* ---- Order ---- */

static int
by_priority(const void *a, const void *b)
{
	return ((const AsSrvRecord *) a)->priority - ((const AsSrvRecord *) b)->priority;
}

/* Those of one priority: each place goes to one of the rest, by weight; 0 counts little. */
static void
order_equals(AsSrvRecord *records, int n, double (*draw) (void))
{
	for (int i = 0; i < n - 1; i++)
	{
		double		sum = 0;
		double		point;
		int			chosen = i;
		AsSrvRecord swap;

		for (int j = i; j < n; j++)
			sum += records[j].weight + 0.01;
		point = draw() * sum;
		while (chosen < n - 1 && (point -= records[chosen].weight + 0.01) >= 0)
			chosen++;
		swap = records[i];
		records[i] = records[chosen];
		records[chosen] = swap;
	}
}

void
as_srv_order(AsSrvRecord *records, int n, double (*draw) (void))
{
	int			first = 0;

	qsort(records, n, sizeof(AsSrvRecord), by_priority);
	for (int i = 1; i <= n; i++)
	{
		if (i < n && records[i].priority == records[first].priority)
			continue;
		order_equals(records + first, i - first, draw);
		first = i;
	}
}

/*-------------------------------------------------------------------------
 *
 * srv_answer.h
 *	  The SRV records (RFC 2782) in an answer of the DNS.
 *
 * Who answers need not be who was asked: whatever the bytes are, no more than
 * they are read, and a target is a name of letters, digits, hyphens,
 * underscores and dots.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SRV_ANSWER_H
#define AS_SRV_ANSWER_H

#include "actorstore.h"
#include "lib/seed_list.h"

typedef struct AsSrvRecord
{
	uint16		priority;		/* lower ones first */
	uint16		weight;			/* the share among those of the same priority */
	uint16		port;
	char		target[AS_SEED_HOST_SIZE];
} AsSrvRecord;

/*
 * The records of an answer, at most so many: those that cannot be used are left
 * out, as is the target ".", which says that there is no such service.  Returns
 * how many there are, or -1 if it cannot be read.
 */
extern int	as_srv_read(const unsigned char *answer, Size length, AsSrvRecord *records, int max);

/*
 * Put them into the order in which they are to be tried, by priority and, by
 * chance, weight; draw() gives numbers from 0 to below 1.
 */
extern void as_srv_order(AsSrvRecord *records, int n, double (*draw) (void));

#endif							/* AS_SRV_ANSWER_H */

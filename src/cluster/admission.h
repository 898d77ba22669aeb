/*-------------------------------------------------------------------------
 *
 * admission.h
 *	  Which batches of other nodes are looked at: rightly signed ones
 *	  (signing.h), no repeated ones, and not more messages than
 *	  actorstore.peer_message_rate a second.
 *
 * What is refused as bad ends the session that brought it, and is counted, as
 * is what comes too fast, which only fails.  Counts are by the node that
 * it says it is from; the view stat_inbox shows them.
 *
 * Each message takes its share of a second.  The time up to which a
 * node's messages have taken theirs stands in its lane (lane.h): when that is in the
 * future, its next transaction must wait for it.  One transaction
 * is let in whole, with as many batches as a forwarder sends at once.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_ADMISSION_H
#define AS_ADMISSION_H

#include "actorstore.h"
#include "cluster/signing.h"
#include "compat.h"

/* Define the settings. */
extern void as_admission_init(void);

/*
 * A batch has come, before anything is locked: may it be looked at?  Waits for a
 * second at most if too much has come before (53400).  Sets *bytes and *length
 * to the envelope in it.
 */
extern void as_admission_check(const AsSigned *what, const char **bytes,
							   Size *length);

/* Refuse the batch that was looked at last: FATAL. */
as_noreturn extern void as_admission_refuse(int sqlerrcode, const char *why);

/* The same, as it is here already. */
as_noreturn extern void as_admission_refuse_duplicate(void);

/* So many messages of it were read; true if the sender should slow down. */
extern bool as_admission_count(int n);

#endif							/* AS_ADMISSION_H */

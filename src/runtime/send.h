/*-------------------------------------------------------------------------
 *
 * send.h
 *	  Putting messages into mailboxes.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_SEND_H
#define AS_SEND_H

#include "actorstore.h"

#include "runtime/mailbox.h"
#include "state/type.h"

/*
 * Send messages to actors of a type.  The caller has checked the arguments
 * and the right to send, and filled in type, id, name, body, headers,
 * priority, due, expires_at, sender and dedup_key; the rest is filled in
 * here.  A message whose dedup_key is taken gets the first one's id and is
 * not sent.  Returns how many were sent.
 *
 * VA001 if a mailbox is full and the type says so.
 */
extern int	as_send(AsType *type, AsMessage *messages, int n);

/*
 * Messages that have come from another node, with all that they were sent
 * with; they keep their ids.  Those for a full mailbox die, unless the type
 * says that senders wait: then they are let in, and *crowded is set, so that
 * the other node waits.
 */
extern void as_send_arrived(AsType *type, AsMessage *messages, int n,
							bool *crowded);

/*
 * What higher floors know: whether this database is a node, which actors do not
 * live here; and what they do with messages for these: sending them (how many
 * were sent), taking one back (true if it was there).
 */
extern bool (*as_is_node) (void);
extern bool (*as_is_elsewhere) (uint64 key_hash);
extern int	(*as_send_elsewhere) (const AsType *type, AsMessage *messages, int n);
extern bool (*as_cancel_elsewhere) (int64 message_id,
									void (*check) (AsMessage *message));

/* Raise 54000 if a message, of which body and headers are given, is too large. */
extern void as_message_check_size(const AsMessage *message);

/* Say that what is sent waits, as there is nobody to handle it. */
extern void as_warn_not_preloaded(const char *what);

/* Take a waiting message back; false if it is not waiting. */
extern bool as_cancel(int64 message_id, void (*check) (AsMessage *message));

/*
 * Put dead letters of a type back into the mailboxes, the oldest first; at
 * most max_rows if that is not 0; those of one actor if actor_id is not NULL.
 */
extern int64 as_redrive(AsType *type, text *actor_type, text *actor_id,
						int64 max_rows);

#endif							/* AS_SEND_H */

/*-------------------------------------------------------------------------
 *
 * epoch.h
 *	  Maps of slots are numbered: each is an epoch.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_EPOCH_H
#define AS_EPOCH_H

#include "actorstore.h"

/*
 * Make this database the only node of a cluster of its own, number 1, which
 * owns all slots: epoch 1.  55000 if it is a node, or a copy of one,
 * 22023 if the conninfo, which may be NULL, says a password.  A node of that name
 * whose conninfo is not known yet gets it.
 */
extern void as_epoch_begin(text *node_name, text *conninfo);

#endif							/* AS_EPOCH_H */

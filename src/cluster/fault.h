/*-------------------------------------------------------------------------
 *
 * fault.h
 *	  Places where tests stop a transaction over several nodes.
 *
 * Compiled in only with -DACTORSTORE_FAULTS (make fault-server); a release
 * build has neither the places nor the setting.  actorstore.fault names a
 * place and what happens there: "prepared:wait" writes the file
 * fault.prepared.reached into the data directory and waits till fault.prepared.go
 * appears there, "prepared:error" throws.  There may be some, with commas in between.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_FAULT_H
#define AS_FAULT_H

#ifdef ACTORSTORE_FAULTS
extern void as_fault_init(void);
extern void as_fault_reach(const char *place);
#define AS_FAULT(place) as_fault_reach(place)
#else
#define as_fault_init() ((void) 0)
#define AS_FAULT(place) ((void) 0)
#endif

#endif							/* AS_FAULT_H */

/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  The processes that run actors, and the one that starts them.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_WORKER_H
#define AS_WORKER_H

#include "actorstore.h"

#include "lib/nap.h"
#include "postmaster/bgworker.h"
#include "runtime/sched.h"

/* Main functions of background workers */
extern PGDLLEXPORT void as_worker_main(Datum number);
extern PGDLLEXPORT void as_launcher_main(Datum arg);

/*
 * What a process that serves a database does first: connect, under settings
 * that no user controls; look whether there is anything for it.
 */
extern void as_worker_connect(Oid database);
extern AsFinding as_worker_look_around(void);

/*
 * What higher floors want to do where a database is served: the first time in
 * the transaction of as_worker_look_around(), then outside of one now and then.
 */
extern void (*as_worker_served) (bool first);

/* What it does in between. */
extern void as_worker_check_signals(void);

/* as_nap(), and the server learns what was counted: reads and writes of tables, calls of functions. */
extern bool as_worker_nap(long ms, AsNap wait);

/* To be called once, when the library is preloaded. */
extern void as_launcher_init(void);

/*
 * What a dynamic background worker of ours is: its kind, the function of this
 * library that it runs, and the argument of that.
 */
extern void as_worker_describe(BackgroundWorker *worker, const char *kind,
							   const char *function, Datum argument);

/* Hooks into the server's commands, to be set once (guard.c). */
extern void as_guard_init(void);

#endif							/* AS_WORKER_H */

/*-------------------------------------------------------------------------
 *
 * backend.h
 *	  As much of the backend as a parser needs that allocates and raises errors.
 *
 * What is allocated while an input is tried goes with it, as with a memory
 * context; each piece is one of malloc's, so that the sanitizers see where it
 * ends.  An error is remembered, with its message made, as that reads what it
 * is given, and jumps to the innermost PG_TRY.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef FUZZ_BACKEND_H
#define FUZZ_BACKEND_H

#include <stdarg.h>

static void
must(bool what)
{
	if (!what)
		abort();
}

/* ---- Memory ---- */

MemoryContext CurrentMemoryContext = NULL;

static void **pieces = NULL;
static int	npieces = 0;

static void *
keep(void *piece)
{
	static int	room = 0;

	must(piece != NULL);
	if (npieces == room)
	{
		room = room == 0 ? 64 : room * 2;
		pieces = realloc(pieces, room * sizeof(void *));
		must(pieces != NULL);
	}
	pieces[npieces++] = piece;
	return piece;
}

/* What was allocated last is looked for first. */
static int
place_of(void *piece)
{
	int			i = npieces - 1;

	while (i >= 0 && pieces[i] != piece)
		i--;
	must(i >= 0);
	return i;
}

static void
free_all(void)
{
	while (npieces > 0)
		free(pieces[--npieces]);
}

void *
palloc(Size size)
{
	return keep(malloc(size == 0 ? 1 : size));
}

void *
palloc0(Size size)
{
	return memset(palloc(size), 0, size);
}

void *
repalloc(void *piece, Size size)
{
	int			i = place_of(piece);

	pieces[i] = realloc(piece, size == 0 ? 1 : size);
	must(pieces[i] != NULL);
	return pieces[i];
}

void
pfree(void *piece)
{
	pieces[place_of(piece)] = pieces[npieces - 1];
	npieces--;
	free(piece);
}

char *
pstrdup(const char *text)
{
	Size		size = strlen(text) + 1;

	return memcpy(palloc(size), text, size);
}

/* ---- Errors ---- */

sigjmp_buf *PG_exception_stack = NULL;
ErrorContextCallback *error_context_stack = NULL;

static int	error_code = 0;

static void
make_message(const char *format, va_list args)
{
	char		message[256];

	(void) vsnprintf(message, sizeof(message), format, args);
}

bool
errstart(int elevel, const char *domain)
{
	must(elevel == ERROR);
	error_code = ERRCODE_INTERNAL_ERROR;
	return true;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

int
errcode(int sqlerrcode)
{
	error_code = sqlerrcode;
	return 0;
}

int
errmsg(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	make_message(format, args);
	va_end(args);
	return 0;
}

int
errhint(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	make_message(format, args);
	va_end(args);
	return 0;
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	must(PG_exception_stack != NULL);
	siglongjmp(*PG_exception_stack, 1);
}

void
FlushErrorState(void)
{
}

#endif							/* FUZZ_BACKEND_H */

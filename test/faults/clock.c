/*-------------------------------------------------------------------------
 *
 * clock.c
 *	  A clock that is set, for one server of a test.
 *
 * Loaded before libc (LD_PRELOAD).  The file "offset" in the directory named by
 * ACTORSTORE_CLOCK says by how many seconds the time of day is wrong.  Clocks
 * that only go forward are right.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long
offset(void)
{
	const char *directory = getenv("ACTORSTORE_CLOCK");
	int			before = errno;
	char		path[1024];
	char		content[32];
	ssize_t		length = 0;
	int			fd;

	if (directory == NULL)
		return 0;
	snprintf(path, sizeof(path), "%s/offset", directory);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
	{
		length = read(fd, content, sizeof(content) - 1);
		close(fd);
	}
	errno = before;
	content[length > 0 ? length : 0] = '\0';
	return strtol(content, NULL, 10);
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	int			result = (int) syscall(SYS_clock_gettime, clock, now);

	if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		now->tv_sec += offset();
	return result;
}

int
gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec time;

	(void) zone;
	clock_gettime(CLOCK_REALTIME, &time);
	now->tv_sec = time.tv_sec;
	now->tv_usec = time.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *where)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (where != NULL)
		*where = now.tv_sec;
	return now.tv_sec;
}

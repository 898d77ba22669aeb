/*-------------------------------------------------------------------------
 *
 * disk.c
 *	  A disk that is full, or holds its breath, for one server of a test.
 *
 * Loaded before libc (LD_PRELOAD).  The directory named by ACTORSTORE_DISK
 * decides: while it has a file "full", no file may grow (ENOSPC); what fits into
 * what there is can be written, as on a real disk.  While it has a file "hold",
 * an fsync of a path that ends with what stands in that file makes a file "held"
 * and waits till "hold" is gone.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int
is_there(const char *name, char *path)
{
	const char *directory = getenv("ACTORSTORE_DISK");

	if (directory == NULL)
		return 0;
	snprintf(path, 1024, "%s/%s", directory, name);
	return access(path, F_OK) == 0;
}

/* Would the file be larger than it is?  Where offset is -1: written at its place. */
static int
is_full(int fd, off_t offset, size_t length)
{
	char		path[1024];
	struct stat status;
	int			saved = errno;
	int			full = 0;

	if (fd > 2 && is_there("full", path) && fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
	{
		if (offset < 0)
			offset = lseek(fd, 0, SEEK_CUR);
		full = offset + (off_t) length > status.st_size;
	}
	errno = full ? ENOSPC : saved;
	return full;
}

static void *
next(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

ssize_t
pwrite(int fd, const void *buffer, size_t length, off_t offset)
{
	static ssize_t (*real) (int, const void *, size_t, off_t);

	if (real == NULL)
		real = next("pwrite");
	return is_full(fd, offset, length) ? -1 : real(fd, buffer, length, offset);
}

ssize_t
write(int fd, const void *buffer, size_t length)
{
	static ssize_t (*real) (int, const void *, size_t);

	if (real == NULL)
		real = next("write");
	return is_full(fd, -1, length) ? -1 : real(fd, buffer, length);
}

ssize_t
pwritev(int fd, const struct iovec *parts, int n, off_t offset)
{
	static ssize_t (*real) (int, const struct iovec *, int, off_t);
	size_t		length = 0;

	if (real == NULL)
		real = next("pwritev");
	for (int i = 0; i < n; i++)
		length += parts[i].iov_len;
	return is_full(fd, offset, length) ? -1 : real(fd, parts, n, offset);
}

int
posix_fallocate(int fd, off_t offset, off_t length)
{
	static int	(*real) (int, off_t, off_t);

	if (real == NULL)
		real = next("posix_fallocate");
	return is_full(fd, offset, (size_t) length) ? ENOSPC : real(fd, offset, length);
}

static int
ends_with(const char *text, const char *end)
{
	size_t		length = strlen(text);
	size_t		rest = strlen(end);

	return length >= rest && strcmp(text + length - rest, end) == 0;
}

static void
hold(int fd)
{
	char		path[1024];
	char		link[64];
	char		target[1024] = "";
	char		wanted[256] = "";
	int			file;

	if (!is_there("hold", path))
		return;
	file = open(path, O_RDONLY);
	if (file < 0)
		return;
	if (read(file, wanted, sizeof(wanted) - 1) < 0)
		wanted[0] = '\0';
	close(file);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (readlink(link, target, sizeof(target) - 1) < 0 || wanted[0] == '\0' || !ends_with(target, wanted))
		return;
	if (is_there("held", path) == 0)
		close(open(path, O_WRONLY | O_CREAT, 0600));
	while (is_there("hold", path))
		usleep(1000);
}

int
fsync(int fd)
{
	static int	(*real) (int);

	if (real == NULL)
		real = next("fsync");
	hold(fd);
	return real(fd);
}

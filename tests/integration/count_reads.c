/* Preloaded into the daemon and its children: how often files of models are opened and read. When
 * such a file is closed, a line goes to $MMF_READS: bytes read, bytes of the file, name. A mapping
 * counts as its bytes. Descriptors that come from elsewhere are not seen. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FDS_MAX = 4096 };

static struct {
    atomic_bool is_model;
    atomic_llong n_read;
} files[FDS_MAX];

static bool is_counted(int fd)
{
    return fd >= 0 && fd < FDS_MAX && atomic_load(&files[fd].is_model);
}

static int opened(int fd, const char *name, int flags)
{
    const char *end = strrchr(name, '.');

    if (fd < 0 || fd >= FDS_MAX || (flags & O_ACCMODE) == O_WRONLY)
        return fd;
    atomic_store(&files[fd].n_read, 0);
    atomic_store(&files[fd].is_model, end && strcmp(end, ".safetensors") == 0);
    return fd;
}

static ssize_t has_read(int fd, ssize_t n)
{
    if (n > 0 && is_counted(fd))
        atomic_fetch_add(&files[fd].n_read, n);
    return n;
}

static void tell(int fd)
{
    const char *log = getenv("MMF_READS");
    char link[32], line[4200], name[4096];
    struct stat info;

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, name, sizeof(name) - 1);
    int out = log ? open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (n > 0 && out >= 0 && fstat(fd, &info) == 0) {
        name[n] = '\0';
        int bytes =
            snprintf(line, sizeof(line), "%lld %lld %s\n",
                     (long long)atomic_load(&files[fd].n_read), (long long)info.st_size, name);
        (void)!write(out, line, (size_t)bytes);
    }
    if (out >= 0)
        (void)close(out);
}

/* The next one of that name: the C library's. */
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* A mode follows where the flags say so. */
#define MODE(flags)                                                                            \
    __extension__({                                                                            \
        va_list args;                                                                          \
        va_start(args, flags);                                                                 \
        mode_t given = (flags) & (O_CREAT | __O_TMPFILE) ? va_arg(args, mode_t) : 0;           \
        va_end(args);                                                                          \
        given;                                                                                 \
    })

int open(const char *name, int flags, ...)
{
    return opened(REAL(open)(name, flags, MODE(flags)), name, flags);
}

int open64(const char *name, int flags, ...)
{
    return opened(REAL(open64)(name, flags, MODE(flags)), name, flags);
}

int openat(int dir, const char *name, int flags, ...)
{
    return opened(REAL(openat)(dir, name, flags, MODE(flags)), name, flags);
}

int openat64(int dir, const char *name, int flags, ...)
{
    return opened(REAL(openat64)(dir, name, flags, MODE(flags)), name, flags);
}

ssize_t read(int fd, void *data, size_t bytes)
{
    return has_read(fd, REAL(read)(fd, data, bytes));
}

ssize_t pread(int fd, void *data, size_t bytes, off_t at)
{
    return has_read(fd, REAL(pread)(fd, data, bytes, at));
}

ssize_t pread64(int fd, void *data, size_t bytes, off64_t at)
{
    return has_read(fd, REAL(pread64)(fd, data, bytes, at));
}

void *mmap(void *where, size_t bytes, int rights, int flags, int fd, off_t at)
{
    void *map = REAL(mmap)(where, bytes, rights, flags, fd, at);

    if (map != MAP_FAILED)
        (void)has_read(fd, (ssize_t)bytes);
    return map;
}

int close(int fd)
{
    if (is_counted(fd)) {
        atomic_store(&files[fd].is_model, false);
        tell(fd);
    }
    return REAL(close)(fd);
}

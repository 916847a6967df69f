/* Preloaded: one allocation of the program, of libc, jansson or SQLite on its behalf finds no memory: the
 * $MMF_FAIL_AT-th after main began, and with $MMF_FAIL_ON all that follow. Their number goes to $MMF_FAIL_COUNT
 * at the end. Or one in $MMF_FAIL_EVERY, without a period, while there is a file $MMF_FAIL_WHEN. */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t bytes);
void *__libc_realloc(void *p, size_t bytes);

enum { RANGES = 16 };

static struct {
    uintptr_t from, to;
} ranges[RANGES];
static size_t n_ranges;
static atomic_ulong n_seen;
static unsigned long fail_at, fail_every;
static const char *fail_when;
static bool fail_on;
static atomic_bool is_on;

static bool is_meant(const char *name)
{
    return name[0] == '\0' || strstr(name, "libjansson") || strstr(name, "libsqlite3") ||
           strstr(name, "libc.so");
}

static int look(struct dl_phdr_info *info, size_t bytes, void *arg)
{
    (void)bytes;
    (void)arg;
    for (int i = 0; is_meant(info->dlpi_name) && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD || !(p->p_flags & PF_X) || n_ranges == RANGES)
            continue;
        ranges[n_ranges].from = info->dlpi_addr + p->p_vaddr;
        ranges[n_ranges].to = ranges[n_ranges].from + p->p_memsz;
        n_ranges++;
    }
    return 0;
}

static void tell(void)
{
    const char *path = getenv("MMF_FAIL_COUNT");
    atomic_store(&is_on, false);
    FILE *f = path ? fopen(path, "w") : NULL;
    if (f) {
        fprintf(f, "%lu\n", atomic_load(&n_seen));
        fclose(f);
    }
}

__attribute__((constructor)) static void begin(void)
{
    const char *at = getenv("MMF_FAIL_AT");
    fail_at = at ? strtoul(at, NULL, 10) : 0;
    fail_on = getenv("MMF_FAIL_ON") != NULL;
    const char *every = getenv("MMF_FAIL_EVERY");
    fail_every = every ? strtoul(every, NULL, 10) : 0;
    fail_when = getenv("MMF_FAIL_WHEN");
    dl_iterate_phdr(look, NULL);
    atexit(tell);
    atomic_store(&is_on, true);
}

static bool fails(const void *caller)
{
    uintptr_t at = (uintptr_t)caller;
    if (!atomic_load(&is_on))
        return false;
    for (size_t i = 0; i < n_ranges; i++) {
        if (at < ranges[i].from || at >= ranges[i].to)
            continue;
        unsigned long n = atomic_fetch_add(&n_seen, 1) + 1;
        bool failing = fail_at > 0 && (n == fail_at || (fail_on && n > fail_at));
        if (fail_every > 0 && (n * UINT64_C(0x9e3779b97f4a7c15) >> 24) % fail_every == 0)
            failing = access(fail_when, F_OK) == 0;
        if (failing)
            errno = ENOMEM;
        return failing;
    }
    return false;
}

void *malloc(size_t bytes)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, bytes);
}

void *realloc(void *p, size_t bytes)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(p, bytes);
}

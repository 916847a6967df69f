#include "daemon/source/spool_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    NAMES_MAX = 10000, /* of one name in done/: name, name.1, name.2 … */
    ASIDE_BYTES = 64
};

struct spool_name {
    struct spool_name *next;
    char text[];
};

/* ---- names -------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    const struct spool_name *x = a, *y = b;
    return strcmp(x->text, y->text);
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), n_end = strlen(end);
    return n > n_end && strcmp(name + n - n_end, end) == 0;
}

static bool is_event_file(const char *name)
{
    return name[0] != '.' && (ends_with(name, ".ndjson") || ends_with(name, ".jsonl"));
}

static void append(struct spool_folder *f, struct spool_name *name)
{
    name->next = NULL;
    *f->last_found = name;
    f->last_found = &name->next;
    f->n_found++;
}

static struct spool_name *name_new(const char *text)
{
    size_t bytes = strlen(text) + 1;
    struct spool_name *name = calloc(1, sizeof(*name) + bytes);
    if (name)
        memcpy(name->text, text, bytes);
    return name;
}

static int find(struct spool_folder *f, const char *text, struct err *err)
{
    struct spool_name *name = name_new(text);
    struct spool_name **node = name ? tsearch(name, &f->known, compare) : NULL;
    if (node && *node == name)
        append(f, name);
    else
        free(name);
    return node ? ERR_OK : err_oom(err, "spool: a file name");
}

static struct spool_name *look_up(struct spool_folder *f, const char *text)
{
    struct spool_name *key = name_new(text);
    struct spool_name **node = key ? tfind(key, &f->known, compare) : NULL;
    free(key);
    return node ? *node : NULL;
}

const char *spool_folder_next(struct spool_folder *f)
{
    struct spool_name *name = f->first_found;
    if (!name)
        return NULL;
    f->first_found = name->next;
    if (!f->first_found)
        f->last_found = &f->first_found;
    f->n_found--;
    return name->text;
}

void spool_folder_put_back(struct spool_folder *f, const char *text)
{
    struct spool_name *name = look_up(f, text);
    if (name)
        append(f, name);
}

void spool_folder_forget(struct spool_folder *f, const char *text)
{
    struct spool_name *name = look_up(f, text);
    if (!name)
        return;
    tdelete(name, &f->known, compare);
    free(name);
}

size_t spool_folder_n_found(const struct spool_folder *f)
{
    return f->n_found;
}

/* ---- finding ------------------------------------------------------------------------------ */

static int is_candidate(const struct dirent *entry)
{
    return (entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN) &&
           is_event_file(entry->d_name);
}

int spool_folder_scan(struct spool_folder *f, struct err *err)
{
    struct dirent **entries;
    int n = scandirat(f->fd, ".", &entries, is_candidate, alphasort);
    if (n < 0)
        return err_retry(err, EX_IOERR, "spool folder %s: read: %s", f->path, strerror(errno));
    int status = ERR_OK;
    for (int i = 0; i < n; i++) {
        if (status == ERR_OK)
            status = find(f, entries[i]->d_name, err);
        free(entries[i]);
    }
    free(entries);
    return status;
}

/* True when the event cannot be used and only a scan tells. */
static bool read_event(struct spool_folder *f, const struct inotify_event *event)
{
    if (event->mask & IN_Q_OVERFLOW)
        return true;
    if (!(event->mask & IN_MOVED_TO) || (event->mask & IN_ISDIR) || event->len == 0 ||
        !is_event_file(event->name) || faccessat(f->fd, event->name, F_OK, 0) < 0)
        return false; /* the last: set aside and finished by ourselves, or taken back */
    return find(f, event->name, NULL) != ERR_OK;
}

bool spool_folder_read_events(struct spool_folder *f)
{
    _Alignas(struct inotify_event) char buffer[4096 + sizeof(struct inotify_event) + NAME_MAX];
    bool scan = false;
    ssize_t n;
    while ((n = read(f->inotify_fd, buffer, sizeof(buffer))) > 0) {
        const char *at = buffer;
        while (at < buffer + n) {
            const struct inotify_event *event = (const void *)at;
            scan |= read_event(f, event);
            at += sizeof(*event) + event->len;
        }
    }
    return scan;
}

/* ---- afterwards ---------------------------------------------------------------------------
 *
 * A producer may rename another file over the name at any moment, so the file is first set aside
 * under a name that no producer uses and only then looked at: what stands there stays there. It is
 * an event file's name, so that whatever is left behind, by a crash or because it was the other
 * file, is found again. */

static int move(struct spool_folder *f, const char *from, const char *target)
{
    return renameat2(f->fd, from, f->fd, target, RENAME_NOREPLACE);
}

/* ERR_NONE when there is no such file any more. */
static int set_aside(struct spool_folder *f, const char *name, char ret_aside[ASIDE_BYTES],
                     struct err *err)
{
    int code, number = 0;
    do
        (void)snprintf(ret_aside, ASIDE_BYTES, "settled-%ld-%d.ndjson", (long)getpid(), number);
    while ((code = move(f, name, ret_aside)) < 0 && errno == EEXIST && ++number < NAMES_MAX);
    if (code < 0 && errno == ENOENT)
        return ERR_NONE;
    if (code < 0)
        return err_retry(err, EX_IOERR, "spool file %s/%s: rename: %s", f->path, name,
                         strerror(errno));
    return ERR_OK;
}

static bool is_open_as(const struct spool_folder *f, const char *name, int fd)
{
    struct stat here, there;
    return fstatat(f->fd, name, &here, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &there) == 0 &&
           here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

static int make_done(const struct spool_folder *f, struct err *err)
{
    if (mkdirat(f->fd, "done", 0750) < 0 && errno != EEXIST)
        return err_retry(err, EX_IOERR, "spool folder %s/done: make: %s", f->path,
                         strerror(errno));
    return ERR_OK;
}

static int move_to_done(struct spool_folder *f, const char *aside, const char *name,
                        struct err *err)
{
    char target[NAME_MAX + 32];
    int code, number = 0;
    (void)snprintf(target, sizeof(target), "done/%s", name);
    while ((code = move(f, aside, target)) < 0 && errno == EEXIST && ++number < NAMES_MAX)
        (void)snprintf(target, sizeof(target), "done/%s.%d", name, number);
    if (code < 0 && errno != ENOENT)
        return err_retry(err, EX_IOERR, "spool file %s/%s: move to done/: %s", f->path, name,
                         strerror(errno));
    return ERR_OK;
}

static int delete (const struct spool_folder *f, const char *aside, const char *name,
                   struct err *err)
{
    if (unlinkat(f->fd, aside, 0) < 0 && errno != ENOENT)
        return err_retry(err, EX_IOERR, "spool file %s/%s: delete: %s", f->path, name,
                         strerror(errno));
    return ERR_OK;
}

/* What could be set aside but not removed is known until the end, so that it is not read over and
 * over. */
static void remember(struct spool_folder *f, const char *text)
{
    struct spool_name *name = name_new(text);
    struct spool_name **node = name ? tsearch(name, &f->known, compare) : NULL;
    if (!node || *node != name)
        free(name);
}

int spool_folder_finish(struct spool_folder *f, const char *name, int fd, bool keep,
                        bool *ret_replaced, struct err *err)
{
    char aside[ASIDE_BYTES];
    int status = keep ? make_done(f, err) : ERR_OK;
    if (status == ERR_OK)
        status = set_aside(f, name, aside, err);
    *ret_replaced = status == ERR_OK && !is_open_as(f, aside, fd);
    if (status != ERR_OK || *ret_replaced)
        return status == ERR_NONE ? ERR_OK : status;
    status = keep ? move_to_done(f, aside, name, err) : delete (f, aside, name, err);
    if (status != ERR_OK)
        remember(f, aside);
    return status;
}

/* "a.ndjson" and "a.ndjson.7", as move_to_done names them. */
static bool is_done_file(const char *name)
{
    char stem[NAME_MAX + 1];
    size_t n = strlen(name);
    while (n > 0 && name[n - 1] >= '0' && name[n - 1] <= '9')
        n--;
    if (n == strlen(name) || n == 0 || name[n - 1] != '.')
        return is_event_file(name);
    (void)snprintf(stem, sizeof(stem), "%.*s", (int)n - 1, name);
    return is_event_file(stem);
}

/* A rename is a change of the file's status, which nobody can date back. */
static bool is_older(int folder, const char *name, int64_t before_us)
{
    struct stat st;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return false;
    time_t last = st.st_ctim.tv_sec > st.st_mtim.tv_sec ? st.st_ctim.tv_sec : st.st_mtim.tv_sec;
    return last < before_us / 1000000;
}

int spool_folder_retain(struct spool_folder *f, int64_t before_us, size_t *ret_n,
                        struct err *err)
{
    int fd = openat(f->fd, "done", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *done = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    int code = 0;
    *ret_n = 0;
    if (!done && fd < 0 && errno == ENOENT)
        return ERR_OK;
    if (!done) {
        code = errno;
        if (fd >= 0)
            close(fd);
        return err_retry(err, EX_IOERR, "spool folder %s/done: read: %s", f->path,
                         strerror(code));
    }
    while (*ret_n < SPOOL_FOLDER_RETAIN && (entry = readdir(done))) {
        if (!is_done_file(entry->d_name) || !is_older(fd, entry->d_name, before_us))
            continue;
        if (unlinkat(fd, entry->d_name, 0) == 0)
            ++*ret_n;
        else if (errno != ENOENT)
            code = errno;
    }
    closedir(done);
    return code ? err_retry(err, EX_IOERR, "spool folder %s/done: delete: %s", f->path,
                            strerror(code))
                : ERR_OK;
}

/* ---- opening and closing ------------------------------------------------------------------ */

void spool_folder_init(struct spool_folder *f)
{
    *f = (struct spool_folder){.fd = -1, .inotify_fd = -1};
    f->last_found = &f->first_found;
}

int spool_folder_open(struct spool_folder *f, const char *path, struct err *err)
{
    f->path = strdup(path);
    if (!f->path)
        return err_oom(err, "spool folder");
    f->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->fd < 0)
        return err_fatal(err, err_is_shortage(errno) ? EX_OSERR : EX_CONFIG,
                         "spool folder %s: open: %s: see spool.directory", path,
                         strerror(errno));
    f->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (f->inotify_fd < 0 ||
        inotify_add_watch(f->inotify_fd, path, IN_MOVED_TO | IN_ONLYDIR) < 0)
        return err_fatal(err, EX_OSERR,
                         "spool folder %s: inotify: %s: raise fs.inotify.max_user_watches or "
                         "_instances",
                         path, strerror(errno));
    return ERR_OK;
}

void spool_folder_close(struct spool_folder *f)
{
    tdestroy(f->known, free);
    if (f->inotify_fd >= 0)
        close(f->inotify_fd);
    if (f->fd >= 0)
        close(f->fd);
    free(f->path);
    spool_folder_init(f);
}

bool spool_folder_is_there(const struct spool_folder *f)
{
    struct stat st;
    return fstat(f->fd, &st) == 0 && st.st_nlink > 0;
}

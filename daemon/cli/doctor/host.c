/* What the daemon needs of this machine: the worker and its sandbox, the media, the disk, the
 * port. */
#include "daemon/cli/doctor/checks.h"

#include "daemon/base/paths.h"
#include "daemon/media/media_file.h"
#include "daemon/pipeline/workers.h"
#include "extract/pool/pool.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sysexits.h>
#include <unistd.h>

#define DOCTOR_DISK_BYTES INT64_C(1000000000)
#define DOCTOR_TRY_MS     10000

/* A worker that has locked itself in and done a job is worth more than any list of features. */
static int try_worker(const struct settings *s, const char *path, struct pool_stats *ret_stats,
                      struct err *err)
{
    const struct pool_job job = {.media_fd = -1, .text = {.title = "a trial"}};
    static struct pool_result result;
    struct pool *pool;
    int r = workers_open(s, 1, &pool, err);

    if (r)
        return r;
    r = pool_submit(pool, &job, err);
    if (r == ERR_OK && !pool_wait(pool, -1, DOCTOR_TRY_MS, &result))
        r = err_fatal(err, EX_SOFTWARE, "worker %s: no answer in %d ms", path, DOCTOR_TRY_MS);
    if (r == ERR_OK && result.err.status != ERR_OK) {
        *err = result.err;
        r = err->status;
    }
    pool_stats(pool, ret_stats);
    pool_close(pool);
    return r;
}

static void check_worker(struct doctor *d)
{
    struct pool_stats stats = {0};
    char path[PATH_MAX];
    struct err err;

    err_clear(&err);
    if (paths_worker(d->s, path, &err) != ERR_OK ||
        try_worker(d->s, path, &stats, &err) != ERR_OK) {
        doctor_add(d, "worker", DOCTOR_BAD,
                   "install metammf-extract, or set extract.worker_path; a kernel without "
                   "seccomp needs extract.require_sandbox = false",
                   "%s", err.text);
        doctor_code(d, err.exit_code ? err.exit_code : EX_CONFIG);
        return;
    }
    doctor_add(d, "worker", DOCTOR_GOOD, "", "%s does a job", path);
    if (stats.sandboxed)
        doctor_add(d, "sandbox", DOCTOR_GOOD, "", "seccomp is in force, Landlock %s",
                   stats.landlock_abi > 0 ? "as well"
                                          : "is missing on this kernel: seccomp alone");
    else
        doctor_add(d, "sandbox", d->s->extract.require_sandbox ? DOCTOR_BAD : DOCTOR_NOTE,
                   "use a kernel with seccomp, a release build, and extract.require_sandbox = "
                   "true",
                   "workers run WITHOUT seccomp");
}

static void check_roots(struct doctor *d)
{
    const struct settings_strings *roots = &d->s->media.roots;
    struct err err;

    err_clear(&err);
    if (media_file_probe(&err) != ERR_OK) {
        doctor_add(d, "openat2", DOCTOR_BAD,
                   "see the message: no media can be opened without it", "%s", err.text);
        doctor_code(d, err.exit_code);
        return;
    }
    doctor_add(d, "openat2", DOCTOR_GOOD, "",
               "works, so media are opened below their roots only");
    for (size_t i = 0; i < roots->n; i++) {
        if (access(roots->items[i], R_OK | X_OK) == 0)
            doctor_add(d, "media", DOCTOR_GOOD, "", "%s: readable", roots->items[i]);
        else
            doctor_add(d, "media", DOCTOR_NOTE,
                       "mount it, let the daemon's user read it, or mend media.roots", "%s: %s",
                       roots->items[i], strerror(errno));
    }
}

static void check_disk(struct doctor *d)
{
    char folder[PATH_MAX];
    char *slash;
    struct statvfs v;

    snprintf(folder, sizeof(folder), "%s", d->s->store.path);
    slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder ? 1 : 0] = '\0';
    if (statvfs(folder, &v) != 0)
        return; /* the store's check has said that the folder is missing */
    int64_t free_bytes = (int64_t)v.f_bavail * (int64_t)v.f_frsize;
    doctor_add(d, "disk", free_bytes < DOCTOR_DISK_BYTES ? DOCTOR_BAD : DOCTOR_GOOD,
               free_bytes < DOCTOR_DISK_BYTES ? "make room: a full disk pauses the daemon" : "",
               "%s: %.1f GB free", folder, (double)free_bytes / 1e9);
    if (free_bytes < DOCTOR_DISK_BYTES)
        doctor_code(d, EX_IOERR);
}

/* With the daemon up the port must answer; without it, it must be free. */
static int try_port(const struct settings *s, bool connect_it)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char port[16];
    int fd, one = 1, why;
    bool ok;

    snprintf(port, sizeof(port), "%" PRId64, s->http.port);
    if (getaddrinfo(s->http.address, port, &hints, &found) != 0)
        return EINVAL;
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ok = fd >= 0 &&
         (connect_it ? connect(fd, found->ai_addr, found->ai_addrlen) == 0
                     : setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
                           bind(fd, found->ai_addr, found->ai_addrlen) == 0);
    why = ok ? 0 : errno;
    if (fd >= 0)
        close(fd);
    freeaddrinfo(found);
    return why;
}

static void check_port(struct doctor *d)
{
    int why;

    if (d->s->http.port == 0) {
        doctor_add(d, "http", DOCTOR_NOTE, "set http.port for /livez, /readyz and /metrics",
                   "switched off");
        return;
    }
    why = try_port(d->s, d->daemon_up);
    if (why == 0)
        doctor_add(d, "http", DOCTOR_GOOD, "", "%s port %" PRId64 " %s", d->s->http.address,
                   d->s->http.port, d->daemon_up ? "answers" : "is free");
    else
        doctor_add(d, "http", d->daemon_up ? DOCTOR_NOTE : DOCTOR_BAD,
                   "choose another http.port, or look who listens: ss -ltnp",
                   "%s port %" PRId64 ": %s", d->s->http.address, d->s->http.port,
                   strerror(why));
}

void doctor_host(struct doctor *d)
{
    check_worker(d);
    check_roots(d);
    check_disk(d);
    check_port(d);
}

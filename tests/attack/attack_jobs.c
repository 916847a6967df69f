/* Feeds files to one sandboxed worker, as the daemon does, each with a title, and says what each
 * one cost:
 *
 *     attack_jobs [CPU_SECONDS] < PATHS > LINES
 *
 * A path a line on standard input; on standard output a line of JSON a path:
 * {"file", "outcome": "row"|"dead"|"retry", "reason", "text", "mask", "n_frames", "coverage",
 *  "flags": [...], "notes": [...], "cpu_ms", "wall_ms", "rss_kb", "lost", "deadline"}. cpu_ms is that of every try
 * together (the worker's, and those of workers that died of the job), from /proc, in steps of 10;
 * rss_kb the largest resident size seen; lost the workers that it cost. The limits are the
 * defaults of the settings extract.*, but for CPU_SECONDS (20). Exit 0 unless the pool itself fails. */

#include "extract/pool/pool.h"
#include "extract/wire/notes.h"

#include "../integration/pool_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define DEADLINE_MS 120000 /* the CPU is judged, on a machine that may be busy */
#define LOOK_MS     50

static struct pool_result result;

static _Noreturn void give_up(const char *what, const char *why)
{
    (void)fprintf(stderr, "attack_jobs: %s: %s\n", what, why);
    exit(1);
}

struct usage {
    int64_t cpu_ms, peak_kb;
    int worker; /* the pid of the one that is alive, -1 = none */
};

/* Own time and that of children that were waited for: what a dead worker used stays visible. */
static int64_t proc_cpu_ms(const char *pid)
{
    char path[PATH_MAX], line[1024];
    long long ticks[4] = {0};
    (void)snprintf(path, sizeof(path), "/proc/%s/stat", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return 0;
    if (fgets(line, sizeof(line), f) != NULL) {
        const char *rest = strrchr(line, ')');
        (void)sscanf(rest != NULL ? rest + 1 : "",
                     " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lld %lld %lld %lld",
                     &ticks[0], &ticks[1], &ticks[2], &ticks[3]);
    }
    (void)fclose(f);
    return (ticks[0] + ticks[1] + ticks[2] + ticks[3]) * 1000 / sysconf(_SC_CLK_TCK);
}

static int64_t proc_peak_kb(int pid)
{
    char path[64], line[256];
    long long kb = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
    FILE *f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line, "VmHWM: %lld kB", &kb) == 1)
            break;
    if (f != NULL)
        (void)fclose(f);
    return kb;
}

/* The peak begins anew; where that is not permitted it is the worker's so far. */
static void reset_peak(int pid)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/clear_refs", pid);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, "5", 1) != 1)
        (void)fprintf(stderr, "attack_jobs: %s: %s\n", path, strerror(errno));
    (void)close(fd);
}

static struct usage look(int leader)
{
    struct usage u = {.worker = -1};
    DIR *d = opendir("/proc");
    const struct dirent *e;
    while (d != NULL && (e = readdir(d)) != NULL) {
        struct fixture_proc p;
        if (e->d_name[0] < '0' || e->d_name[0] > '9' || !fixture_read_proc(e->d_name, &p) ||
            p.session != leader)
            continue;
        u.cpu_ms += proc_cpu_ms(e->d_name);
        if (p.pid == leader || p.state == 'Z')
            continue;
        u.worker = p.pid;
        u.peak_kb = proc_peak_kb(p.pid);
    }
    if (d != NULL)
        (void)closedir(d);
    return u;
}

static void put_string(const char *name, const char *s)
{
    (void)printf("\"%s\": \"", name);
    for (; *s != 0; s++)
        if (*s == '"' || *s == '\\')
            (void)printf("\\%c", *s);
        else
            (void)putchar((unsigned char)*s < 0x20 ? ' ' : *s);
    (void)printf("\", ");
}

static void put_flags(const struct features_flags *g)
{
    const struct {
        bool set;
        const char *name;
    } flags[] = {{g->partial, "partial"},
                 {g->degraded, "degraded"},
                 {g->capped, "capped"},
                 {g->retimed, "retimed"}};
    const char *comma = "";
    (void)printf("\"flags\": [");
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (!flags[i].set)
            continue;
        (void)printf("%s\"%s\"", comma, flags[i].name);
        comma = ", ";
    }
    (void)printf("], ");
}

static void put_notes(const struct features_flags *g)
{
    const char *comma = "";
    (void)printf("\"notes\": [");
    for (unsigned i = 0; i < NOTE_COUNT; i++) {
        if ((g->notes >> i & 1) == 0)
            continue;
        (void)printf("%s\"%s\"", comma, note_text((enum note)i)->name);
        comma = ", ";
    }
    (void)printf("], ");
}

static void put_outcome(void)
{
    int status = result.err.status;
    put_string("outcome", status == ERR_OK ? "row" : status == ERR_SKIP ? "dead" : "retry");
    put_string("reason", status == ERR_OK ? result.features.flags.reason : result.err.reason);
    put_string("text", status == ERR_OK ? "" : result.err.text);
    if (status != ERR_OK)
        return;
    const struct features *f = &result.features;
    (void)printf("\"mask\": %u, \"n_frames\": %u, \"coverage\": %.3f, ", f->mask,
                 f->flags.n_frames, (double)f->flags.coverage);
    put_flags(&f->flags);
    put_notes(&f->flags);
}

static void submit(struct pool *pool, const char *path)
{
    struct err err = {0};
    struct pool_job job = {.media_fd = open(path, O_RDONLY | O_CLOEXEC),
                           .text = {.title = "a cat on a piano"}};
    if (job.media_fd < 0)
        give_up(path, strerror(errno));
    if (pool_submit(pool, &job, &err) != ERR_OK)
        give_up("pool_submit", err.text);
    (void)close(job.media_fd);
}

static void wait_idle(struct pool *pool)
{
    while (pool_n_idle(pool) == 0)
        (void)pool_wait(pool, -1, 1000, &result);
}

static void run(struct pool *pool, int leader, const char *path)
{
    struct pool_stats before, after;
    wait_idle(pool);
    pool_stats(pool, &before);
    struct usage first = look(leader), now;
    int64_t peak_kb = 0;
    if (first.worker > 0)
        reset_peak(first.worker);
    submit(pool, path);
    while (!pool_wait(pool, -1, LOOK_MS, &result)) {
        now = look(leader);
        peak_kb = now.peak_kb > peak_kb ? now.peak_kb : peak_kb;
    }
    now = look(leader);
    peak_kb = now.peak_kb > peak_kb ? now.peak_kb : peak_kb;
    pool_stats(pool, &after);
    (void)printf("{");
    put_string("file", path);
    put_outcome();
    (void)printf("\"cpu_ms\": %lld, \"wall_ms\": %lld, \"rss_kb\": %lld, \"lost\": %llu, "
                 "\"deadline\": %llu}\n",
                 (long long)(now.cpu_ms - first.cpu_ms), (long long)(result.wait_us / 1000),
                 (long long)peak_kb,
                 (unsigned long long)(after.n_died + after.n_killed_deadline - before.n_died -
                                      before.n_killed_deadline),
                 (unsigned long long)(after.n_killed_deadline - before.n_killed_deadline));
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    struct pool_options options = {.worker_path = EXTRACT_WORKER,
                                   .n_workers = 1,
                                   .deadline_ms = DEADLINE_MS,
                                   .cpu_seconds = argc > 1 ? strtol(argv[1], NULL, 10) : 20,
                                   .recycle_jobs = 500,
                                   .recycle_rss_bytes = INT64_C(512) << 20,
                                   .address_space_bytes = INT64_C(1) << 30,
                                   .max_media_bytes = INT64_C(1) << 28,
                                   .require_sandbox = true};
    struct pool *pool = NULL;
    struct err err = {0};
    char path[PATH_MAX];
    if (pool_open(&options, &pool, &err) != ERR_OK)
        give_up("pool_open", err.text);
    wait_idle(pool);
    int leader = fixture_leader();
    while (fgets(path, sizeof(path), stdin) != NULL) {
        path[strcspn(path, "\n")] = 0;
        run(pool, leader, path);
    }
    pool_close(pool);
    return 0;
}

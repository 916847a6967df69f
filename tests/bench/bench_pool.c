/* What the sandboxed process costs: the same clips through extractor_run in this process and
 * through a pool of one worker, in alternation, in CPU time (the worker's and this side's), which
 * the machine's other work disturbs least; then starting, replacing and keeping workers.
 *
 * bench_pool [ROUNDS] (default 15). Prints ratios against the in-process baseline of this run. */
#include "bench_worker.h"
#include "config/clock.h"
#include "extract/media/clipmaker.h"
#include "tests/integration/pool_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS_MAX 1000
#define N_STARTS   100

static double now_ms(void)
{
    return (double)clock_mono_us() / 1000.0;
}

static int make_clip(const char *dir, int width, int height, int duration_ms)
{
    struct clipmaker_options o;
    struct err err = {0};
    char path[4096];
    clipmaker_options_init(&o);
    o.width = width;
    o.height = height;
    o.duration_ms = duration_ms;
    snprintf(path, sizeof(path), "%s/%d.mp4", dir, height);
    if (clipmaker_write(path, &o, &err) != ERR_OK)
        bench_stop(path, err.text);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    unlink(path);
    if (fd < 0)
        bench_stop(path, "cannot be opened");
    return fd;
}

static struct pool_result result;

static double until_idle_ms(struct pool *pool, double start)
{
    while (pool_n_idle(pool) == 0)
        (void)pool_wait(pool, -1, 1000, &result);
    return now_ms() - start;
}

static void print_times(const char *what, double *v, int n)
{
    double middle = bench_quantile(v, n, 0.5), high = bench_quantile(v, n, 0.99);
    printf("%-22s median %.2f ms, 99 %% %.2f ms, worst %.2f ms (%d times)\n", what, middle,
           high, v[n - 1], n);
}

static void measure_opening(void)
{
    double v[10];
    for (int i = 0; i < 10; i++) {
        double start = now_ms();
        struct pool *pool = bench_pool_open(2, 0);
        v[i] = now_ms() - start;
        pool_close(pool);
    }
    print_times("open a pool of two", v, 10);
}

/* From a result to the next idle worker, when each worker serves one job. */
static void measure_recycling(void)
{
    static double v[N_STARTS];
    struct pool *pool = bench_pool_open(1, 1);
    for (int i = 0; i < N_STARTS; i++) {
        (void)bench_pool_run(pool, -1);
        v[i] = until_idle_ms(pool, now_ms());
    }
    print_times("recycle a worker", v, N_STARTS);
    pool_close(pool);
}

/* From SIGKILL of an idle worker to its successor's hello. */
static void measure_respawning(void)
{
    static double v[N_STARTS];
    struct pool *pool = bench_pool_open(1, 0);
    int leader = fixture_leader();
    for (int i = 0; i < N_STARTS; i++) {
        int pid = bench_find_worker(leader);
        if (pid < 0)
            bench_stop("respawn", "no worker found");
        (void)bench_pool_run(pool, -1); /* a life with work, so that no backoff applies */
        struct pool_stats before, now;
        pool_stats(pool, &before);
        double start = now_ms();
        if (kill(pid, SIGKILL) != 0)
            bench_stop("respawn", "kill failed");
        for (pool_stats(pool, &now); now.n_spawned == before.n_spawned; pool_stats(pool, &now))
            (void)pool_wait(pool, -1, 1, &result);
        v[i] = until_idle_ms(pool, start);
    }
    print_times("respawn after SIGKILL", v, N_STARTS);
    pool_close(pool);
}

static void print_memory(const char *what, int fd)
{
    struct pool *pool = bench_pool_open(1, 0);
    int leader = fixture_leader();
    double before = (double)fixture_session(leader).rss_bytes;
    for (int i = 0; i < 5; i++)
        (void)bench_pool_run(pool, fd);
    double after = (double)fixture_session(leader).rss_bytes;
    printf("%-22s a worker's resident memory %.1f MB idle, %.1f MB after five clips\n", what,
           before / 1e6, after / 1e6);
    pool_close(pool);
}

int main(int argc, char **argv)
{
    int n_rounds = argc > 1 ? atoi(argv[1]) : 15;
    char dir[] = "/tmp/bench_pool-XXXXXX";
    if (n_rounds < 1 || n_rounds > ROUNDS_MAX || mkdtemp(dir) == NULL)
        bench_stop("ROUNDS", "from 1 to 1000");
    int small = make_clip(dir, 320, 180, 4000), large = make_clip(dir, 1280, 720, 15000);
    rmdir(dir);
    (void)bench_compare_cost("text only", -1, n_rounds);
    (void)bench_compare_cost("320x180, 4 s", small, n_rounds);
    (void)bench_compare_cost("1280x720, 15 s", large, n_rounds);
    measure_opening();
    measure_recycling();
    measure_respawning();
    print_memory("320x180, 4 s", small);
    print_memory("1280x720, 15 s", large);
    close(small);
    close(large);
    return 0;
}

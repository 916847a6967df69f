#include "bench_worker.h"

#include "extract/media/extractor.h"
#include "tests/integration/pool_fixture.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS_MAX 1000

static struct pool_result result;
static struct features features;
static const struct features_text caption = {.title = "Harbour boats at dusk #sea"};

void bench_stop(const char *what, const char *why)
{
    fprintf(stderr, "bench: %s: %s\n", what, why);
    exit(1);
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_quantile(double *v, int n, double q)
{
    qsort(v, (size_t)n, sizeof(*v), compare);
    return v[(int)(q * (n - 1))];
}

static double cpu_ms(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t) != 0)
        bench_stop("clock_gettime", "the worker is gone");
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

struct pool *bench_pool_open(unsigned n_workers, int64_t recycle_jobs)
{
    struct pool_options options = {.worker_path = EXTRACT_WORKER,
                                   .n_workers = n_workers,
                                   .deadline_ms = 60000,
                                   .cpu_seconds = 60,
                                   .recycle_jobs = recycle_jobs,
                                   .address_space_bytes = INT64_C(1) << 30,
                                   .max_media_bytes = INT64_C(1) << 30,
                                   .require_sandbox = true};
    struct pool *pool;
    struct err err = {0};
    if (pool_open(&options, &pool, &err) != ERR_OK)
        bench_stop("pool_open", err.text);
    return pool;
}

static void run_in_process(struct extractor *extractor, int fd)
{
    struct err err = {0};
    if (extractor_run(extractor, fd, &caption, &features, &err) != ERR_OK)
        bench_stop("extractor_run", err.text);
}

const struct pool_result *bench_pool_run(struct pool *pool, int fd)
{
    struct pool_job job = {.media_fd = fd, .text = caption};
    struct err err = {0};
    if (pool_submit(pool, &job, &err) != ERR_OK)
        bench_stop("pool_submit", err.text);
    while (!pool_wait(pool, -1, 60000, &result))
        ;
    if (result.err.status != ERR_OK)
        bench_stop("job", result.err.text);
    return &result;
}

int bench_find_worker(int leader)
{
    DIR *d = opendir("/proc");
    const struct dirent *e;
    int pid = -1;
    while (d != NULL && (e = readdir(d)) != NULL) {
        struct fixture_proc p;
        if (e->d_name[0] >= '0' && e->d_name[0] <= '9' && fixture_read_proc(e->d_name, &p) &&
            p.ppid == leader && p.state != 'Z')
            pid = p.pid;
    }
    if (d != NULL)
        closedir(d);
    return pid;
}

double bench_compare_cost(const char *what, int fd, int n_rounds)
{
    static double in_process[ROUNDS_MAX], in_pool[ROUNDS_MAX];
    struct extractor_options options;
    struct extractor *extractor;
    struct err err = {0};
    struct pool *pool = bench_pool_open(1, 0);
    extractor_options_init(&options);
    if (extractor_new(&options, &extractor, &err) != ERR_OK)
        bench_stop("extractor_new", err.text);
    clockid_t here = CLOCK_PROCESS_CPUTIME_ID, there;
    if (clock_getcpuclockid(bench_find_worker(fixture_leader()), &there) != 0)
        bench_stop("clock_getcpuclockid", "no worker");
    run_in_process(extractor, fd);
    bench_pool_run(pool, fd);
    n_rounds = n_rounds > ROUNDS_MAX ? ROUNDS_MAX : n_rounds;
    for (int i = 0; i < n_rounds; i++) {
        double start = cpu_ms(here);
        run_in_process(extractor, fd);
        in_process[i] = cpu_ms(here) - start;
        start = cpu_ms(here) + cpu_ms(there);
        bench_pool_run(pool, fd);
        in_pool[i] = cpu_ms(here) + cpu_ms(there) - start;
    }
    if (memcmp(features.vec, result.features.vec, sizeof(features.vec)) != 0)
        bench_stop(what, "the worker's vectors differ from this process's");
    double a = bench_quantile(in_process, n_rounds, 0.5);
    double b = bench_quantile(in_pool, n_rounds, 0.5);
    double a0 = bench_quantile(in_process, n_rounds, 0);
    double b0 = bench_quantile(in_pool, n_rounds, 0);
    printf("%-22s in process %8.3f ms, sandboxed worker %8.3f ms, ratio %.3f (of the fastest "
           "%.3f)\n",
           what, a, b, b / a, b0 / a0);
    extractor_free(extractor);
    pool_close(pool);
    return b / a;
}

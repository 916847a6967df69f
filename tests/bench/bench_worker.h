#ifndef MMF_TESTS_BENCH_WORKER_H
#define MMF_TESTS_BENCH_WORKER_H

/* Timing of the sandboxed worker against the same work in this process, for benchmarks: whatever
 * fails ends the program with a sentence. */

#include "extract/pool/pool.h"

#include <stdint.h>

_Noreturn void bench_stop(const char *what, const char *why);
/* Sorts v (n). */
double bench_quantile(double *v, int n, double q);
struct pool *bench_pool_open(unsigned n_workers, int64_t recycle_jobs);
/* One job from end to end; the result is in static storage. fd -1 = text only. */
const struct pool_result *bench_pool_run(struct pool *pool, int fd);
/* The only worker of the newest pool: the zygote's child, -1 = none. */
int bench_find_worker(int leader);
/* CPU time of the same clip in this process and by a pool of one worker (the worker's and this
 * side's), in alternation; prints medians and their ratio. Returns the ratio. */
double bench_compare_cost(const char *what, int fd, int n_rounds);

#endif

#ifndef MMF_TESTS_HOSTILE_POOL_H
#define MMF_TESTS_HOSTILE_POOL_H

/* A pool of two hostile workers (hostile_worker.c) and how the tests drive it. Included by a test
 * after cmocka.h. */

#include "config/clock.h"
#include "extract/pool/pool.h"
#include "pool_fixture.h"

#include <string.h>

#define DEADLINE_MS 400
#ifdef MMF_SANITIZE_BUILD
#define RESPAWN_MS 1000 /* forking terabytes of shadow takes its time */
#else
#define RESPAWN_MS 100
#endif

static struct pool_result result; /* too large for the stack's taste */

static inline struct pool_options default_options(void)
{
    return (struct pool_options){.worker_path = HOSTILE_WORKER,
                                 .n_workers = 2,
                                 .deadline_ms = DEADLINE_MS,
                                 .cpu_seconds = 5,
                                 .recycle_jobs = 1000000,
                                 .recycle_rss_bytes = INT64_C(1) << 32,
                                 .address_space_bytes = INT64_C(256) << 20,
                                 .max_media_bytes = 1 << 20,
                                 .require_sandbox = true};
}

static inline struct pool *open_pool(const struct pool_options *options)
{
    struct pool *pool = NULL;
    struct err err = {0};
    int status = pool_open(options, &pool, &err);
    if (status != ERR_OK)
        fail_msg("pool_open: %s", err.text);
    return pool;
}

static inline int open_default(void **state)
{
    struct pool_options options = default_options();
    *state = open_pool(&options);
    return 0;
}

static inline int close_default(void **state)
{
    pool_close(*state);
    return 0;
}

static inline void submit(struct pool *pool, uint64_t id, const char *title, int media_fd)
{
    struct pool_job job = {.id = id, .media_fd = media_fd, .text = {.title = title}};
    struct err err = {0};
    int status = pool_submit(pool, &job, &err);
    if (status != ERR_OK)
        fail_msg("pool_submit: %s", err.text);
}

/* pool_wait also returns when a worker has come up. */
static inline void await_result(struct pool *pool)
{
    int64_t start_us = clock_mono_us();
    bool came = false;
    while (!came && clock_mono_us() - start_us < 120000000)
        came = pool_wait(pool, -1, 1000, &result);
    assert_true(came);
    assert_int_equal(result.id, 7);
}

static inline void run(struct pool *pool, const char *title)
{
    submit(pool, 7, title, -1);
    await_result(pool);
}

/* Milliseconds until both workers are idle again. */
static inline int64_t time_recovery(struct pool *pool)
{
    int64_t start_us = clock_mono_us();
    while (pool_n_idle(pool) < 2 && clock_mono_us() - start_us < 10000000)
        assert_false(pool_wait(pool, -1, 1, &result));
    return (clock_mono_us() - start_us) / 1000;
}

static inline void assert_good(void)
{
    if (result.err.status != ERR_OK)
        fail_msg("%s: %s", result.err.reason, result.err.text);
    assert_int_equal(result.features.mask, MODALITY_BIT(MODALITY_TEXTUAL));
    assert_true(result.features.vec[MODALITY_TEXTUAL][0] == 1.0f);
    assert_int_equal(result.features.flags.n_decode_errors, 0); /* escaped nowhere */
}

#endif

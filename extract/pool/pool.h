#ifndef MMF_EXTRACT_POOL_POOL_H
#define MMF_EXTRACT_POOL_POOL_H

/* The pool of sandboxed workers, seen from the daemon. pool_open executes metammf-extract, which
 * announces its encoders and forks n_workers processes; each has one SOCK_SEQPACKET pair and a pidfd and takes one job at a
 * time. The media arrives in the worker as an O_RDONLY descriptor (SCM_RIGHTS); only features
 * return, and every reply is validated (sizes, ranges, finite floats). Deadline, then SIGKILL by
 * pidfd; the worker is replaced with backoff, and after recycle_jobs items or recycle_rss_bytes.
 * A job whose worker dies is tried once more on a fresh one, then without its media, so that its
 * text becomes a row; a job without text fails with ERR_SKIP.
 *
 * Thread: one, the caller's: submit and wait are called from the same thread. Open the pool
 * before any thread of librdkafka starts, and from a thread that outlives it: the workers die
 * with that thread. */

#include "config/err.h"
#include "extract/wire/features.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool;

struct pool_options {
    const char *worker_path; /* metammf-extract */
    unsigned n_workers;      /* 0 = one a core */
    int64_t deadline_ms, cpu_seconds;
    int64_t recycle_jobs, recycle_rss_bytes, address_space_bytes, max_media_bytes;
    int64_t packets_max, packet_bytes_max; /* of one clip; 0 = media_options_init's */
    bool require_sandbox;
    /* metammf-extract is ready by then, its workers in twice that; 0 = 10,000 */
    int64_t start_ms;
    /* Called about twice a second while pool_open or pool_wait waits for metammf-extract itself,
     * which may last start_ms: a caller that is watched says then that it is alive. NULL = none. */
    void (*waiting)(void);
    const char
        *encoder[MODALITY_COUNT]; /* names of metammf-extract --encoder; NULL = built in */
};

struct pool_job {
    uint64_t id;        /* the caller's, returned in the result */
    int media_fd;       /* O_RDONLY, stays the caller's; -1 = text only */
    const char *sha256; /* 64 hexadecimal digits that the media must have; NULL = any */
    struct features_text text;
};

struct pool_result {
    uint64_t id;
    struct err err;           /* ERR_OK; ERR_SKIP with reason (docs/extraction.md); ERR_RETRY */
    struct features features; /* when ERR_OK */
    /* ERR_SKIP when nothing came of the media and the features are of the text alone: why, as it
     * would be for an item without text. flags.reason is its word; one that begins with worker_ is
     * the pool's own, for a media that cost its workers. */
    struct err media_err;
    int64_t wait_us; /* from submit to reply, as the daemon sees it */
};

struct pool_stats {
    unsigned n_workers, n_busy;
    uint64_t n_jobs, n_spawned, n_recycled;
    uint64_t n_killed_deadline, n_died; /* by our SIGKILL; by themselves */
    int64_t oldest_busy_us;             /* how long the busiest job runs, 0 = none */
    bool sandboxed;                     /* seccomp is in force in every worker */
    uint32_t landlock_abi; /* Landlock's version in every worker, 0 = the kernel has none */
};

/* About 58 ms for two workers, nearly all of it dynamic linking (docs/measured/sandbox.md). */
int pool_open(const struct pool_options *options, struct pool **ret_pool, struct err *err);
/* ERR_RETRY when no worker is idle. The job's strings are copied into the message. */
int pool_submit(struct pool *pool, const struct pool_job *job, struct err *err);
unsigned pool_n_idle(const struct pool *pool);
/* Another number of workers, 0 = one a core. New ones start, those too many finish the job that they have, as
 * pool_wait goes on. ERR_RETRY without memory: the number stays. */
int pool_resize(struct pool *pool, unsigned n_workers, struct err *err);
/* How many there will be when that is done. */
unsigned pool_n_wanted(const struct pool *pool);
/* Waits at most timeout_ms for one result, also for `wake_fd` (-1 = none) to become readable.
 * True with *ret_result filled; false when nothing came in time, wake_fd is readable, or a
 * replaced worker has come up and can take a job. Deaths, respawns and deadlines are served here
 * only: be in it whenever a job runs. */
bool pool_wait(struct pool *pool, int wake_fd, int timeout_ms, struct pool_result *ret_result);
/* Whether there is no worker although some were tried to start. *ret_why is the last one's fault:
 * ERR_RETRY, it is tried again; ERR_FATAL with EX_TEMPFAIL, none can be had any more, because
 * metammf-extract came back with other encoders. */
bool pool_is_down(const struct pool *pool, struct err *ret_why);
void pool_stats(const struct pool *pool, struct pool_stats *ret_stats);
/* (MODALITY_COUNT) by modality: the encoders of every worker, as long as the pool lives. This is
 * where the rest of the program learns what a vector is called and how long it is. */
const struct encoder_identity *pool_encoders(const struct pool *pool);
/* Kills what still runs. Takes NULL. */
void pool_close(struct pool *pool);

#endif

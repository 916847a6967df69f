/* The pool's loop over its slots (slot.h): poll, serve, hand out one result. pool_wait is where
 * everything happens (deaths, respawns, deadlines), so the caller has to be in it whenever a
 * job runs; an idle pool may be left alone. */
#include "extract/pool/pool.h"

#include "config/clock.h"
#include "extract/pool/slot.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define WORKERS_MAX 256
#define START_MS    10000 /* dynamic linking and warm-up take 60 ms */
#define DOWN_STARTS 3     /* that failed in a row: no passing mishap */

struct pool {
    struct slot_context context;
    char *worker_path;
    char *argv[2 + MODALITY_COUNT + 1]; /* of the process; NULL at the end */
    unsigned n_slots;                   /* that slot_init has made */
    unsigned n_wanted;                  /* the others, at the end, are leaving */
    struct slot *slots;                 /* (n_slots) */
    struct pollfd *polls;               /* (n_slots + 1), the last is wake_fd */
    unsigned next; /* where the search for a finished or idle slot begins */
};

static unsigned n_workers_of(unsigned n_asked)
{
    long n = n_asked > 0 ? (long)n_asked : sysconf(_SC_NPROCESSORS_ONLN);
    if (n < 1)
        return 1;
    return n < WORKERS_MAX ? (unsigned)n : WORKERS_MAX;
}

static int check_options(const struct pool_options *o, struct err *err)
{
    if (o->worker_path == NULL || o->worker_path[0] == 0)
        return err_fatal(err, EX_CONFIG,
                         "worker pool: no executable; set extract.worker_path to "
                         "metammf-extract");
    if (o->deadline_ms < 1 || o->cpu_seconds < 1 || o->address_space_bytes < 1)
        return err_fatal(err, EX_CONFIG,
                         "worker pool: deadline_ms, cpu_seconds and address_space_bytes must "
                         "be positive");
    return ERR_OK;
}

/* metammf-extract --pool --encoder=visual=NAME …, for the encoders that have a name. */
static int make_arguments(struct pool *p, const struct pool_options *o, struct err *err)
{
    size_t n = 0;
    bool made = (p->argv[n++] = strdup("metammf-extract")) != NULL &&
                (p->argv[n++] = strdup("--pool")) != NULL;
    for (int m = 0; made && m < MODALITY_COUNT; m++) {
        if (o->encoder[m] == NULL)
            continue;
        made = asprintf(&p->argv[n], "--encoder=%s=%s", modality_name((enum modality)m),
                        o->encoder[m]) >= 0;
        if (!made)
            p->argv[n] = NULL;
        n++;
    }
    return made ? ERR_OK : err_oom(err, "worker pool");
}

/* Room for n slots, all that are new made. */
static int make_slots(struct pool *p, unsigned n, struct err *err)
{
    struct slot *slots = realloc(p->slots, n * sizeof(*slots));
    if (slots != NULL)
        p->slots = slots;
    struct pollfd *polls = slots ? realloc(p->polls, (n + 1) * sizeof(*polls)) : NULL;
    if (polls == NULL)
        return err_oom(err, "worker pool");
    p->polls = polls;
    int status = ERR_OK;
    for (; status == ERR_OK && p->n_slots < n; p->n_slots += status == ERR_OK)
        status = slot_init(&p->slots[p->n_slots], err);
    return status;
}

static int allocate(struct pool *p, const struct pool_options *o, struct err *err)
{
    struct slot_context *c = &p->context;
    p->n_wanted = n_workers_of(o->n_workers);
    p->worker_path = strdup(o->worker_path);
    c->message = malloc(PROTOCOL_REPLY_BYTES_MAX);
    if (p->worker_path == NULL || c->message == NULL)
        return err_oom(err, "worker pool");
    int status = make_arguments(p, o, err);
    return status == ERR_OK ? make_slots(p, p->n_wanted, err) : status;
}

static void prepare(struct pool *p, const struct pool_options *o)
{
    struct slot_context *c = &p->context;
    struct protocol_control config = {.address_space_bytes = o->address_space_bytes,
                                      .cpu_seconds = o->cpu_seconds,
                                      .max_media_bytes = o->max_media_bytes,
                                      .packets_max = o->packets_max,
                                      .packet_bytes_max = o->packet_bytes_max,
                                      .require_sandbox = o->require_sandbox};
    c->options = *o;
    c->options.worker_path = p->worker_path;
    c->next_seq = 1;
    nursery_init(&c->nursery, p->worker_path, p->argv, o->start_ms > 0 ? o->start_ms : START_MS,
                 o->waiting, &config);
}

/* Milliseconds until the next slot is due, at most until `end_us`; rounded up. */
static int timeout_ms_of(const struct pool *p, int64_t now_us, int64_t end_us)
{
    int64_t due_us = end_us;
    for (unsigned i = 0; i < p->n_slots; i++) {
        int64_t us = slot_due_us(&p->slots[i]);
        if (us < due_us)
            due_us = us;
    }
    if (due_us <= now_us)
        return 0;
    int64_t ms = (due_us - now_us + 999) / 1000;
    return ms < 60000 ? (int)ms : 60000;
}

/* Slots go from the end, once their workers have ended. */
static void let_go(struct pool *p)
{
    int64_t now_us = clock_mono_us();
    for (unsigned i = p->n_wanted; i < p->n_slots; i++)
        (void)slot_leave(&p->slots[i], &p->context, now_us);
    while (p->n_slots > p->n_wanted &&
           slot_leave(&p->slots[p->n_slots - 1], &p->context, now_us)) {
        p->n_slots--;
        slot_done(&p->slots[p->n_slots], &p->context);
    }
}

int pool_resize(struct pool *pool, unsigned n_workers, struct err *err)
{
    unsigned n = n_workers_of(n_workers);
    if (n > pool->n_slots) {
        unsigned n_before = pool->n_slots;
        int status = make_slots(pool, n, err);
        if (status != ERR_OK) {
            while (pool->n_slots > n_before)
                slot_done(&pool->slots[--pool->n_slots], &pool->context);
            return status;
        }
    }
    pool->n_wanted = n;
    for (unsigned i = 0; i < pool->n_slots; i++)
        pool->slots[i].is_leaving = i >= n;
    return ERR_OK;
}

unsigned pool_n_wanted(const struct pool *pool)
{
    return pool->n_wanted;
}

/* One round: waits at most until end_us for something to do, and does it. True when wake_fd is
 * readable or a worker came up. */
static bool turn(struct pool *p, int wake_fd, int64_t end_us)
{
    if (p->n_slots > p->n_wanted)
        let_go(p);
    for (unsigned i = 0; i < p->n_slots; i++)
        p->polls[i] = slot_events(&p->slots[i]);
    p->polls[p->n_slots] = (struct pollfd){.fd = wake_fd, .events = POLLIN};
    int timeout_ms = timeout_ms_of(p, clock_mono_us(), end_us);
    int n = poll(p->polls, p->n_slots + 1, timeout_ms);
    int64_t now_us = clock_mono_us();
    bool came_up = false;
    for (unsigned i = 0; i < p->n_slots; i++) {
        struct slot *s = &p->slots[i];
        bool starting = s->state == SLOT_STARTING;
        slot_tick(s, &p->context, n > 0 ? p->polls[i].revents : 0, now_us);
        came_up = came_up || (starting && s->state == SLOT_IDLE && !s->job.held);
    }
    return came_up || (n > 0 && p->polls[p->n_slots].revents != 0);
}

/* Runs the loop until every worker has said hello. */
static int await_hellos(struct pool *p, struct err *err)
{
    int64_t end_us = clock_mono_us() + 2 * p->context.nursery.start_ms * 1000;
    for (;;) {
        unsigned n_ready = 0;
        for (unsigned i = 0; i < p->n_slots; i++) {
            const struct slot *s = &p->slots[i];
            n_ready += s->state == SLOT_IDLE;
            if (s->err.status == ERR_FATAL || (s->err.status != ERR_OK && s->n_failures >= 3))
                return err_fatal(err, s->err.exit_code == EX_OSERR ? EX_OSERR : EX_CONFIG,
                                 "worker pool: %s: %s", p->worker_path, s->err.text);
        }
        if (n_ready == p->n_slots)
            return ERR_OK;
        if (clock_mono_us() >= end_us)
            return err_fatal(err, EX_OSERR, "worker pool: %s: only %u of %u workers came up",
                             p->worker_path, n_ready, p->n_slots);
        turn(p, -1, end_us);
    }
}

int pool_open(const struct pool_options *options, struct pool **ret_pool, struct err *err)
{
    int status = check_options(options, err);
    if (status != ERR_OK)
        return status;
    struct pool *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return err_oom(err, "worker pool");
    p->context.nursery.sock = p->context.nursery.pidfd = -1;
    status = allocate(p, options, err);
    if (status == ERR_OK) {
        prepare(p, options);
        status = nursery_start(&p->context.nursery, err);
    }
    if (status == ERR_OK)
        status = await_hellos(p, err);
    if (status != ERR_OK) {
        pool_close(p);
        return status;
    }
    *ret_pool = p;
    return ERR_OK;
}

static bool is_idle(const struct slot *s)
{
    return s->state == SLOT_IDLE && !s->job.held && !s->is_leaving;
}

/* Slots take turns, so that none is worn out and no result waits for ever. */
static struct slot *find(struct pool *p, bool (*fits)(const struct slot *s))
{
    for (unsigned i = 0; i < p->n_slots; i++) {
        unsigned k = (p->next + i) % p->n_slots;
        if (!fits(&p->slots[k]))
            continue;
        p->next = k + 1;
        return &p->slots[k];
    }
    return NULL;
}

int pool_submit(struct pool *pool, const struct pool_job *job, struct err *err)
{
    struct slot *s = find(pool, is_idle);
    if (s == NULL)
        return err_retry(err, EX_TEMPFAIL, "worker pool: no worker is idle; wait for a result");
    return slot_submit(s, &pool->context, job, err);
}

unsigned pool_n_idle(const struct pool *pool)
{
    unsigned n = 0;
    for (unsigned i = 0; i < pool->n_slots; i++)
        n += is_idle(&pool->slots[i]);
    return n;
}

static bool is_finished(const struct slot *s)
{
    return s->job.finished;
}

bool pool_wait(struct pool *pool, int wake_fd, int timeout_ms, struct pool_result *ret_result)
{
    int64_t end_us = clock_mono_us() + (int64_t)timeout_ms * 1000;
    for (;;) {
        bool woken = turn(pool, wake_fd, find(pool, is_finished) != NULL ? 0 : end_us);
        struct slot *s = find(pool, is_finished);
        if (s != NULL) {
            slot_take(s, ret_result);
            return true;
        }
        if (woken || clock_mono_us() >= end_us)
            return false;
    }
}

bool pool_is_down(const struct pool *pool, struct err *ret_why)
{
    bool down = pool->context.n_failed_starts >= DOWN_STARTS || pool->context.nursery.changed;
    for (unsigned i = 0; i < pool->n_slots; i++)
        down = down && pool->slots[i].state != SLOT_IDLE && pool->slots[i].state != SLOT_BUSY;
    if (down) {
        *ret_why = pool->context.start_err;
        ret_why->status = ERR_RETRY; /* a worker's refusal may pass, too */
        if (pool->context.nursery.changed) {
            ret_why->status = ERR_FATAL;
            ret_why->exit_code = EX_TEMPFAIL;
        }
    }
    return down;
}

void pool_stats(const struct pool *pool, struct pool_stats *ret_stats)
{
    struct pool_stats stats = pool->context.counters;
    int64_t now_us = clock_mono_us();
    stats.sandboxed = true;
    for (unsigned i = 0; i < pool->n_slots; i++) {
        const struct slot *s = &pool->slots[i];
        bool up = s->state == SLOT_IDLE || s->state == SLOT_BUSY;
        stats.n_workers += up;
        stats.n_busy += s->job.held && !s->job.finished;
        if (up && !s->sandboxed)
            stats.sandboxed = false;
        if (up && (stats.n_workers == 1 || s->landlock_abi < stats.landlock_abi))
            stats.landlock_abi = s->landlock_abi;
        if (s->state == SLOT_BUSY && now_us - s->busy_since_us > stats.oldest_busy_us)
            stats.oldest_busy_us = now_us - s->busy_since_us;
    }
    *ret_stats = stats;
}

const struct encoder_identity *pool_encoders(const struct pool *pool)
{
    return pool->context.nursery.encoders;
}

void pool_close(struct pool *pool)
{
    if (pool == NULL)
        return;
    for (unsigned i = 0; i < pool->n_slots; i++)
        slot_kill(&pool->slots[i]);
    for (unsigned i = 0; i < pool->n_slots; i++)
        slot_done(&pool->slots[i], &pool->context);
    if (pool->context.nursery.pid > 0)
        nursery_stop(&pool->context.nursery);
    free(pool->context.message);
    free(pool->polls);
    free(pool->slots);
    free(pool->worker_path);
    for (size_t i = 0; pool->argv[i] != NULL; i++)
        free(pool->argv[i]);
    free(pool);
}

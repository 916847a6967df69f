#ifndef MMF_DAEMON_REFRESH_INTERNAL_H
#define MMF_DAEMON_REFRESH_INTERNAL_H

/* Between refresh.c (what others see), thread.c (the loop) and pass.c (one pass). */

#include "daemon/refresh/neighbours.h"
#include "daemon/refresh/refresh.h"
#include "daemon/refresh/world.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    REFRESH_WINDOW = 4096,  /* touches that a pass looks at */
    REFRESH_BATCH = 512,    /* nodes of a pass, at most */
    REFRESH_SPREAD = 16384, /* nodes around them that wait, at most */
};

struct wanted {
    int64_t node;
    bool changed; /* an item that was written, not only touched */
};

struct pass {
    struct wanted nodes[REFRESH_BATCH];
    size_t n, room;
    bool spreads; /* what was touched, not its neighbours */
    int64_t done_n, snapshot_n;
    int64_t names[REFRESH_BATCH]; /* of `vec`, and so the following */
    uint32_t degree[REFRESH_BATCH];
    float *vec; /* (REFRESH_BATCH, D) */
    size_t n_vec;
    int64_t gone[REFRESH_BATCH]; /* without edges and without a vector */
    size_t n_gone;
    struct refresh_neighbours neighbours; /* of its items */
    struct store_recomputed_result result;
};

struct refresh {
    struct refresh_options o;
    _Atomic(const struct settings *) settings;
    pthread_t thread;
    atomic_bool stopping;
    pthread_mutex_t lock;
    pthread_cond_t wake, idle; /* on the monotonic clock */
    bool woken, at_rest;
    struct refresh_status status;
    double oldest_ms;

    struct store *reader;        /* the thread's own, and so the following */
    struct active_model known;   /* ids only */
    struct refresh_world *world; /* NULL until the first turn */
    bool rebased, told;
    struct refresh_status sums; /* what status shows after a turn */
    int64_t next_us;            /* the earliest time of the next pass */
    struct pass pass;
    struct store_touch window[REFRESH_WINDOW];
    int64_t spread[REFRESH_SPREAD]; /* a ring of names */
    size_t spread_first, n_spread;
};

static inline const struct settings *refresh_settings(struct refresh *r)
{
    return atomic_load(&r->settings);
}

/* Until r->stopping: thread.c. */
void *refresh_thread(void *arg);
/* One pass with the world that there is: reads, computes, hands over. r->pass.n is 0 when nothing
 * was to be done. */
int refresh_run_pass(struct refresh *r, struct err *err);

#endif

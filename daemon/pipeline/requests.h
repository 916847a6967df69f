#ifndef MMF_DAEMON_PIPELINE_REQUESTS_H
#define MMF_DAEMON_PIPELINE_REQUESTS_H

/* Work that other threads have for the one thread that owns the writing store (store_work): a list
 * on their callers' stacks. Callers block until theirs has run. */

#include "config/err.h"
#include "store/writing.h"

#include <pthread.h>
#include <stdbool.h>

struct request;

struct requests {
    pthread_mutex_t lock;
    pthread_cond_t answered;
    struct request *first, **last;
    bool stopped;
    pthread_t owner; /* since the first requests_run */
    bool is_owned;
    int fd; /* wake.h: readable while there may be a request or after requests_wake */
};

int requests_init(struct requests *r, struct err *err);
void requests_done(struct requests *r);

/* For any thread but the owner's. ERR_FATAL after requests_stop. */
struct store_writer requests_writer(struct requests *r);
/* The owner's: runs what there is; true when there was something. */
bool requests_run(struct requests *r, struct store *st);
/* The owner's, at its end: what waits and what comes later fails. */
void requests_stop(struct requests *r);
/* Any thread: makes the owner look up. */
void requests_wake(struct requests *r);

#endif

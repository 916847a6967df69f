#ifndef MMF_DAEMON_PIPELINE_REQUESTS_H
#define MMF_DAEMON_PIPELINE_REQUESTS_H

/* Writes that other threads want from the one thread that owns the store: a list of closures on
 * their callers' stacks. Callers block until theirs has run. */

#include "config/err.h"
#include "store/store.h"

#include <pthread.h>
#include <stdbool.h>

/* A closure: runs on the owner's thread. */
typedef int request_fn(struct store *st, void *arg, struct err *err);

struct request;

struct requests {
    pthread_mutex_t lock;
    pthread_cond_t answered;
    struct request *first, **last;
    bool stopped;
    int fd; /* eventfd, readable while there may be a request or after requests_wake */
};

int requests_init(struct requests *r, struct err *err);
void requests_done(struct requests *r);

/* Any thread but the owner's. Returns what fn returned; ERR_FATAL after requests_stop. */
int requests_call(struct requests *r, request_fn *fn, void *arg, struct err *err);
/* The owner's: runs what there is; true when there was something. */
bool requests_run(struct requests *r, struct store *st);
/* The owner's, at its end: what waits and what comes later fails. */
void requests_stop(struct requests *r);
/* Any thread: makes the owner look up. */
void requests_wake(struct requests *r);

#endif

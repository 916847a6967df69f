/* fetch.h. What the threads share is freed by whoever lets go of it last: the owner, by
 * fetch_close, or a thread that it left behind. */
#include "daemon/media/fetch.h"

#include "config/wake.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

struct request {
    struct request *next;
    struct fetch_result result;
    struct media_roots roots; /* its own, behind the struct, as uri */
    const char *uri;
    const char *paths[]; /* (roots.n) */
};

struct list {
    struct request *head, *tail;
};

struct fetch {
    pthread_mutex_t lock;
    pthread_cond_t submitted, ended; /* a request came; the last thread goes */
    struct list todo, done;
    unsigned n_threads; /* that run */
    bool closed;        /* the owner has let go, or is about to */
    bool abandoned;     /* it has: the last thread frees this */
    int fd;             /* wake.h; gone once `closed` */
    unsigned n_out;     /* submitted and not taken; the owner's */
};

/* ---- requests ------------------------------------------------------------------------------ */

static void push(struct list *list, struct request *r)
{
    r->next = NULL;
    if (list->tail)
        list->tail->next = r;
    else
        list->head = r;
    list->tail = r;
}

static struct request *pop(struct list *list)
{
    struct request *r = list->head;
    if (r) {
        list->head = r->next;
        if (!list->head)
            list->tail = NULL;
    }
    return r;
}

static void request_free(struct request *r)
{
    if (r->result.fd >= 0)
        close(r->result.fd);
    free(r);
}

static void list_free(struct list *list)
{
    struct request *r;
    while ((r = pop(list)))
        request_free(r);
}

/* Copies s to *at, and moves it behind. NULL stays NULL. */
static const char *pack(char **at, const char *s)
{
    if (!s)
        return NULL;
    size_t bytes = strlen(s) + 1;
    char *copy = memcpy(*at, s, bytes);
    *at += bytes;
    return copy;
}

static size_t text_bytes(const char *s)
{
    return s ? strlen(s) + 1 : 0;
}

/* In one piece; NULL without memory. */
static struct request *request_new(uint64_t id, const struct media_roots *roots,
                                   const char *uri)
{
    size_t bytes = text_bytes(uri) + text_bytes(roots->relative);
    for (size_t i = 0; i < roots->n; i++)
        bytes += text_bytes(roots->paths[i]);
    struct request *r = malloc(sizeof(*r) + roots->n * sizeof(r->paths[0]) + bytes);
    if (!r)
        return NULL;
    char *at = (char *)&r->paths[roots->n];
    r->result = (struct fetch_result){.id = id, .fd = -1};
    for (size_t i = 0; i < roots->n; i++)
        r->paths[i] = pack(&at, roots->paths[i]);
    r->roots = *roots;
    r->roots.paths = r->paths;
    r->roots.relative = pack(&at, roots->relative);
    r->uri = pack(&at, uri);
    return r;
}

/* ---- the threads --------------------------------------------------------------------------- */

static void fetch_free(struct fetch *f)
{
    list_free(&f->todo);
    list_free(&f->done);
    pthread_cond_destroy(&f->submitted);
    pthread_cond_destroy(&f->ended);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

/* With the lock held. NULL = closed. */
static struct request *wait_request(struct fetch *f)
{
    while (!f->closed && !f->todo.head)
        pthread_cond_wait(&f->submitted, &f->lock);
    return f->closed ? NULL : pop(&f->todo);
}

static void *fetch_main(void *arg)
{
    struct fetch *f = arg;
    struct request *r;
    pthread_mutex_lock(&f->lock);
    while ((r = wait_request(f))) {
        pthread_mutex_unlock(&f->lock);
        struct fetch_result *x = &r->result;
        x->err.status = media_open(&r->roots, r->uri, &x->fd, &x->err);
        pthread_mutex_lock(&f->lock);
        if (f->closed) {
            request_free(r);
            break;
        }
        push(&f->done, r);
        wake_set(f->fd);
    }
    f->n_threads--;
    bool last = f->n_threads == 0;
    bool frees = last && f->abandoned;
    if (last)
        pthread_cond_signal(&f->ended);
    pthread_mutex_unlock(&f->lock);
    if (frees)
        fetch_free(f);
    return NULL;
}

/* Detached, because one that hangs cannot be joined; no signal is theirs, for an open that a signal
 * interrupts would have to be tried again. 0 or an errno. */
static int start_threads(struct fetch *f)
{
    sigset_t all, before;
    pthread_attr_t detached;
    int code = pthread_attr_init(&detached);
    if (code)
        return code;
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_mutex_lock(&f->lock);
    while (code == 0 && f->n_threads < FETCH_THREADS) {
        pthread_t thread;
        code = pthread_create(&thread, &detached, fetch_main, f);
        f->n_threads += code == 0;
    }
    pthread_mutex_unlock(&f->lock);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&detached);
    return code;
}

/* ---- the owner's side ---------------------------------------------------------------------- */

int fetch_open(struct fetch **ret_f, struct err *err)
{
    struct fetch *f = calloc(1, sizeof(*f));
    if (!f)
        return err_oom(err, "fetching");
    int status = wake_open("fetching", &f->fd, err);
    if (status != ERR_OK) {
        free(f);
        return status;
    }
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->submitted, NULL);
    pthread_cond_init(&f->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int code = start_threads(f);
    if (code) {
        fetch_close(f);
        return err_retry(err, EX_OSERR, "fetching: start a thread: %s", strerror(code));
    }
    *ret_f = f;
    return ERR_OK;
}

unsigned fetch_n_idle(const struct fetch *f)
{
    return FETCH_THREADS - f->n_out;
}

int fetch_submit(struct fetch *f, uint64_t id, const struct media_roots *roots, const char *uri,
                 struct err *err)
{
    assert(fetch_n_idle(f) > 0);
    struct request *r = request_new(id, roots, uri);
    if (!r)
        return err_oom(err, "fetching");
    f->n_out++;
    pthread_mutex_lock(&f->lock);
    push(&f->todo, r);
    pthread_cond_signal(&f->submitted);
    pthread_mutex_unlock(&f->lock);
    return ERR_OK;
}

int fetch_fd(const struct fetch *f)
{
    return f->fd;
}

bool fetch_take(struct fetch *f, struct fetch_result *ret_result)
{
    pthread_mutex_lock(&f->lock);
    struct request *r = pop(&f->done);
    if (!f->done.head)
        wake_clear(f->fd);
    pthread_mutex_unlock(&f->lock);
    if (!r)
        return false;
    *ret_result = r->result;
    free(r);
    f->n_out--;
    return true;
}

/* With the lock held. */
static void wait_threads(struct fetch *f)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += FETCH_CLOSE_MS / 1000;
    until.tv_nsec += FETCH_CLOSE_MS % 1000 * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    while (f->n_threads > 0 && pthread_cond_timedwait(&f->ended, &f->lock, &until) == 0)
        ;
}

unsigned fetch_close(struct fetch *f)
{
    if (!f)
        return 0;
    pthread_mutex_lock(&f->lock);
    f->closed = true;
    pthread_cond_broadcast(&f->submitted);
    close(f->fd);
    wait_threads(f);
    unsigned n_left = f->n_threads;
    f->abandoned = n_left > 0;
    pthread_mutex_unlock(&f->lock);
    if (n_left == 0)
        fetch_free(f);
    return n_left;
}

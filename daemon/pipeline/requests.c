#include "daemon/pipeline/requests.h"

#include "config/wake.h"

#include <assert.h>
#include <sysexits.h>
#include <unistd.h>

struct request {
    store_work_fn *work;
    void *arg;
    struct err *err;
    int status;
    bool answered;
    struct request *next;
};

int requests_init(struct requests *r, struct err *err)
{
    *r = (struct requests){.fd = -1};
    int status = wake_open("requests", &r->fd, err);
    if (status != ERR_OK)
        return status;
    r->last = &r->first;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->answered, NULL);
    return ERR_OK;
}

void requests_done(struct requests *r)
{
    close(r->fd);
    pthread_cond_destroy(&r->answered);
    pthread_mutex_destroy(&r->lock);
}

void requests_wake(struct requests *r)
{
    wake_set(r->fd);
}

static int refuse(struct err *err)
{
    return err_fatal(err, EX_TEMPFAIL, "store: its writer has stopped");
}

static int run(void *ctx, store_work_fn *work, void *arg, struct err *err)
{
    struct requests *r = ctx;
    struct request request = {.work = work, .arg = arg, .err = err};
    pthread_mutex_lock(&r->lock);
    assert(!r->is_owned ||
           !pthread_equal(r->owner, pthread_self())); /* would wait for itself */
    if (r->stopped) {
        pthread_mutex_unlock(&r->lock);
        return refuse(err);
    }
    *r->last = &request;
    r->last = &request.next;
    requests_wake(r);
    while (!request.answered)
        pthread_cond_wait(&r->answered, &r->lock);
    pthread_mutex_unlock(&r->lock);
    return request.status;
}

struct store_writer requests_writer(struct requests *r)
{
    return (struct store_writer){run, r};
}

static struct request *take_all(struct requests *r)
{
    wake_clear(r->fd);
    pthread_mutex_lock(&r->lock);
    r->owner = pthread_self();
    r->is_owned = true;
    struct request *first = r->first;
    r->first = NULL;
    r->last = &r->first;
    pthread_mutex_unlock(&r->lock);
    return first;
}

/* The request is its caller's again, and gone, once it is answered. */
static void answer(struct requests *r, struct request *request, int status)
{
    pthread_mutex_lock(&r->lock);
    request->status = status;
    request->answered = true;
    pthread_cond_broadcast(&r->answered);
    pthread_mutex_unlock(&r->lock);
}

bool requests_run(struct requests *r, struct store *st)
{
    struct request *request = take_all(r), *next;
    bool any = request != NULL;
    for (; request; request = next) {
        next = request->next;
        answer(r, request, request->work(st, request->arg, request->err));
    }
    return any;
}

void requests_stop(struct requests *r)
{
    pthread_mutex_lock(&r->lock);
    r->stopped = true;
    pthread_mutex_unlock(&r->lock);
    struct request *next;
    for (struct request *request = take_all(r); request; request = next) {
        next = request->next;
        answer(r, request, refuse(request->err));
    }
}

#include "daemon/event/ticket.h"

#include "config/text.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ticket {
    pthread_mutex_t lock;
    size_t n_refs;
    struct ticket_result result;
};

struct ticket *ticket_new(void)
{
    struct ticket *t = calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    pthread_mutex_init(&t->lock, NULL);
    t->n_refs = 1;
    return t;
}

struct ticket *ticket_hold(struct ticket *t)
{
    pthread_mutex_lock(&t->lock);
    t->n_refs++;
    pthread_mutex_unlock(&t->lock);
    return t;
}

void ticket_release(struct ticket *t)
{
    size_t left;

    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    left = --t->n_refs;
    pthread_mutex_unlock(&t->lock);
    if (left > 0)
        return;
    pthread_mutex_destroy(&t->lock);
    free(t);
}

size_t ticket_n_items(struct ticket *t)
{
    size_t n;

    pthread_mutex_lock(&t->lock);
    n = t->n_refs - 1;
    pthread_mutex_unlock(&t->lock);
    return n;
}

void ticket_done(struct ticket *t, bool kept)
{
    pthread_mutex_lock(&t->lock);
    t->result.n_done++;
    t->result.n_kept += kept;
    pthread_mutex_unlock(&t->lock);
}

void ticket_failed(struct ticket *t, const char *item_id, const struct err *err)
{
    struct ticket_result *r = &t->result;

    pthread_mutex_lock(&t->lock);
    if (strcmp(err->reason, "media_missing") == 0)
        r->n_gone++;
    else
        r->n_failed++;
    if (r->n_failures < TICKET_FAILURES_MAX) {
        struct ticket_failure *f = &r->failures[r->n_failures++];

        (void)snprintf(f->item_id, sizeof(f->item_id), "%s", item_id);
        text_format(f->reason, sizeof(f->reason), "%s", err->reason);
        text_format(f->text, sizeof(f->text), "%s", err->text);
    }
    pthread_mutex_unlock(&t->lock);
}

void ticket_read(struct ticket *t, struct ticket_result *ret)
{
    pthread_mutex_lock(&t->lock);
    *ret = t->result;
    pthread_mutex_unlock(&t->lock);
}

#include "daemon/model/loaded.h"

#include "config/digest.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct loaded {
    struct loaded *next;
    int64_t model_id;
    char sha256[DIGEST_HEX_BYTES];
    struct model *model;
    size_t n_users;
    bool waits; /* for the next who asks */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct loaded *all;

/* Frees those that nobody uses or waits for. */
static void sweep(void)
{
    struct loaded **at = &all, *one;

    while ((one = *at)) {
        if (one->n_users > 0 || one->waits) {
            at = &one->next;
            continue;
        }
        *at = one->next;
        model_free(one->model);
        free(one);
    }
}

static void leave(struct model *model, bool waits)
{
    pthread_mutex_lock(&lock);
    for (struct loaded *one = all; one; one = one->next) {
        if (waits)
            one->waits = one->model == model;
        if (one->model == model) {
            assert(one->n_users > 0);
            one->n_users--;
        }
    }
    sweep();
    pthread_mutex_unlock(&lock);
}

struct model *loaded_find(int64_t model_id, const char *sha256)
{
    struct model *model = NULL;

    pthread_mutex_lock(&lock);
    for (struct loaded *one = all; one && !model; one = one->next) {
        if (one->model_id != model_id || strcmp(one->sha256, sha256) != 0)
            continue;
        model = one->model;
        one->n_users++;
        one->waits = false;
    }
    pthread_mutex_unlock(&lock);
    return model;
}

int loaded_add(int64_t model_id, const char *sha256, struct model *model, struct err *err)
{
    struct loaded *one = calloc(1, sizeof(*one));

    if (!one)
        return err_oom(err, "a model");
    one->model_id = model_id;
    (void)snprintf(one->sha256, sizeof(one->sha256), "%s", sha256);
    one->model = model;
    one->n_users = 1;
    pthread_mutex_lock(&lock);
    one->next = all;
    all = one;
    pthread_mutex_unlock(&lock);
    return ERR_OK;
}

void loaded_release(struct model *model)
{
    if (model)
        leave(model, false);
}

void loaded_leave(struct model *model)
{
    leave(model, true);
}

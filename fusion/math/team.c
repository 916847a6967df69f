#include "fusion/math/team.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

struct team {
    pthread_mutex_t lock;
    pthread_cond_t start, done;
    void (*work)(void *arg, size_t part);
    void *arg;
    size_t n_parts;
    atomic_size_t next;
    unsigned long round; /* of the loop that is running or was the last one */
    unsigned n_busy;     /* threads that are not done with it */
    bool stop;
    unsigned n_threads; /* beside the caller */
    pthread_t thread[];
};

static void take_parts(struct team *team)
{
    for (size_t part; (part = atomic_fetch_add(&team->next, 1)) < team->n_parts;)
        team->work(team->arg, part);
}

static void *thread_main(void *arg)
{
    struct team *team = arg;
    unsigned long round = 0;
    pthread_mutex_lock(&team->lock);
    for (;;) {
        while (!team->stop && team->round == round)
            pthread_cond_wait(&team->start, &team->lock);
        if (team->stop)
            break;
        round = team->round;
        pthread_mutex_unlock(&team->lock);
        take_parts(team);
        pthread_mutex_lock(&team->lock);
        if (--team->n_busy == 0)
            pthread_cond_signal(&team->done);
    }
    pthread_mutex_unlock(&team->lock);
    return NULL;
}

int team_new(unsigned n_threads, struct team **ret_team, struct err *err)
{
    unsigned others = n_threads > 1 ? n_threads - 1 : 0;
    struct team *team = calloc(1, sizeof(*team) + others * sizeof(*team->thread));
    if (!team)
        return err_oom(err, "the threads of a training");
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->start, NULL);
    pthread_cond_init(&team->done, NULL);
    /* A thread that does not start is one less: the result is the same. */
    for (unsigned i = 0; i < others; i++)
        if (!pthread_create(&team->thread[team->n_threads], NULL, thread_main, team))
            team->n_threads++;
    *ret_team = team;
    return ERR_OK;
}

void team_run(struct team *team, size_t n_parts, void (*work)(void *arg, size_t part),
              void *arg)
{
    if (!team || !team->n_threads) {
        for (size_t part = 0; part < n_parts; part++)
            work(arg, part);
        return;
    }
    pthread_mutex_lock(&team->lock);
    team->work = work;
    team->arg = arg;
    team->n_parts = n_parts;
    atomic_store(&team->next, 0);
    team->n_busy = team->n_threads;
    team->round++;
    pthread_cond_broadcast(&team->start);
    pthread_mutex_unlock(&team->lock);
    take_parts(team);
    pthread_mutex_lock(&team->lock);
    while (team->n_busy)
        pthread_cond_wait(&team->done, &team->lock);
    pthread_mutex_unlock(&team->lock);
}

void team_free(struct team *team)
{
    if (!team)
        return;
    pthread_mutex_lock(&team->lock);
    team->stop = true;
    pthread_cond_broadcast(&team->start);
    pthread_mutex_unlock(&team->lock);
    for (unsigned i = 0; i < team->n_threads; i++)
        pthread_join(team->thread[i], NULL);
    pthread_cond_destroy(&team->start);
    pthread_cond_destroy(&team->done);
    pthread_mutex_destroy(&team->lock);
    free(team);
}

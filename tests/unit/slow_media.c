#include "slow_media.h"

#include "daemon/media/media_open.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned n_waiting;
    bool released, gave_up;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

int __real_media_open(const struct media_roots *roots, const char *uri, int *ret_fd,
                      struct err *err);
int __wrap_media_open(const struct media_roots *roots, const char *uri, int *ret_fd,
                      struct err *err);

static void hang(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += SLOW_MEDIA_S;
    pthread_mutex_lock(&gate.lock);
    gate.n_waiting++;
    pthread_cond_broadcast(&gate.changed);
    while (!gate.released && !gate.gave_up)
        gate.gave_up = pthread_cond_timedwait(&gate.changed, &gate.lock, &until) != 0;
    gate.n_waiting--;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

int __wrap_media_open(const struct media_roots *roots, const char *uri, int *ret_fd,
                      struct err *err)
{
    if (strstr(uri, "/slow"))
        hang();
    return __real_media_open(roots, uri, ret_fd, err);
}

void slow_media_reset(void)
{
    pthread_mutex_lock(&gate.lock);
    gate.released = gate.gave_up = false;
    pthread_mutex_unlock(&gate.lock);
}

void slow_media_wait(unsigned n)
{
    pthread_mutex_lock(&gate.lock);
    while (gate.n_waiting != n && !gate.gave_up)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
}

void slow_media_release(void)
{
    pthread_mutex_lock(&gate.lock);
    gate.released = true;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

bool slow_media_gave_up(void)
{
    pthread_mutex_lock(&gate.lock);
    bool gave_up = gate.gave_up;
    pthread_mutex_unlock(&gate.lock);
    return gave_up;
}

/* C11 threads by way of POSIX threads, for ThreadSanitizer builds only.
 *
 * Debian's librdkafka starts its threads by thrd_create and locks by mtx_lock. The
 * ThreadSanitizer of gcc 12 intercepts the POSIX functions but not these: a thread that it has
 * not seen begin crashes at its first allocation. glibc's C11 types are the POSIX ones under
 * another name, so each function is one call. Linked into every executable with librdkafka when
 * MMF_SANITIZE names thread; nothing else uses it.
 */

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

_Static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t), "glibc: mtx_t is a pthread_mutex_t");
_Static_assert(sizeof(cnd_t) == sizeof(pthread_cond_t), "glibc: cnd_t is a pthread_cond_t");
_Static_assert(sizeof(thrd_t) == sizeof(pthread_t), "glibc: thrd_t is a pthread_t");

static int result_of(int code)
{
    switch (code) {
    case 0:
        return thrd_success;
    case ENOMEM:
        return thrd_nomem;
    case ETIMEDOUT:
        return thrd_timedout;
    case EBUSY:
        return thrd_busy;
    default:
        return thrd_error;
    }
}

static pthread_mutex_t *mutex_of(mtx_t *mutex)
{
    return (pthread_mutex_t *)(void *)mutex;
}

static pthread_cond_t *cond_of(cnd_t *cond)
{
    return (pthread_cond_t *)(void *)cond;
}

struct start {
    thrd_start_t run;
    void *arg;
};

static void *begin(void *arg)
{
    struct start start = *(struct start *)arg;
    free(arg);
    return (void *)(intptr_t)start.run(start.arg);
}

int thrd_create(thrd_t *ret_thread, thrd_start_t run, void *arg)
{
    struct start *start = malloc(sizeof(*start));
    if (start == NULL)
        return thrd_nomem;
    *start = (struct start){run, arg};
    int code = pthread_create((pthread_t *)ret_thread, NULL, begin, start);
    if (code != 0)
        free(start);
    return result_of(code);
}

int thrd_join(thrd_t thread, int *ret_result)
{
    void *result = NULL;
    int code = pthread_join((pthread_t)thread, &result);
    if (code == 0 && ret_result != NULL)
        *ret_result = (int)(intptr_t)result;
    return result_of(code);
}

int thrd_detach(thrd_t thread)
{
    return result_of(pthread_detach((pthread_t)thread));
}

int mtx_init(mtx_t *mutex, int type)
{
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, (type & mtx_recursive) ? PTHREAD_MUTEX_RECURSIVE
                                                            : PTHREAD_MUTEX_NORMAL);
    int code = pthread_mutex_init(mutex_of(mutex), &attr);
    pthread_mutexattr_destroy(&attr);
    return result_of(code);
}

int mtx_lock(mtx_t *mutex)
{
    return result_of(pthread_mutex_lock(mutex_of(mutex)));
}

int mtx_trylock(mtx_t *mutex)
{
    return result_of(pthread_mutex_trylock(mutex_of(mutex)));
}

int mtx_timedlock(mtx_t *restrict mutex, const struct timespec *restrict until)
{
    return result_of(pthread_mutex_timedlock(mutex_of(mutex), until));
}

int mtx_unlock(mtx_t *mutex)
{
    return result_of(pthread_mutex_unlock(mutex_of(mutex)));
}

void mtx_destroy(mtx_t *mutex)
{
    pthread_mutex_destroy(mutex_of(mutex));
}

int cnd_init(cnd_t *cond)
{
    return result_of(pthread_cond_init(cond_of(cond), NULL));
}

int cnd_signal(cnd_t *cond)
{
    return result_of(pthread_cond_signal(cond_of(cond)));
}

int cnd_broadcast(cnd_t *cond)
{
    return result_of(pthread_cond_broadcast(cond_of(cond)));
}

int cnd_wait(cnd_t *cond, mtx_t *mutex)
{
    return result_of(pthread_cond_wait(cond_of(cond), mutex_of(mutex)));
}

int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex,
                  const struct timespec *restrict until)
{
    return result_of(pthread_cond_timedwait(cond_of(cond), mutex_of(mutex), until));
}

void cnd_destroy(cnd_t *cond)
{
    pthread_cond_destroy(cond_of(cond));
}

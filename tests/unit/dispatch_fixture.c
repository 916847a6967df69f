#include "dispatch_fixture.h"

#include "extract/pool/pool.h"
#include "store/reading.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the pool of the test ------------------------------------------------------------------ */

struct fake_pool fake = {.lock = PTHREAD_MUTEX_INITIALIZER,
                         .changed = PTHREAD_COND_INITIALIZER};

unsigned pool_n_idle(const struct pool *pool)
{
    (void)pool;
    pthread_mutex_lock(&fake.lock);
    unsigned n = FAKE_WORKERS - fake.n_busy;
    pthread_mutex_unlock(&fake.lock);
    return n;
}

static void add_answer(uint64_t id, const struct err *err)
{
    fake.answers[fake.n_answers++] = (struct fake_answer){.id = id, .err = *err};
    (void)!write(fake.answer_fd, &(uint64_t){1}, sizeof(uint64_t));
}

int pool_submit(struct pool *pool, const struct pool_job *job, struct err *err)
{
    (void)pool;
    (void)err;
    pthread_mutex_lock(&fake.lock);
    assert_true(fake.n_busy < FAKE_WORKERS);
    fake.busy[fake.n_busy] = job->id;
    fake.media_fd[fake.n_busy] = job->media_fd;
    snprintf(fake.title[fake.n_busy], sizeof(fake.title[0]), "%s",
             job->text.title ? job->text.title : "");
    snprintf(fake.sha256, sizeof(fake.sha256), "%s", job->sha256 ? job->sha256 : "");
    fake.n_busy++;
    fake.n_submitted++;
    if (fake.n_fail_retry > 0) {
        struct err later;
        fake.n_fail_retry--;
        fake.title[fake.n_busy - 1][0] = '\0'; /* not for answer() to find */
        if (fake.fails_by_memory)
            err_oom(&later, "the test");
        else
            err_retry(&later, EX_TEMPFAIL, "worker gone");
        add_answer(job->id, &later);
    }
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.lock);
    return ERR_OK;
}

static bool take_answer(struct pool_result *ret_result)
{
    (void)!read(fake.answer_fd, &(uint64_t){0}, sizeof(uint64_t));
    if (fake.n_answers == 0)
        return false;
    struct fake_answer a = fake.answers[--fake.n_answers];
    if (fake.n_answers > 0)
        (void)!write(fake.answer_fd, &(uint64_t){1}, sizeof(uint64_t));
    memset(ret_result, 0, sizeof(*ret_result));
    ret_result->id = a.id;
    ret_result->err = a.err;
    ret_result->features.mask = MODALITY_BIT(MODALITY_TEXTUAL);
    ret_result->features.dim[MODALITY_TEXTUAL] = 1;
    ret_result->features.vec[MODALITY_TEXTUAL][0] = 5.0f;
    unsigned i = 0;
    while (fake.busy[i] != a.id)
        i++;
    fake.n_busy--;
    fake.busy[i] = fake.busy[fake.n_busy];
    fake.media_fd[i] = fake.media_fd[fake.n_busy];
    memcpy(fake.title[i], fake.title[fake.n_busy], sizeof(fake.title[0]));
    return true;
}

bool pool_wait(struct pool *pool, int wake_fd, int timeout_ms, struct pool_result *ret_result)
{
    (void)pool;
    struct pollfd fds[] = {{.fd = wake_fd, .events = POLLIN},
                           {.fd = fake.answer_fd, .events = POLLIN}};
    poll(fds, 2, timeout_ms);
    pthread_mutex_lock(&fake.lock);
    bool taken = take_answer(ret_result);
    pthread_mutex_unlock(&fake.lock);
    return taken;
}

int pool_resize(struct pool *pool, unsigned n_workers, struct err *err)
{
    (void)pool;
    (void)n_workers;
    (void)err;
    return ERR_OK;
}

unsigned pool_n_wanted(const struct pool *pool)
{
    (void)pool;
    return FAKE_WORKERS;
}

void pool_stats(const struct pool *pool, struct pool_stats *ret_stats)
{
    (void)pool;
    *ret_stats = (struct pool_stats){.n_workers = FAKE_WORKERS};
}

bool pool_is_down(const struct pool *pool, struct err *ret_why)
{
    (void)pool;
    pthread_mutex_lock(&fake.lock);
    bool down = fake.down;
    pthread_mutex_unlock(&fake.lock);
    if (down)
        err_retry(ret_why, EX_OSERR, "the test has no workers");
    return down;
}

const struct encoder_identity *pool_encoders(const struct pool *pool)
{
    static const struct encoder_identity encoders[MODALITY_COUNT] = {
        {MODALITY_VISUAL, 3, "enc:0"},
        {MODALITY_ACOUSTIC, 3, "enc:1"},
        {MODALITY_TEXTUAL, 3, "enc:2"},
    };
    (void)pool;
    return encoders;
}

void answer(const char *title, const struct err *err)
{
    static const struct err good = {0};
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += FAKE_WAIT_MS / 1000;
    pthread_mutex_lock(&fake.lock);
    for (;;) {
        unsigned i = 0;
        while (i < fake.n_busy && strcmp(fake.title[i], title) != 0)
            i++;
        if (i < fake.n_busy) {
            add_answer(fake.busy[i], err ? err : &good);
            break;
        }
        if (pthread_cond_timedwait(&fake.changed, &fake.lock, &until) != 0)
            fail_msg("no job \"%s\" after %d ms", title, FAKE_WAIT_MS);
    }
    pthread_mutex_unlock(&fake.lock);
}

/* ---- the store of the test: one row ---------------------------------------------------------- */

struct stored_item stored;

int store_open(const char *path, enum store_mode mode, struct store **ret_st, struct err *err)
{
    (void)path;
    (void)err;
    assert_int_equal(mode, STORE_READ);
    *ret_st = NULL;
    return ERR_OK;
}

void store_close(struct store *st)
{
    (void)st;
}

int store_get_item(struct store *st, const char *item_id, struct store_item *ret_item,
                   struct err *err)
{
    (void)st;
    (void)err;
    if (!stored.item_id || strcmp(item_id, stored.item_id) != 0)
        return ERR_NONE;
    *ret_item = (struct store_item){.media_uri = (char *)(uintptr_t)stored.media_uri,
                                    .title = (char *)(uintptr_t)stored.title,
                                    .published_ms = 1234.5};
    return ERR_OK;
}

void store_item_done(struct store_item *item)
{
    (void)item;
}

int store_get_feature(struct store *st, const char *item_id, enum modality m, float **ret_vec,
                      int32_t *ret_dim, char ret_encoder_id[64], struct err *err)
{
    (void)st;
    (void)item_id;
    if (m == MODALITY_ACOUSTIC && stored.n_fail > 0) {
        stored.n_fail--;
        return err_retry(err, EX_IOERR, "the test");
    }
    if (m > MODALITY_ACOUSTIC || !stored.encoder_id[m])
        return ERR_NONE;
    *ret_vec = calloc(3, sizeof(float));
    (*ret_vec)[0] = (float)m + 1.0f;
    *ret_dim = 3;
    snprintf(ret_encoder_id, 64, "%s", stored.encoder_id[m]);
    return ERR_OK;
}

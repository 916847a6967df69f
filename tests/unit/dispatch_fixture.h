#ifndef MMF_TESTS_DISPATCH_FIXTURE_H
#define MMF_TESTS_DISPATCH_FIXTURE_H

/* A worker pool and a store with one row, in place of the real ones: defined in the test's own
 * object, so that the linker takes these. */

#include "config/err.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { FAKE_WORKERS = 2, FAKE_WAIT_MS = 60000 };

struct fake_answer {
    uint64_t id;
    struct err err;
};

struct fake_pool {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned n_busy, n_submitted;
    uint64_t busy[FAKE_WORKERS];
    char title[FAKE_WORKERS][64]; /* of the job */
    char sha256[65];              /* of the last job */
    int media_fd[FAKE_WORKERS];
    struct fake_answer answers[FAKE_WORKERS];
    unsigned n_answers;
    int answer_fd;
    int n_fail_retry; /* so many jobs are answered by ERR_RETRY at once */
    bool fails_by_memory;
    bool down;
};

struct stored_item {
    const char *item_id, *media_uri, *title;
    const char *encoder_id[2];
    int n_fail; /* so many reads of a sound fail for now */
};

extern struct fake_pool fake;
extern struct stored_item stored;

/* Waits until a job with this title runs and answers it; err NULL = by features. */
void answer(const char *title, const struct err *err);

#endif

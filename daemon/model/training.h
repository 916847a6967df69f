#ifndef MMF_DAEMON_MODEL_TRAINING_H
#define MMF_DAEMON_MODEL_TRAINING_H

/* From what the store holds to a candidate's files: the data, the split, the choices that the
 * options leave open, the training, the vectors to publish. Reads the store and writes a folder;
 * candidate.h publishes it. One thread of the caller's; `threads` more where they pay. */

#include "config/err.h"
#include "config/settings.h"
#include "daemon/base/tsv.h"
#include "fusion/train/train.h"
#include "store/models.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_t;

struct training_request {
    const struct settings_training_options *options;
    const char *valid;        /* pairs held out; NULL = 10 % a user, seeded */
    const char *checkpoint;   /* keeps the state there; NULL = none */
    bool resume;              /* goes on from it */
    train_progress *progress; /* false = give up: ERR_RETRY EX_TEMPFAIL */
    /* As knn_options' on_block and train_options' on_step; NULL = none. */
    void (*graph)(void *arg, size_t n_done, size_t n_items);
    void (*step)(void *arg, uint32_t epoch, size_t step, size_t n_steps);
    void (*member)(void *arg, uint32_t member); /* begins; from 0 */
    /* One sweep of a factorisation, both from 1. false = give up, as progress says. */
    bool (*sweep)(void *arg, uint32_t factorisation, uint32_t sweep, uint32_t n_sweeps);
    /* What follows the epochs begins a stage; NULL = none. */
    void (*stage)(void *arg, const char *what);
    void *arg; /* of all of them */
};

/* ---- training_data.c --------------------------------------------------------------------- */

/* What is trained on. Rows are the dataset's: items by rid, users by uid. */
struct training_data {
    struct store_dataset d;
    float *X; /* (I, F) columns by modality; NULL when nobody has features */
    int32_t F;
    struct csr_pair *train, *valid; /* valid: pairs of users that the store knows */
    float *strength;                /* (n_train) in (0, 1] */
    size_t n_train, n_valid;
    struct tsv_pair *test; /* (n_test) the held-out pairs by name, unknown users included */
    size_t n_test;
    struct tsv tsv; /* of --valid */
};
/* ERR_FATAL EX_NOINPUT without interactions. */
int training_data_read(struct store *reader, const struct training_request *r,
                       struct training_data *ret_t, struct err *err);
void training_data_done(struct training_data *t);

/* ---- training.c -------------------------------------------------------------------------- */

/* Reads, trains, writes DIR. *ret_metrics: what metrics.json holds (a new reference). */
int training_run(struct store *reader, const struct settings *s,
                 const struct training_request *r, const char *dir, struct json_t **ret_metrics,
                 struct err *err);

#endif

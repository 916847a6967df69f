/* The store's interactions as training and held-out pairs. The held-out ones are taken from what
 * the store holds (10 % of each user's, seeded) or named by a file, whose pairs are then left out
 * of the training and never stored. */
#include "daemon/model/training.h"

#include "fusion/math/rng.h"
#include "fusion/train/evaluate.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { HELD_OUT_STREAM = 0x5e1d }; /* of the seed: the split does not move with the weights */
#define HELD_OUT 0.1F

void training_data_done(struct training_data *t)
{
    store_dataset_done(&t->d);
    free(t->X);
    free(t->train);
    free(t->strength);
    free(t->valid);
    free(t->test);
    tsv_done(&t->tsv);
    *t = (struct training_data){0};
}

/* X = [visual ‖ acoustic ‖ textual] */
static int join_features(struct training_data *t, struct err *err)
{
    size_t F = 0, at = 0;

    for (int m = 0; m < MODALITY_COUNT; m++)
        F += (size_t)t->d.dim[m];
    t->F = (int32_t)F;
    t->X = F ? calloc(t->d.n_items * F + 1, sizeof *t->X) : NULL;
    if (F && !t->X)
        return err_oom(err, "the items' features");
    for (int m = 0; m < MODALITY_COUNT; m++) {
        size_t dim = (size_t)t->d.dim[m];

        for (size_t i = 0; dim && i < t->d.n_items; i++)
            memcpy(t->X + i * F + at, t->d.feature[m] + i * dim, dim * sizeof *t->X);
        at += dim;
        free(t->d.feature[m]);
        t->d.feature[m] = NULL;
    }
    return ERR_OK;
}

static int reserve(struct training_data *t, size_t n_test, struct err *err)
{
    t->train = calloc(t->d.n_pairs + 1, sizeof *t->train);
    t->strength = calloc(t->d.n_pairs + 1, sizeof *t->strength);
    t->valid = calloc(n_test + 1, sizeof *t->valid);
    t->test = t->test ? t->test : calloc(n_test + 1, sizeof *t->test);
    return t->train && t->strength && t->valid && t->test ? ERR_OK
                                                          : err_oom(err, "the training pairs");
}

/* Pair i of the dataset is one to train on. A weak one, such as a watch of a few seconds, is taken
 * less often; more than one whole watch is no more than that
 * (docs/design/fusion/223-strength-as-frequency.md). */
static void train_on(struct training_data *t, size_t i)
{
    t->strength[t->n_train] = t->d.strength[i] < 1 ? t->d.strength[i] : 1;
    t->train[t->n_train++] = (struct csr_pair){t->d.pair[i][0], t->d.pair[i][1]};
}

/* ---- 10 % a user --------------------------------------------------------------------------- */

/* n pairs of one user, in the order of the items: some are held out, at least one is not. */
static void split_user(struct training_data *t, struct rng *rng, size_t first, size_t n,
                       uint32_t *order)
{
    size_t n_out = (size_t)(HELD_OUT * (float)n + rng_float(rng));

    n_out = n_out < n ? n_out : n - 1;
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    rng_shuffle(rng, order, n);
    for (size_t i = 0; i < n; i++) {
        const uint32_t *pair = t->d.pair[first + order[i]];
        struct csr_pair p = {pair[0], pair[1]};

        if (i < n_out)
            t->valid[t->n_valid++] = p;
        else
            train_on(t, first + order[i]);
    }
}

static int split_seeded(struct training_data *t, uint64_t seed, struct err *err)
{
    uint32_t *order = calloc(t->d.n_pairs + 1, sizeof *order);
    struct rng rng;
    int r = order ? reserve(t, t->d.n_pairs, err) : err_oom(err, "the training pairs");

    rng_init_stream(&rng, seed, HELD_OUT_STREAM);
    for (size_t first = 0, n; r == ERR_OK && first < t->d.n_pairs; first += n) {
        for (n = 1; first + n < t->d.n_pairs && t->d.pair[first + n][0] == t->d.pair[first][0];)
            n++;
        split_user(t, &rng, first, n, order);
    }
    free(order);
    for (size_t i = 0; r == ERR_OK && i < t->n_valid; i++)
        t->test[t->n_test++] = (struct tsv_pair){.user = t->d.user_id[t->valid[i].row],
                                                 .item = t->d.item_id[t->valid[i].col]};
    return r;
}

/* ---- a file -------------------------------------------------------------------------------- */

static int find_named(struct training_data *t, struct err *err)
{
    struct tsv_index users = {0}, items = {0};
    int r = tsv_index_new(t->d.user_id, t->d.n_users, &users, err);

    if (r == ERR_OK)
        r = tsv_index_new(t->d.item_id, t->d.n_items, &items, err);
    for (size_t i = 0; r == ERR_OK && i < t->n_test; i++) {
        uint32_t user = tsv_index_find(&users, t->test[i].user);

        if (user != UINT32_MAX)
            t->valid[t->n_valid++] =
                (struct csr_pair){user, tsv_index_find(&items, t->test[i].item)};
    }
    tsv_index_done(&users);
    tsv_index_done(&items);
    qsort(t->valid, t->n_valid, sizeof *t->valid, csr_pair_order);
    return r;
}

static int split_by_file(struct training_data *t, const char *path, struct err *err)
{
    static_assert(EVALUATE_UNKNOWN == UINT32_MAX, "an unknown item's row");
    int r = tsv_read(path, &t->tsv, err);

    if (r == ERR_OK)
        r = tsv_cut_pairs(&t->tsv, path, &t->test, err);
    if (r == ERR_OK)
        r = reserve(t, t->tsv.n, err);
    t->n_test = t->tsv.n;
    if (r == ERR_OK)
        r = find_named(t, err);
    for (size_t i = 0; r == ERR_OK && i < t->d.n_pairs; i++) {
        struct csr_pair p = {t->d.pair[i][0], t->d.pair[i][1]};

        if (!t->n_valid || !bsearch(&p, t->valid, t->n_valid, sizeof p, csr_pair_order))
            train_on(t, i);
    }
    return r;
}

int training_data_read(struct store *reader, const struct training_request *r,
                       struct training_data *ret_t, struct err *err)
{
    struct training_data t = {0};
    int status = store_read_dataset(reader, &t.d, err);

    if (status == ERR_OK)
        status = r->valid ? split_by_file(&t, r->valid, err)
                          : split_seeded(&t, (uint64_t)r->options->seed, err);
    if (status == ERR_OK && !t.n_train)
        status = err_fatal(err, EX_NOINPUT,
                           "no interactions to train on: metammf import interactions FILE.tsv");
    if (status == ERR_OK)
        status = join_features(&t, err);
    if (status == ERR_OK)
        *ret_t = t;
    else
        training_data_done(&t);
    return status;
}

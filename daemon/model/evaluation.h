#ifndef MMF_DAEMON_MODEL_EVALUATION_H
#define MMF_DAEMON_MODEL_EVALUATION_H

/* How good vectors are on held-out interactions, by fusion/train/evaluate.h: vectors of a model in the
 * store, or of a candidate's files, so that the two can be compared on the same pairs.
 *
 * Who counts how: a user that the model does not know, or that has no training pair, is ranked by
 * the no-history vector; an item without a vector is a miss and counted as unknown; an item
 * without a training pair of the model is cold. Masked are the pairs that the model was trained on and
 * those whose strength is below 0 (store/kinds.h), which no list has; nothing else. Ties: the item that
 * came first. Where the model has neighbours, those of a user's training pairs add to its scores (rank.h). Legend:
 * I items, U users, D width, J rows of neighbours. */

#include "config/err.h"
#include "daemon/base/tsv.h"
#include "daemon/model/candidate.h"
#include "fusion/train/evaluate.h"
#include "store/models.h"

#include <stddef.h>
#include <stdint.h>

struct json_t;

struct evaluation {
    int64_t model_id; /* 0 = a candidate's */
    int32_t dim;
    size_t n_items, n_users, n_pairs;
    float *items, *users;   /* (I, D), (U, D) */
    float *no_history;      /* (D) */
    uint32_t (*pair)[2];    /* (n_pairs) user row, item row of the training */
    uint32_t (*against)[2]; /* (n_against) the same of what counts against the item */
    size_t n_against;
    struct csr neighbours;  /* (J, I); start NULL = none */
    float *neighbour_scale; /* (I) */
    float neighbour_weight; /* as candidate_neighbour_weight */
    uint32_t (*history)[2]; /* (n_history) user row, row of neighbours; of the training */
    size_t n_history;
    uint8_t *item_has, *user_has; /* (I), (U) 1 = has a vector */
    struct tsv_index item_index, user_index;
    const struct candidate *candidate;      /* whose arrays these are, or */
    struct store_rows item_rows, user_rows; /* the store's */
};

/* model_id 0 = the active one. ERR_FATAL EX_NOINPUT when there is none, or without vectors. */
int evaluation_of_model(struct store *st, int64_t model_id, struct evaluation *ret_e,
                        struct err *err);
/* Borrows the candidate's arrays. against (n_against): user row, item row of the candidate; borrowed
 * too, may be NULL. */
int evaluation_of_candidate(const struct candidate *c, uint32_t (*against)[2], size_t n_against,
                            struct evaluation *ret_e, struct err *err);
void evaluation_done(struct evaluation *e);

struct evaluation_result {
    struct evaluate_result figures;
    size_t n_users, n_pairs; /* of the test, each once */
    size_t n_unknown_users, n_unknown_items;
};
/* On `threads` threads (0 = one a processor); any number gives the same figures.
 * test (n): pairs, a pair twice counts once. cuts ascending, 1 … EVALUATE_K_MAX. */
int evaluation_run(const struct evaluation *e, const struct tsv_pair *test, size_t n,
                   const uint32_t *cuts, uint32_t n_cuts, unsigned threads,
                   struct evaluation_result *ret, struct err *err);
/* {"overall": {"20": {"precision", "recall", "hr", "ndcg"}}, "warm", "cold", "cold_only",
 * "users", "pairs", "unknown_users", "unknown_items"}; NULL = no memory. */
struct json_t *evaluation_json(const struct evaluation_result *r);
/* The mean of the vectors (n, D) of those that have one; ret (D). */
void evaluation_mean(const float *vec, const uint8_t *has, size_t n, int32_t dim, float *ret);

#endif

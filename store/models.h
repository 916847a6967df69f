#ifndef MMF_STORE_MODELS_H
#define MMF_STORE_MODELS_H

/* Models: which there are and which one is active, what a training reads, and the vectors that it
 * makes, beside those of the active model until store_model_activate flips. What changes the store
 * needs the writing handle. */

#include "config/modality.h"
#include "store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- which there are -------------------------------------------------------------------- */

enum store_model_origin { STORE_MODEL_SEEDED, STORE_MODEL_TRAINED, STORE_MODEL_IMPORTED };

struct store_model {
    int64_t model_id, parent_id; /* parent 0 = none */
    int64_t created_us;
    int64_t retired_us; /* 0 = it is not */
    enum store_model_origin origin;
    char state[16]; /* candidate, active, rejected, retired */
    char backbone[16], fusion[16];
    char file[256]; /* name inside the model folder */
    char sha256[65];
    char *encoder_ids; /* JSON object modality → encoder_id; NULL */
    char *metrics;     /* JSON; NULL */
};
void store_model_done(struct store_model *m);

/* Inserts a candidate; fills model_id. */
int store_model_add(struct store *st, struct store_model *m, struct err *err);
/* ERR_NONE when there is none. */
int store_model_active(struct store *st, struct store_model *ret_m, struct err *err);
int store_model_get(struct store *st, int64_t model_id, struct store_model *ret_m,
                    struct err *err);
/* Newest first, at most max; each row ends in store_model_done, then free(*ret_rows). */
int store_model_list(struct store *st, size_t max, struct store_model **ret_rows, size_t *ret_n,
                     struct err *err);
/* What a rollback means: of the retired models that are older than the active one, the one that
 * was retired last; without any, the same of the newer ones. ERR_NONE: none. */
int store_model_previous(struct store *st, int64_t *ret_model_id, struct err *err);
/* A candidate is refused ("rejected"), or a rejected one is looked at again ("candidate"); metrics
 * NULL = as they are. ERR_FATAL EX_DATAERR for a model in another state. */
int store_model_set_state(struct store *st, int64_t model_id, const char *state,
                          const char *metrics, struct err *err);
/* One transaction flips the active model: the old one is retired. The active one again changes
 * nothing. ERR_FATAL EX_DATAERR for an unknown model. */
int store_model_activate(struct store *st, int64_t model_id, struct err *err);
/* The active model has got vectors of items that had none, without a flip: their states, and what `change` calls
 * gone. */
int store_model_mended(struct store *st, struct err *err);

/* A pinned model stays active until somebody says otherwise: retraining does not replace it.
 * 0 = none is pinned. */
int store_pin_model(struct store *st, int64_t model_id, struct err *err);
int store_pinned_model(struct store *st, int64_t *ret_model_id, struct err *err);

/* The model that was active while items were stored without vectors, because its file was not there; 0 =
 * none. Until somebody has fused them (candidate_mend). */
int store_put_unfused(struct store *st, int64_t model_id, struct err *err);
int store_get_unfused(struct store *st, int64_t *ret_model_id, struct err *err);

/* The learning curve of a model: one value a name and epoch. */
struct store_metric {
    uint32_t epoch;
    char name[32];
    double value;
};
int store_put_curve(struct store *st, int64_t model_id, const struct store_metric *points,
                    size_t n, struct err *err);
/* By epoch, then name; free(*ret_points). */
int store_get_curve(struct store *st, int64_t model_id, struct store_metric **ret_points,
                    size_t *ret_n, struct err *err);

/* ---- what a training reads -------------------------------------------------------------- */

/* What a training reads, as one moment of the store: items that are not deleted in rid order,
 * users in uid order, the pairs that are edges (kinds.h) in that order, and those whose strength is
 * below 0. Of each modality the vectors of ONE encoder (the newest feature's) and one dimension; an item
 * with another one's has that modality missing. */
struct store_dataset {
    size_t n_items, n_users, n_pairs;
    int64_t *item_rid, *user_uid; /* ascending */
    char **item_id, **user_id;
    uint8_t *published;     /* (n_items) 0 = known from interactions alone */
    uint32_t (*pair)[2];    /* (n_pairs) user row, item row */
    float *strength;        /* (n_pairs) above 0, at most STORE_STRENGTH_MAX */
    uint32_t (*against)[2]; /* (n_against) as pair: never to be recommended */
    size_t n_against;
    uint8_t *mask;                  /* (n_items) MODALITY_BITs */
    int32_t dim[MODALITY_COUNT];    /* 0 = nobody has this modality */
    float *feature[MODALITY_COUNT]; /* (n_items, dim), missing = zeros */
    char encoder_id[MODALITY_COUNT][64];
    uint64_t *stamp; /* (n_items) of the item's stored features, see store_vectors */
};
int store_read_dataset(struct store *st, struct store_dataset *ret_d, struct err *err);
void store_dataset_done(struct store_dataset *d);

/* The edges (kinds.h) to items that are not deleted, each with the time of its first interaction that
 * counts for the item, by user and item. free(*ret_pairs). */
struct store_timed_pair {
    int64_t uid, rid;
    double ts_ms;
};
int store_read_timed_pairs(struct store *st, struct store_timed_pair **ret_pairs, size_t *ret_n,
                           struct err *err);

/* The pairs that a model was trained on: evaluation masks them. Written once a model, and again
 * when it is activated after retention took them. */
struct store_pair {
    int64_t uid, rid;
};
int store_put_training(struct store *st, int64_t model_id, const struct store_pair *pairs,
                       size_t n, struct err *err);
/* ERR_NONE: none is known (a model that was not trained here). free(*ret_pairs). */
int store_get_training(struct store *st, int64_t model_id, struct store_pair **ret_pairs,
                       size_t *ret_n, struct err *err);

/* ---- vectors ---------------------------------------------------------------------------- */

/* Vectors of a model, beside those of the active one, in ONE transaction: the caller cuts the work
 * into blocks. A row that is there is replaced. ids: rids or uids; warm (n) is for items, 1 = an
 * interaction has influenced the vector. stamp (n), for items, may be NULL: a row whose item has
 * other features by now (or is deleted, in any case) is left out, so that a vector of old
 * features never appears. Not finite or all zero: ERR_FATAL EX_SOFTWARE, nothing written. */
struct store_vectors {
    int64_t model_id;
    enum store_side side;
    const int64_t *ids;  /* (n) */
    const float *vec;    /* (n, dim) */
    const uint8_t *warm; /* (n) */
    size_t n;
    int32_t dim;
    const uint64_t *stamp; /* (n) */
    bool only_missing;     /* items: leave the rows that are there */
};
int store_publish_vectors(struct store *st, const struct store_vectors *v, struct err *err);

/* The vectors of one model, rows in rid or uid order. */
struct store_rows {
    size_t n_rows;
    int32_t dim;
    int64_t *id;
    char **name;   /* item_id or user_id */
    float *vec;    /* (n_rows, dim) */
    uint8_t *warm; /* (n_rows) 1 = interactions have made it; users: 0 */
};
/* How many vectors of a model there are. */
int store_count_vectors(struct store *st, int64_t model_id, enum store_side side,
                        int64_t *ret_n, struct err *err);
int store_read_vectors(struct store *st, int64_t model_id, enum store_side side,
                       struct store_rows *ret_rows, struct err *err);
void store_rows_done(struct store_rows *r);

/* ---- neighbours and the weights of signals ------------------------------------------------ */

#define STORE_NEIGHBOURS_MAX 65536 /* of an item */

/* What an interaction with the item rid adds to the scores of others, before the weight of the signal: values[k]
 * times the scale of rids[k]. */
struct store_neighbour_row {
    int64_t rid;
    double scale;        /* of rid as somebody's neighbour */
    const int64_t *rids; /* (n) ascending, without rid */
    const float *values; /* (n) */
    size_t n;
};
/* Rows of a model in ONE transaction: the caller cuts the work into blocks. A row that is there is replaced; one
 * without neighbours and with scale 0 goes; that of a deleted item is left out. Not finite, not
 * ascending: ERR_FATAL EX_SOFTWARE, nothing written. No row names a user. */
int store_put_neighbours(struct store *st, int64_t model_id,
                         const struct store_neighbour_row *rows, size_t n, struct err *err);
/* The same, but a row that is there stays. */
int store_put_missing_neighbours(struct store *st, int64_t model_id,
                                 const struct store_neighbour_row *rows, size_t n,
                                 struct err *err);

/* As they are read, by a reader or the writer; those of deleted items are left out, while rids may name some.
 * store_neighbours_done. A damaged row: ERR_FATAL EX_DATAERR. */
struct store_neighbours {
    size_t n_rows;
    int64_t *rid;  /* (n_rows) */
    double *scale; /* (n_rows) */
    size_t *start; /* (n_rows + 1), NULL without rows */
    int64_t *rids; /* (start[n_rows]) ascending within a row */
    float *values; /* (start[n_rows]) */
};
/* Of these items, in their order; who has no row is not there. */
int store_read_neighbour_rows(struct store *st, int64_t model_id, const int64_t *rids, size_t n,
                              struct store_neighbours *ret, struct err *err);
/* All of a model, by rid. */
int store_read_neighbour_all(struct store *st, int64_t model_id, struct store_neighbours *ret,
                             struct err *err);
/* rid and scale alone of all of a model, by rid, without their lists; deleted items too. */
int store_read_neighbour_scales(struct store *st, int64_t model_id,
                                struct store_neighbours *ret, struct err *err);
void store_neighbours_done(struct store_neighbours *x);
/* How many rows of a model there are. */
int store_count_neighbours(struct store *st, int64_t model_id, int64_t *ret_n, struct err *err);

/* What each signal of a model counts: "neighbours" is the factor of the values above, what the others count is in
 * the vectors already. They stay with the model's row, whatever retention takes. */
struct store_signal {
    char name[32];
    double weight;
};
/* Replaces those of the same names. */
int store_put_signals(struct store *st, int64_t model_id, const struct store_signal *signals,
                      size_t n, struct err *err);
/* By name; free(*ret_signals). */
int store_read_signals(struct store *st, int64_t model_id, struct store_signal **ret_signals,
                       size_t *ret_n, struct err *err);

/* ---- items that have still to be fused ---------------------------------------------------- */

/* Items with features, but without a vector of this model: those that came or changed while it
 * was trained, and those that it gives none. In rid order after after_rid, at most max; free with
 * store_features_free. with_vectors false: rid and stamp only. By a reader or the writer. */
struct store_features {
    int64_t rid;
    uint64_t stamp;
    float *vec[MODALITY_COUNT]; /* (dim), NULL = missing */
    int32_t dim[MODALITY_COUNT];
    char encoder_id[MODALITY_COUNT][64];
};
int store_read_unfused(struct store *st, int64_t model_id, int64_t after_rid, size_t max,
                       bool with_vectors, struct store_features **ret_rows, size_t *ret_n,
                       struct err *err);
void store_features_free(struct store_features *rows, size_t n);

#endif

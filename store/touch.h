#ifndef MMF_STORE_TOUCH_H
#define MMF_STORE_TOUCH_H

/* Incremental refresh, the store's side: what has been touched, whom it goes with, and vectors made
 * anew.
 *
 * Each interaction that comes or is removed by retention, and each video that is written, extracted
 * again or deleted, leaves a touch in its own transaction, and store_add_touches adds what another
 * model has not seen; whoever recomputes vectors takes the touches away in the transaction that
 * writes them. So a crash forgets none. */

#include "store/models.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store_touch {
    int64_t n;         /* ascending, never given twice */
    int64_t uid, rid;  /* 0 = none */
    bool item_changed; /* its features, or whether it exists */
    bool edge_gone;    /* by retention: their vectors may wait for another touch */
    double ts_ms;
};
/* The next touches after after_n, at most max, into ret_touches. */
int store_read_touches(struct store *st, int64_t after_n, size_t max,
                       struct store_touch *ret_touches, size_t *ret_n, struct err *err);
struct store_backlog {
    int64_t n_touches, last_n; /* touches go from the oldest on, so they are not counted */
    double oldest_ms;          /* 0 = nothing waits */
};
int store_touch_backlog(struct store *st, struct store_backlog *ret_backlog, struct err *err);
/* Touches of nodes that a model has not seen, each side 0 or an id; one transaction. */
int store_add_touches(struct store *st, const struct store_pair *touches, size_t n,
                      struct err *err);
/* Takes touches up to n away, at most max_rows. */
int store_drop_touches(struct store *st, int64_t n, size_t max_rows, bool *ret_more,
                       struct err *err);

/* How many bytes of pages this handle may keep: for one that looks up here and there. */
int store_keep_pages(struct store *st, int64_t bytes, struct err *err);
/* A run of reads that see one moment; store_read_end also after an error. */
int store_read_begin(struct store *st, struct err *err);
void store_read_end(struct store *st);

struct store_ids {
    int64_t *ids; /* ascending */
    size_t n, room;
};
/* Whom a user or an item has an edge with (kinds.h), each once, deleted items left out. Replaces what
 * *ids holds and keeps its memory: free(ids->ids). */
int store_read_neighbours(struct store *st, enum store_side side, int64_t id,
                          struct store_ids *ids, struct err *err);
int store_read_degree(struct store *st, enum store_side side, int64_t id, uint32_t *ret_degree,
                      struct err *err);
/* Of all users and items, by their ids; the pairs of at most max_users users at a time, from
 * after_uid on, are added to what *d holds, which begins zeroed. */
struct store_degrees {
    uint32_t *of[2]; /* (n) by enum store_side */
    size_t n[2];     /* an id beyond has none */
    int64_t after_uid;
};
int store_read_degrees(struct store *st, size_t max_users, struct store_degrees *d,
                       bool *ret_more, struct err *err);
void store_degrees_done(struct store_degrees *d);
/* All edges in the order of uid and rid, deleted items left out; free(*ret_pairs). */
int store_read_pairs(struct store *st, struct store_pair **ret_pairs, size_t *ret_n,
                     struct err *err);
/* The same of the pairs whose strength is below 0, deleted items among them. */
int store_read_against(struct store *st, struct store_pair **ret_pairs, size_t *ret_n,
                       struct err *err);
/* Items whose vector under this model no interaction has influenced, ascending. */
int store_read_cold(struct store *st, int64_t model_id, struct store_ids *ids, struct err *err);
/* The stored features of one item, ret_f->rid; free its vec. ERR_OK also when there are none. */
int store_read_features(struct store *st, int64_t rid, struct store_features *ret_f,
                        struct err *err);

/* Recomputed vectors of the active model and the touches that they settle, in ONE transaction.
 * A row that would not change keeps its seq; an item that is deleted or was never published, or that
 * has changed after snapshot_n, is left alone: its own touch is still to come. So is an edgeless item that
 * is not warm: it keeps what ingest gave it, to the byte. gone: nodes without an edge and without anything
 * else to make a vector of; users and warm items lose theirs. neighbours: rows made anew, of items that
 * have changed since as well, for a row goes by interactions alone; a touch of theirs is still to come. ERR_STALE: model_id is no longer the active
 * model, nothing was written. items and users: their model_id is this one. */
struct store_recomputed {
    int64_t model_id;
    int64_t done_n, snapshot_n; /* touches settled; touches known when the vectors were made */
    struct store_vectors items, users;
    const uint8_t *edgeless; /* (items.n), NULL = none */
    const int64_t *gone[2];  /* by enum store_side, (n_gone) */
    size_t n_gone[2];
    const struct store_neighbour_row *neighbours; /* (n_neighbours), as store_put_neighbours */
    size_t n_neighbours;
};
struct store_recomputed_result {
    uint32_t n_written, n_unchanged; /* the others were left alone */
    uint32_t n_rows_written;         /* of neighbours: the others are as they were */
};
int store_write_recomputed(struct store *st, const struct store_recomputed *r,
                           struct store_recomputed_result *ret_result, struct err *err);

/* For which model the touches are complete: after a change of the model, pairs that it was not
 * trained on are touched again. 0 = none. */
int store_refresh_model(struct store *st, int64_t *ret_model_id, struct err *err);
int store_set_refresh_model(struct store *st, int64_t model_id, struct err *err);

#endif

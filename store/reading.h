#ifndef MMF_STORE_READING_H
#define MMF_STORE_READING_H

/* Reading what is there, by a reader or the writer: items and vectors of the active model, counts,
 * dead letters, what a report shows. */

#include "config/modality.h"
#include "store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- items and their vectors ------------------------------------------------------------ */

struct store_item {
    int64_t rid;
    char *item_id, *media_uri, *sha256, *title, *description, *lang, *tags_json, *flags_json;
    char state[16]; /* cold, warm, no_signal, no_features */
    bool deleted;
    char *topic;
    int32_t partition;
    int64_t offset;
    double published_ms, received_ms, extracted_ms, queryable_ms, extract_ms; /* 0 = unknown */
};
void store_item_done(struct store_item *item);

struct store_embedding {
    char *item_id;
    int32_t dim;
    float *vec; /* (dim) */
    char state[8];
    int64_t model_id, seq;
    double updated_ms;
};
void store_embedding_done(struct store_embedding *e);

/* ERR_NONE when there is no such item (for embeddings: none now). A BLOB whose checksum fails is
 * ERR_FATAL EX_DATAERR naming table and rowid. */
int store_get_item(struct store *st, const char *item_id, struct store_item *ret_item,
                   struct err *err);
int store_get_embedding(struct store *st, const char *item_id, struct store_embedding *ret_e,
                        struct err *err);
/* The stored feature of one item; *ret_vec malloc'ed. ERR_NONE when missing. */
int store_get_feature(struct store *st, const char *item_id, enum modality m, float **ret_vec,
                      int32_t *ret_dim, char ret_encoder_id[64], struct err *err);

/* Every current embedding into memory, for top-k: rows in rid order. */
struct store_matrix {
    size_t n_rows;
    int32_t dim;
    int64_t model_id;
    char **item_id; /* (n_rows) */
    float *vec;     /* (n_rows, dim) */
    char *id_block; /* what item_id points into */
};
int store_read_embeddings(struct store *st, struct store_matrix *ret_m, struct err *err);
void store_matrix_done(struct store_matrix *m);

/* Ids and names in the order of the ids: items that are not deleted, or users. */
struct store_names {
    size_t n;
    int64_t *id;
    char **name;
};
int store_read_names(struct store *st, enum store_side side, struct store_names *ret_names,
                     struct err *err);
void store_names_done(struct store_names *names);

/* rid or uid of each name, 0 = unknown. */
int store_find_ids(struct store *st, enum store_side side, char *const *names, size_t n,
                   int64_t *ret_ids, struct err *err);
/* The current vector of a user; *ret_vec malloc'ed. ERR_NONE: unknown, or none under the active
 * model. */
int store_get_user_vector(struct store *st, const char *user_id, float **ret_vec,
                          int32_t *ret_dim, struct err *err);
/* rids of the items that a user has interacted with, ascending; free(*ret_rids). What counts for
 * nothing (kinds.h) is left out: an item that was shown and not looked at may be shown again. */
int store_user_seen(struct store *st, const char *user_id, int64_t **ret_rids, size_t *ret_n,
                    struct err *err);
/* The same of those whose strength is below 0. */
int store_user_against(struct store *st, const char *user_id, int64_t **ret_rids, size_t *ret_n,
                       struct err *err);

/* ---- counts and offsets ----------------------------------------------------------------- */

struct store_counts {
    int64_t n_items, n_deleted, n_embeddings, n_no_signal, n_no_features, n_users;
    int64_t n_interactions, n_dead_letters, n_outbox, n_gaps, n_models, last_seq;
    int64_t n_cold, n_warm; /* items by state */
    int64_t n_unpublished;  /* of n_no_features: known from interactions alone */
    int64_t file_bytes, wal_bytes;
};
int store_count(struct store *st, struct store_counts *ret_counts, struct err *err);

/* What an alert needs of the rows, without a walk over items or interactions. */
struct store_letter_counts {
    int64_t n_letters, n_outbox;
    int64_t committed_us; /* wall clock: when an offset last moved; 0 = never */
};
int store_count_letters(struct store *st, struct store_letter_counts *ret_counts,
                        struct err *err);

struct store_count_by {
    char name[64];
    int64_t n;
};
int store_count_dead_letters(struct store *st, struct store_count_by **ret_rows, size_t *ret_n,
                             struct err *err);
struct store_offset_row {
    char *topic;
    int32_t partition;
    int64_t next_offset;
    double updated_ms;
};
int store_read_offsets(struct store *st, struct store_offset_row **ret_rows, size_t *ret_n,
                       struct err *err);
void store_offsets_free(struct store_offset_row *rows, size_t n);

/* ---- dead letters ----------------------------------------------------------------------- */

/* A dead letter as it is read back. A damaged one (checksum) has its position and texts, but no key,
 * value and headers that can be used. Rows are freed by store_letters_free. */
struct store_letter {
    int64_t id;
    char *topic, *reason, *error, *stage;
    char *item_id;   /* of dead_letter, as the next; NULL = none */
    char *role;      /* as in store_dead_letter; NULL too for one written before schema 6 */
    char *dlq_topic; /* of the outbox */
    int32_t partition;
    int64_t offset, ts_us;
    int64_t said_us;   /* of dead_letter: as in store_dead_letter; 0 = unknown */
    void *key, *value; /* key NULL = none */
    size_t key_bytes, value_bytes;
    struct store_header *headers;
    size_t n_headers;
    bool damaged;
};
void store_letters_free(struct store_letter *rows, size_t n);
/* It named a user who is forgotten: there is nothing left of it to retry. */
bool store_letter_is_erased(const struct store_letter *l);
/* The outbox, oldest first: rows with id > after_id, at most max; damaged ones as well. */
int store_outbox_read(struct store *st, int64_t after_id, size_t max,
                      struct store_letter **ret_rows, size_t *ret_n, struct err *err);
/* reason NULL = all; id 0 = all; newest first, at most max. A damaged one: ERR_FATAL EX_DATAERR. */
int store_dead_letters(struct store *st, int64_t id, const char *reason, size_t max,
                       struct store_letter **ret_rows, size_t *ret_n, struct err *err);

/* ---- lists of items --------------------------------------------------------------------- */

/* An item is stale when a feature that could be made anew (picture and sound when it has a
 * media_uri, text when it has some) comes from another encoder than encoder_id[m], those of
 * this build. Imported features without media behind them never are. An index holds what is
 * counted. */
int store_count_stale(struct store *st, const char *const encoder_id[MODALITY_COUNT],
                      int64_t *ret_n, struct err *err);
/* Items with media or text in the order of their rids after after_rid, at most max; the stale ones
 * only when encoder_id is not NULL. store_refs_free. */
struct store_ref {
    int64_t rid;
    char *item_id;
};
int store_list_extractable(struct store *st, const char *const encoder_id[MODALITY_COUNT],
                           int64_t after_rid, size_t max, struct store_ref **ret_refs,
                           size_t *ret_n, struct err *err);
void store_refs_free(struct store_ref *refs, size_t n);

/* ---- for reports ------------------------------------------------------------------------ */

/* At most max items that have a current embedding, drawn evenly and always the same ones: in the
 * order of a hash of their rids, so that two reports of one store show the same. store_refs_free. */
int store_sample(struct store *st, size_t max, struct store_ref **ret_refs, size_t *ret_n,
                 struct err *err);
/* Upload (received) to queryable in ms of the max newest items that came by events; free(*ret_ms). */
int store_read_latencies(struct store *st, size_t max, double **ret_ms, size_t *ret_n,
                         struct err *err);
struct store_gap_row {
    char *topic;
    int32_t partition;
    int64_t from_offset, to_offset; /* [from, to) were gone */
    double ts_ms;
};
/* Newest first, at most max. */
int store_read_gaps(struct store *st, size_t max, struct store_gap_row **ret_rows,
                    size_t *ret_n, struct err *err);
void store_gaps_free(struct store_gap_row *rows, size_t n);

/* ---- the whole file --------------------------------------------------------------------- */

/* PRAGMA quick_check plus each BLOB's checksum. ERR_FATAL EX_DATAERR with the first fault. */
int store_check(struct store *st, int64_t *ret_n_blobs, struct err *err);

#endif

#ifndef MMF_STORE_STORE_H
#define MMF_STORE_STORE_H

/* The store: one SQLite file, one writer, any number of readers. A batch is ONE transaction:
 * rows, dead letters and the next offsets stand or fall together, and every insert is idempotent
 * on (topic, partition, offset), so a batch written twice changes nothing.
 *
 * STORE_WRITE takes <path>.lock (open file description lock) for the life of the handle and is
 * the only connection that writes and checkpoints (SQLite before 3.51.3 may corrupt a WAL that
 * two connections reset at once). STORE_READ opens read-only and never checkpoints. A handle
 * belongs to one thread. What a call fills is the caller's, and freed as the call says. */

#include "config/err.h"
#include "config/modality.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;

enum store_mode { STORE_READ, STORE_WRITE };

/* STORE_WRITE creates the file and migrates. ERR_FATAL: EX_TEMPFAIL (75) when another process
 * holds the lock (its pid in the text), EX_CONFIG (78) for a newer schema or a foreign file,
 * EX_NOINPUT (66) when a reader finds no file. */
int store_open(const char *path, enum store_mode mode, struct store **ret_st, struct err *err);
void store_close(struct store *st); /* takes NULL; leaves -wal and -shm for readers */

/* ---- what one event leaves behind ------------------------------------------------------ */

struct store_position {
    const char *topic;
    int32_t partition;
    int64_t offset;
};

struct store_vector {
    const float *vec; /* (dim), NULL = modality missing */
    int32_t dim;
    const char *encoder_id;
};

/* Insert or replace one item. Refused silently (counted in ret_result.n_stale) when the row in
 * the store comes from the same topic and partition and an offset >= pos.offset, or when such a
 * position was displaced by an event of another partition. An embedding that is not finite or all
 * zero, a feature that is not finite, or a model that is not in the store is a fault of the
 * caller: ERR_FATAL EX_SOFTWARE, and nothing of the batch is written. (A feature may be all
 * zero: a black frame is one.) model_id is the active model's; embeddings of the item under other
 * models go, since they describe what it was. */
struct store_video {
    struct store_position pos;
    const char *item_id;
    const char *media_uri, *sha256, *title, *description, *lang; /* NULL = none */
    const char *tags_json;  /* JSON array of strings, NULL = none */
    const char *flags_json; /* sampling flags of the extraction, NULL = none */
    int64_t published_us, received_us, extracted_us; /* wall clock, 0 = unknown */
    int64_t extract_us;                              /* duration of the extraction */
    struct store_vector feature[MODALITY_COUNT];
    struct store_vector embedding; /* encoder_id unused; vec NULL = no_signal */
    int64_t model_id;
};

/* The item's row stays with deleted = 1 and this position, so that an older event cannot bring it
 * back; its texts, features and embeddings go. Its interactions stay. */
struct store_delete {
    struct store_position pos;
    const char *item_id;
};

/* Features made anew from the media that the item has: they replace all that it had; its position,
 * texts and trail stay, and vectors of other models. embedding: the vector under model_id (the
 * active one), with a touch that a warm one's vector is left to; vec NULL = keep what there is.
 * The same bytes take no seq. No such item, or item_id NULL: nothing happens (n_stale). */
struct store_reextraction {
    const char *item_id;
    const char *flags_json; /* NULL = as they are */
    struct store_vector feature[MODALITY_COUNT];
    struct store_vector embedding;
    int64_t model_id;
};

/* An unknown item gets a row without features, state no_features. */
struct store_interaction {
    struct store_position pos;
    const char *user_id, *item_id, *kind; /* kind NULL = "watch" */
    double weight;
    int64_t ts_us;
};

struct store_header {
    const char *name;
    const void *value;
    size_t value_bytes;
};

/* Written to dead_letter, and to dlq_outbox when dlq_topic is set. */
struct store_dead_letter {
    struct store_position pos;
    const char *reason;  /* bad_json, bad_schema, too_big, media…, internal */
    const char *error;   /* the sentence */
    const char *stage;   /* parse, extract, fuse, store */
    const char *item_id; /* NULL when unknown */
    const char *role;    /* "videos", "interactions"; NULL = from no topic of either kind */
    const void *key, *value;
    size_t key_bytes, value_bytes;
    const struct store_header *headers;
    size_t n_headers;
    int64_t ts_us;
    const char *dlq_topic; /* NULL = keep in the store only */
};

/* A hole in the log: offsets [from, to) were gone when we asked for them. */
struct store_gap {
    const char *topic;
    int32_t partition;
    int64_t from_offset, to_offset;
};

struct store_offset {
    const char *topic;
    int32_t partition;
    int64_t next_offset;
};

enum store_op_kind {
    STORE_OP_VIDEO,
    STORE_OP_DELETE,
    STORE_OP_INTERACTION,
    STORE_OP_DEAD_LETTER,
    STORE_OP_GAP,
    STORE_OP_REEXTRACTION
};

struct store_op {
    enum store_op_kind kind;
    union {
        const struct store_video *video;
        const struct store_delete *del;
        const struct store_interaction *interaction;
        const struct store_dead_letter *dead_letter;
        const struct store_gap *gap;
        const struct store_reextraction *reextraction;
    };
};

struct store_batch_result {
    uint32_t n_inserted, n_updated, n_deleted, n_interactions, n_dead_letters;
    uint32_t n_reextracted;
    uint32_t n_stale;     /* already applied, or older than what is there */
    int64_t queryable_us; /* wall clock just before COMMIT, as in the rows */
    int64_t commit_us;    /* how long COMMIT took */
};

/* One BEGIN IMMEDIATE transaction. ERR_RETRY on SQLITE_FULL, SQLITE_IOERR, SQLITE_BUSY and when
 * memory is out: rolled back, nothing changed, call again with the same batch. Offsets never move
 * backwards. Each embedding written or removed takes the next seq. */
int store_write_batch(struct store *st, const struct store_op *ops, size_t n_ops,
                      const struct store_offset *offsets, size_t n_offsets,
                      struct store_batch_result *ret_result, struct err *err);

/* ---- Kafka's side ----------------------------------------------------------------------- */

/* ERR_OK and *ret_next, or ERR_END when this partition has no row. */
int store_next_offset(struct store *st, const char *topic, int32_t partition, int64_t *ret_next,
                      struct err *err);
/* Whether any partition of the topic has a row. */
int store_knows_topic(struct store *st, const char *topic, bool *ret_known, struct err *err);
/* Remembers the cluster at first contact (a reader only compares); ERR_FATAL EX_CONFIG when it is
 * another one. */
int store_check_cluster(struct store *st, const char *cluster_id, struct err *err);

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
    void *key, *value; /* key NULL = none */
    size_t key_bytes, value_bytes;
    struct store_header *headers;
    size_t n_headers;
    bool damaged;
};
void store_letters_free(struct store_letter *rows, size_t n);
/* The outbox, oldest first: rows with id > after_id, at most max; damaged ones as well. */
int store_outbox_read(struct store *st, int64_t after_id, size_t max,
                      struct store_letter **ret_rows, size_t *ret_n, struct err *err);
int store_outbox_delete(struct store *st, const int64_t *ids, size_t n, struct err *err);
/* Every damaged row goes; how many. */
int store_outbox_purge_damaged(struct store *st, int64_t *ret_n, struct err *err);

/* ---- models ------------------------------------------------------------------------------- */

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
/* ERR_END when there is none. */
int store_model_active(struct store *st, struct store_model *ret_m, struct err *err);
int store_model_get(struct store *st, int64_t model_id, struct store_model *ret_m,
                    struct err *err);
/* Newest first, at most max; each row ends in store_model_done, then free(*ret_rows). */
int store_model_list(struct store *st, size_t max, struct store_model **ret_rows, size_t *ret_n,
                     struct err *err);
/* What a rollback means: of the retired models that are older than the active one, the one that
 * was retired last; without any, the same of the newer ones. ERR_END: none. */
int store_model_previous(struct store *st, int64_t *ret_model_id, struct err *err);
/* A candidate is refused ("rejected"), or a rejected one is looked at again ("candidate"); metrics
 * NULL = as they are. ERR_FATAL EX_DATAERR for a model in another state. */
int store_model_set_state(struct store *st, int64_t model_id, const char *state,
                          const char *metrics, struct err *err);
/* One transaction flips the active model: the old one is retired. The active one again changes
 * nothing. ERR_FATAL EX_DATAERR for an unknown model. */
int store_model_activate(struct store *st, int64_t model_id, struct err *err);

/* ---- reading ------------------------------------------------------------------------------ */

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

/* ERR_END when there is no such item (for embeddings: none now). A BLOB whose checksum fails is
 * ERR_FATAL EX_DATAERR naming table and rowid. */
int store_get_item(struct store *st, const char *item_id, struct store_item *ret_item,
                   struct err *err);
int store_get_embedding(struct store *st, const char *item_id, struct store_embedding *ret_e,
                        struct err *err);
/* The stored feature of one item; *ret_vec malloc'ed. ERR_END when missing. */
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

struct store_counts {
    int64_t n_items, n_deleted, n_embeddings, n_no_signal, n_no_features, n_users;
    int64_t n_interactions, n_dead_letters, n_outbox, n_gaps, n_models, last_seq;
    int64_t n_cold, n_warm; /* items by state */
    int64_t file_bytes, wal_bytes;
};
int store_count(struct store *st, struct store_counts *ret_counts, struct err *err);

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

/* reason NULL = all; id 0 = all; newest first, at most max. A damaged one: ERR_FATAL EX_DATAERR. */
int store_dead_letters(struct store *st, int64_t id, const char *reason, size_t max,
                       struct store_letter **ret_rows, size_t *ret_n, struct err *err);
/* The outbox keeps what it has still to publish. Deletes by id; id 0 = all with the reason (NULL = all), older than before_us (0 = any). */
int store_dead_letters_purge(struct store *st, int64_t id, const char *reason,
                             int64_t before_us, int64_t *ret_n, struct err *err);

/* ---- encoders that have changed -------------------------------------------------------------- */

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

/* ---- training and publication --------------------------------------------------------------- */

enum store_side { STORE_SIDE_ITEMS, STORE_SIDE_USERS };

/* What a training reads, as one moment of the store: items that are not deleted in rid order,
 * users in uid order, the distinct pairs of the interactions in that order. Of each modality the
 * vectors of ONE encoder (the newest feature's) and one dimension; an item with another one's has
 * that modality missing. */
struct store_dataset {
    size_t n_items, n_users, n_pairs;
    int64_t *item_rid, *user_uid; /* ascending */
    char **item_id, **user_id;
    uint32_t (*pair)[2];            /* (n_pairs) user row, item row */
    uint8_t *mask;                  /* (n_items) MODALITY_BITs */
    int32_t dim[MODALITY_COUNT];    /* 0 = nobody has this modality */
    float *feature[MODALITY_COUNT]; /* (n_items, dim), missing = zeros */
    char encoder_id[MODALITY_COUNT][64];
    uint64_t *stamp; /* (n_items) of the item's stored features, see store_vectors */
};
int store_read_dataset(struct store *st, struct store_dataset *ret_d, struct err *err);
void store_dataset_done(struct store_dataset *d);

/* Ids and names in the order of the ids: items that are not deleted, or users. */
struct store_names {
    size_t n;
    int64_t *id;
    char **name;
};
int store_read_names(struct store *st, enum store_side side, struct store_names *ret_names,
                     struct err *err);
void store_names_done(struct store_names *names);

/* The distinct pairs of the interactions with items that are not deleted, each with its first
 * time, by user and item. free(*ret_pairs). */
struct store_timed_pair {
    int64_t uid, rid;
    double ts_ms;
};
int store_read_timed_pairs(struct store *st, struct store_timed_pair **ret_pairs, size_t *ret_n,
                           struct err *err);

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

/* rid or uid of each name, 0 = unknown. */
int store_find_ids(struct store *st, enum store_side side, char *const *names, size_t n,
                   int64_t *ret_ids, struct err *err);
/* The current vector of a user; *ret_vec malloc'ed. ERR_END: unknown, or none under the active
 * model. */
int store_get_user_vector(struct store *st, const char *user_id, float **ret_vec,
                          int32_t *ret_dim, struct err *err);
/* rids of the items that a user has interacted with, ascending; free(*ret_rids). */
int store_user_seen(struct store *st, const char *user_id, int64_t **ret_rids, size_t *ret_n,
                    struct err *err);

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

/* A pinned model stays active until somebody says otherwise: retraining does not replace it.
 * 0 = none is pinned. */
int store_pin_model(struct store *st, int64_t model_id, struct err *err);
int store_pinned_model(struct store *st, int64_t *ret_model_id, struct err *err);

/* The pairs that a model was trained on: evaluation masks them. Written once a model, and again
 * when it is activated after retention took them. */
struct store_pair {
    int64_t uid, rid;
};
int store_put_training(struct store *st, int64_t model_id, const struct store_pair *pairs,
                       size_t n, struct err *err);
/* ERR_END: none is known (a model that was not trained here). free(*ret_pairs). */
int store_get_training(struct store *st, int64_t model_id, struct store_pair **ret_pairs,
                       size_t *ret_n, struct err *err);

/* ---- for reports ---------------------------------------------------------------------------- */

/* At most max items that have a current embedding, drawn evenly and always the same ones: in the
 * order of a hash of their rids. store_refs_free. */
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

/* ---- upkeep ------------------------------------------------------------------------------- */

struct store_retention {
    int64_t interactions_days, dead_letters_days, model_versions; /* 0 = keep */
};
/* A model that is about to be activated: retention leaves its vectors alone; 0 = none any more. */
void store_keep_model(struct store *st, int64_t model_id);
/* model_versions: so many retired models keep vectors and training pairs, rejected ones none.
 * A bounded piece of work at a time (max_rows); *ret_more when there is more to do. */
int store_retain(struct store *st, const struct store_retention *r, int64_t now_us,
                 size_t max_rows, bool *ret_more, struct err *err);
/* VACUUM INTO, by a writer or a reader; the target must not exist; it appears whole or not. */
int store_snapshot(struct store *st, const char *path, struct err *err);
/* PRAGMA quick_check plus each BLOB's checksum. ERR_FATAL EX_DATAERR with the first fault. */
int store_check(struct store *st, int64_t *ret_n_blobs, struct err *err);

#endif

#ifndef MMF_STORE_WRITING_H
#define MMF_STORE_WRITING_H

/* What the one writer does: batches of events with their offsets, dead letters, upkeep. A function
 * needs the handle of STORE_WRITE, unless it says what a reader gets. */

#include "config/digest.h"
#include "config/modality.h"
#include "store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- what one event leaves behind ------------------------------------------------------- */

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

/* The kind of an interaction that names none. */
#define STORE_KIND_DEFAULT "watch"

/* An unknown item gets a row without features, state no_features. */
struct store_interaction {
    struct store_position pos;
    const char *user_id, *item_id, *kind; /* kind NULL = STORE_KIND_DEFAULT */
    double weight;
    int64_t ts_us;
    int64_t said_us; /* when it was said, at the latest; 0 = ts_us. See store_forget */
};

/* A person is forgotten: everything that the store holds of the user goes, and what was said of them
 * until at_us is dropped when it comes again. One forgotten at that time or later is left alone
 * (n_stale): a user may come back, and the log be read again. The operation itself takes the vectors
 * and the name; store_erase the rest, in bounded pieces. */
struct store_forget {
    struct store_position pos;
    const char *user_id;
    int64_t at_us;
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
    int64_t said_us;       /* as store_interaction's; 0 = now */
    const char *dlq_topic; /* NULL = keep in the store only */
};

/* A hole in the log: offsets [from, to) were gone when we asked for them. An empty one is no hole, but
 * offsets that are never delivered: no row. */
struct store_gap {
    const char *topic;
    int32_t partition;
    int64_t from_offset, to_offset;
};

struct store_offset {
    const char *topic;
    int32_t partition;
    int64_t next_offset;
    int64_t record_offset, record_digest; /* the last record before it; digest 0 = as before */
};

enum store_op_kind {
    STORE_OP_VIDEO,
    STORE_OP_DELETE,
    STORE_OP_INTERACTION,
    STORE_OP_DEAD_LETTER,
    STORE_OP_GAP,
    STORE_OP_REEXTRACTION,
    STORE_OP_FORGET
};

/* letter_id: the dead letter that this was another try of, 0 = of none. It goes with what became of it,
 * in the same transaction; a dead letter takes its place, under its id, and is not published again. */
struct store_op {
    enum store_op_kind kind;
    int64_t letter_id;
    union {
        const struct store_video *video;
        const struct store_delete *del;
        const struct store_interaction *interaction;
        const struct store_dead_letter *dead_letter;
        const struct store_gap *gap;
        const struct store_reextraction *reextraction;
        const struct store_forget *forget;
    };
};

struct store_batch_result {
    uint32_t n_inserted, n_updated, n_deleted, n_interactions, n_dead_letters;
    uint32_t n_reextracted;
    uint32_t n_forgotten;              /* users */
    uint32_t n_dropped;                /* interactions of users who are forgotten */
    uint32_t n_new_users, n_new_items; /* that interactions named and the store did not know */
    uint32_t n_stale;                  /* already applied, or older than what is there */
    int64_t queryable_us;              /* wall clock just before COMMIT, as in the rows */
    int64_t commit_us;                 /* how long COMMIT took */
};

/* One BEGIN IMMEDIATE transaction. ERR_RETRY on SQLITE_FULL, SQLITE_IOERR, SQLITE_BUSY and when
 * memory is out: rolled back, nothing changed, call again with the same batch. Offsets never move
 * backwards. Each embedding written or removed takes the next seq. */
int store_write_batch(struct store *st, const struct store_op *ops, size_t n_ops,
                      const struct store_offset *offsets, size_t n_offsets,
                      struct store_batch_result *ret_result, struct err *err);

/* ---- Kafka's side ----------------------------------------------------------------------- */

/* ERR_OK and *ret_next, or ERR_NONE when this partition has no row. A reader too, as the next. */
int store_next_offset(struct store *st, const char *topic, int32_t partition, int64_t *ret_next,
                      struct err *err);
/* The last record that is stored of a partition; ERR_NONE when none is known. */
int store_last_record(struct store *st, const char *topic, int32_t partition,
                      int64_t *ret_offset, int64_t *ret_digest, struct err *err);
/* The topic was made anew: an empty gap for each of its partitions, at the place that was reached in
 * the old log. With begin_again the old log takes another name, "videos@2026-11-30T08:05:12Z", with
 * what is stored of it, so that the new one's offsets are new ones, and each partition goes back to 0. */
int store_topic_made_anew(struct store *st, const char *topic, bool begin_again,
                          struct err *err);
/* Whether any partition of the topic has a row. */
int store_knows_topic(struct store *st, const char *topic, bool *ret_known, struct err *err);
/* Remembers the cluster at first contact (a reader only compares); ERR_FATAL EX_CONFIG when it is
 * another one. */
int store_check_cluster(struct store *st, const char *cluster_id, struct err *err);

int store_outbox_delete(struct store *st, const int64_t *ids, size_t n, struct err *err);
/* Every damaged row goes; how many. */
int store_outbox_purge_damaged(struct store *st, int64_t *ret_n, struct err *err);
/* Deletes by id; id 0 = all with the reason (NULL = all), older than before_us (0 = any). The outbox
 * keeps what it has still to publish. */
int store_dead_letters_purge(struct store *st, int64_t id, const char *reason,
                             int64_t before_us, int64_t *ret_n, struct err *err);

/* ---- work for whoever has the handle ------------------------------------------------------ */

/* What somebody wants done with the writing handle: runs on the thread that has it, while the caller
 * waits. arg is the caller's. */
typedef int store_work_fn(struct store *st, void *arg, struct err *err);

/* The way to that thread: the daemon's sink (pipeline_writer), or a handle of one's own. */
struct store_writer {
    int (*run)(void *ctx, store_work_fn *work, void *arg, struct err *err);
    void *ctx;
};

/* What the work returns; the way's own error when it never ran. */
static inline int store_work(const struct store_writer *w, store_work_fn *work, void *arg,
                             struct err *err)
{
    return w->run(w->ctx, work, arg, err);
}

/* Runs it at once, on the calling thread, which has the handle. */
struct store_writer store_writer_of(struct store *st);

/* ---- upkeep ----------------------------------------------------------------------------- */

/* A model that is about to be activated: retention leaves its vectors alone; 0 = none any more. */
void store_keep_model(struct store *st, int64_t model_id);
enum store_retained {
    STORE_RETAINED_INTERACTIONS,
    STORE_RETAINED_DEAD_LETTERS,
    STORE_RETAINED_VECTORS, /* of items and users, and neighbours, of models that are given up */
    STORE_RETAINED_TRAININGS, /* the pairs that such a model was trained on, a row a model */
    STORE_RETAINED
};

struct store_retention {
    int64_t interactions_days, dead_letters_days, model_versions; /* 0 = keep */
    int64_t *removed; /* (STORE_RETAINED): what has gone is added to it; NULL = not wanted */
};
/* model_versions: so many retired models keep vectors, neighbours and training pairs, rejected ones none.
 * A bounded piece of work at a time (max_rows); *ret_more when there is more to do. */
int store_retain(struct store *st, const struct store_retention *r, int64_t now_us,
                 size_t max_rows, bool *ret_more, struct err *err);
/* The time by which retention went last (daemon/base/steady.h), 0 = none yet; a reader too. */
int store_clock(struct store *st, int64_t *ret_us, struct err *err);
int store_put_clock(struct store *st, int64_t us, struct err *err);

/* ---- forgetting ------------------------------------------------------------------------- */

/* Alone, outside a batch: as STORE_OP_FORGET at this moment. *ret_hash: by which it is found again. */
int store_forget(struct store *st, const char *user_id, unsigned char ret_hash[DIGEST_BYTES],
                 struct err *err);

/* Of a hash so many bytes are shown, as digits with a NUL. */
enum { STORE_HASH_SHOWN = 8, STORE_HASH_TEXT = 2 * STORE_HASH_SHOWN + 1 };

struct store_erased {
    bool done; /* all of one user has gone with this piece; then: */
    char hash[STORE_HASH_TEXT];
    int64_t n_interactions, n_vectors, n_pairs, n_letters;
};
/* One transaction of at most max_rows rows, or one model's training pairs, or some megabytes of dead
 * letters. *ret_more: there is more to do. Costs nothing when there is not. */
int store_erase(struct store *st, size_t max_rows, struct store_erased *ret_erased,
                bool *ret_more, struct err *err);
/* Whether everything of a forgotten user has gone from the store. A reader too. */
int store_is_erased(struct store *st, const unsigned char hash[DIGEST_BYTES], bool *ret_erased,
                    struct err *err);
/* After an erasure: takes the last copies of ids out of the file (the index of users is written anew:
 * 0.5 s for a million) and empties the log of writes. *ret_clean false: a reader holds that log up, to be
 * tried again; true at once when nothing is due. */
int store_wipe(struct store *st, bool *ret_clean, struct err *err);

/* ERR_OK and its row, ERR_NONE: nobody of that hash. A reader too. */
struct store_forgotten {
    unsigned char hash[DIGEST_BYTES];
    int64_t forgotten_us;
    bool in_files; /* folders of models have not been looked through since */
    int64_t n_interactions, n_vectors, n_pairs, n_letters, n_dropped;
};
int store_forgotten_find(struct store *st, const unsigned char hash[DIGEST_BYTES],
                         struct store_forgotten *ret_f, struct err *err);
/* All of them, free(*ret_rows). A reader too. */
int store_forgotten_list(struct store *st, struct store_forgotten **ret_rows, size_t *ret_n,
                         struct err *err);
/* A name of the key that the hashes are made with: 16 digits. A reader too. */
int store_forget_key_name(struct store *st, char ret_name[STORE_HASH_TEXT], struct err *err);
/* Rows of another copy of this store (the same key): whoever of them is not forgotten here, or was
 * earlier, is forgotten now. *ret_n: how many of them the store knew. */
int store_forget_listed(struct store *st, const struct store_forgotten *rows, size_t n,
                        int64_t *ret_n, struct err *err);
/* Folders of models no longer name whom n_forgettings (below) counted. */
int store_forgotten_filed(struct store *st, int64_t n_forgettings, struct err *err);
/* They may again: a folder of an earlier day was put back. store_forget_listed says so too. */
int store_forgotten_again(struct store *st, struct err *err);
/* For status: how many are forgotten, how many interactions of theirs were dropped when they came again,
 * how many of them are still being erased. A reader too. */
struct store_forgotten_sums {
    int64_t n_users, n_dropped, n_erasing;
};
int store_forgotten_sums(struct store *st, struct store_forgotten_sums *ret_sums,
                         struct err *err);
/* Grows with each forgetting. A reader too. */
int store_forgettings(struct store *st, int64_t *ret_n, struct err *err);
/* When something was read of the store: before the reading. A forgetting that the store heard of later may be as
 * old as its record, and the clock may have gone back, so that its time alone does not tell. */
struct store_read_mark {
    int64_t us;            /* wall clock */
    int64_t n_forgettings; /* store_forgettings then; below 0 = not known */
};
/* Now. A reader too. */
int store_read_mark(struct store *st, struct store_read_mark *ret_mark, struct err *err);
/* Of n names (NULL = none): ret_gone[i] = 1 for one who was forgotten at that time or later, or whose
 * forgetting the store heard of after it was read. A reader too. */
int store_find_forgotten(struct store *st, char *const *names, size_t n,
                         const struct store_read_mark *mark, unsigned char *ret_gone,
                         bool *ret_any, struct err *err);

#endif

#ifndef MMF_STORE_INTERNAL_H
#define MMF_STORE_INTERNAL_H

/* Shared by the files of store/ and by its tests; nobody else includes it.
 *
 * query_*: one statement at a time. A statement is prepared at its first use and kept for the
 * life of the handle. Parameters are bound in order; the first failure (out of memory, too big)
 * is kept in the query and comes out of the step, so that a call reads as one thought:
 *
 *     struct query q = query_begin(st, SQL_FEATURE_INSERT);
 *     query_int(&q, rid);
 *     query_text(&q, name);
 *     return query_run(&q, "write a feature", err);
 */

#include "config/digest.h"
#include "store/models.h"
#include "store/reading.h"
#include "store/store.h"
#include "store/touch.h"
#include "store/writing.h"

struct sqlite3;
struct sqlite3_stmt;

#define STORE_APPLICATION_ID 0x6d6d6631 /* "mmf1" */
#define STORE_TOPIC_BYTES    256

/* The statements of sql.c, in its order. */
enum sql_id {
    SQL_BEGIN_READ,
    SQL_BEGIN_WRITE,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_SEQ_READ,
    SQL_SEQ_WRITE,
    SQL_TOPIC_FIND,
    SQL_TOPIC_INSERT,
    SQL_ITEM_FIND,
    SQL_ITEM_INSERT,
    SQL_ITEM_UPDATE,
    SQL_ITEM_UNKNOWN,
    SQL_ITEM_TOMBSTONE,
    SQL_ITEM_DELETE,
    SQL_ITEM_STATE,
    SQL_ITEM_GONE,
    SQL_ITEM_QUERYABLE,
    SQL_POSITION_FIND,
    SQL_POSITION_KEEP,
    SQL_FEATURE_CLEAR,
    SQL_FEATURE_INSERT,
    SQL_EMBEDDING_CLEAR,
    SQL_EMBEDDING_INSERT,
    SQL_USER_FIND,
    SQL_USER_INSERT,
    SQL_INTERACTION_INSERT,
    SQL_DEAD_LETTER_INSERT,
    SQL_DEAD_LETTER_RENEW,
    SQL_OUTBOX_INSERT,
    SQL_GAP_INSERT,
    SQL_OFFSET_UPSERT,
    SQL_OFFSET_FIND,
    SQL_OFFSET_RECORD,
    SQL_ANEW_GAPS,
    SQL_ANEW_TOPIC,
    SQL_ANEW_LETTERS,
    SQL_ANEW_OFFSETS,
    SQL_OFFSET_OF_TOPIC,
    SQL_OFFSET_LIST,
    SQL_META_FIND,
    SQL_META_INSERT,
    SQL_OUTBOX_LIST,
    SQL_OUTBOX_DELETE,
    SQL_DEAD_LETTER_LIST,
    SQL_DEAD_LETTER_PURGE,
    SQL_DEAD_LETTER_COUNT,
    SQL_MODEL_INSERT,
    SQL_MODEL_GET,
    SQL_MODEL_ACTIVE,
    SQL_MODEL_LIST,
    SQL_MODEL_RETIRE,
    SQL_MODEL_SET_ACTIVE,
    SQL_MODEL_SET_STATE,
    SQL_ACTIVE_SET,
    SQL_FLIP_GONE,
    SQL_FLIP_BACK,
    SQL_FLIP_STATE,
    SQL_ITEM_GET,
    SQL_EMBEDDING_GET,
    SQL_FEATURE_GET,
    SQL_MATRIX_SIZE,
    SQL_MATRIX_ROWS,
    SQL_COUNT,
    SQL_COUNT_LETTERS,
    SQL_RETAIN_TOUCH,
    SQL_RETAIN_INTERACTION,
    SQL_RETAIN_DEAD_LETTER,
    SQL_RETAIN_MODELS,
    SQL_RETAIN_EMBEDDING,
    SQL_RETAIN_USER_EMBEDDING,
    SQL_RETAIN_NEIGHBOUR,
    SQL_RETAIN_NEIGHBOUR_SCALE,
    SQL_RETAIN_TRAINING,
    SQL_CHECK_FEATURE,
    SQL_CHECK_EMBEDDING,
    SQL_CHECK_USER_EMBEDDING,
    SQL_CHECK_NEIGHBOUR,
    SQL_CHECK_DEAD_LETTER,
    SQL_CHECK_OUTBOX,
    SQL_SNAPSHOT,
    SQL_DATASET_ITEMS,
    SQL_DATASET_USERS,
    SQL_DATASET_PAIRS,
    SQL_TIMED_PAIRS,
    SQL_FEATURE_NEWEST,
    SQL_FEATURE_ROWS,
    SQL_USER_ROWS,
    SQL_PUBLISH_ITEM,
    SQL_PUBLISH_USER,
    SQL_TRAINED_PUT,
    SQL_TRAINED_GET,
    SQL_REEXTRACT_FIND,
    SQL_REEXTRACT_FLAGS,
    SQL_REEXTRACT_EMBEDDING,
    SQL_STALE_COUNT,
    SQL_EXTRACTABLE,
    SQL_SAMPLE,
    SQL_LATENCIES,
    SQL_GAP_LIST,
    SQL_DATASET_STAMPS,
    SQL_STAMP,
    SQL_UNFUSED,
    SQL_ITEM_FEATURES,
    SQL_USER_VECTOR,
    SQL_USER_SEEN,
    SQL_CURVE_PUT,
    SQL_CURVE_GET,
    SQL_META_SET,
    SQL_COUNT_ITEM_VECTORS,
    SQL_COUNT_USER_VECTORS,
    SQL_TOUCH_INSERT,
    SQL_TOUCH_COUNTED,
    SQL_TOUCH_LIST,
    SQL_TOUCH_BACKLOG,
    SQL_TOUCH_DELETE,
    SQL_TOUCH_LATER,
    SQL_ITEMS_OF_USER,
    SQL_USERS_OF_ITEM,
    SQL_DEGREE_OF_USER,
    SQL_DEGREE_OF_ITEM,
    SQL_RECOMPUTED_ITEM,
    SQL_RECOMPUTED_USER,
    SQL_MODEL_PREVIOUS,
    SQL_PAIRS,
    SQL_PAIRS_AFTER,
    SQL_COLD_ITEMS,
    SQL_FORGOTTEN_LATEST,
    SQL_FORGOTTEN_FIND,
    SQL_FORGOTTEN_PUT,
    SQL_FORGOTTEN_DROPPED,
    SQL_FORGOTTEN_ADD,
    SQL_FORGOTTEN_LIST,
    SQL_FORGOTTEN_FILES,
    SQL_FORGOTTEN_AGAIN,
    SQL_FORGOTTEN_SUMS,
    SQL_META_COUNT_UP,
    SQL_META_DROP,
    SQL_LAST_UID,
    SQL_ERASING_INSERT,
    SQL_ERASING_NEXT,
    SQL_ERASING_OF,
    SQL_ERASING_MOVE,
    SQL_ERASING_DELETE,
    SQL_ERASE_RENAME,
    SQL_ERASE_VECTORS,
    SQL_ERASE_TOUCH,
    SQL_ERASE_INTERACTION,
    SQL_ERASE_TOUCHED,
    SQL_ERASE_USER,
    SQL_ERASE_MODEL,
    SQL_ERASE_TRAINING,
    SQL_TRAINED_CHECKSUM,
    SQL_ERASE_LETTERS,
    SQL_ERASE_OUTBOX,
    SQL_ERASED_LETTER,
    SQL_ERASED_OUTBOX,
    SQL_USERS_AFTER,
    SQL_USER_AGAINST,
    SQL_PAIRS_AGAINST,
    SQL_KINDS,
    SQL_FACTORS_ARE_SET,
    SQL_FACTORS_CLEAR,
    SQL_FACTOR_PUT,
    SQL_FACTORS_CHANGED,
    SQL_FACTORS_TOUCH,
    SQL_FACTORS_TOUCH_FIRST,
    SQL_PAIRS_COUNT,
    SQL_USER_LAST,
    SQL_USER_GONE,
    SQL_EMBEDDING_GONE,
    SQL_ITEM_LOST,
    SQL_NEIGHBOUR_PUT,
    SQL_NEIGHBOUR_SCALE_PUT,
    SQL_NEIGHBOUR_GONE,
    SQL_NEIGHBOUR_SCALE_GONE,
    SQL_NEIGHBOUR_OF,
    SQL_NEIGHBOUR_ALL,
    SQL_NEIGHBOUR_SCALES,
    SQL_NEIGHBOUR_COUNT,
    SQL_SIGNAL_PUT,
    SQL_SIGNAL_LIST,
    SQL_ID_COUNT
};

extern const char *const store_sql[SQL_ID_COUNT];

struct store {
    struct sqlite3 *db;
    struct sqlite3_stmt *stmt[SQL_ID_COUNT];
    enum store_mode mode;
    char *path;
    int lock_fd;                             /* -1 = a reader */
    char generation[STORE_GENERATION_BYTES]; /* of a writer */
    bool is_sound;                           /* opened, and no damage met since */
    bool rollback_due; /* a rollback failed: nothing else before it has succeeded */

    /* the transaction in progress; memory is kept from one to the next */
    int64_t seq;
    int64_t now_us;
    uint32_t n_new_users, n_new_items; /* rows that interactions of this batch made */
    int64_t kept_model_id;             /* whose vectors retention leaves alone, 0 = none */
    int64_t *rids;                     /* items written, to be stamped just before COMMIT */
    size_t n_rids, cap_rids;
    unsigned char *scratch; /* encoded headers of a dead letter */
    size_t scratch_bytes;
    char topic[STORE_TOPIC_BYTES]; /* the last topic interned, "" = none */
    int64_t topic_id;

    /* forget.c */
    bool knows_forgotten; /* the next two are read */
    unsigned char forget_key[DIGEST_BYTES];
    int64_t latest_us;  /* of all who are forgotten, 0 = there are none */
    bool erase_settled; /* looked, and there was nothing left to erase */
};

/* ---- lock.c ------------------------------------------------------------------------- */

/* ERR_FATAL: a file of the store that cannot be opened for writing. Says whose it is, or whose its
 * folder. ERR_RETRY for want of descriptors or memory. */
int store_denied(const char *what, const char *path, int code, struct err *err);

struct store_lock {
    int fd;
    bool as_left; /* the last writer ended in good order and the file is as it left it */
    char generation[STORE_GENERATION_BYTES]; /* of the store that it wrote, "" = not known */
};
/* ERR_FATAL EX_TEMPFAIL names the pid of the writer that has it. */
int store_lock_take(const char *path, struct store_lock *ret_lock, struct err *err);
/* What store_lock.generation will be next time, should this process be killed. */
int store_lock_note(const char *path, int fd, const char *generation, struct err *err);
/* After the database is closed. */
void store_lock_give(const char *path, int fd, bool is_sound, const char *generation);
/* The same, and nothing is known of the file that is there now. */
void store_lock_clear(int fd);
/* What the lock file beside the store says, without taking it; "" = nothing. */
void store_lock_read(const char *path, char ret_generation[STORE_GENERATION_BYTES]);

/* ---- copy.c ------------------------------------------------------------------------------ */

/* ERR_FATAL EX_DATAERR when there is a log of writes beside the file at path that is of another
 * generation than the file: the one that the lock names. */
int store_check_wal(const char *path, const char *generation, struct err *err);

/* ---- query.c ----------------------------------------------------------------------------- */

struct query {
    struct store *st;
    struct sqlite3_stmt *stmt;
    int n_bound;
    int rc;
};

/* Turns the last SQLite error of the handle into *err; `what` says what was being done. */
int store_fail(struct store *st, struct err *err, const char *what);
int store_exec(struct store *st, const char *sql, const char *what, struct err *err);
int store_begin(struct store *st, struct err *err);
int store_commit(struct store *st, struct err *err);
void store_rollback(struct store *st);
/* The end of a transaction: commits when status is ERR_OK, otherwise, or when that fails, rolls
 * back. */
int store_finish(struct store *st, int status, struct err *err);
int64_t store_changes(const struct store *st); /* rows of the last INSERT, UPDATE or DELETE */

struct query query_begin(struct store *st, enum sql_id id);
void query_int(struct query *q, int64_t v);
void query_int_or_null(struct query *q, int64_t v); /* 0 = NULL */
void query_real(struct query *q, double v);
void query_us(struct query *q, int64_t us); /* as milliseconds, 0 = NULL */
void query_text(struct query *q, const char *s);
void query_blob(struct query *q, const void *data, size_t bytes);
/* The next of many rows: ERR_OK with it, ERR_END after the last one; anything else has ended the
 * query. */
int query_step(struct query *q, const char *what, struct err *err);
/* The one row: ERR_OK with it, ERR_NONE when there is none; all but ERR_OK has ended the query. */
int query_row(struct query *q, const char *what, struct err *err);
int query_run(struct query *q, const char *what,
              struct err *err); /* to the end, then ends it */
void query_end(struct query *q);
int64_t query_column_int(const struct query *q, int i);
double query_column_real(const struct query *q, int i);
/* Copies; *ret NULL for NULL. ERR_RETRY when memory is out. */
int query_column_text(const struct query *q, int i, char **ret_s, struct err *err);
int query_column_blob(const struct query *q, int i, void **ret_data, size_t *ret_bytes,
                      struct err *err);
void query_column_word(const struct query *q, int i, char *ret, size_t ret_bytes);
/* p with room for element n of an array that began as NULL: doubles at powers of two. NULL without
 * memory, p stays. */
void *store_grow(void *p, size_t n, size_t size);
/* Rows of (rid, item_id), at most max, to the end, then ends it; store_refs_free. */
int query_refs(struct query *q, size_t max, const char *what, struct store_ref **ret_refs,
               size_t *ret_n, struct err *err);

/* ---- schema.c ---------------------------------------------------------------------------- */

extern const char *const store_migrations[];
extern const int store_n_migrations;
/* Brings the database to version n; each step and its user_version in one transaction. */
int store_migrate(struct store *st, const char *const *migrations, int n, struct err *err);
int store_schema_check(struct store *st, int n, int *ret_version, struct err *err);

/* ---- vector.c ---------------------------------------------------------------------------- */

/* ERR_FATAL EX_SOFTWARE when the vector may not be stored. */
int store_vector_validate(const struct store_vector *v, bool allow_zero, const char *what,
                          const char *id, struct err *err);
/* Columns dim, vec, checksum from `first` on; *ret_vec is malloc'ed. ERR_FATAL EX_DATAERR
 * naming table and row when they do not agree. */
int store_vector_column(const struct query *q, int first, const char *table, int64_t rid,
                        float **ret_vec, int32_t *ret_dim, struct err *err);
/* The same check without the copy. */
int store_vector_verify(const struct query *q, int first, const char *table, int64_t rid,
                        struct err *err);

/* ---- letter.c: the bytes of a dead letter ------------------------------------------------ */

int store_headers_encode(struct store *st, const struct store_header *headers, size_t n,
                         size_t *ret_bytes, struct err *err);
/* Allocated in one block: free(*ret_headers). ERR_FATAL EX_DATAERR for bytes that do not parse.
 */
int store_headers_decode(const void *data, size_t bytes, struct store_header **ret_headers,
                         size_t *ret_n, struct err *err);
int64_t store_letter_checksum(const void *key, size_t key_bytes, const void *value,
                              size_t value_bytes, const void *headers, size_t headers_bytes);

/* ---- unfused.c --------------------------------------------------------------------------- */

/* Folds the checksum of one more feature of an item, in the order of the modalities' names, into
 * its stamp; starts at 0, which stays for an item without features. */
uint64_t store_stamp_add(uint64_t stamp, int64_t checksum);
int store_item_stamp(struct store *st, int64_t rid, uint64_t *ret_stamp, struct err *err);

/* ---- seq.c ------------------------------------------------------------------------------- */

/* The number of a topic, made when it is a new one. */
int store_topic_id(struct store *st, const char *topic, int64_t *ret_id, struct err *err);
/* st->seq from the table counter and back: the first and the last of a transaction that writes or
 * removes vectors. */
int store_seq_read(struct store *st, struct err *err);
int store_seq_write(struct store *st, struct err *err);

/* ---- model.c ----------------------------------------------------------------------------- */

/* The id of a model that meta keeps under a name; 0 = none. */
int store_get_model_note(struct store *st, const char *name, int64_t *ret_model_id,
                         struct err *err);
int store_put_model_note(struct store *st, const char *name, int64_t model_id, struct err *err);

/* ---- publish.c --------------------------------------------------------------------------- */

int store_vectors_validate(const struct store_vectors *v, struct err *err);
/* Inside a transaction, after store_seq_read: one row, which takes the next seq. */
int store_publish_row(struct store *st, const struct store_vectors *v, size_t i,
                      struct err *err);

/* ---- signal.c ---------------------------------------------------------------------------- */

int store_neighbours_validate(const struct store_neighbour_row *rows, size_t n,
                              struct err *err);
/* Inside a transaction, after store_neighbours_validate; adds to *n_changed, which may be NULL. */
int store_write_neighbours(struct store *st, int64_t model_id,
                           const struct store_neighbour_row *rows, size_t n, bool only_missing,
                           uint32_t *n_changed, struct err *err);
/* Columns list and checksum of the row that the query stands at; *ret_text is the row's. ERR_FATAL
 * EX_DATAERR when they do not agree. */
int store_neighbours_verify(const struct query *q, int64_t rid, const char **ret_text,
                            struct err *err);

/* ---- touch.c ----------------------------------------------------------------------------- */

/* Inside the transaction under way: this user (0 = none) and this item have been touched;
 * item_changed: the item's features or its existence, not only an edge. */
int store_touch(struct store *st, int64_t uid, int64_t rid, bool item_changed, struct err *err);

/* ---- upkeep.c ---------------------------------------------------------------------------- */

int store_quick_check(struct store *st, struct err *err);

/* ---- item.c: what one event does to item, feature and embedding -------------------------- */

int store_write_video(struct store *st, const struct store_video *v,
                      struct store_batch_result *r, struct err *err);
int store_write_delete(struct store *st, const struct store_delete *d,
                       struct store_batch_result *r, struct err *err);
int store_replace_features(struct store *st, int64_t rid,
                           const struct store_vector feature[MODALITY_COUNT], struct err *err);
/* Of an item that has a vector: warm or cold, and gone no more. */
int store_put_item_state(struct store *st, int64_t rid, bool warm, struct err *err);
/* The row of an item, made without features when it is unknown. */
int store_item_rid(struct store *st, const char *item_id, int64_t *ret_rid, struct err *err);

/* ---- forget.c ---------------------------------------------------------------------------- */

/* Inside the transaction under way, as one of its operations. */
int store_write_forget(struct store *st, const struct store_forget *f,
                       struct store_batch_result *r, struct err *err);
/* By which a user (n bytes) is known once forgotten. After store_forget_know. */
void store_forget_hash(const struct store *st, const char *user_id, size_t n,
                       unsigned char ret_hash[DIGEST_BYTES]);
/* The key, and until when anybody is forgotten: what the following need. */
int store_forget_know(struct store *st, struct err *err);
/* *ret_us 0: it is nobody who is forgotten. */
int store_forgotten_until(struct store *st, const unsigned char hash[DIGEST_BYTES],
                          int64_t *ret_us, struct err *err);
/* Inside the transaction under way. */
int store_put_forgotten(struct store *st, const unsigned char hash[DIGEST_BYTES], int64_t at_us,
                        struct err *err);
/* Whether what was said at said_us of this user (n bytes) is to be dropped: they have been forgotten
 * then or later. Counts it in the transaction under way. */
int store_drops(struct store *st, const char *user_id, size_t n, int64_t said_us,
                bool *ret_drops, struct err *err);
/* A dead letter that names somebody who is forgotten: *d becomes one that names nobody. */
int store_letter_forget(struct store *st, struct store_dead_letter *d, struct err *err);
/* The key of the hashes, made once a store. */
int store_forget_key_make(struct store *st, struct err *err);

/* ---- naming.c: whom a dead letter names ---------------------------------------------------- */

/* The sentence of a dead letter that named somebody. */
#define STORE_LETTER_ERASED "erased: it named a user who is forgotten"

struct naming {
    const void *key, *value;
    size_t key_bytes, value_bytes;
    const struct store_header *headers;
    size_t n_headers;
    const char *error;
    bool key_is_item; /* it came from a topic of videos */
};
/* Each text that may be a user's id, once or more; true ends the walk, and is what comes back. */
typedef bool naming_fn(void *ctx, const char *text, size_t bytes);
bool naming_walk(const struct naming *x, naming_fn *fn, void *ctx);
bool naming_is(const struct naming *x, const char *user_id);

/* reextract.c */
int store_write_reextraction(struct store *st, const struct store_reextraction *x,
                             struct store_batch_result *r, struct err *err);

#endif

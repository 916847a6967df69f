#ifndef MMF_TESTS_STORE_FIXTURE_H
#define MMF_TESTS_STORE_FIXTURE_H

/* A store in a folder of its own, and rows to write into it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "store/internal.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define FIXTURE_DIM 4

struct fixture {
    char dir[64];
    char path[96];
    struct store *st;
    struct err err;
    int64_t model_id; /* active */
};

#define assert_ok(f, call)                                                                     \
    do {                                                                                       \
        int status_ = (call);                                                                  \
        if (status_ != ERR_OK)                                                                 \
            fail_msg("%s: status %d: %s", #call, status_, (f)->err.text);                      \
    } while (0)

#define assert_fatal(f, code, call)                                                            \
    do {                                                                                       \
        assert_int_equal((call), ERR_FATAL);                                                   \
        assert_int_equal((f)->err.exit_code, (code));                                          \
    } while (0)

static inline void fixture_remove(const struct fixture *f)
{
    static const char *const names[] = {"s.db", "s.db-wal",  "s.db-shm", "s.db.lock",
                                        "snap", "snap.lock", "snap-wal", "snap-shm",
                                        "x",    "x.lock",    "x-wal",    "x-shm"};
    char name[128];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(name, sizeof name, "%s/%s", f->dir, names[i]);
        (void)unlink(name);
    }
    assert_int_equal(rmdir(f->dir), 0);
}

static inline void fixture_open(struct fixture *f)
{
    assert_ok(f, store_open(f->path, STORE_WRITE, &f->st, &f->err));
}

static inline void fixture_reopen(struct fixture *f)
{
    store_close(f->st);
    f->st = NULL;
    fixture_open(f);
}

static inline int64_t fixture_model(struct fixture *f, const char *file)
{
    struct store_model m = {.origin = STORE_MODEL_SEEDED, .backbone = "mf", .fusion = "cp"};

    (void)snprintf(m.file, sizeof m.file, "%s", file);
    assert_ok(f, store_model_add(f->st, &m, &f->err));
    return m.model_id;
}

static inline int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    (void)strcpy(f->dir, "/tmp/mmf-store-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof f->path, "%s/s.db", f->dir);
    fixture_open(f);
    f->model_id = fixture_model(f, "first.safetensors");
    assert_ok(f, store_model_activate(f->st, f->model_id, &f->err));
    *state = f;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *f = *state;

    store_close(f->st);
    fixture_remove(f);
    free(f);
    return 0;
}

/* A video with two features and an embedding which begins with `first`. */
struct fixture_video {
    struct store_video v;
    float visual[3], textual[2], embedding[FIXTURE_DIM];
};

static inline struct store_video *fixture_video(const struct fixture *f,
                                                struct fixture_video *b, const char *item_id,
                                                int64_t offset, float first)
{
    *b = (struct fixture_video){.visual = {first, 1.5F, -2.0F},
                                .textual = {0.25F, first},
                                .embedding = {first, 0.5F, -0.25F, 8.0F}};
    b->v = (struct store_video){
        .pos = {"videos", 3, offset},
        .item_id = item_id,
        .media_uri = "file:///m/v.mp4",
        .title = "a title",
        .tags_json = "[\"a\"]",
        .published_us = 1700000000000001,
        .received_us = 1700000000123456,
        .extracted_us = 1700000000223456,
        .extract_us = 99123,
        .feature = {{b->visual, 3, "v1"}, {NULL, 0, NULL}, {b->textual, 2, "t1"}},
        .embedding = {b->embedding, FIXTURE_DIM, NULL},
        .model_id = f->model_id};
    return &b->v;
}

static inline struct store_batch_result
fixture_write(struct fixture *f, const struct store_op *ops, size_t n_ops, int64_t next_offset)
{
    struct store_offset offset = {"videos", 3, next_offset, 0, 0};
    struct store_batch_result r = {0};

    assert_ok(f, store_write_batch(f->st, ops, n_ops, &offset, next_offset >= 0 ? 1 : 0, &r,
                                   &f->err));
    return r;
}

static inline struct store_batch_result fixture_put(struct fixture *f, const char *item_id,
                                                    int64_t offset, float first)
{
    struct fixture_video b;
    struct store_op op = {.kind = STORE_OP_VIDEO,
                          .video = fixture_video(f, &b, item_id, offset, first)};

    return fixture_write(f, &op, 1, offset + 1);
}

static inline struct store_batch_result fixture_delete(struct fixture *f, const char *item_id,
                                                       int64_t offset)
{
    struct store_delete d = {{"videos", 3, offset}, item_id};
    struct store_op op = {.kind = STORE_OP_DELETE, .del = &d};

    return fixture_write(f, &op, 1, offset + 1);
}

static inline struct store_batch_result fixture_interact(struct fixture *f, const char *user_id,
                                                         const char *item_id, int64_t offset,
                                                         int64_t ts_us)
{
    struct store_interaction x = {.pos = {"clicks", 0, offset},
                                  .user_id = user_id,
                                  .item_id = item_id,
                                  .weight = 1.0,
                                  .ts_us = ts_us};
    struct store_op op = {.kind = STORE_OP_INTERACTION, .interaction = &x};

    return fixture_write(f, &op, 1, -1);
}

static inline struct store_batch_result fixture_bury(struct fixture *f, int64_t offset,
                                                     const char *reason, const char *dlq_topic)
{
    const struct store_header headers[] = {
        {"trace", "ab\0c", 4}, {"empty", "", 0}, {"none", NULL, 0}};
    struct store_dead_letter d = {.pos = {"videos", 3, offset},
                                  .reason = reason,
                                  .error = "it does not parse",
                                  .stage = "parse",
                                  .key = "k1",
                                  .key_bytes = 2,
                                  .value = "{\0oops",
                                  .value_bytes = 6,
                                  .headers = headers,
                                  .n_headers = 3,
                                  .ts_us = 1700000000000000 + offset,
                                  .dlq_topic = dlq_topic};
    struct store_op op = {.kind = STORE_OP_DEAD_LETTER, .dead_letter = &d};

    return fixture_write(f, &op, 1, offset + 1);
}

/* The first column of the first row; -1 when there is no row. */
static inline int64_t fixture_query_of(struct store *st, const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    int64_t v = -1;

    if (sqlite3_prepare_v2(st->db, sql, -1, &stmt, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(st->db));
    if (sqlite3_step(stmt) == SQLITE_ROW)
        v = sqlite3_column_int64(stmt, 0);
    (void)sqlite3_finalize(stmt);
    return v;
}

static inline int64_t fixture_query(struct fixture *f, const char *sql)
{
    return fixture_query_of(f->st, sql);
}

static inline int64_t fixture_seq(struct fixture *f)
{
    return fixture_query(f, "SELECT seq FROM counter");
}

/* Changes the file behind the store's back, as a bad disk would. */
static inline void fixture_spoil(struct fixture *f, const char *sql)
{
    char *text = NULL;

    if (sqlite3_exec(f->st->db, sql, NULL, NULL, &text) != SQLITE_OK)
        fail_msg("%s: %s", sql, text);
}

/* Undoes the steps of the schema after `version`, the last one first: the store is as that version left it. Who
 * adds a step to store/schema.c adds here how it is undone. */
static inline void fixture_go_back(struct fixture *f, int version)
{
    static const struct {
        int version;
        const char *sql;
    } steps[] = {
        {14, "DROP VIEW current_neighbour; DROP VIEW current_signal; DROP TABLE neighbour;"
             "DROP TABLE neighbour_scale; DROP TABLE signal"},
        {13, "ALTER TABLE forgotten DROP COLUMN nth"},
        {12, "DROP VIEW store_generation; DELETE FROM meta WHERE name GLOB 'generation*'"},
        {11, "ALTER TABLE dead_letter DROP COLUMN said_ms"},
        {10, "DROP TRIGGER interaction_came; DROP TRIGGER interaction_went;"
             "DROP TABLE interaction_kind; DROP INDEX interaction_user;"
             "DROP INDEX interaction_item;"
             "CREATE INDEX interaction_user ON interaction(uid, rid);"
             "CREATE INDEX interaction_item ON interaction(rid, uid)"},
    };
    char sql[40];

    assert_int_equal(steps[0].version, store_n_migrations);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && steps[i].version > version; i++)
        fixture_spoil(f, steps[i].sql);
    assert_in_range(version, steps[sizeof steps / sizeof steps[0] - 1].version - 1,
                    store_n_migrations);
    (void)snprintf(sql, sizeof sql, "PRAGMA user_version = %d", version);
    fixture_spoil(f, sql);
}

#endif

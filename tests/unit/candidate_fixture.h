#ifndef MMF_TESTS_CANDIDATE_FIXTURE_H
#define MMF_TESTS_CANDIDATE_FIXTURE_H

/* A store with three items and two users, and the candidate that a trainer would leave. */

#include "daemon/model/candidate.h"

#include "model_fixture.h"

#include "daemon/model/forget.h"
#include "store/reading.h"

#include <jansson.h>
#include <sqlite3.h>

enum { DIM = FIXTURE_DIM, N_ITEMS = 3, N_USERS = 2 };

struct bench {
    struct fixture f;
    struct store_dataset data;
    struct candidate c;
    float items[N_ITEMS * 2 * DIM], users[N_USERS * 2 * DIM];
    uint32_t pairs[2][2];
    size_t starts[N_ITEMS + 1];
    uint32_t cols[4];
    float values[4], scales[N_ITEMS];
    int n_writes;
    const char *forgets; /* a user who is forgotten and comes back before write forgets_at */
    int forgets_at;
    const char *changes; /* an item that gets other features before the first write */
    bool retains;        /* retention runs to its end before each write */
};

static inline void make_model(struct bench *b, uint64_t seed)
{
    model_free(b->c.model);
    fixture_model(&b->f, seed, &b->c.model);
}

/* a has b and c as neighbours, b has a, c has b; scales are quarters. */
static inline void make_neighbours(struct bench *b)
{
    memcpy(b->starts, (const size_t[]){0, 2, 3, 4}, sizeof b->starts);
    memcpy(b->cols, (const uint32_t[]){1, 2, 0, 1}, sizeof b->cols);
    memcpy(b->values, (const float[]){0.5F, -0.1F, 1.0F / 3, 2}, sizeof b->values);
    memcpy(b->scales, (const float[]){0.25F, 0.5F, 0.75F}, sizeof b->scales);
    b->c.neighbours = (struct csr){N_ITEMS, N_ITEMS, 4, b->starts, b->cols, b->values};
    b->c.neighbour_scale = b->scales;
}

/* What a trainer would leave: made-up vectors for a and b, none for c. */
static inline void make_candidate(struct bench *b)
{
    struct store_dataset *d = &b->data;

    assert_ok(&b->f, store_read_dataset(b->f.st, d, &b->f.err));
    make_model(b, 1);
    for (int i = 0; i < 2 * 2 * DIM; i++)
        b->items[i] = b->users[i] = (float)(i + 1);
    memcpy(b->pairs, d->pair, sizeof b->pairs);
    b->c = (struct candidate){
        .model = b->c.model,
        .n_items = d->n_items,
        .n_users = d->n_users,
        .n_pairs = 2,
        .dim = 2 * DIM,
        .item_id = d->item_id,
        .user_id = d->user_id,
        .items = b->items,
        .users = b->users,
        .stamp = d->stamp,
        .pair = b->pairs,
        .metrics =
            json_pack("{s:{s:s}, s:[{s:i, s:f}], s:[i,i,i,i,i,i,i,i], "
                      "s:{s:{s:f, s:f}, s:{s:f, s:f}}}",
                      "encoder_ids", "visual", FIXTURE_ENCODER, "curve", "epoch", 2, "ndcg",
                      0.25, "no_history", 1, 2, 3, 4, 5, 6, 7, 8, "signals", "neighbours",
                      "weight", 0.2, "scale", 4.5, "content", "weight", 0.1, "fade", 1.5)};
    make_neighbours(b);
    assert_ok(&b->f, candidate_write(b->f.dir, &b->c, &b->f.err));
}

static inline int set_up(void **state)
{
    static struct bench b;

    b = (struct bench){0};
    fixture_open(&b.f);
    fixture_item(&b.f, "a", 1);
    fixture_item(&b.f, "b", 2);
    fixture_item(&b.f, "c", 3);
    fixture_interact(&b.f, "u1", "a");
    fixture_interact(&b.f, "u2", "b");
    make_candidate(&b);
    *state = &b;
    return 0;
}

static inline int tear_down(void **state)
{
    struct bench *b = *state;

    json_decref(b->c.metrics);
    model_free(b->c.model);
    store_dataset_done(&b->data);
    return fixture_close(&b->f);
}

static inline void retain(struct bench *b)
{
    const struct store_retention keep = {.model_versions = 1};
    bool more = true;

    while (more)
        assert_ok(&b->f, store_retain(b->f.st, &keep, 0, 1000, &more, &b->f.err));
}

/* With the rows gone, and in the store again with another uid. */
static inline void forget_and_come_back(struct bench *b, const char *user_id)
{
    unsigned char hash[DIGEST_BYTES];
    bool more = true;

    assert_ok(&b->f, store_forget(b->f.st, user_id, hash, &b->f.err));
    while (more)
        assert_ok(&b->f, forget_piece(b->f.st, &more, &b->f.err));
    struct store_interaction x = {.pos = {"i", 0, b->f.offset++},
                                  .user_id = user_id,
                                  .item_id = "a",
                                  .weight = 1,
                                  .ts_us = INT64_C(4102444800000000)};
    fixture_write(&b->f, (struct store_op){.kind = STORE_OP_INTERACTION, .interaction = &x});
}

static inline int write_directly(void *ctx, store_work_fn *work, void *arg, struct err *err)
{
    struct bench *b = ctx;

    if (b->n_writes++ == 0 && b->changes)
        fixture_item(&b->f, b->changes, 7);
    if (b->forgets && b->n_writes == b->forgets_at)
        forget_and_come_back(b, b->forgets);
    if (b->retains)
        retain(b);
    return work(b->f.st, arg, err);
}

static inline struct candidate_target target(struct bench *b)
{
    return (struct candidate_target){
        .settings = &b->f.s, .reader = b->f.st, .writer = {write_directly, b}, .ctx = b};
}

static inline int64_t publish(struct bench *b)
{
    struct candidate_target t = target(b);
    struct candidate c;

    assert_ok(&b->f, candidate_read(b->f.dir, &c, &b->f.err));
    assert_ok(&b->f, candidate_publish(&c, &t, &b->f.err));
    int64_t model_id = c.model_id;
    candidate_done(&c);
    return model_id;
}

static inline void run_sql(struct bench *b, const char *sql)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(b->f.path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* Three newer models, one after the other. */
static inline void replace(struct bench *b)
{
    struct candidate_target t = target(b);

    for (int i = 0; i < 3; i++) {
        json_t *metrics = b->c.metrics;

        make_model(b, (uint64_t)(2 + i));
        b->items[0] = (float)(100 + i);
        assert_ok(&b->f, candidate_write(b->f.dir, &b->c, &b->f.err));
        assert_ptr_equal(metrics, b->c.metrics);
        assert_ok(&b->f, candidate_activate(&t, publish(b), &b->f.err));
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif

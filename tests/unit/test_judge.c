/* Two models on the same held-out pairs, with vectors whose ranking is known. */
#include "daemon/model/judge.h"

#include "model_fixture.h"

#include "daemon/model/candidate.h"
#include "fusion/model/fuse.h"
#include "fusion/model/internal.h"

#include <jansson.h>
#include <math.h>
#include <sysexits.h>

enum { D = 2 * FIXTURE_DIM, N_ITEMS = 4 };

struct bench {
    struct fixture f;
    char held[128];
    const char *cold_length; /* of the candidates' models; NULL = none */
    /* of the candidates: what item i says about item k, NULL = nothing; and all of it in another order of the
     * items */
    const float (*says)[N_ITEMS];
    bool is_reversed;
};

/* Users u0 and u1 have done a and b, c and d. */
static int set_up(void **state)
{
    static struct bench b;
    b.cold_length = NULL;
    b.says = NULL;
    b.is_reversed = false;
    fixture_open(&b.f);
    snprintf(b.held, sizeof b.held, "%s/held.tsv", b.f.folder);
    for (int i = 0; i < N_ITEMS; i++) {
        char id[2] = {(char)('a' + i), 0}, user[3] = {'u', (char)('0' + i / 2), 0};
        fixture_item(&b.f, id, (float)i);
        fixture_interact(&b.f, user, id);
    }
    FILE *f = fopen(b.held, "w");
    assert_non_null(f);
    fputs("u0\tb\nu1\td\nnobody\ta\n", f);
    assert_int_equal(fclose(f), 0);
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    return fixture_close(&b->f);
}

/* Row of the candidate ↔ item of the store, either way. */
static uint32_t row_of(const struct bench *b, uint32_t i)
{
    return b->is_reversed ? N_ITEMS - 1 - i : i;
}

struct neighbours {
    size_t start[N_ITEMS + 1];
    uint32_t col[N_ITEMS * N_ITEMS];
    float value[N_ITEMS * N_ITEMS], scale[N_ITEMS];
};

/* As halves, with scales of 2. */
static void add_neighbours(const struct bench *b, struct neighbours *x, struct candidate *c)
{
    size_t n = 0;
    if (!b->says)
        return;
    for (uint32_t row = 0; row < N_ITEMS; row++) {
        for (uint32_t col = 0; col < N_ITEMS; col++) {
            float value = b->says[row_of(b, row)][row_of(b, col)];
            if (value != 0) {
                x->col[n] = col;
                x->value[n++] = value / 2;
            }
        }
        x->start[row + 1] = n;
        x->scale[row] = 2;
    }
    c->neighbours = (struct csr){N_ITEMS, N_ITEMS, n, x->start, x->col, x->value};
    c->neighbour_scale = x->scale;
    (void)json_object_set_new(c->metrics, "signals",
                              json_pack("{s:{s:f}}", "neighbours", "scale", 0.5));
}

/* A candidate in which user n scores item i with score[n][i]; trained on the first n_pairs of the
 * interactions, which are a, b of u0 and c, d of u1. */
static void make_candidate(struct bench *b, float score[2][N_ITEMS], const uint32_t (*pairs)[2],
                           size_t n_pairs)
{
    float items[N_ITEMS * D] = {0}, users[2 * D] = {0};
    uint32_t pair[4][2];
    struct store_dataset d;
    char *ids[N_ITEMS];
    uint64_t stamps[N_ITEMS];
    struct neighbours neighbours = {0};
    assert_ok(&b->f, store_read_dataset(b->f.st, &d, &b->f.err));
    for (uint32_t i = 0; i < N_ITEMS; i++) {
        ids[i] = d.item_id[row_of(b, i)];
        stamps[i] = d.stamp[row_of(b, i)];
    }
    struct candidate c = {.n_items = N_ITEMS,
                          .n_users = 2,
                          .n_pairs = n_pairs,
                          .dim = D,
                          .item_id = ids,
                          .user_id = d.user_id,
                          .items = items,
                          .users = users,
                          .stamp = stamps,
                          .pair = pair,
                          .metrics = json_object()};
    for (size_t i = 0; i < n_pairs; i++) {
        pair[i][0] = pairs[i][0];
        pair[i][1] = row_of(b, pairs[i][1]);
    }
    add_neighbours(b, &neighbours, &c);
    for (int n = 0; n < 2; n++) {
        users[n * D + n] = 1;
        for (int i = 0; i < N_ITEMS; i++)
            items[row_of(b, (uint32_t)i) * D + (uint32_t)n] = score[n][i];
    }
    fixture_model(&b->f, 1, &c.model);
    if (b->cold_length)
        assert_ok(&b->f, model_set(c.model, "mmf.cold_length", b->cold_length, &b->f.err));
    assert_ok(&b->f, candidate_write(b->f.dir, &c, &b->f.err));
    model_free(c.model);
    json_decref(c.metrics);
    store_dataset_done(&d);
}

static int64_t publish(struct bench *b)
{
    struct candidate_target t = {
        .settings = &b->f.s, .reader = b->f.st, .writer = store_writer_of(b->f.st)};
    struct candidate c;
    assert_ok(&b->f, candidate_read(b->f.dir, &c, &b->f.err));
    assert_ok(&b->f, candidate_publish(&c, &t, &b->f.err));
    assert_ok(&b->f, candidate_promote(&c, &t, &b->f.err));
    int64_t id = c.model_id;
    candidate_done(&c);
    return id;
}

static void judge(struct bench *b, struct gate_case *ret)
{
    assert_ok(&b->f, judge_run(b->f.st, &b->f.s, b->f.dir, b->held, NULL, ret, &b->f.err));
}

static const uint32_t all[4][2] = {{0, 0}, {0, 1}, {1, 2}, {1, 3}};
static float good[2][N_ITEMS] = {{9, 8, 1, 2}, {1, 2, 9, 8}};
static float bad[2][N_ITEMS] = {{9, 1, 8, 2}, {8, 2, 9, 1}};

static void judge_without_an_active_model_counts_every_item_as_cold(void **state)
{
    struct bench *b = *state;
    struct gate_case g;
    make_candidate(b, good, all, 4);
    judge(b, &g);
    assert_int_equal(g.n_users, 2);
    assert_int_equal(g.n_pairs, 2); /* nobody is nobody */
    assert_int_equal(g.n_cold_pairs, 2);
    assert_true(g.candidate.ndcg_20 == 1.0); /* a is masked, b comes first */
    assert_true(g.active.ndcg_20 == 0.0);
}

static void judge_compares_on_the_same_pairs_and_mask(void **state)
{
    struct bench *b = *state;
    struct gate_case g;
    make_candidate(b, bad, all, 4);
    int64_t id = publish(b);
    make_candidate(b, good, all, 4);
    judge(b, &g);
    assert_int_equal(g.active_id, id);
    assert_int_equal(g.n_cold_pairs, 0);
    assert_true(g.candidate.ndcg_20 == 1.0);
    assert_float_equal(g.active.ndcg_20, 0.5, 1e-9); /* third of three: 1 / log2(4) */
    assert_float_equal(g.candidate.rank, 1, 1e-9);
    assert_float_equal(g.active.rank, 3, 1e-9);
    assert_float_equal(g.error, 0, 1e-9); /* the same for both users */
    assert_float_equal(g.rank_error, 0, 1e-9);
    make_candidate(b, bad, all, 4);
    judge(b, &g);
    assert_true(g.candidate.ndcg_20 == g.active.ndcg_20);
    assert_true(g.candidate.ndcg_10 == g.active.ndcg_10);
}

/* b and d are unknown to the active model, which is then judged by what it makes of their
 * features; so is the candidate in the cold slice, where both have the same network. */
static void judge_cold_items_are_fused_by_both(void **state)
{
    struct bench *b = *state;
    const uint32_t some[2][2] = {{0, 0}, {1, 2}};
    struct gate_case g;
    make_candidate(b, bad, some, 2);
    publish(b);
    make_candidate(b, good, all, 4);
    judge(b, &g);
    assert_int_equal(g.n_cold_pairs, 2);
    assert_true(g.candidate.ndcg_20 == 1.0);
    assert_true(g.candidate.cold_ndcg_20 < 1.0);
    make_candidate(b, bad, some, 2);
    judge(b, &g);
    assert_true(g.candidate.cold_ndcg_20 == g.active.cold_ndcg_20);
    assert_float_equal(g.cold_error, 0, 1e-9);
}

/* b is unknown to the active model and 1000 long at its upload; c is known and scores .85 of that
 * with u0. When somebody has done b, it is 1000 / sqrt(2) long and changes places with c, whatever
 * the sign; u1's list stays. */
static void judge_later_items_are_as_long_as_their_interactions(void **state)
{
    struct bench *b = *state;
    const uint32_t some[2][2] = {{0, 0}, {1, 2}};
    const float x[FIXTURE_DIM] = {1, 1, -1, 2};
    const uint8_t mask = MODALITY_BIT(0);
    float e[D], score[2][N_ITEMS], length = 0;
    struct gate_case at_upload, later;
    struct model *model;
    fixture_model(&b->f, 1, &model);
    assert_ok(&b->f, fuse_items(model, x, &mask, 1, e, &b->f.err));
    model_free(model);
    for (size_t j = 0; j < D; j++)
        length += e[j] * e[j];
    memcpy(score, bad, sizeof score);
    score[0][2] = 850 * e[0] / sqrtf(length);
    b->cold_length = "1000";
    make_candidate(b, score, some, 2);
    publish(b);
    make_candidate(b, good, all, 4);
    judge(b, &at_upload);
    fixture_interact(&b->f, "u2", "b");
    judge(b, &later);
    assert_true(e[0] > 0 ? later.active.rank > at_upload.active.rank + 0.1
                         : later.active.rank < at_upload.active.rank - 0.1);
    assert_true(later.active.cold_ndcg_20 == at_upload.active.cold_ndcg_20);
    assert_true(later.candidate.rank == at_upload.candidate.rank);
}

/* Half of 20 is enough for b to overtake c in u0's list. What b says counts for nothing, for (u0, b) is held out;
 * nor what d, which u0 has not done. */
static const float help[N_ITEMS][N_ITEMS] = {
    {0, 20, -1, 0}, {0, 0, 4000, 4000}, {0, 0, 0, 20}, {0, -4000, 4000, 0}};

static void judge_counts_what_the_neighbours_of_known_items_say(void **state)
{
    struct bench *b = *state;
    struct gate_case g;
    make_candidate(b, bad, all, 4);
    publish(b);
    b->says = help;
    make_candidate(b, bad, all, 4);
    judge(b, &g);
    assert_float_equal(g.active.ndcg_20, 0.5, 1e-9);
    assert_float_equal(g.candidate.ndcg_20, 1, 1e-9);
    assert_float_equal(g.active.rank, 3, 1e-9);
    assert_float_equal(g.candidate.rank, 1, 1e-9);
}

/* The active model has its items in another order. */
static void judge_counts_neighbours_of_the_active_model_by_the_names_of_items(void **state)
{
    struct bench *b = *state;
    struct gate_case g;
    b->says = help;
    b->is_reversed = true;
    make_candidate(b, bad, all, 4);
    publish(b);
    b->says = NULL;
    b->is_reversed = false;
    make_candidate(b, bad, all, 4);
    judge(b, &g);
    assert_float_equal(g.active.ndcg_20, 1, 1e-9);
    assert_float_equal(g.candidate.ndcg_20, 0.5, 1e-9);
    assert_float_equal(g.active.rank, 1, 1e-9);
    assert_float_equal(g.candidate.rank, 3, 1e-9);
}

/* Judged as at its upload a cold item is nobody's neighbour. */
static void judge_of_cold_items_leaves_neighbours_out(void **state)
{
    struct bench *b = *state;
    const uint32_t some[2][2] = {{0, 0}, {1, 2}};
    struct gate_case without, with;
    make_candidate(b, bad, some, 2);
    publish(b);
    make_candidate(b, bad, all, 4);
    judge(b, &without);
    b->says = help;
    make_candidate(b, bad, all, 4);
    judge(b, &with);
    assert_int_equal(with.n_cold_pairs, 2);
    assert_true(with.candidate.ndcg_20 > without.candidate.ndcg_20);
    assert_true(with.candidate.cold_ndcg_20 == without.candidate.cold_ndcg_20);
    assert_true(with.active.cold_ndcg_20 == without.active.cold_ndcg_20);
}

static void judge_refuses_what_is_no_candidate(void **state)
{
    struct bench *b = *state;
    struct gate_case g;
    assert_int_equal(judge_run(b->f.st, &b->f.s, b->f.folder, b->held, NULL, &g, &b->f.err),
                     ERR_FATAL);
    assert_int_equal(b->f.err.exit_code, EX_NOINPUT);
    make_candidate(b, good, all, 4);
    assert_int_equal(judge_run(b->f.st, &b->f.s, b->f.dir, "/nonexistent", NULL, &g, &b->f.err),
                     ERR_FATAL);
    assert_int_equal(b->f.err.exit_code, EX_NOINPUT);
}

/* The active model's folder holds the files of another model: they do not say what is served. */
static void judge_refuses_an_active_model_with_other_files(void **state)
{
    struct bench *b = *state;
    struct gate_case g;
    struct store_model m = {0};
    make_candidate(b, bad, all, 4);
    publish(b);
    assert_ok(&b->f, store_model_active(b->f.st, &m, &b->f.err));
    int folder = (int)strcspn(m.file, "/");
    snprintf(b->f.dir, sizeof b->f.dir, "%s/%.*s", b->f.folder, folder, m.file);
    store_model_done(&m);
    b->cold_length = "0.5";
    make_candidate(b, good, all, 4);
    assert_int_equal(judge_run(b->f.st, &b->f.s, b->f.dir, b->held, NULL, &g, &b->f.err),
                     ERR_FATAL);
    assert_int_equal(b->f.err.exit_code, EX_DATAERR);
    assert_non_null(strstr(b->f.err.text, "sha256"));
}

/* Nothing to compare with, and only then. */
static void judge_alone_is_for_a_lost_model(void **state)
{
    struct bench *b = *state;
    struct gate_case g = {0};
    struct store_model m = {0};
    char path[512];
    make_candidate(b, bad, all, 4);
    publish(b);
    make_candidate(b, good, all, 4);
    assert_int_equal(judge_alone(b->f.st, &b->f.s, b->f.dir, b->held, NULL, &g, &b->f.err),
                     ERR_FATAL);
    assert_non_null(strstr(b->f.err.text, "its file is there: compare with it"));
    assert_ok(&b->f, store_model_active(b->f.st, &m, &b->f.err));
    snprintf(path, sizeof path, "%s/%s", b->f.folder, m.file);
    store_model_done(&m);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(judge_run(b->f.st, &b->f.s, b->f.dir, b->held, NULL, &g, &b->f.err),
                     ERR_FATAL);
    assert_int_equal(b->f.err.exit_code, EX_NOINPUT);
    assert_ok(&b->f, judge_alone(b->f.st, &b->f.s, b->f.dir, b->held, NULL, &g, &b->f.err));
    assert_true(g.active.ndcg_20 == 0 && g.candidate.ndcg_20 > 0 && g.n_pairs > 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(judge_without_an_active_model_counts_every_item_as_cold),
        CASE(judge_compares_on_the_same_pairs_and_mask),
        CASE(judge_cold_items_are_fused_by_both),
        CASE(judge_later_items_are_as_long_as_their_interactions),
        CASE(judge_counts_what_the_neighbours_of_known_items_say),
        CASE(judge_counts_neighbours_of_the_active_model_by_the_names_of_items),
        CASE(judge_of_cold_items_leaves_neighbours_out),
        CASE(judge_refuses_what_is_no_candidate),
        CASE(judge_refuses_an_active_model_with_other_files),
        CASE(judge_alone_is_for_a_lost_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

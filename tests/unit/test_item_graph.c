/* The item-item graph through a model file's tensors, and the row of an item that came later,
 * against knn_build over all of them. */

#include "fusion_fixture.h"

#include "fusion/model/fuse.h"
#include "fusion/model/item_graph.h"
#include "fusion/train/trainee.h"

enum { N_ITEMS = 60, F = 37, V = 20, A = 17, K = 5 };

struct world {
    float X[(N_ITEMS + 1) * F];
    uint8_t mask[N_ITEMS + 1];
    struct csr_pair pairs[2];
    struct trainee_data data;
    struct trainee *t;
    struct model *model;
    struct item_graph graph;
};

static void open_world(struct world *w, enum fusion_kind fusion)
{
    struct trainee_options o;
    struct err err = {0};
    struct rng rng;
    bool has;

    memset(w, 0, sizeof(*w));
    rng_init(&rng, 11);
    rng_fill(&rng, w->X, (N_ITEMS + 1) * F, 2);
    for (size_t i = 0; i <= N_ITEMS; i++)
        w->mask[i] = i % 9 == 4 ? 0 : i % 4 == 1 ? 1 : 3;
    w->mask[N_ITEMS] = 3;
    w->pairs[0] = (struct csr_pair){0, 1};
    w->pairs[1] = (struct csr_pair){1, 2};
    w->data = (struct trainee_data){.X = w->X,
                                    .mask = w->mask,
                                    .n_users = 2,
                                    .n_items = N_ITEMS,
                                    .pairs = w->pairs,
                                    .n_pairs = 2};
    trainee_options_init(&o);
    o.shape = (struct model_shape){.fusion = fusion,
                                   .backbone = BACKBONE_LIGHTGCN,
                                   .modality_dim = {V, A, 0},
                                   .L = 1,
                                   .width = {F, 4},
                                   .hops = 2};
    o.item_graph = true;
    o.knn.k = K;
    if (trainee_new(&o, &w->data, &w->t, &err) != ERR_OK ||
        trainee_export(w->t, &w->model, &err) != ERR_OK ||
        model_prepare(w->model, &err) != ERR_OK ||
        item_graph_read(w->model, &has, &w->graph, &err) != ERR_OK)
        fail_msg("%s", err.text);
    assert_true(has);
}

static void close_world(struct world *w)
{
    model_free(w->model);
    trainee_free(w->t);
}

static void read_gives_what_was_trained_with(void **state)
{
    struct world w;

    (void)state;
    open_world(&w, FUSION_CP);
    assert_int_equal(w.graph.n_items, N_ITEMS);
    assert_int_equal(w.graph.knn.k, K);
    assert_true(w.graph.strength == w.t->o.knn_strength);
    assert_memory_equal(w.graph.knn.weight, w.t->o.knn.weight, sizeof(w.graph.knn.weight));
    for (uint32_t i = 0; i < N_ITEMS; i++) {
        uint32_t items[3 * K];
        float values[3 * K];
        size_t n = item_graph_row(&w.graph, i, items, values);

        assert_int_equal(n, csr_degree(&w.t->knn, i));
        assert_memory_equal(items, w.t->knn.col + w.t->knn.start[i], n * sizeof(*items));
        assert_memory_equal(values, w.t->knn.value + w.t->knn.start[i], n * sizeof(*values));
    }
    close_world(&w);
}

/* All items with the model's statistics, the later one last. */
static void build_all(const struct world *w, struct csr *ret_S)
{
    const float *mean = model_tensor(w->model, "mmf.mean")->data;
    const float *std = model_tensor(w->model, "mmf.std")->data;
    static float X[(N_ITEMS + 1) * F];

    for (size_t i = 0; i <= N_ITEMS; i++)
        for (size_t j = 0; j < F; j++) {
            bool there = w->mask[i] & (j < V ? MODALITY_BIT(0) : MODALITY_BIT(1));
            X[i * F + j] = there ? (w->X[i * F + j] - mean[j]) / std[j] : 0;
        }
    assert_int_equal(knn_build(X, w->mask, N_ITEMS + 1, w->t->o.shape.modality_dim,
                               &w->t->o.knn, ret_S, NULL),
                     ERR_OK);
}

static void check_row(enum fusion_kind fusion, uint8_t mask)
{
    uint32_t items[3 * K];
    float values[3 * K];
    struct fuse_context *context;
    struct world w;
    struct csr S;
    size_t n;

    open_world(&w, fusion);
    w.mask[N_ITEMS] = mask;
    assert_int_equal(fuse_context_new(w.model, 1, &context, NULL), ERR_OK);
    assert_int_equal(fuse_similar_in(context, w.X + N_ITEMS * F, mask, items, values, &n, NULL),
                     ERR_OK);
    build_all(&w, &S);
    assert_int_equal(n, csr_degree(&S, N_ITEMS));
    for (size_t e = 0; e < n; e++) {
        size_t at = S.start[N_ITEMS];

        while (at < S.start[N_ITEMS + 1] && S.col[at] != items[e])
            at++;
        assert_true(at < S.start[N_ITEMS + 1]);
        assert_true(fabsf(S.value[at] - values[e]) < 1e-6F);
    }
    csr_done(&S);
    fuse_context_free(context);
    close_world(&w);
}

/* All at once share a pass over the model's rows; alone, the bytes are the same. */
static void borrowing_does_not_depend_on_the_batch(void **state)
{
    float *together, *alone;
    struct world w;
    size_t D;

    (void)state;
    open_world(&w, FUSION_CP);
    D = (size_t)model_shape(w.model)->D;
    together = calloc((N_ITEMS + 1) * D, sizeof(float));
    alone = calloc(D, sizeof(float));
    assert_int_equal(fuse_items(w.model, w.X, w.mask, N_ITEMS + 1, together, NULL), ERR_OK);
    for (size_t i = 0; i <= N_ITEMS; i++) {
        assert_int_equal(fuse_items(w.model, w.X + i * F, w.mask + i, 1, alone, NULL), ERR_OK);
        assert_memory_equal(alone, together + i * D, D * sizeof(float));
    }
    free(together);
    free(alone);
    close_world(&w);
}

static void row_of_a_later_item_is_knn_builds(void **state)
{
    (void)state;
    check_row(FUSION_CP, 3);
    check_row(FUSION_CP, 2);
    check_row(FUSION_CP, 0);
}

/* A file may say one k for the training's rows and another for those that are made of it, and
 * name rows that are not there. */
static void later_row_of_a_forged_file_stays_in_its_bounds(void **state)
{
    static const float forged[] = {N_ITEMS, -1, 1e30F};
    char path[] = "/tmp/mmf-item-graph-XXXXXX";
    struct fuse_context *context;
    struct err err = {0};
    struct model *read;
    struct world w;

    (void)state;
    open_world(&w, FUSION_CP);
    assert_int_equal(fuse_context_new(w.model, 1, &context, NULL), ERR_OK);
    assert_int_equal(fuse_similar_width(context), 3 * K);
    fuse_context_free(context);
    int fd = mkstemp(path);
    assert_true(fd >= 0 && close(fd) == 0);
    float *item = (float *)(uintptr_t)model_tensor(w.model, "mmf.knn.item")->data;
    for (size_t i = 0; i < 3; i++) {
        item[2] = forged[i];
        assert_int_equal(model_save(w.model, path, &err), ERR_OK);
        assert_int_equal(model_load(path, &read, &err), ERR_FATAL);
        assert_non_null(strstr(err.text, "item_E"));
    }
    item[2] = 2;
    assert_int_equal(model_set(w.model, "mmf.knn", "40 1 1 1 1", &err), ERR_OK);
    assert_int_equal(model_save(w.model, path, &err), ERR_OK);
    assert_int_equal(model_load(path, &read, &err), ERR_OK);
    assert_int_equal(fuse_context_new(read, 1, &context, NULL), ERR_OK);
    assert_int_equal(fuse_similar_width(context), 3 * 40);
    fuse_context_free(context);
    model_free(read);
    assert_int_equal(unlink(path), 0);
    close_world(&w);
}

static void read_of_a_damaged_graph_says_so(void **state)
{
    struct err err = {0};
    struct world w;
    bool has;

    (void)state;
    open_world(&w, FUSION_CP);
    *(float *)(uintptr_t)w.graph.item = N_ITEMS;
    assert_int_equal(item_graph_read(w.model, &has, &w.graph, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_DATAERR);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_gives_what_was_trained_with),
        cmocka_unit_test(borrowing_does_not_depend_on_the_batch),
        cmocka_unit_test(row_of_a_later_item_is_knn_builds),
        cmocka_unit_test(later_row_of_a_forged_file_stays_in_its_bounds),
        cmocka_unit_test(read_of_a_damaged_graph_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

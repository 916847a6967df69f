/* A neighbourhood's vectors against trainee_forward over the whole graph, for every backbone, with
 * and without the item-item graph; users and items that the model does not know; forgetting. */

#include "fusion_fixture.h"

#include "fusion/model/fuse.h"
#include "fusion/model/neighbourhood.h"
#include "fusion/model/neighbours.h"
#include "fusion/train/trainee.h"

enum { N_USERS = 40, N_ITEMS = 30, N_PAIRS = 150, F = 10, K = 3 };

/* A trained model's shape with random weights. The last user and the last item are strangers:
 * their identities are zero in the trainee, and the source says that it does not know them. */
struct world {
    struct csr_pair pairs[N_PAIRS];
    float X[N_ITEMS * F];
    uint8_t mask[N_ITEMS];
    struct trainee_data data;
    struct trainee *t;
    struct model *model;
    struct neighbourhood *h;
    int64_t near[N_ITEMS + N_USERS];
    float values[N_ITEMS];
    size_t n_asked;
};

static int world_edges(void *arg, int64_t node, const int64_t **ret_nodes, size_t *ret_n,
                       struct err *err)
{
    struct world *w = arg;
    const struct graph *g = &w->t->graph;
    bool item = neighbourhood_is_item(node);
    uint32_t row = (uint32_t)neighbourhood_id(node) + (item ? N_USERS : 0);

    (void)err;
    w->n_asked++;
    *ret_n = csr_degree(&g->adjacency, row);
    for (size_t e = 0; e < *ret_n; e++) {
        uint32_t other = g->adjacency.col[g->adjacency.start[row] + e];
        w->near[e] = item ? neighbourhood_user(other) : neighbourhood_item(other - N_USERS);
    }
    *ret_nodes = w->near;
    return ERR_OK;
}

static int world_degree(void *arg, int64_t node, uint32_t *ret_degree, struct err *err)
{
    const int64_t *near;
    size_t n;

    world_edges(arg, node, &near, &n, err);
    *ret_degree = (uint32_t)n;
    return ERR_OK;
}

static int world_items(void *arg, const int64_t *nodes, size_t n, float *ret_x, struct err *err)
{
    struct world *w = arg;
    size_t E = w->t->E, d = w->t->n_fused + w->t->n_content;
    struct fuse_context *context;

    assert_int_equal(fuse_context_new(w->model, 1, &context, err), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        size_t row = (size_t)neighbourhood_id(nodes[i]);
        float *x = ret_x + i * E;

        memset(x, 0, E * sizeof(*x));
        if (d)
            assert_int_equal(
                fuse_features_in(context, w->X + row * F, w->mask + row, 1, x, err), ERR_OK);
        if (row < N_ITEMS - 1)
            memcpy(x + d, model_tensor(w->model, "item_E")->data + row * (E - d),
                   (E - d) * sizeof(*x));
    }
    fuse_context_free(context);
    return ERR_OK;
}

static const float *world_user(void *arg, int64_t node)
{
    struct world *w = arg;
    size_t row = (size_t)neighbourhood_id(node);

    return row < N_USERS - 1 ? model_tensor(w->model, "user")->data + row * w->t->E : NULL;
}

static int world_similar(void *arg, int64_t node, const int64_t **ret_nodes,
                         const float **ret_values, size_t *ret_n, struct err *err)
{
    struct world *w = arg;
    const struct csr *S = &w->t->knn;
    uint32_t row = (uint32_t)neighbourhood_id(node);

    (void)err;
    *ret_n = csr_degree(S, row);
    for (size_t e = 0; e < *ret_n; e++) {
        w->near[e] = neighbourhood_item(S->col[S->start[row] + e]);
        w->values[e] = S->value[S->start[row] + e];
    }
    *ret_nodes = w->near;
    *ret_values = w->values;
    return ERR_OK;
}

static void draw(struct world *w)
{
    struct rng rng;

    rng_init(&rng, 7);
    rng_fill(&rng, w->X, N_ITEMS * F, 1);
    for (size_t i = 0; i < N_ITEMS; i++)
        w->mask[i] = i % 7 == 3 ? 0 : i % 5 == 1 ? 1 : 3;
    for (size_t i = 0; i < N_PAIRS; i++) { /* some items popular; user 5 has nothing yet */
        uint32_t user = (uint32_t)(rng_float(&rng) * (N_USERS - 1));
        float x = rng_float(&rng);

        w->pairs[i] = (struct csr_pair){user == 5 ? 6 : user, (uint32_t)(x * x * N_ITEMS)};
    }
    w->pairs[N_PAIRS - 1] = (struct csr_pair){5, 7}; /* the edge that comes later */
    w->pairs[0] = (struct csr_pair){N_USERS - 1, N_ITEMS - 1};
    w->pairs[1] = (struct csr_pair){N_USERS - 1, 3};
    w->data = (struct trainee_data){.X = w->X,
                                    .mask = w->mask,
                                    .n_users = N_USERS,
                                    .n_items = N_ITEMS,
                                    .pairs = w->pairs,
                                    .n_pairs = N_PAIRS - 1};
}

static void make_strangers(struct trainee *t)
{
    size_t id = (size_t)t->o.shape.id_dim;

    memset(t->w + t->user + (N_USERS - 1) * t->E, 0, t->E * sizeof(float));
    memset(t->w + t->item + (N_ITEMS - 1) * id, 0, id * sizeof(float));
}

static void open_world(struct world *w, enum fusion_kind fusion, enum backbone_kind backbone,
                       bool item_graph, int32_t hops, int32_t content)
{
    struct trainee_options o;
    struct err err = {0};

    memset(w, 0, sizeof(*w));
    draw(w);
    trainee_options_init(&o);
    o.shape = (struct model_shape){.fusion = fusion,
                                   .backbone = backbone,
                                   .modality_dim = {F - 4, 4, 0},
                                   .L = 2,
                                   .width = {F, 12, 6},
                                   .R = 3,
                                   .fused_length = 1,
                                   .content_dim = content,
                                   .hops = hops};
    o.sage_width[0] = 9;
    o.sage_width[1] = 7;
    o.item_graph = item_graph;
    o.knn.k = K;
    if (trainee_new(&o, &w->data, &w->t, &err) != ERR_OK)
        fail_msg("%s", err.text);
    make_strangers(w->t);
    trainee_forward(w->t);
    if (trainee_export(w->t, &w->model, &err) != ERR_OK ||
        model_prepare(w->model, &err) != ERR_OK)
        fail_msg("%s", err.text);
    struct neighbourhood_source source = {.arg = w,
                                          .edges = world_edges,
                                          .degree = world_degree,
                                          .items = world_items,
                                          .user = world_user,
                                          .similar = item_graph ? world_similar : NULL};
    assert_int_equal(neighbourhood_new(w->model, &source, o.knn_strength, &w->h, &err), ERR_OK);
}

static void close_world(struct world *w)
{
    neighbourhood_free(w->h);
    model_free(w->model);
    trainee_free(w->t);
}

/* The largest difference of n nodes from the whole graph's vectors, of the largest value. */
static double difference(struct world *w, const int64_t *nodes, size_t n)
{
    size_t D = w->t->D;
    float *y = malloc(n * D * sizeof(*y));
    uint32_t *degree = malloc(n * sizeof(*degree));
    double worst = 0, scale = 0;
    struct err err = {0};
    bool too_big;

    assert_non_null(y);
    assert_non_null(degree);
    assert_int_equal(neighbourhood_vectors(w->h, nodes, n, SIZE_MAX, y, degree, &too_big, &err),
                     ERR_OK);
    assert_false(too_big);
    for (size_t i = 0; i < n; i++) {
        size_t row = (size_t)neighbourhood_id(nodes[i]) +
                     (neighbourhood_is_item(nodes[i]) ? N_USERS : 0);

        assert_int_equal(degree[i], csr_degree(&w->t->graph.adjacency, (uint32_t)row));
        for (size_t j = 0; j < D; j++) {
            scale = fmax(scale, fabs((double)w->t->out[row * D + j]));
            worst = fmax(worst, fabs((double)y[i * D + j] - (double)w->t->out[row * D + j]));
        }
    }
    free(y);
    free(degree);
    return worst / scale;
}

static size_t all_nodes(int64_t *nodes, bool strange_user)
{
    size_t n = 0;

    for (int64_t u = 0; u < N_USERS - !strange_user; u++)
        nodes[n++] = neighbourhood_user(u);
    for (int64_t i = 0; i < N_ITEMS; i++)
        nodes[n++] = neighbourhood_item(i);
    return n;
}

static void check(enum fusion_kind fusion, enum backbone_kind backbone, bool item_graph,
                  int32_t hops, int32_t content)
{
    int64_t nodes[N_USERS + N_ITEMS];
    struct world w;

    open_world(&w, fusion, backbone, item_graph, hops, content);
    size_t n = all_nodes(nodes, backbone != BACKBONE_MF);
    double together = difference(&w, nodes, n), alone = 0;
    neighbourhood_clear(w.h);
    for (size_t i = 0; i < n; i++)
        alone = fmax(alone, difference(&w, &nodes[i], 1));
    size_t n_asked = w.n_asked;
    assert_true(difference(&w, nodes, n) < 1e-5);
    assert_int_equal(w.n_asked, n_asked);
    print_message("%s, %s%s, %d hops, content %d: %.1e together, %.1e alone\n",
                  fusion_kind_name(fusion), backbone_kind_name(backbone),
                  item_graph ? ", item graph" : "", hops, content, together, alone);
    assert_true(together < 1e-5);
    assert_true(alone < 1e-5);
    close_world(&w);
}

static void vectors_every_backbone_equal_whole_graph(void **state)
{
    (void)state;
    for (int graph = 0; graph < 2; graph++) {
        check(FUSION_CP, BACKBONE_LIGHTGCN, graph, 1, 0);
        check(FUSION_CP, BACKBONE_LIGHTGCN, graph, 2, 0);
        check(FUSION_CP, BACKBONE_LIGHTGCN, graph, 2, 5);
        check(FUSION_STATIC, BACKBONE_SAGE, graph, 2, 4);
        check(FUSION_DENSE, BACKBONE_LIGHTGCN, graph, 3, 0);
        check(FUSION_CP, BACKBONE_SAGE, graph, 2, 0);
        check(FUSION_STATIC, BACKBONE_MF, graph, 0, 0);
        check(FUSION_NONE, BACKBONE_LIGHTGCN, graph, 2, 0);
        check(FUSION_NONE, BACKBONE_SAGE, graph, 2, 0);
    }
}

static void vectors_stranger_under_mf_gets_mean_of_items(void **state)
{
    const int64_t nodes[] = {neighbourhood_user(N_USERS - 1), neighbourhood_user(0)};
    struct world w;
    uint32_t degree[2];
    float y[2 * 12];
    bool too_big;

    (void)state;
    open_world(&w, FUSION_CP, BACKBONE_MF, false, 0, 0);
    const float *a = w.t->out + (N_USERS + 3) * w.t->D;
    const float *b = w.t->out + (N_USERS + N_ITEMS - 1) * w.t->D;
    assert_int_equal(neighbourhood_vectors(w.h, nodes, 2, SIZE_MAX, y, degree, &too_big, NULL),
                     ERR_OK);
    assert_int_equal(degree[0], 2);
    for (size_t j = 0; j < w.t->D; j++)
        assert_true(fabsf(y[j] - (a[j] + b[j]) / 2) < 1e-6F);
    assert_memory_equal(y + w.t->D, w.t->out, w.t->D * sizeof(*y));
    close_world(&w);
}

static void vectors_beyond_max_edges_says_so(void **state)
{
    const int64_t node = neighbourhood_item(0);
    struct world w;
    uint32_t degree;
    float y[12];
    bool too_big;

    (void)state;
    open_world(&w, FUSION_CP, BACKBONE_LIGHTGCN, false, 2, 0);
    assert_int_equal(neighbourhood_vectors(w.h, &node, 1, 5, y, &degree, &too_big, NULL),
                     ERR_OK);
    assert_true(too_big);
    assert_int_equal(neighbourhood_vectors(w.h, &node, 1, 5000, y, &degree, &too_big, NULL),
                     ERR_OK);
    assert_false(too_big);
    assert_true(neighbourhood_edges(w.h) > 5);
    close_world(&w);
}

/* An edge more: both ends forgotten, and every vector near is the new whole graph's. */
static void forget_both_ends_of_a_new_edge_equals_whole_graph(void **state)
{
    int64_t nodes[N_USERS + N_ITEMS];
    struct world w;
    struct err err = {0};

    (void)state;
    open_world(&w, FUSION_CP, BACKBONE_LIGHTGCN, true, 2, 0);
    size_t n = all_nodes(nodes, true);
    assert_true(difference(&w, nodes, n) < 1e-5);
    graph_done(&w.t->graph);
    assert_int_equal(graph_new(w.pairs, N_PAIRS, N_USERS, N_ITEMS, &w.t->graph, &err), ERR_OK);
    w.t->o.cold_length = 0; /* the model's is of the graph that it was trained on */
    trainee_forward(w.t);
    for (uint32_t i = 0; i < N_ITEMS; i++)
        w.t->n_interactions[i] = (uint32_t)csr_degree(&w.t->graph.adjacency, N_USERS + i);
    const struct cold_items items = trainee_items(w.t);
    cold_lengthen_items(&items, model_shape(w.model)->cold_length);
    size_t n_asked = w.n_asked;
    neighbourhood_forget(w.h, neighbourhood_user(5));
    neighbourhood_forget(w.h, neighbourhood_item(7));
    assert_true(difference(&w, nodes, n) < 1e-5);
    assert_int_equal(w.n_asked, n_asked + 2);
    close_world(&w);
}

/* Rows of items by the edges that the neighbourhood keeps: nothing is asked for twice, and a changed
 * edge counts once its ends are forgotten. */
static void neighbours_row_in_a_neighbourhood_uses_its_edges(void **state)
{
    int64_t nodes[N_USERS + N_ITEMS];
    float vec[(N_USERS + N_ITEMS) * 64], values[2][N_ITEMS];
    uint32_t degree[N_USERS + N_ITEMS];
    struct neighbours_row row;
    struct neighbours *w, *own;
    struct world world;
    bool too_big;

    (void)state;
    open_world(&world, FUSION_CP, BACKBONE_LIGHTGCN, false, 2, 0);
    size_t n = all_nodes(nodes, true);
    assert_true(model_shape(world.model)->D <= 64);
    assert_int_equal(
        neighbourhood_vectors(world.h, nodes, n, 100000, vec, degree, &too_big, NULL), ERR_OK);
    const size_t n_asked = world.n_asked;
    assert_int_equal(neighbours_new_in(world.h, NULL, &w, NULL), ERR_OK);
    assert_int_equal(
        neighbours_row(w, neighbourhood_item(7), 5, SIZE_MAX, &row, &too_big, NULL), ERR_OK);
    assert_int_equal(world.n_asked, n_asked);
    assert_true(row.n > 0 && row.n < N_ITEMS);
    memcpy(values[0], row.values, row.n * sizeof(float));
    graph_done(&world.t->graph);
    assert_int_equal(graph_new(world.pairs, N_PAIRS, N_USERS, N_ITEMS, &world.t->graph, NULL),
                     ERR_OK);
    neighbourhood_forget(world.h, neighbourhood_user(5));
    neighbourhood_forget(world.h, neighbourhood_item(7));
    assert_int_equal(
        neighbours_row(w, neighbourhood_item(7), 5, SIZE_MAX, &row, &too_big, NULL), ERR_OK);
    const size_t n_row = row.n;
    memcpy(values[1], row.values, n_row * sizeof(float));
    assert_memory_not_equal(values[0], values[1], n_row * sizeof(float));
    const struct neighbourhood_source source = {
        .arg = &world, .edges = world_edges, .degree = world_degree};
    assert_int_equal(neighbours_new(&source, NULL, &own, NULL), ERR_OK);
    assert_int_equal(
        neighbours_row(own, neighbourhood_item(7), 5, SIZE_MAX, &row, &too_big, NULL), ERR_OK);
    assert_int_equal(row.n, n_row);
    assert_memory_equal(row.values, values[1], n_row * sizeof(float));
    neighbours_free(own);
    neighbours_free(w);
    close_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_every_backbone_equal_whole_graph),
        cmocka_unit_test(vectors_stranger_under_mf_gets_mean_of_items),
        cmocka_unit_test(vectors_beyond_max_edges_says_so),
        cmocka_unit_test(forget_both_ends_of_a_new_edge_equals_whole_graph),
        cmocka_unit_test(neighbours_row_in_a_neighbourhood_uses_its_edges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

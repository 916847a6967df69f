/* A neighbourhood's vectors against trainee_forward over the whole graph, for every backbone, with
 * and without the item-item graph; users and items that the model does not know; forgetting. */

#include "fusion_fixture.h"

#include "fusion/model/fuse.h"
#include "fusion/model/neighbourhood.h"
#include "fusion/model/signals.h"
#include "fusion/train/als.h"
#include "fusion/train/ensemble.h"
#include "fusion/model/neighbours.h"
#include "fusion/train/trainee.h"

enum { N_USERS = 40, N_ITEMS = 30, N_PAIRS = 150, F = 10, K = 3, FACTORS = 6, COLUMNS = 5 };

/* A trained model's shape with random weights. The last user and the last item are strangers:
 * their identities are zero in the trainee, and the source says that it does not know them. */
struct world {
    struct csr_pair pairs[N_PAIRS];
    float X[N_ITEMS * F];
    uint8_t mask[N_ITEMS];
    struct trainee_data data;
    struct trainee *t; /* of the last member */
    struct model *model;
    float *want; /* (N_USERS + N_ITEMS, D) what a training publishes */
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
    const struct model_shape *s = model_shape(w->model);
    size_t d = model_feature_width(s), id = (size_t)s->id_dim, A = (size_t)s->factor_dim;
    size_t width = d + id + A + model_column_width(s), n_rows;
    const float *factors = signals_factors(w->model, &n_rows, &A);
    struct fuse_context *context;

    assert_int_equal(fuse_context_new(w->model, 1, &context, err), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        size_t row = (size_t)neighbourhood_id(nodes[i]);
        float *x = ret_x + i * width;

        memset(x, 0, width * sizeof(*x));
        if (d)
            assert_int_equal(
                fuse_features_in(context, w->X + row * F, w->mask + row, 1, x, err), ERR_OK);
        assert_int_equal(
            fuse_columns_in(context, w->X + row * F, w->mask + row, 1, x + d + id + A, err),
            ERR_OK);
        if (row < N_ITEMS - 1)
            memcpy(x + d, model_tensor(w->model, "item_E")->data + row * id, id * sizeof(*x));
        if (row < N_ITEMS - 1 && factors)
            memcpy(x + d + id, factors + row * A, A * sizeof(*x));
    }
    fuse_context_free(context);
    return ERR_OK;
}

static const float *world_user(void *arg, int64_t node)
{
    struct world *w = arg;
    size_t row = (size_t)neighbourhood_id(node);

    const struct model_tensor *user = model_tensor(w->model, "user");

    return row < N_USERS - 1 ? user->data + row * user->shape[1] : NULL;
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
    w->pairs[2] = (struct csr_pair){8, 12}; /* user 8 has nothing else */
    for (size_t i = 3; i < N_PAIRS - 1; i++)
        w->pairs[i].row = w->pairs[i].row == 8 ? 9 : w->pairs[i].row;
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

struct kind {
    enum fusion_kind fusion;
    enum backbone_kind backbone;
    bool item_graph;
    int32_t hops, content;
    uint32_t members;
    bool signals;
};

static struct trainee_options options(const struct kind *k)
{
    struct trainee_options o;

    trainee_options_init(&o);
    o.shape = (struct model_shape){.fusion = k->fusion,
                                   .backbone = k->backbone,
                                   .modality_dim = {F - 4, 4, 0},
                                   .L = 2,
                                   .width = {F, 12, 6},
                                   .R = 3,
                                   .fused_length = 1,
                                   .id_dim = k->content > 0 ? 6 + k->content : 0,
                                   .hops = k->hops};
    o.sage_width[0] = 9;
    o.sage_width[1] = 7;
    o.item_graph = k->item_graph;
    o.knn.k = K;
    return o;
}

/* ---- a model with content columns, as earlier versions trained them (content.h) ---- */

/* The first identity columns hold what content columns would: of length 2, and none of a user's. */
static void write_content(struct trainee *t, size_t C, const float *P /* (F, C) */)
{
    const size_t id = (size_t)t->o.shape.id_dim;

    for (size_t u = 0; u < N_USERS; u++)
        memset(t->w + t->user + u * t->E + t->n_fused, 0, C * sizeof(float));
    for (size_t i = 0; i < N_ITEMS; i++) {
        float *c = t->w + t->item + i * id;
        double squares = 0;

        for (size_t j = 0; j < C; j++) {
            double sum = 0;

            for (size_t f = 0; f < F; f++)
                sum += (double)t->X[i * F + f] * (double)P[f * C + j];
            c[j] = (float)sum;
            squares += sum * sum;
        }
        for (size_t j = 0; j < C && squares > 0; j++)
            c[j] = (float)((double)c[j] * 2 / sqrt(squares));
    }
}

/* The same model, those columns made of the features. */
static struct model *with_content(const struct model *from, size_t C, const float *P)
{
    struct model_shape shape = from->shape;
    struct model *m;
    float *data;

    shape.content_dim = (int32_t)C;
    shape.content_scale = 2;
    shape.id_dim -= (int32_t)C;
    assert_int_equal(model_new_empty("of an earlier version", &m, NULL), ERR_OK);
    for (size_t i = 0; i < from->n_texts; i++)
        assert_int_equal(model_set(m, from->texts[i].key, from->texts[i].value, NULL), ERR_OK);
    assert_int_equal(model_set_shape(m, &shape, NULL), ERR_OK);
    for (size_t i = 0; i < from->n_tensors; i++) {
        const struct model_tensor *t = &from->tensors[i];
        const bool is_id = strcmp(t->name, "item_E") == 0;
        const size_t first = is_id ? C : 0, cols = t->n_dims == 2 ? t->shape[1] : 1;
        const size_t sizes[] = {t->shape[0], cols - first};

        assert_int_equal(model_add_shape(m, t->name, t->n_dims, sizes, &data, NULL), ERR_OK);
        for (size_t r = 0; r < sizes[0]; r++)
            memcpy(data + r * sizes[1], t->data + r * cols + first, sizes[1] * sizeof(*data));
    }
    assert_int_equal(model_add(m, "mmf.content", F, C, &data, NULL), ERR_OK);
    memcpy(data, P, F * C * sizeof(*data));
    assert_int_equal(model_finish(m, NULL), ERR_OK);
    assert_int_equal(m->shape.content_dim, C);
    return m;
}

/* Columns and factors of a training that did not know the last item: nobody had it. */
static void add_signals(struct world *w, float *backbone)
{
    const struct signals weights = {
        .trained = 0.7F, .factors = 3, .content = 0.2F, .fade = 2, .mapped = 1.5F};
    static float content[(N_USERS + N_ITEMS) * COLUMNS];
    static float weight[F * FACTORS], bias[FACTORS], mapped[N_ITEMS * FACTORS];
    const struct mapping mapping = {F, FACTORS, weight, bias};
    struct csr_pair known[N_PAIRS];
    struct columns columns;
    struct als_options o;
    struct als als;
    struct csr all, R;
    size_t n = 0;

    for (size_t i = 0; i < N_PAIRS - 1; i++)
        if (w->pairs[i].col != N_ITEMS - 1)
            known[n++] = w->pairs[i];
    assert_int_equal(csr_from_pairs(known, n, N_USERS, N_ITEMS, &R, NULL), ERR_OK);
    assert_int_equal(csr_from_pairs(w->pairs, N_PAIRS - 1, N_USERS, N_ITEMS, &all, NULL),
                     ERR_OK);
    als_options_init(&o);
    o.d = FACTORS;
    assert_int_equal(als_train(&o, &R, &als, NULL), ERR_OK);
    assert_int_equal(columns_fit(w->t->X, w->mask, N_ITEMS, w->t->o.shape.modality_dim, COLUMNS,
                                 &columns, NULL),
                     ERR_OK);
    float *items = content + N_USERS * COLUMNS;
    assert_int_equal(columns_rows(&columns, w->t->X, w->mask, N_ITEMS, items, NULL), ERR_OK);
    columns_users(&all, items, COLUMNS, content);
    fixture_fill(21, weight, (size_t)F * FACTORS, 0.3F);
    fixture_fill(22, bias, FACTORS, 0.3F);
    assert_int_equal(mapping_rows(&mapping, w->t->X, w->mask, N_ITEMS, mapped, NULL), ERR_OK);
    const struct signals_tensors tensors = {.columns = &columns,
                                            .mapping = &mapping,
                                            .mean = w->t->mean,
                                            .std_dev = w->t->std_dev,
                                            .factors = als.items,
                                            .n_items = N_ITEMS,
                                            .fold = &als.fold};
    assert_int_equal(signals_put(w->model, &weights, &tensors, NULL), ERR_OK);
    const struct signals_parts parts = {N_USERS,   N_ITEMS,   backbone,
                                        als.users, als.items, content,
                                        items,     mapped,    w->t->n_interactions};
    assert_int_equal(signals_join(w->model, &parts, &w->want, NULL), ERR_OK);
    free(backbone);
    als_done(&als);
    columns_done(&columns);
    csr_done(&R);
    csr_done(&all);
}

static void open_world(struct world *w, const struct kind *k)
{
    struct trainee_options o = options(k);
    struct ensemble members = {0};
    struct err err = {0};
    float *backbone, P[F * F];
    struct rng rng;

    memset(w, 0, sizeof(*w));
    draw(w);
    rng_init(&rng, 3);
    rng_fill(&rng, P, F * F, 1);
    for (uint32_t m = 0; m < k->members; m++) {
        trainee_free(w->t);
        w->t = NULL;
        o.seed = 1 + m;
        if (trainee_new(&o, &w->data, &w->t, &err) != ERR_OK)
            fail_msg("%s", err.text);
        make_strangers(w->t);
        if (k->content > 0)
            write_content(w->t, (size_t)k->content, P);
        if (ensemble_add(&members, w->t, &err) != ERR_OK)
            fail_msg("%s", err.text);
    }
    if (ensemble_join(&members, w->t, &w->model, &backbone, &err) != ERR_OK)
        fail_msg("%s", err.text);
    w->want = backbone;
    if (k->content > 0) {
        struct model *joined = w->model;

        w->model = with_content(joined, (size_t)k->content, P);
        model_free(joined);
    }
    if (k->signals)
        add_signals(w, backbone);
    assert_int_equal(ensemble_prepare(w->model, &err), ERR_OK);
    struct neighbourhood_source source = {.arg = w,
                                          .edges = world_edges,
                                          .degree = world_degree,
                                          .items = world_items,
                                          .user = world_user,
                                          .similar = k->item_graph ? world_similar : NULL};
    assert_int_equal(neighbourhood_new(w->model, &source, o.knn_strength, &w->h, &err), ERR_OK);
}

static void close_world(struct world *w)
{
    neighbourhood_free(w->h);
    model_free(w->model);
    trainee_free(w->t);
    free(w->want);
}

static size_t node_row(int64_t node)
{
    return (size_t)neighbourhood_id(node) + (neighbourhood_is_item(node) ? N_USERS : 0);
}

/* The largest difference of n nodes from the whole graph's vectors in the columns from `first` to
 * `end`, of the largest value in them. */
static double part_difference(const struct world *w, const int64_t *nodes, size_t n,
                              const float *y, size_t first, size_t end)
{
    size_t D = (size_t)model_shape(w->model)->D;
    double worst = 0, scale = 0;

    for (size_t i = 0; i < n; i++) {
        const float *want = w->want + node_row(nodes[i]) * D;

        for (size_t j = first; j < end; j++) {
            scale = fmax(scale, fabs((double)want[j]));
            worst = fmax(worst, fabs((double)y[i * D + j] - (double)want[j]));
        }
    }
    return scale > 0 ? worst / scale : worst;
}

/* Of the worst of the parts, backbone, factors and content. */
static double difference(struct world *w, const int64_t *nodes, size_t n)
{
    const struct model_shape *s = model_shape(w->model);
    size_t B = (size_t)s->B, D = (size_t)s->D, A = (size_t)s->factor_dim;
    float *y = malloc(n * D * sizeof(*y));
    uint32_t *degree = malloc(n * sizeof(*degree));
    struct err err = {0};
    bool too_big;

    assert_non_null(y);
    assert_non_null(degree);
    assert_int_equal(neighbourhood_vectors(w->h, nodes, n, SIZE_MAX, y, degree, &too_big, &err),
                     ERR_OK);
    assert_false(too_big);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(degree[i],
                         csr_degree(&w->t->graph.adjacency, (uint32_t)node_row(nodes[i])));
    double worst = part_difference(w, nodes, n, y, 0, B);
    worst = fmax(worst, part_difference(w, nodes, n, y, B, B + A));
    worst = fmax(worst, part_difference(w, nodes, n, y, B + A, D));
    free(y);
    free(degree);
    return worst;
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

static void check(const struct kind *k)
{
    int64_t nodes[N_USERS + N_ITEMS];
    struct world w;

    open_world(&w, k);
    size_t n = all_nodes(nodes, k->backbone != BACKBONE_MF);
    double together = difference(&w, nodes, n), alone = 0;
    neighbourhood_clear(w.h);
    for (size_t i = 0; i < n; i++)
        alone = fmax(alone, difference(&w, &nodes[i], 1));
    size_t n_asked = w.n_asked;
    assert_true(difference(&w, nodes, n) < 1e-5);
    assert_int_equal(w.n_asked, n_asked);
    print_message("%s, %s%s, %d hops, content %d, %u members%s: %.1e together, %.1e alone\n",
                  fusion_kind_name(k->fusion), backbone_kind_name(k->backbone),
                  k->item_graph ? ", item graph" : "", k->hops, k->content, k->members,
                  k->signals ? ", signals" : "", together, alone);
    assert_true(together < 1e-5);
    assert_true(alone < 1e-5);
    close_world(&w);
}

static void vectors_every_backbone_equal_whole_graph(void **state)
{
    (void)state;
    for (int graph = 0; graph < 2; graph++) {
        const struct kind kinds[] = {
            {FUSION_CP, BACKBONE_LIGHTGCN, graph, 1, 0, 1, false},
            {FUSION_CP, BACKBONE_LIGHTGCN, graph, 2, 0, 1, false},
            {FUSION_CP, BACKBONE_LIGHTGCN, graph, 2, 5, 1, false},
            {FUSION_STATIC, BACKBONE_SAGE, graph, 2, 4, 1, false},
            {FUSION_DENSE, BACKBONE_LIGHTGCN, graph, 3, 0, 1, false},
            {FUSION_CP, BACKBONE_SAGE, graph, 2, 0, 1, false},
            {FUSION_STATIC, BACKBONE_MF, graph, 0, 0, 1, false},
            {FUSION_NONE, BACKBONE_LIGHTGCN, graph, 2, 0, 1, false},
            {FUSION_NONE, BACKBONE_SAGE, graph, 2, 0, 1, false},
        };

        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
            check(&kinds[i]);
    }
}

/* A user of one item, items without features, an item that came after the training. */
static void vectors_with_signals_equal_a_training(void **state)
{
    (void)state;
    for (int graph = 0; graph < 2; graph++) {
        const struct kind kinds[] = {
            {FUSION_CP, BACKBONE_LIGHTGCN, graph, 2, 0, 1, true},
            {FUSION_CP, BACKBONE_LIGHTGCN, graph, 2, 0, 2, true},
            {FUSION_CP, BACKBONE_LIGHTGCN, graph, 1, 3, 1, true},
            {FUSION_STATIC, BACKBONE_SAGE, graph, 2, 0, 2, true},
            {FUSION_STATIC, BACKBONE_MF, graph, 0, 0, 1, true},
            {FUSION_CP, BACKBONE_MF, graph, 0, 0, 2, true},
            {FUSION_NONE, BACKBONE_LIGHTGCN, graph, 2, 0, 1, true},
            {FUSION_NONE, BACKBONE_MF, graph, 0, 0, 1, true},
        };

        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
            check(&kinds[i]);
    }
}

/* Whom the model does not know is, under mf, the mean of its items to the backbone, and to the other
 * signals what its items are. */
static void vectors_of_a_stranger_under_mf_have_signals(void **state)
{
    const int64_t stranger = neighbourhood_user(N_USERS - 1);
    const struct kind kind = {FUSION_CP, BACKBONE_MF, false, 0, 0, 1, true};
    struct world w;
    uint32_t degree;
    float y[64];
    bool too_big;

    (void)state;
    open_world(&w, &kind);
    const struct model_shape *s = model_shape(w.model);
    const float *want = w.want + (N_USERS - 1) * (size_t)s->D;
    assert_int_equal(
        neighbourhood_vectors(w.h, &stranger, 1, SIZE_MAX, y, &degree, &too_big, NULL), ERR_OK);
    for (int32_t j = s->B; j < s->D; j++)
        assert_float_equal(y[j], want[j], 1e-5F);
    assert_int_equal(neighbourhood_vectors(w.h, &stranger, 1, 1, y, &degree, &too_big, NULL),
                     ERR_OK);
    assert_true(too_big);
    close_world(&w);
}

/* A warm start is of the trained part. */
static void member_of_a_model_with_signals_has_none(void **state)
{
    const struct kind with = {FUSION_CP, BACKBONE_LIGHTGCN, true, 2, 0, 2, true};
    const struct kind plain = {FUSION_CP, BACKBONE_LIGHTGCN, true, 2, 0, 2, false};
    struct model *a, *b;
    struct world w, v;

    (void)state;
    open_world(&w, &with);
    open_world(&v, &plain);
    assert_int_equal(ensemble_member(w.model, 1, &a, NULL), ERR_OK);
    assert_int_equal(ensemble_member(v.model, 1, &b, NULL), ERR_OK);
    assert_int_equal(a->shape.D, a->shape.B);
    assert_int_equal(a->shape.B * 2, w.model->shape.B);
    assert_int_equal(a->n_tensors, b->n_tensors);
    assert_int_equal(a->n_texts, b->n_texts);
    for (size_t i = 0; i < a->n_tensors; i++) {
        assert_string_equal(a->tensors[i].name, b->tensors[i].name);
        assert_memory_equal(a->tensors[i].data, b->tensors[i].data,
                            a->tensors[i].n_elements * sizeof(float));
    }
    model_free(a);
    model_free(b);
    close_world(&w);
    close_world(&v);
}

static void vectors_stranger_under_mf_gets_mean_of_items(void **state)
{
    const int64_t nodes[] = {neighbourhood_user(N_USERS - 1), neighbourhood_user(0)};
    struct world w;
    uint32_t degree[2];
    float y[2 * 12];
    bool too_big;

    (void)state;
    const struct kind kind = {FUSION_CP, BACKBONE_MF, false, 0, 0, 1, false};
    open_world(&w, &kind);
    const float *a = w.want + (N_USERS + 3) * w.t->D;
    const float *b = w.want + (N_USERS + N_ITEMS - 1) * w.t->D;
    assert_int_equal(neighbourhood_vectors(w.h, nodes, 2, SIZE_MAX, y, degree, &too_big, NULL),
                     ERR_OK);
    assert_int_equal(degree[0], 2);
    for (size_t j = 0; j < w.t->D; j++)
        assert_true(fabsf(y[j] - (a[j] + b[j]) / 2) < 1e-6F);
    assert_memory_equal(y + w.t->D, w.want, w.t->D * sizeof(*y));
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
    const struct kind kind = {FUSION_CP, BACKBONE_LIGHTGCN, false, 2, 0, 1, false};
    open_world(&w, &kind);
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
    const struct kind kind = {FUSION_CP, BACKBONE_LIGHTGCN, true, 2, 0, 1, false};
    open_world(&w, &kind);
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
    memcpy(w.want, w.t->out, (N_USERS + N_ITEMS) * w.t->D * sizeof(*w.want));
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
    const struct kind kind = {FUSION_CP, BACKBONE_LIGHTGCN, false, 2, 0, 1, false};
    struct world world;
    bool too_big;

    (void)state;
    open_world(&world, &kind);
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
        cmocka_unit_test(vectors_with_signals_equal_a_training),
        cmocka_unit_test(vectors_of_a_stranger_under_mf_have_signals),
        cmocka_unit_test(member_of_a_model_with_signals_has_none),
        cmocka_unit_test(vectors_stranger_under_mf_gets_mean_of_items),
        cmocka_unit_test(vectors_beyond_max_edges_says_so),
        cmocka_unit_test(forget_both_ends_of_a_new_edge_equals_whole_graph),
        cmocka_unit_test(neighbours_row_in_a_neighbourhood_uses_its_edges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

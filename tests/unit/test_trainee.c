/* Gradients of a whole training step: every parameter against the golden dumps (PyTorch, float64)
 * and, with everything switched on at once, against finite differences. */

#include "golden_fixture.h"

#include "fusion/file/npy.h"
#include "fusion/model/fuse.h"
#include "fusion/model/internal.h"
#include "fusion/train/train.h"
#include "fusion/train/trainee.h"

#include <string.h>

enum { N_USERS = 6, N_ITEMS = 9, N_TRIPLES = 7, N_NEGATIVES = 3, N_HIDDEN = 2 };

static size_t read_rows(const char *folder, const char *file, unsigned n_cols, unsigned *values)
{
    FILE *in = fopen(golden(folder, file), "r");
    size_t n = 0;

    assert_non_null(in);
    while (fscanf(in, "%u", &values[n]) == 1)
        n++;
    fclose(in);
    return n / n_cols;
}

static void compare(const char *folder, const char *name, const float *have, size_t n)
{
    double scale = 0, worst = 0;
    size_t n_want;
    float *want = result(folder, name, &n_want);

    assert_int_equal(n, n_want);
    for (size_t i = 0; i < n; i++) {
        scale = fmax(scale, fabs((double)want[i]));
        worst = fmax(worst, fabs((double)have[i] - (double)want[i]));
    }
    if (worst > 1e-5 * scale + 1e-12)
        fail_msg("%s %s: off by %g of %g", folder, name, worst, scale);
    free(want);
}

struct golden_case {
    const char *folder;
    struct trainee *t;
    struct trainee_data data;
    struct csr_pair pairs[32];
    uint8_t mask[N_ITEMS];
    struct npy X;
    uint32_t users[N_TRIPLES], positives[N_TRIPLES], negatives[N_NEGATIVES * N_TRIPLES];
};

static void read_case(struct golden_case *c)
{
    unsigned values[96];

    assert_int_equal(npy_read(golden(c->folder, "features.npy"), &c->X, NULL), ERR_OK);
    size_t n = read_rows(c->folder, "edges.tsv", 2, values);
    for (size_t i = 0; i < n; i++)
        c->pairs[i] = (struct csr_pair){values[2 * i], values[2 * i + 1]};
    memset(c->mask, 1, sizeof(c->mask));
    c->data = (struct trainee_data){.X = c->X.data,
                                    .mask = c->mask,
                                    .n_users = N_USERS,
                                    .n_items = N_ITEMS,
                                    .pairs = c->pairs,
                                    .n_pairs = n};
    assert_int_equal(read_rows(c->folder, "triples.tsv", 3, values), N_TRIPLES);
    for (size_t i = 0; i < N_TRIPLES; i++) {
        c->users[i] = values[3 * i];
        c->positives[i] = values[3 * i + 1];
        c->negatives[i] = values[3 * i + 2];
    }
}

static struct trainee_options options_of(const char *folder, const struct model_shape *shape)
{
    struct trainee_options o;

    trainee_options_paper(&o);
    o.shape = *shape;
    o.shape.backbone = strstr(folder, "sage")       ? BACKBONE_SAGE
                       : strstr(folder, "lightgcn") ? BACKBONE_LIGHTGCN
                                                    : BACKBONE_MF;
    o.shape.fused_length = strstr(folder, "unit") ? 1 : 0;
    o.shape.cp_collapsed = false;
    o.shape.hops = 2;
    o.shape.modality_dim[0] = shape->F;
    o.shape.modality_dim[1] = o.shape.modality_dim[2] = 0;
    o.sage_width[0] = 6;
    o.sage_width[1] = 5;
    return o;
}

static void open_case(struct golden_case *c, const char *folder)
{
    struct model *model;
    struct err err = {0};

    *c = (struct golden_case){.folder = folder};
    read_case(c);
    assert_int_equal(model_load(golden(folder, "model.safetensors"), &model, &err), ERR_OK);
    struct trainee_options o = options_of(folder, model_shape(model));
    if (trainee_new(&o, &c->data, &c->t, &err) != ERR_OK)
        fail_msg("%s: %s", folder, err.text);
    if (trainee_warm_start(c->t, model, NULL, NULL, &err) != ERR_OK)
        fail_msg("%s: %s", folder, err.text);
    memcpy(c->t->X, c->X.data, c->X.n_rows * c->X.n_cols * sizeof(float));
    model_free(model);
}

static void close_case(struct golden_case *c)
{
    trainee_free(c->t);
    npy_done(&c->X);
}

/* Every entry of the authors' dC[r·S + k] is Σ_r of ours. */
static void collapse(struct model_tensor *C, size_t R, size_t S)
{
    for (size_t k = 0; k < S; k++) {
        double sum = 0;
        for (size_t r = 0; r < R; r++)
            sum += (double)C->data[r * S + k];
        for (size_t r = 0; r < R; r++)
            C->data[r * S + k] = (float)sum;
    }
}

/* The gradients under the parameters' names: an export of a trainee whose weights they are. */
static void compare_gradients(const struct golden_case *c, const char *loss)
{
    struct trainee copy = *c->t;
    struct model *gradients;
    struct err err = {0};
    size_t n_compared = 0;

    copy.w = copy.g;
    copy.net.w = copy.g;
    if (trainee_export(&copy, &gradients, &err) != ERR_OK)
        fail_msg("%s: %s", c->folder, err.text);
    for (size_t i = 0; i < gradients->n_tensors; i++) {
        struct model_tensor *tensor = &gradients->tensors[i];
        const char *dot = strrchr(tensor->name, '.');
        char name[128];

        if (strncmp(tensor->name, "mmf.", 4) == 0)
            continue;
        if (strstr(c->folder, "collapsed") && dot && strcmp(dot, ".C") == 0)
            collapse(tensor, (size_t)copy.o.shape.R, (size_t)copy.o.shape.S);
        snprintf(name, sizeof(name), "grad.%s.%s", loss, tensor->name);
        compare(c->folder, name, tensor->data, tensor->n_elements);
        n_compared++;
    }
    assert_true(n_compared >= 5);
    model_free(gradients);
}

static void trainee_gradient_golden_case_equals_pytorch(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct golden_case c;
        float loss;

        open_case(&c, cases[i]);
        loss =
            (float)trainee_gradient(c.t, c.users, c.positives, c.negatives, N_TRIPLES, false);
        compare(c.folder, "loss.softplus", &loss, 1);
        compare_gradients(&c, "softplus");
        c.t->o.reference_loss = true;
        loss =
            (float)trainee_gradient(c.t, c.users, c.positives, c.negatives, N_TRIPLES, false);
        compare(c.folder, "loss.reference", &loss, 1);
        compare_gradients(&c, "reference");
        trainee_forward(c.t);
        compare(c.folder, "users", c.t->out, N_USERS * c.t->D);
        compare(c.folder, "items", c.t->out + N_USERS * c.t->D, N_ITEMS * c.t->D);
        close_case(&c);
    }
}

/* Central differences of the loss in float32 arithmetic: a step of 5e-4 and a tolerance that a
 * wrong term of the gradient exceeds by far. */
static void check_differences(struct golden_case *c, size_t B)
{
    struct trainee *t = c->t;
    float *g = malloc(t->n_weights * sizeof(*g));
    double largest = 0;

    assert_non_null(g);
    trainee_gradient(t, c->users, c->positives, c->negatives, B, false);
    memcpy(g, t->g, t->n_weights * sizeof(*g));
    for (size_t i = 0; i < t->n_weights; i++)
        largest = fmax(largest, fabs((double)g[i]));
    for (size_t i = 0; i < t->n_weights; i++) {
        float w = t->w[i];
        double up, down;

        t->w[i] = w + 5e-4F;
        up = trainee_gradient(t, c->users, c->positives, c->negatives, B, false);
        t->w[i] = w - 5e-4F;
        down = trainee_gradient(t, c->users, c->positives, c->negatives, B, false);
        t->w[i] = w;
        if (fabs((up - down) / 1e-3 - (double)g[i]) > 0.02 * largest)
            fail_msg("%s: weight %zu: %g, by differences %g", c->folder, i, (double)g[i],
                     (up - down) / 1e-3);
    }
    free(g);
}

static void trainee_gradient_item_graph_equals_differences(void **state)
{
    static const char *const some[] = {"cp_lightgcn_unit", "dense_mf", "cp_sage_unit"};

    (void)state;
    for (size_t i = 0; i < sizeof(some) / sizeof(*some); i++) {
        struct golden_case c;
        struct err err = {0};

        open_case(&c, some[i]);
        struct trainee_options o = c.t->o;
        float *weights = malloc(c.t->n_weights * sizeof(*weights));

        assert_non_null(weights);
        memcpy(weights, c.t->w, c.t->n_weights * sizeof(*weights));
        trainee_free(c.t);
        o.item_graph = true;
        o.knn.k = 3;
        o.shape.fused_length *= 2.5F; /* and 0 stays */
        if (trainee_new(&o, &c.data, &c.t, &err) != ERR_OK)
            fail_msg("%s", err.text);
        assert_true(c.t->knn.nnz > 0);
        memcpy(c.t->w, weights, c.t->n_weights * sizeof(*weights));
        check_differences(&c, N_TRIPLES);
        free(weights);
        close_case(&c);
    }
}

/* The first negative of each triple is the dumps'; the others are any item. Two triples, so that
 * not every node is in the batch. */
static void trainee_gradient_several_negatives_equals_differences(void **state)
{
    struct golden_case c;

    (void)state;
    open_case(&c, "cp_lightgcn_unit");
    for (size_t b = N_TRIPLES; b-- > 0;)
        for (uint32_t k = 0; k < N_NEGATIVES; k++)
            c.negatives[b * N_NEGATIVES + k] = (c.negatives[b] + 2 * k) % N_ITEMS;
    c.t->o.negatives = N_NEGATIVES;
    check_differences(&c, 2);
    close_case(&c);
}

/* The pairs of a step hidden from the graph: loss and gradients of a training whose graph never had
 * them; the published vectors come from the whole graph. */
static void trainee_hidden_positives_equal_a_graph_without_them(void **state)
{
    static const char *const some[] = {"cp_lightgcn_unit", "cp_sage_unit"};

    (void)state;
    for (size_t i = 0; i < sizeof(some) / sizeof(*some); i++) {
        struct golden_case c;
        struct csr_pair rest[sizeof(c.pairs) / sizeof(*c.pairs)];
        struct trainee *hiding, *without;
        struct err err = {0};
        size_t n = 0;

        open_case(&c, some[i]);
        for (size_t p = 0; p < c.data.n_pairs; p++) {
            bool is_in_step = false;
            for (size_t b = 0; b < N_HIDDEN; b++)
                is_in_step |= c.pairs[p].row == c.users[b] && c.pairs[p].col == c.positives[b];
            if (!is_in_step)
                rest[n++] = c.pairs[p];
        }
        assert_int_equal(n, c.data.n_pairs - N_HIDDEN);
        struct trainee_data data = c.data;
        data.pairs = rest;
        data.n_pairs = n;
        struct trainee_options o = c.t->o;
        assert_int_equal(trainee_new(&o, &data, &without, &err), ERR_OK);
        o.hide_positives = true;
        assert_int_equal(trainee_new(&o, &c.data, &hiding, &err), ERR_OK);
        double hidden =
            trainee_gradient(hiding, c.users, c.positives, c.negatives, N_HIDDEN, true);
        assert_true(hidden == trainee_gradient(without, c.users, c.positives, c.negatives,
                                               N_HIDDEN, true));
        assert_memory_equal(hiding->g, without->g, hiding->n_weights * sizeof(float));
        trainee_forward(hiding);
        memcpy(c.t->w, hiding->w, hiding->n_weights * sizeof(float));
        memcpy(c.t->X, hiding->X, c.X.n_rows * c.X.n_cols * sizeof(float));
        trainee_forward(c.t);
        assert_memory_equal(hiding->out, c.t->out,
                            (N_USERS + N_ITEMS) * c.t->D * sizeof(float));
        trainee_gradient(hiding, c.users, c.positives, c.negatives, N_TRIPLES, true);
        assert_int_equal(hiding->masked.adjacency.nnz, 2 * n); /* a quarter at most */
        trainee_free(hiding);
        trainee_free(without);
        close_case(&c);
    }
}

/* An item without edges: what inference makes of its features is what the training publishes. */
static void similar_cold_item_equals_the_training(void **state)
{
    static const char *const some[] = {"cp_lightgcn_unit", "dense_mf", "cp_sage_unit"};

    (void)state;
    for (size_t i = 0; i < sizeof(some) / sizeof(*some); i++) {
        struct golden_case c;
        struct err err = {0};
        struct model *model;
        size_t n = 0;

        open_case(&c, some[i]);
        struct trainee_options o = c.t->o;
        struct csr_pair *pairs = calloc(c.data.n_pairs + 1, sizeof(*pairs));
        struct trainee_data data = c.data;

        assert_non_null(pairs);
        for (size_t p = 0; p < data.n_pairs; p++)
            if (data.pairs[p].col != 2)
                pairs[n++] = data.pairs[p];
        data.pairs = pairs;
        data.n_pairs = n;
        o.item_graph = true;
        o.knn.k = 3;
        struct trainee *t;
        assert_int_equal(trainee_new(&o, &data, &t, &err), ERR_OK);
        size_t id = (size_t)t->o.shape.id_dim, F = (size_t)t->o.shape.F;
        memset(t->w + t->item + 2 * id, 0, id * sizeof(float));
        trainee_forward(t);
        assert_int_equal(trainee_export(t, &model, &err), ERR_OK);
        assert_int_equal(model_prepare(model, &err), ERR_OK);
        float *e = calloc(t->D, sizeof(*e)), *want = t->out + (data.n_users + 2) * t->D;
        assert_int_equal(fuse_items(model, data.X + 2 * F, data.mask + 2, 1, e, &err), ERR_OK);
        double scale = 0;
        for (size_t j = 0; j < t->D; j++)
            scale = fmax(scale, fabs((double)want[j]));
        assert_true(scale > 0);
        for (size_t j = 0; j < t->D; j++)
            assert_true(fabs((double)(e[j] - want[j])) < 1e-5 * scale);
        model_free(model);
        trainee_free(t);
        free(e);
        free(pairs);
        close_case(&c);
    }
}

/* Both convolutions as wide as the input: the gradients of the first and the last share memory. */
static void trainee_gradient_square_sage_equals_differences(void **state)
{
    struct golden_case c;
    struct err err = {0};

    (void)state;
    open_case(&c, "cp_sage_unit");
    struct trainee_options o = c.t->o;
    trainee_free(c.t);
    o.sage_width[0] = o.sage_width[1] = 0;
    if (trainee_new(&o, &c.data, &c.t, &err) != ERR_OK)
        fail_msg("%s", err.text);
    assert_ptr_equal(c.t->d_in, c.t->d_out);
    check_differences(&c, N_TRIPLES);
    close_case(&c);
}

/* s standardised over the catalogue: every gradient by differences, and the exported model, into
 * which mean and deviation are folded, has the same fused vectors. */
static void trainee_meta_gain_equals_differences_and_folds(void **state)
{
    static const char *const some[] = {"cp_lightgcn_unit", "dense_mf"};

    (void)state;
    for (size_t i = 0; i < sizeof(some) / sizeof(*some); i++) {
        struct golden_case c;
        struct model *model;
        struct err err = {0};
        float *fused = malloc(N_ITEMS * 64 * sizeof(*fused));

        assert_non_null(fused);
        open_case(&c, some[i]);
        c.t->net.meta_gain = 0.5F;
        check_differences(&c, N_TRIPLES);
        trainee_forward(c.t);
        if (trainee_export(c.t, &model, &err) != ERR_OK ||
            model_prepare(model, &err) != ERR_OK ||
            fuse_forward(model, c.t->X, N_ITEMS, fused, &err) != ERR_OK)
            fail_msg("%s: %s", c.folder, err.text);
        float scale = 1;
        for (size_t j = 0; j < N_ITEMS * c.t->n_fused; j++)
            scale = fmaxf(scale, fabsf(c.t->H[j]));
        for (size_t j = 0; j < N_ITEMS * c.t->n_fused; j++)
            assert_float_equal(fused[j], c.t->H[j], 1e-5F * scale);
        for (size_t k = 0; k < (size_t)c.t->o.shape.S; k++) {
            float sum = 0, squares = 0;
            for (size_t b = 0; b < N_ITEMS; b++) {
                sum += c.t->net.s[b * (size_t)c.t->o.shape.S + k];
                squares += powf(c.t->net.s[b * (size_t)c.t->o.shape.S + k], 2);
            }
            assert_float_equal(sum, 0, 1e-4F);
            assert_float_equal(sqrtf(squares / N_ITEMS), 0.5F, 1e-3F);
        }
        model_free(model);
        free(fused);
        close_case(&c);
    }
}

/* The mean of two equal steps' gradients is that of one: with a window of two steps on one batch
 * the network stays for one step and then moves as it would have. */
static void trainee_step_window_moves_network_at_its_end(void **state)
{
    struct golden_case c, d;

    (void)state;
    open_case(&c, "cp_mf");
    open_case(&d, "cp_mf");
    size_t n = c.t->net.n_weights;
    float *start = malloc(n * sizeof(*start));
    assert_non_null(start);
    memcpy(start, c.t->w, n * sizeof(*start));
    c.t->o.id_dropout = d.t->o.id_dropout = 0;
    c.t->o.fuse_every = 2;
    trainee_step(c.t, c.users, c.positives, c.negatives, N_TRIPLES);
    assert_memory_equal(start, c.t->w, n * sizeof(*start));
    /* a validation in between leaves the window as it was */
    trainee_forward(c.t);
    memcpy(c.t->w + n, d.t->w + n, (c.t->n_weights - n) * sizeof(*start));
    trainee_step(c.t, c.users, c.positives, c.negatives, N_TRIPLES);
    trainee_step(d.t, d.users, d.positives, d.negatives, N_TRIPLES);
    for (size_t i = 0; i < n; i++)
        assert_float_equal(c.t->w[i], d.t->w[i], 1e-6F);
    free(start);
    close_case(&c);
    close_case(&d);
}

static void trainee_average_follows_weights_and_swaps(void **state)
{
    struct golden_case c;
    struct err err = {0};

    (void)state;
    open_case(&c, "static_mf");
    struct trainee_options o = c.t->o;
    trainee_free(c.t);
    o.average = 0.9F;
    assert_int_equal(trainee_new(&o, &c.data, &c.t, &err), ERR_OK);
    trainee_step(c.t, c.users, c.positives, c.negatives, N_TRIPLES);
    float first = c.t->w[0], average = c.t->average[0];
    assert_float_equal(average, 0.9F * first, 1e-7F); /* age 1: keeps a tenth of zero */
    trainee_step(c.t, c.users, c.positives, c.negatives, N_TRIPLES);
    float second = c.t->w[0];
    assert_float_equal(c.t->average[0], average + 9.0F / 11 * (second - average), 1e-6F);
    average = c.t->average[0];
    trainee_swap_average(c.t);
    assert_true(c.t->w[0] == average && c.t->net.w == c.t->w);
    trainee_swap_average(c.t);
    assert_true(c.t->w[0] == second && c.t->net.w == c.t->w);
    close_case(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trainee_gradient_golden_case_equals_pytorch),
        cmocka_unit_test(trainee_gradient_item_graph_equals_differences),
        cmocka_unit_test(trainee_gradient_square_sage_equals_differences),
        cmocka_unit_test(trainee_gradient_several_negatives_equals_differences),
        cmocka_unit_test(trainee_hidden_positives_equal_a_graph_without_them),
        cmocka_unit_test(similar_cold_item_equals_the_training),
        cmocka_unit_test(trainee_meta_gain_equals_differences_and_folds),
        cmocka_unit_test(trainee_step_window_moves_network_at_its_end),
        cmocka_unit_test(trainee_average_follows_weights_and_swaps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

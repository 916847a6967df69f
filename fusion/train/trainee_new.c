/* Memory and initialisation of a trainee. */

#include "fusion/math/gemm.h"
#include "fusion/train/trainee.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

void trainee_options_paper(struct trainee_options *o)
{
    *o = (struct trainee_options){
        .shape = {.fusion = FUSION_CP, .backbone = BACKBONE_LIGHTGCN, .fused_length = 1},
        .seed = 1,
        .lr = 1e-3F,
        .decay = 1e-6F,
        .id_dropout = 0.3F,
        .item_specific_scale = 1,
        .negatives = 1,
        /* twenty score more on held-out pairs, but put no new item in anybody's list
         * (docs/design/fusion/209-item-item-graph.md) */
        .knn = {.k = 10, .weight = {0.7F, 0.3F, 0.3F}},
        .knn_strength = 2,
        .fuse_every = 1,
        .sage_dropout = {0.5F, 0.2F},
    };
}

void trainee_options_init(struct trainee_options *o)
{
    trainee_options_paper(o);
    o->lr = 1e-2F;
    o->net_lr = 1e-3F;
    o->meta_gain = 0.3F;
    o->fuse_every = 5;
    o->average = 0.98F;
    o->decay = 3e-6F;
    o->negatives = 0;
    o->hide_positives = true;
    o->item_graph = true;
    o->cold_length = 1.25F;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static int standardise(struct trainee *t, struct err *err)
{
    size_t I = t->data->n_items, F = (size_t)t->o.shape.F;
    t->mean = calloc(F + 1, sizeof(float));
    t->std_dev = calloc(F + 1, sizeof(float));
    t->X = gemm_alloc(I * F + 1);
    if (!t->mean || !t->std_dev || !t->X)
        return err_oom(err, "the items' features");
    for (size_t j = 0, m = 0, end = 0; j < F; j++) {
        double sum = 0, squares = 0;
        size_t n = 0;
        while (j >= end)
            end += (size_t)t->o.shape.modality_dim[m++];
        for (size_t i = 0; i < I; i++) {
            if (!(t->data->mask[i] & MODALITY_BIT(m - 1)))
                continue;
            sum += (double)t->data->X[i * F + j];
            squares += (double)t->data->X[i * F + j] * (double)t->data->X[i * F + j];
            n++;
        }
        double mean = n ? sum / (double)n : 0;
        double variance = n ? squares / (double)n - mean * mean : 0;
        t->mean[j] = (float)mean;
        t->std_dev[j] = variance > 1e-12 ? (float)sqrt(variance) : 1;
        for (size_t i = 0; i < I; i++)
            t->X[i * F + j] = (t->data->mask[i] & MODALITY_BIT(m - 1))
                                  ? (t->data->X[i * F + j] - t->mean[j]) / t->std_dev[j]
                                  : 0;
    }
    return ERR_OK;
}

static void complete_shape(struct trainee *t)
{
    static const int32_t widths[] = {1024, 512, 256, 32};
    struct model_shape *s = &t->o.shape;
    t->backbone = backbone_training_of(s->backbone);
    s->F = 0;
    for (int m = 0; m < MODALITY_COUNT; m++)
        s->F += s->modality_dim[m];
    s->width[0] = s->F;
    if (!s->L)
        for (s->L = 0; s->L < 4; s->L++)
            s->width[s->L + 1] = widths[s->L];
    bool has_meta = s->fusion == FUSION_DENSE || s->fusion == FUSION_CP;
    s->S = !has_meta ? 0 : s->S ? s->S : MODEL_S;
    s->R = s->fusion != FUSION_CP ? 0 : s->R ? s->R : MODEL_R;
    t->n_fused = s->fusion == FUSION_NONE ? 0 : (size_t)s->width[s->L];
    if (!s->id_dim)
        s->id_dim = s->fusion == FUSION_NONE ? 2 * s->width[s->L] : s->width[s->L];
    if (!s->hops || !t->backbone->takes_hops)
        s->hops = t->backbone->hops;
    s->content_dim = 0; /* of earlier versions' models alone */
    t->E = t->n_fused + (size_t)s->id_dim;
    s->has_statistics = true;
    s->trained = true;
    s->members = 1;
    if (t->o.decay_kind == DECAY_AUTO)
        t->o.decay_kind =
            t->backbone->decays_batch && s->fusion == FUSION_NONE ? DECAY_BATCH : DECAY_COUPLED;
    if (t->o.id_std <= 0 && t->o.decay_kind == DECAY_BATCH)
        t->o.id_std = 0.1F;
    t->o.hide_positives &= t->o.decay_kind != DECAY_BATCH;
    if (!t->n_fused || !s->hops)
        t->o.cold_length = 0;
    if (!t->o.negatives)
        t->o.negatives = t->o.decay_kind == DECAY_BATCH ? 1 : 8;
    t->adam = (struct adam){.lr = t->o.lr,
                            .decay = t->o.decay_kind == DECAY_COUPLED ? t->o.decay : 0};
    t->net_adam = t->adam;
    if (t->o.net_lr > 0)
        t->net_adam.lr = t->o.net_lr;
}

static void lay_out(struct trainee *t)
{
    size_t at = 0;
    if (t->n_fused) {
        fusenet_init(&t->net, &t->o.shape);
        t->net.meta_gain = t->o.meta_gain;
        at += t->net.n_weights;
    }
    t->item = at;
    at += (size_t)t->data->n_items * (size_t)t->o.shape.id_dim;
    t->user = at;
    at += (size_t)t->data->n_users * t->E;
    t->own_at = at;
    t->n_weights = at + t->n_own;
}

static int allocate(struct trainee *t, struct err *err)
{
    size_t N = t->graph.n_nodes, I = t->data->n_items, d = t->n_fused;
    t->w = gemm_alloc(t->n_weights);
    t->g = gemm_alloc(t->n_weights);
    t->m = gemm_alloc(t->n_weights);
    t->v = gemm_alloc(t->n_weights);
    t->H = gemm_alloc(I * d + 1);
    t->dH = gemm_alloc(I * d + 1);
    t->in = gemm_alloc(N * t->E);
    t->out = gemm_alloc(N * t->D);
    t->d_out = gemm_alloc(N * t->D);
    /* one array for two gradients: at MovieLens size a CP step with sage takes 0.62 GB so, 0.81
     * with that and fusenet's dZ, h and dh */
    t->d_in = t->backbone->in_place && t->D == t->E ? t->d_out : gemm_alloc(N * t->E);
    t->work = gemm_alloc(max_size(N * t->E, I * t->D));
    t->id_kept = malloc(I + 1);
    if (!t->w || !t->g || !t->m || !t->v || !t->H || !t->dH || !t->in || !t->d_in || !t->out ||
        !t->d_out || !t->work || !t->id_kept)
        return err_oom(err, "the training workspace");
    t->net.w = t->w;
    t->net.g = t->g;
    if (t->o.average > 0 && !(t->average = gemm_alloc(t->n_weights)))
        return err_oom(err, "the average of the weights");
    return d ? fusenet_reserve(&t->net, I, err) : ERR_OK;
}

/* Uniform with this deviation, or Xavier's. */
static void seed_ids(const struct trainee *t, struct rng *rng, float *w, size_t rows,
                     size_t cols)
{
    float bound = t->o.id_std > 0 ? t->o.id_std * sqrtf(3) : sqrtf(6 / (float)(rows + cols));
    rng_fill(rng, w, rows * cols, bound);
}

static void xavier(struct rng *rng, float *w, size_t rows, size_t cols)
{
    rng_fill(rng, w, rows * cols, sqrtf(6 / (float)(rows + cols)));
}

/* The network starts as model_seed's (mirrored pairs), so that a seeded store and a first
 * training agree on what a good start is. */
static int seed(struct trainee *t, struct err *err)
{
    size_t U = t->data->n_users, I = t->data->n_items, id = (size_t)t->o.shape.id_dim;
    seed_ids(t, &t->rng, t->w + t->item, I, id);
    seed_ids(t, &t->rng, t->w + t->user, U, t->E);
    const struct backbone *b = backbone_of(t->o.shape.backbone);
    for (size_t i = 0; i < b->n_tensors; i++) /* biases stay zero */
        if (t->own[i].cols)
            xavier(&t->rng, t->w + t->own_at + t->own[i].at, t->own[i].rows, t->own[i].cols);
    if (!t->n_fused)
        return ERR_OK;
    struct model *model;
    struct model_shape shape = t->o.shape;
    shape.backbone = BACKBONE_MF; /* the network is all that is taken from it */
    int status = model_seed(&shape, rng_next(&t->rng), &model, err);
    if (status)
        return status;
    status = fusenet_import(&t->net, model, err);
    model_free(model);
    fusenet_scale_item_specific(&t->net, t->o.item_specific_scale);
    return status;
}

static int count_interactions(struct trainee *t, struct err *err)
{
    uint32_t n_users = t->data->n_users, n_items = t->data->n_items;
    t->n_interactions = malloc((n_items + 1) * sizeof(*t->n_interactions));
    if (!t->n_interactions)
        return err_oom(err, "the items' interactions");
    for (uint32_t i = 0; i < n_items; i++)
        t->n_interactions[i] = (uint32_t)csr_degree(&t->graph.adjacency, n_users + i);
    return ERR_OK;
}

static int find_item_graph(struct trainee *t, struct err *err)
{
    const struct trainee_data *d = t->data;
    t->knn_is_borrowed = d->item_graph != NULL;
    if (t->knn_is_borrowed) {
        t->knn = *d->item_graph;
        return ERR_OK;
    }
    return knn_build(t->X, d->mask, d->n_items, t->o.shape.modality_dim, &t->o.knn, &t->knn,
                     err);
}

struct csr trainee_take_item_graph(struct trainee *t)
{
    t->knn_is_borrowed = true;
    return t->knn;
}

static int prepare(struct trainee *t, struct err *err)
{
    const struct trainee_data *d = t->data;
    int status = graph_new(d->pairs, d->n_pairs, d->n_users, d->n_items, &t->graph, err);
    if (!status)
        status = count_interactions(t, err);
    if (!status && t->o.hide_positives && t->o.shape.hops)
        status = graph_new_like(&t->graph, &t->masked, err);
    if (!status && t->o.shape.F)
        status = standardise(t, err);
    if (!status && t->o.item_graph && t->o.shape.F)
        status = find_item_graph(t, err);
    if (!status)
        status = team_new(t->o.threads, &t->team, err);
    if (!status)
        status = graph_rows_new(t->graph.n_nodes, &t->batch, err);
    if (!status && t->knn.nnz)
        status = graph_rows_new(t->graph.n_nodes, &t->reach, err);
    t->near = t->knn.nnz ? &t->reach : &t->batch;
    if (status)
        return status;
    t->D = t->E;
    if (t->backbone->open)
        status = t->backbone->open(t, err);
    t->o.shape.B = t->o.shape.D = (int32_t)t->D;
    lay_out(t);
    if (!status)
        status = allocate(t, err);
    return status ? status : seed(t, err);
}

int trainee_new(const struct trainee_options *o, const struct trainee_data *data,
                struct trainee **ret_t, struct err *err)
{
    if (o->shape.fusion != FUSION_NONE && !data->X)
        return err_fatal(err, EX_DATAERR,
                         "training with fusion %s needs features; import items "
                         "with features or use --fusion none",
                         fusion_kind_name(o->shape.fusion));
    if (o->negatives > TRAINEE_NEGATIVES_MAX)
        return err_fatal(err, EX_USAGE, "training with %u negatives a pair: at most %d",
                         o->negatives, TRAINEE_NEGATIVES_MAX);
    struct trainee *t = calloc(1, sizeof(*t));
    if (!t)
        return err_oom(err, "training");
    t->o = *o;
    t->data = data;
    if (!t->o.fuse_every)
        t->o.fuse_every = 1;
    rng_init(&t->rng, o->seed);
    complete_shape(t);
    int status = prepare(t, err);
    if (status) {
        trainee_free(t);
        return status;
    }
    *ret_t = t;
    return ERR_OK;
}

void trainee_free(struct trainee *t)
{
    if (!t)
        return;
    graph_done(&t->graph);
    graph_done(&t->masked);
    if (!t->knn_is_borrowed)
        csr_done(&t->knn);
    graph_rows_done(&t->batch);
    graph_rows_done(&t->reach);
    team_free(t->team);
    fusenet_done(&t->net);
    if (t->d_in == t->d_out)
        t->d_in = NULL;
    if (t->backbone->close)
        t->backbone->close(t);
    float *floats[] = {t->w,  t->g,  t->m,   t->v,    t->mean,  t->std_dev, t->X,      t->H,
                       t->dH, t->in, t->out, t->d_in, t->d_out, t->work,    t->average};
    for (size_t i = 0; i < sizeof(floats) / sizeof(*floats); i++)
        free(floats[i]);
    free(t->n_interactions);
    free(t->id_kept);
    free(t);
}

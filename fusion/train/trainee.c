/* One step, top to bottom: mark_batch, choose_graph, inputs_forward, backbone_forward (with the
 * item-item graph), the loss, and the same backwards. Memory is in trainee_new.c, model files
 * in trainee_model.c. */

#include "fusion/train/trainee.h"

#include <math.h>
#include <string.h>

/* ---- node inputs: users, [h at its length ‖ ID] ---- */

static float norm(const float *h, size_t n)
{
    double sum = 0;
    for (size_t j = 0; j < n; j++)
        sum += (double)h[j] * (double)h[j];
    return (float)sqrt(sum);
}

/* What the fused half is multiplied by; a zero vector stays zero. */
static float fused_scale(const struct trainee *t, const float *h)
{
    if (!t->n_fused || t->o.shape.fused_length <= 0)
        return 1;
    float length = norm(h, t->n_fused);
    return length > 0 ? t->o.shape.fused_length / length : 0;
}

static void draw_id_dropout(struct trainee *t, bool training)
{
    bool drops = training && t->n_fused && t->o.id_dropout > 0;
    for (uint32_t i = 0; i < t->data->n_items; i++)
        t->id_kept[i] = !drops || rng_float(&t->rng) >= t->o.id_dropout;
}

/* The fusion runs over all items, also under mf, where the rows of the batch would do. */
static void inputs_forward(struct trainee *t, bool training)
{
    size_t d = t->n_fused, id = t->E - d;
    memcpy(t->in, t->w + t->user, (size_t)t->data->n_users * t->E * sizeof(float));
    draw_id_dropout(t, training);
    if (d && !t->is_fused)
        fusenet_forward(&t->net, t->X, t->data->n_items, t->H);
    t->is_fused = true;
    for (uint32_t i = 0; i < t->data->n_items; i++) {
        float *x = t->in + ((size_t)t->data->n_users + i) * t->E;
        const float *h = t->H + i * d, *v = t->w + t->item + i * id;
        float scale = t->data->mask[i] ? fused_scale(t, h) : 0;
        for (size_t j = 0; j < d; j++)
            x[j] = scale * h[j];
        for (size_t j = 0; j < id; j++)
            x[d + j] = t->id_kept[i] ? v[j] : 0;
    }
}

/* e = scale h, |e| = a: dh += scale (de - e (e·de) / a²) */
static void add_scaled_backward(const float *e, const float *de, size_t d, float scale, float a,
                                float *dh)
{
    float dot = 0;
    for (size_t j = 0; j < d; j++)
        dot += e[j] * de[j];
    for (size_t j = 0; j < d; j++)
        dh[j] += scale * (de[j] - e[j] * dot / (a * a));
}

/* Adds an item's gradient to dH. */
static void fused_backward(struct trainee *t, uint32_t item, const float *de)
{
    size_t d = t->n_fused, row = (size_t)t->data->n_users + item;
    float *dh = t->dH + item * d;
    float a = t->o.shape.fused_length;
    if (a > 0)
        add_scaled_backward(t->in + row * t->E, de, d, fused_scale(t, t->H + item * d), a, dh);
    for (size_t j = 0; j < d && a <= 0; j++)
        dh[j] += de[j];
}

/* Everything but the network, whose gradient gathers in dH. */
static void inputs_backward(struct trainee *t)
{
    size_t d = t->n_fused, id = t->E - d;
    memcpy(t->g + t->user, t->d_in, (size_t)t->data->n_users * t->E * sizeof(float));
    for (uint32_t i = 0; i < t->data->n_items; i++) {
        size_t row = ((size_t)t->data->n_users + i) * t->E;
        float *dv = t->g + t->item + i * id;
        for (size_t j = 0; j < id; j++)
            dv[j] = t->id_kept[i] ? t->d_in[row + d + j] : 0;
        if (d && t->data->mask[i])
            fused_backward(t, i, t->d_in + row);
    }
}

/* By the mean of the steps' gradients in dH. */
static void network_backward(struct trainee *t, uint32_t n_steps)
{
    size_t n = (size_t)t->data->n_items * t->n_fused;
    if (!n)
        return;
    for (size_t i = 0; i < n && n_steps > 1; i++)
        t->dH[i] /= (float)n_steps;
    memset(t->g, 0, t->net.n_weights * sizeof(float));
    fusenet_backward(&t->net, t->X, t->data->n_items, t->dH);
    memset(t->dH, 0, n * sizeof(float));
}

/* ---- backbone and item-item graph; rows NULL = every node ---- */

static void backbone_forward(struct trainee *t, bool some, bool training)
{
    const struct graph_rows *near = some ? t->near : NULL, *batch = some ? &t->batch : NULL;
    uint32_t first_item = t->data->n_users;
    t->backbone->forward(t, near, training);
    if (!t->knn.nnz)
        return;
    float *items = t->out + (size_t)first_item * t->D;
    memcpy(t->work, items, (size_t)t->data->n_items * t->D * sizeof(float));
    graph_add_weighted(&t->knn, t->o.knn_strength, t->work, t->D, batch, first_item, items);
}

/* d_out is zero outside the batch, and memory of it outside `near` is not read. */
static void backbone_backward(struct trainee *t, bool training)
{
    uint32_t first_item = t->data->n_users;
    if (t->knn.nnz) {
        float *items = t->d_out + (size_t)first_item * t->D;
        memcpy(t->work, items, (size_t)t->data->n_items * t->D * sizeof(float));
        graph_add_weighted_backward(&t->knn, t->o.knn_strength, t->work, t->D, &t->batch,
                                    first_item, items);
    }
    t->backbone->backward(t, training);
}

/* The nodes whose vectors the loss looks at, and those that reach them over the item-item graph:
 * the last layer is made, and the first one of backward starts, there alone. */
static void mark_batch(struct trainee *t, const uint32_t *users, const uint32_t *positives,
                       const uint32_t *negatives, size_t B)
{
    uint32_t first_item = t->data->n_users;
    graph_rows_clear(&t->batch);
    for (size_t b = 0; b < B; b++) {
        graph_rows_add(&t->batch, users[b]);
        graph_rows_add(&t->batch, first_item + positives[b]);
    }
    for (size_t n = 0; n < B * t->o.negatives; n++)
        graph_rows_add(&t->batch, first_item + negatives[n]);
    graph_rows_close(&t->batch);
    if (!t->knn.nnz)
        return;
    memcpy(t->near->has, t->batch.has, t->batch.n_nodes);
    for (uint32_t i = 0; i < t->data->n_items; i++)
        for (size_t e = t->knn.start[i];
             t->batch.has[first_item + i] && e < t->knn.start[i + 1]; e++)
            graph_rows_add(t->near, first_item + t->knn.col[e]);
    graph_rows_close(t->near);
}

/* A pair whose edge is there answers itself: its item is a part of its user's vector, for a user
 * of one pair all of it. What is to be told are pairs that are no edges. A batch of more than a
 * quarter of the pairs keeps the rest of its edges: something has to be told by.
 * docs/design/fusion/207-hidden-edges.md */
static void choose_graph(struct trainee *t, const uint32_t *users, const uint32_t *positives,
                         size_t B)
{
    size_t quarter = t->data->n_pairs / 4;
    t->step_graph = &t->graph;
    if (!t->masked.n_nodes)
        return;
    graph_without(&t->graph, users, positives, B < quarter ? B : quarter, &t->masked);
    t->step_graph = &t->masked;
}

/* ---- the loss of a pair (user, positive) against its negatives ---- */

/* x (K): by how much the positive's score is above each negative's. log(1 + Σ exp(-x_k)) and its
 * slopes; for K = 1 BPR's softplus(-x). */
static double softmax_loss(const double *x, size_t K, double *ret_slope)
{
    double top = 0, sum;
    for (size_t k = 0; k < K; k++)
        top = -x[k] > top ? -x[k] : top;
    sum = exp(-top);
    for (size_t k = 0; k < K; k++) {
        ret_slope[k] = exp(-x[k] - top);
        sum += ret_slope[k];
    }
    for (size_t k = 0; k < K; k++)
        ret_slope[k] /= -sum;
    return top + log(sum);
}

/* -log(σ(x) + 1e-10), which stops at 23.03 and forgets a triple that is far on the wrong side. */
static double reference_bpr(double x, double *ret_slope)
{
    double sigma = 1 / (1 + exp(-x)), wrong = 1 / (1 + exp(x));
    *ret_slope = -sigma * wrong / (sigma + 1e-10);
    return -log(sigma + 1e-10);
}

/* The loss, and weight times its gradient added to the rows of d_out. */
static double pair_loss(struct trainee *t, uint32_t user, uint32_t positive,
                        const uint32_t *negatives, float weight)
{
    size_t D = t->D, K = t->o.negatives, first_item = t->data->n_users;
    size_t iu = user * D, ip = (first_item + positive) * D;
    const float *u = t->out + iu, *p = t->out + ip;
    float *du = t->d_out + iu, *dp = t->d_out + ip;
    double x[TRAINEE_NEGATIVES_MAX] = {0}, dx[TRAINEE_NEGATIVES_MAX] = {0};
    for (size_t k = 0; k < K; k++) {
        const float *n = t->out + (first_item + negatives[k]) * D;
        for (size_t j = 0; j < D; j++)
            x[k] += (double)u[j] * (double)(p[j] - n[j]);
    }
    double loss = t->o.reference_loss ? reference_bpr(x[0], dx) : softmax_loss(x, K, dx);
    for (size_t k = 0; k < K; k++) {
        size_t in = (first_item + negatives[k]) * D;
        const float *n = t->out + in;
        float *dn = t->d_out + in, slope = weight * (float)dx[k];
        for (size_t j = 0; j < D; j++) {
            du[j] += slope * (p[j] - n[j]);
            dp[j] += slope * u[j];
            dn[j] -= slope * u[j];
        }
    }
    return loss;
}

static void add_row(float *g, const float *w, size_t n, float scale)
{
    for (size_t j = 0; j < n; j++)
        g[j] += scale * w[j];
}

/* The gradient of decay/(2B) Σ |w|² over the ID rows of the pairs and their negatives, each as
 * often as it comes. */
static void batch_decay(struct trainee *t, const uint32_t *users, const uint32_t *positives,
                        const uint32_t *negatives, size_t B)
{
    size_t E = t->E, id = E - t->n_fused;
    float scale = t->o.decay / (float)B;
    for (size_t b = 0; b < B; b++) {
        size_t u = t->user + users[b] * E, p = t->item + positives[b] * id;
        add_row(t->g + u, t->w + u, E, scale);
        add_row(t->g + p, t->w + p, id, scale);
    }
    for (size_t b = 0; b < B * t->o.negatives; b++) {
        size_t n = t->item + negatives[b] * id;
        add_row(t->g + n, t->w + n, id, scale);
    }
}

static double gradient(struct trainee *t, const uint32_t *users, const uint32_t *positives,
                       const uint32_t *negatives, size_t B, bool training)
{
    double loss = 0;
    mark_batch(t, users, positives, negatives, B);
    choose_graph(t, users, positives, B);
    inputs_forward(t, training);
    backbone_forward(t, true, training);
    memset(t->g + t->item, 0, (t->n_weights - t->item) * sizeof(float));
    memset(t->d_out, 0, t->graph.n_nodes * t->D * sizeof(float));
    for (size_t b = 0; b < B; b++)
        loss +=
            pair_loss(t, users[b], positives[b], negatives + b * t->o.negatives, 1 / (float)B);
    backbone_backward(t, training);
    inputs_backward(t);
    if (t->o.decay_kind == DECAY_BATCH)
        batch_decay(t, users, positives, negatives, B);
    return loss / (double)B;
}

double trainee_gradient(struct trainee *t, const uint32_t *users, const uint32_t *positives,
                        const uint32_t *negatives, size_t B, bool training)
{
    t->is_fused = false;
    double loss = gradient(t, users, positives, negatives, B, training);
    network_backward(t, 1);
    return loss;
}

/* Young averages reach back less far: a tenth of their age at most. */
static void average_weights(struct trainee *t)
{
    float n = (float)t->adam.step, young = n / (9 + n);
    float keep = young < t->o.average ? young : t->o.average;
    for (size_t i = 0; t->average && i < t->n_weights; i++)
        t->average[i] += (1 - keep) * (t->w[i] - t->average[i]);
}

void trainee_swap_average(struct trainee *t)
{
    float *w = t->w;
    if (!t->average)
        return;
    t->w = t->net.w = t->average;
    t->average = w;
    t->is_fused = false;
}

double trainee_step(struct trainee *t, const uint32_t *users, const uint32_t *positives,
                    const uint32_t *negatives, size_t B)
{
    double loss = gradient(t, users, positives, negatives, B, true);
    size_t at = t->item; /* the network comes first */
    adam_begin(&t->adam);
    adam_update(&t->adam, t->team, t->w + at, t->g + at, t->m + at, t->v + at,
                t->n_weights - at);
    if (++t->window >= t->o.fuse_every) {
        network_backward(t, t->window);
        adam_begin(&t->net_adam);
        adam_update(&t->net_adam, t->team, t->w, t->g, t->m, t->v, at);
        t->window = 0;
        t->is_fused = false;
    }
    average_weights(t);
    return loss;
}

struct cold_items trainee_items(const struct trainee *t)
{
    return (struct cold_items){.n = t->data->n_items,
                               .D = t->D,
                               .Y = t->out + (size_t)t->data->n_users * t->D,
                               .n_interactions = t->n_interactions,
                               .mask = t->data->mask};
}

void trainee_forward(struct trainee *t)
{
    t->is_fused = false;
    t->step_graph = &t->graph;
    inputs_forward(t, false);
    backbone_forward(t, false, false);
    const struct cold_items items = trainee_items(t);
    t->o.shape.cold_length =
        t->o.cold_length > 0 ? t->o.cold_length * cold_mean_length(&items) : 0;
    cold_lengthen_items(&items, t->o.shape.cold_length);
}

void trainee_forget_cold(struct trainee *t)
{
    size_t id = (size_t)t->o.shape.id_dim;
    for (uint32_t i = 0; i < t->data->n_items; i++)
        if (t->n_interactions[i] == 0)
            memset(t->w + t->item + i * id, 0, id * sizeof(*t->w));
    trainee_forward(t);
}

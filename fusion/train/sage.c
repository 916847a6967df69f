#include "fusion/train/sage.h"

#include "fusion/math/blas.h"
#include "fusion/math/clones.h"
#include "fusion/math/rng.h"

#include <string.h>

#define SLOPE 0.01F /* of LeakyReLU */

enum { BLOCK = 256, GROUPS = 8 };

/* One call of forward or backward, for its parts. */
struct pass {
    const struct sage_conv *c;
    const float *X, *Y; /* Y: what forward made, for backward */
    float *to;          /* forward: Y */
    float *dY, *dX;
    const struct graph_rows *rows; /* forward: to make; backward: where dY is not zero */
};

/* ---- scratch: W_lᵀ beside W_rᵀ, then for each group two blocks of rows and its gradient ---- */

static size_t widest(const struct sage_conv *c)
{
    return c->in > c->out ? c->in : c->out;
}

static size_t gradient_floats(const struct sage_conv *c)
{
    return 2 * c->in * c->out + c->out;
}

size_t sage_work_floats(size_t in, size_t out)
{
    struct sage_conv c = {.in = in, .out = out};
    return 2 * in * out + GROUPS * (BLOCK * 3 * widest(&c) + gradient_floats(&c));
}

static float *scratch(const struct sage_conv *c, size_t group)
{
    return c->work + 2 * c->in * c->out + group * BLOCK * 3 * widest(c);
}

static float *gradient(const struct sage_conv *c, size_t group)
{
    return scratch(c, GROUPS) + group * gradient_floats(c);
}

/* ---- groups of rows with about equal work, the same whatever the number of threads ---- */

static size_t n_rows(const struct pass *p)
{
    return p->rows ? p->rows->n : p->c->g->n_nodes;
}

static uint32_t node(const struct pass *p, size_t k)
{
    return p->rows ? p->rows->row[k] : (uint32_t)k;
}

/* A row costs its edges and about 32 more. */
static size_t group_first(const struct graph *g, size_t group)
{
    const size_t *start = g->adjacency.start;
    size_t total = start[g->n_nodes] + 32 * (size_t)g->n_nodes;
    size_t lo = 0, hi = g->n_nodes, want = total / GROUPS * group;
    if (group == GROUPS)
        return g->n_nodes;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (start[mid] + 32 * mid < want)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* ---- activation and dropout of one row ---- */

enum { DRAWN = 256 };

/* Four decisions a random number: a kept output has 16 bits at or above p·2^16. With no
 * branches in activation and dropout either, this took the graph part of a step from 244 to 152
 * ms (docs/measured/fusion-training.md). */
CLONES static void draw_kept(struct rng *rng, float p, size_t n, uint8_t *restrict kept)
{
    uint16_t bits[DRAWN];
    const uint16_t limit = (uint16_t)(p * 65535.0F + 0.5F);
    for (size_t first = 0; first < n; first += DRAWN) {
        size_t some = n - first < DRAWN ? n - first : DRAWN;
        for (size_t i = 0; i < some; i += 4) {
            uint64_t four = rng_next(rng);
            memcpy(bits + i, &four, sizeof(four));
        }
        for (size_t i = 0; i < some; i++)
            kept[first + i] = bits[i] >= limit;
    }
}

CLONES static void keep(const uint8_t *restrict kept, float scale, size_t n, float *restrict y)
{
    for (size_t j = 0; j < n; j++)
        y[j] *= (float)kept[j] * scale;
}

CLONES static void leaky_relu(size_t n, float *y)
{
    for (size_t j = 0; j < n; j++)
        y[j] *= y[j] > 0 ? 1 : SLOPE;
}

CLONES static void leaky_relu_backward(const float *restrict y, size_t n, float *restrict dy)
{
    for (size_t j = 0; j < n; j++)
        dy[j] *= y[j] > 0 ? 1 : SLOPE;
}

static void finish_row(const struct sage_conv *c, struct rng *rng, uint8_t *kept, float *y)
{
    if (c->leaky)
        leaky_relu(c->out, y);
    if (!(c->dropout > 0))
        return;
    draw_kept(rng, c->dropout, c->out, kept);
    keep(kept, 1 / (1 - c->dropout), c->out, y);
}

/* Dropout keeps the sign, so y after it still tells LeakyReLU's side. */
static void undo_row(const struct sage_conv *c, const uint8_t *kept, const float *y, float *dy)
{
    if (c->dropout > 0)
        keep(kept, 1 / (1 - c->dropout), c->out, dy);
    if (c->leaky)
        leaky_relu_backward(y, c->out, dy);
}

/* ---- forward: Y = [mean | x] [W_l | W_r]ᵀ + b ---- */

static void forward_block(const struct pass *p, size_t first, size_t n, float *block)
{
    const struct sage_conv *c = p->c;
    const size_t in = c->in, out = c->out;
    struct graph_sum mean = {
        .g = c->g, .D = in, .Q = p->X, .sum = c->g->inv_degree, .scale = 1};
    float *Y = block + BLOCK * 2 * widest(c);
    struct rng rng;
    rng_init_stream(&rng, c->seed, first);
    for (size_t b = 0; b < n; b++) {
        uint32_t i = node(p, first + b);
        graph_sum_row(&mean, i, block + b * 2 * in);
        memcpy(block + b * 2 * in + in, p->X + (size_t)i * in, in * sizeof(float));
        memcpy(Y + b * out, c->w + 2 * in * out, out * sizeof(float));
    }
    blas_mul(n, out, 2 * in, block, 2 * in, c->work, out, 1, Y, out);
    for (size_t b = 0; b < n; b++) {
        uint32_t i = node(p, first + b);
        finish_row(c, &rng, c->kept + (size_t)i * out, Y + b * out);
        memcpy(p->to + (size_t)i * out, Y + b * out, out * sizeof(float));
    }
}

static void forward_part(void *arg, size_t group)
{
    const struct pass *p = arg;
    size_t n_blocks = (n_rows(p) + BLOCK - 1) / BLOCK;
    for (size_t b = group; b < n_blocks; b += GROUPS) {
        size_t first = b * BLOCK, left = n_rows(p) - first;
        forward_block(p, first, left < BLOCK ? left : BLOCK, scratch(p->c, group));
    }
}

void sage_forward(const struct sage_conv *c, const float *X, const struct graph_rows *rows,
                  float *Y)
{
    struct pass p = {.c = c, .X = X, .rows = rows, .to = Y};
    for (size_t i = 0; i < c->in; i++)
        for (size_t j = 0; j < c->out; j++) {
            c->work[i * c->out + j] = c->w[j * c->in + i];
            c->work[(c->in + i) * c->out + j] = c->w[c->in * c->out + j * c->in + i];
        }
    team_run(c->team, GROUPS, forward_part, &p);
}

/* ---- backward ---- */

/* dy before dropout and activation, and db. */
static void undo_part(void *arg, size_t group)
{
    const struct pass *p = arg;
    const struct sage_conv *c = p->c;
    size_t n = n_rows(p), out = c->out;
    float *db = gradient(c, group) + 2 * c->in * out;
    for (size_t k = n * group / GROUPS; k < n * (group + 1) / GROUPS; k++) {
        size_t at = (size_t)node(p, k) * out;
        undo_row(c, c->kept + at, p->Y + at, p->dY + at);
        for (size_t j = 0; j < out; j++)
            db[j] += p->dY[at + j];
    }
}

/* The nodes [first, first + n): dX = [V | dY] [W_l; W_r], dW += [V | dY]ᵀ X; without the second
 * half when dY has few rows. */
static void backward_block(const struct pass *p, size_t first, size_t n, float *P, float *dW)
{
    const struct sage_conv *c = p->c;
    const size_t in = c->in, out = c->out, cols = p->rows ? out : 2 * out;
    struct graph_sum V = {.g = c->g,
                          .D = out,
                          .Q = p->dY,
                          .in = c->g->inv_degree,
                          .sources = p->rows,
                          .scale = 1};
    for (size_t b = 0; b < n; b++) {
        graph_sum_row(&V, (uint32_t)(first + b), P + b * cols);
        if (!p->rows)
            memcpy(P + b * cols + out, p->dY + (first + b) * out, out * sizeof(float));
    }
    blas_mul(n, in, cols, P, cols, c->w, in, 0, p->dX + first * in, in);
    blas_add_xt(cols, in, n, P, cols, p->X + first * in, in, dW, in);
}

static void backward_part(void *arg, size_t group)
{
    const struct pass *p = arg;
    size_t last = group_first(p->c->g, group + 1);
    for (size_t first = group_first(p->c->g, group); first < last; first += BLOCK)
        backward_block(p, first, last - first < BLOCK ? last - first : BLOCK,
                       scratch(p->c, group), gradient(p->c, group));
}

/* The second half for the rows that have a gradient: dX += dY W_r, dW_r += dYᵀ X. */
static void own_block(const struct pass *p, size_t first, size_t n, float *block, float *dW)
{
    const struct sage_conv *c = p->c;
    const size_t in = c->in, out = c->out;
    float *dY = block, *X = dY + BLOCK * widest(c), *dX = X + BLOCK * widest(c);
    for (size_t b = 0; b < n; b++) {
        uint32_t i = node(p, first + b);
        memcpy(dY + b * out, p->dY + (size_t)i * out, out * sizeof(float));
        memcpy(X + b * in, p->X + (size_t)i * in, in * sizeof(float));
    }
    blas_add_xt(out, in, n, dY, out, X, in, dW + out * in, in);
    blas_mul(n, in, out, dY, out, c->w + out * in, in, 0, dX, in);
    for (size_t b = 0; b < n; b++) {
        float *to = p->dX + (size_t)node(p, first + b) * in;
        for (size_t j = 0; j < in; j++)
            to[j] += dX[b * in + j];
    }
}

static void own_part(void *arg, size_t group)
{
    const struct pass *p = arg;
    size_t last = n_rows(p) * (group + 1) / GROUPS;
    for (size_t first = n_rows(p) * group / GROUPS; first < last; first += BLOCK)
        own_block(p, first, last - first < BLOCK ? last - first : BLOCK, scratch(p->c, group),
                  gradient(p->c, group));
}

void sage_backward(const struct sage_conv *c, const float *X, const float *Y,
                   const struct graph_rows *rows, float *dY, float *dX)
{
    struct pass p = {.c = c, .X = X, .Y = Y, .rows = rows, .dY = dY, .dX = dX};
    memset(gradient(c, 0), 0, GROUPS * gradient_floats(c) * sizeof(float));
    team_run(c->team, GROUPS, undo_part, &p);
    team_run(c->team, GROUPS, backward_part, &p);
    if (rows)
        team_run(c->team, GROUPS, own_part, &p);
    for (size_t group = 0; group < GROUPS; group++)
        for (size_t i = 0; i < gradient_floats(c); i++)
            c->dw[i] += gradient(c, group)[i];
}

/* Works on blocks of at most ROWS items through four scratch matrices; every step is either a
 * gemm.h product (row independent by its contract) or an element-wise loop over one row. */

#include "fusion/model/fuse.h"

#include "fusion/model/cold.h"
#include "fusion/model/content.h"
#include "fusion/model/fuse_plan.h"
#include "fusion/model/internal.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define ROWS       GEMM_BLOCK_ROWS
#define LEAKY      0.01f
#define NO_ROW     SIZE_MAX
#define ROUND16(n) (((n) + 15) / 16 * 16)

struct fuse_context {
    const struct model *model;
    const struct fuse_plan *plan;
    size_t rows; /* of a block */
    size_t ldx, ldy, ldh, lds, ldg;
    float *x;       /* (rows, F) standardised */
    float *y;       /* (rows, columns) one layer's product */
    float *h;       /* (rows, hidden) */
    float *e;       /* (rows, hidden) the backbone's other side */
    float *s;       /* (rows, S) meta information */
    float *g;       /* (rows, R) gated (h A) */
    float *scratch; /* of gemm_run */
};

int fuse_context_new(const struct model *model, size_t max_rows,
                     struct fuse_context **ret_context, struct err *err)
{
    const struct fuse_plan *p = model->plan;
    const size_t width = gemm_kernel_best()->width;
    struct fuse_context *c = calloc(1, sizeof(*c));

    assert(p != NULL);
    if (c == NULL)
        return err_oom(err, "scratch memory of the fusion");
    c->model = model;
    c->plan = p;
    c->rows = max_rows < 1 ? 1 : max_rows > ROWS ? ROWS : max_rows;
    /* + 16: rows 4096 bytes apart would share one set of the L1 cache. */
    c->ldx = ROUND16((size_t)model->shape.F) + 16;
    c->ldy = ROUND16(p->columns) + 16;
    c->ldh = ROUND16(p->hidden) + 16;
    c->lds = ROUND16(p->S) + width;
    c->ldg = ROUND16(p->R) + 16;
    c->x = gemm_alloc(c->rows * c->ldx);
    c->y = gemm_alloc(c->rows * c->ldy);
    c->h = gemm_alloc(c->rows * c->ldh);
    c->e = gemm_alloc(c->rows * c->ldh);
    c->s = gemm_alloc(c->rows * c->lds);
    c->g = gemm_alloc(c->rows * c->ldg);
    c->scratch = gemm_alloc(c->rows > 1 ? GEMM_SCRATCH : 1);
    if (c->x == NULL || c->y == NULL || c->h == NULL || c->e == NULL || c->s == NULL ||
        c->g == NULL || c->scratch == NULL) {
        fuse_context_free(c);
        return err_oom(err, "scratch memory of the fusion");
    }
    *ret_context = c;
    return ERR_OK;
}

void fuse_context_free(struct fuse_context *c)
{
    if (c == NULL)
        return;
    free(c->x);
    free(c->y);
    free(c->h);
    free(c->e);
    free(c->s);
    free(c->g);
    free(c->scratch);
    free(c);
}

static void leaky_relu(float *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        v[i] = v[i] > 0.0f ? v[i] : v[i] * LEAKY;
}

/* s = ReLU(x W0ᵀ + b0) W2ᵀ + b2, x W0ᵀ being the last H columns of layer 1's product. */
static void meta_information(struct fuse_context *c, size_t n)
{
    const struct fuse_plan *p = c->plan;
    float *z = c->y + p->layers[0].out + p->layers[0].factors;

    if (p->H == 0)
        return;
    for (size_t b = 0; b < n; b++) {
        float *row = z + b * c->ldy;

        for (size_t i = 0; i < p->H; i++) {
            float v = row[i] + p->b0[i];

            row[i] = v > 0.0f ? v : 0.0f;
        }
    }
    gemm_run(&p->W2, z, c->ldy, n, c->s, c->lds, false, c->scratch);
    for (size_t b = 0; b < n; b++) {
        for (size_t k = 0; k < p->S; k++)
            c->s[b * c->lds + k] += p->b2[k];
    }
}

/* h = y_M + ((h A) ⊙ (s Cᵀ)) B */
static void combine_cp(struct fuse_context *c, const struct fuse_layer *l, size_t n)
{
    const size_t S = c->plan->S, R = c->plan->R;

    for (size_t b = 0; b < n; b++) {
        const float *s = c->s + b * c->lds, *hA = c->y + b * c->ldy + l->out;

        for (size_t r = 0; r < R; r++) {
            float gate = 0.0f;

            for (size_t k = 0; k < S; k++)
                gate += s[k] * l->C[r * S + k];
            c->g[b * c->ldg + r] = hA[r] * gate;
        }
    }
    gemm_run(&l->B, c->g, c->ldg, n, c->h, c->ldh, true, c->scratch);
}

/* h = y_M + Σ_k s_k (h T_k) */
static void combine_dense(struct fuse_context *c, const struct fuse_layer *l, size_t n)
{
    for (size_t b = 0; b < n; b++) {
        float *h = c->h + b * c->ldh;

        for (size_t k = 0; k < c->plan->S; k++) {
            const float *hT = c->y + b * c->ldy + (k + 1) * l->out;
            const float s = c->s[b * c->lds + k];

            for (size_t o = 0; o < l->out; o++)
                h[o] += s * hT[o];
        }
    }
}

/* ‖h M‖ and ‖h W_i - h M‖ of the one item in the block. */
static void measure_layer(const struct fuse_context *c, size_t i, struct fuse_norms *norms)
{
    double common = 0.0, generated = 0.0;

    for (size_t o = 0; o < c->plan->layers[i].out; o++) {
        double hM = (double)c->y[o], rest = (double)c->h[o] - hM;

        common += hM * hM;
        generated += rest * rest;
    }
    norms->common[i] = sqrt(common);
    norms->generated[i] = sqrt(generated);
}

/* c->h = h W_i of layer i for n <= rows items, before the activation; h M stays in c->y. */
static void layer_block(struct fuse_context *c, size_t i, const float *x, size_t ldx, size_t n)
{
    const enum fusion_kind kind = c->model->shape.fusion;
    const struct fuse_layer *l = &c->plan->layers[i];

    gemm_run(&l->W, x, ldx, n, c->y, c->ldy, false, c->scratch);
    if (i == 0)
        meta_information(c, n);
    for (size_t b = 0; b < n; b++)
        memcpy(c->h + b * c->ldh, c->y + b * c->ldy, l->out * sizeof(float));
    if (kind == FUSION_CP)
        combine_cp(c, l, n);
    else if (kind == FUSION_DENSE)
        combine_dense(c, l, n);
}

/* n <= rows items from x (stride ldx); the last layer's h is left in c->h. norms, for n = 1, may
 * be NULL. */
static void forward_block(struct fuse_context *c, const float *x, size_t ldx, size_t n,
                          struct fuse_norms *norms)
{
    for (size_t i = 0; i < c->plan->n_layers; i++) {
        const size_t out = c->plan->layers[i].out;

        layer_block(c, i, x, ldx, n);
        if (norms != NULL)
            measure_layer(c, i, norms);
        for (size_t b = 0; b < n && i + 1 < c->plan->n_layers; b++)
            leaky_relu(c->h + b * c->ldh, out);
        x = c->h;
        ldx = c->ldh;
    }
}

/* The first row of (n, cols) that is not finite, NO_ROW when all are. */
static size_t first_not_finite(const float *rows, size_t n, size_t cols)
{
    for (size_t i = 0; i < n * cols; i++) {
        if (!isfinite(rows[i]))
            return i / cols;
    }
    return NO_ROW;
}

static void copy_rows(const float *from, size_t ld, size_t n, size_t cols, float *to)
{
    for (size_t b = 0; b < n; b++)
        memcpy(to + b * cols, from + b * ld, cols * sizeof(float));
}

int fuse_forward_in(struct fuse_context *c, const float *X, size_t B, float *ret_E,
                    struct err *err)
{
    const struct model_shape *s = &c->model->shape;
    const size_t F = (size_t)s->F, out = (size_t)s->width[s->L];
    size_t bad;

    if (s->fusion == FUSION_NONE)
        return err_fatal(err, EX_DATAERR,
                         "fuse with %s: the model has no fusion layer "
                         "(--fusion none); use one trained with dense, cp or static",
                         c->model->path);
    for (size_t b = 0; b < B; b += c->rows) {
        size_t n = B - b < c->rows ? B - b : c->rows;

        forward_block(c, X + b * F, F, n, NULL);
        copy_rows(c->h, c->ldh, n, out, ret_E + b * out);
    }
    bad = first_not_finite(ret_E, B, out);
    if (bad == NO_ROW)
        return ERR_OK;
    return err_fatal(err, EX_DATAERR,
                     "fuse with %s: row %zu gives a result that is not "
                     "finite; look for NaN or huge values in the features",
                     c->model->path, bad);
}

/* c->x = (X - mean) / std, missing modalities zero. Without modality widths a mask says only
 * whether there is anything. */
static void standardise(struct fuse_context *c, const float *X, const uint8_t *mask, size_t n)
{
    const struct model_shape *s = &c->model->shape;
    const struct fuse_plan *p = c->plan;
    const size_t F = (size_t)s->F;

    for (size_t b = 0; b < n; b++) {
        const float *in = X + b * F;
        float *x = c->x + b * c->ldx;
        size_t at = 0;

        if (p->mean != NULL) {
            for (size_t i = 0; i < F; i++)
                x[i] = (in[i] - p->mean[i]) / p->std[i];
        } else {
            memcpy(x, in, F * sizeof(float));
        }
        for (int m = 0; m < MODALITY_COUNT; m++) {
            size_t dim = (size_t)s->modality_dim[m];

            if ((mask[b] & MODALITY_BIT(m)) == 0)
                memset(x + at, 0, dim * sizeof(float));
            at += dim;
        }
    }
}

/* Brings a vector to a length; the zero vector stays. */
static void scale_to(float *v, size_t n, double length)
{
    double sum = 0.0, own;

    for (size_t i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    own = sqrt(sum);
    for (size_t i = 0; i < n && own > 0.0; i++)
        v[i] = (float)((double)v[i] * length / own);
}

/* The content columns, behind the fused halves in c->h. */
static void content_block(struct fuse_context *c, size_t n)
{
    const struct model_shape *s = &c->model->shape;
    const size_t fused = (size_t)s->width[s->L], C = (size_t)s->content_dim;

    if (C == 0)
        return;
    gemm_run(&c->plan->content, c->x, c->ldx, n, c->y, c->ldy, false, c->scratch);
    for (size_t b = 0; b < n; b++) {
        float *row = c->h + b * c->ldh + fused;

        memcpy(row, c->y + b * c->ldy, C * sizeof(*row));
        content_scale(row, C, s->content_scale);
    }
}

/* The fused halves of one item, each member's. */
static void scale_halves(const struct model_shape *s, float *h)
{
    const size_t out = (size_t)s->width[s->L] / (size_t)s->members;

    for (size_t m = 0; m < (size_t)s->members; m++)
        scale_to(h + m * out, out, (double)s->fused_length);
}

/* What the features of n <= rows items give, [fused ‖ content], in c->h; rows without any modality
 * zero. */
static void features_block(struct fuse_context *c, const float *X, const uint8_t *mask,
                           size_t n)
{
    const struct model_shape *s = &c->model->shape;

    standardise(c, X, mask, n);
    if (c->plan->n_layers == 0)
        return;
    forward_block(c, c->x, c->ldx, n, NULL);
    content_block(c, n);
    for (size_t b = 0; b < n; b++) {
        if (mask[b] == 0)
            memset(c->h + b * c->ldh, 0, model_feature_width(s) * sizeof(float));
        else if (s->fused_length > 0)
            scale_halves(s, c->h + b * c->ldh);
    }
}

/* c->h holds n rows of features_block, and then n item embeddings of width D. */
static void backbone_block(struct fuse_context *c, size_t n)
{
    const struct model_shape *s = &c->model->shape;
    const struct backbone *b = backbone_of(s->backbone);
    const struct fuse_rows rows = {
        .shape = s, .n = n, .ld = c->ldh, .h = c->h, .e = c->e, .scratch = c->scratch};

    for (size_t i = 0; i < n; i++)
        memset(c->h + i * c->ldh + model_feature_width(s), 0,
               (size_t)s->id_dim * sizeof(float));
    if (b->alone != NULL)
        b->alone(c->plan, &rows);
}

/* Of the n rows whose standardised features are in c->x: unit content columns in c->e, and mapped
 * factors, if the model has them, in c->y. */
static void columns_run(struct fuse_context *c, const uint8_t *mask, size_t n)
{
    const struct columns_block block = {.n = n,
                                        .x = c->x,
                                        .ldx = c->ldx,
                                        .mask = mask,
                                        .parts = c->y,
                                        .ldp = c->ldy,
                                        .c = c->e,
                                        .ldc = c->ldh,
                                        .scratch = c->scratch};

    columns_plan_run(c->plan->columns_plan, &block);
    if (c->plan->mapping_plan != NULL)
        mapping_plan_run(c->plan->mapping_plan, c->x, c->ldx, mask, n, c->y, c->ldy,
                         c->scratch);
}

/* c->h holds n rows of width B, and then the published ones of width D. */
static void signals_block(struct fuse_context *c, const uint8_t *mask,
                          const uint32_t *n_interactions, size_t n)
{
    const struct model_shape *s = &c->model->shape;
    const size_t B = (size_t)s->B, A = (size_t)s->factor_dim;

    if (c->plan->columns_plan != NULL)
        columns_run(c, mask, n);
    for (size_t i = 0; i < n; i++) {
        float *h = c->h + i * c->ldh;
        const struct signals_row row = {.backbone = h,
                                        .factors = h + B,
                                        .content = c->e + i * c->ldh,
                                        .mapped = c->y + i * c->ldy,
                                        .n_interactions =
                                            n_interactions ? n_interactions[i] : 0};

        memset(h + B, 0, A * sizeof(*h));
        signals_item(c->model, &row, h);
    }
}

/* Whole embeddings of n <= rows items, in c->h. n_interactions (n), NULL = none of any. */
static int items_block(struct fuse_context *c, const float *X, const uint8_t *mask,
                       const uint32_t *n_interactions, size_t n, struct err *err)
{
    const struct model_shape *s = &c->model->shape;
    int status = ERR_OK;

    features_block(c, X, mask, n);
    if (c->plan->n_layers > 0)
        backbone_block(c, n);
    if (c->plan->n_layers > 0 && c->plan->similar != NULL)
        status = similar_add(c->plan->similar, c->x, c->ldx, mask, n, c->h, c->ldh, err);
    if (status != ERR_OK)
        return status;
    for (size_t i = 0; i < n; i++) {
        if (mask[i] == 0 || c->plan->n_layers == 0)
            memset(c->h + i * c->ldh, 0, (size_t)s->B * sizeof(float));
        else
            cold_lengthen(c->h + i * c->ldh, (size_t)s->B, s->cold_length,
                          n_interactions ? n_interactions[i] : 0);
    }
    signals_block(c, mask, n_interactions, n);
    return ERR_OK;
}

/* What the features give, or whole embeddings. n_interactions (B), NULL = none of any. */
static int run_items(struct fuse_context *c, const float *X, const uint8_t *mask,
                     const uint32_t *n_interactions, size_t B, size_t cols, bool whole,
                     float *ret_E, struct err *err)
{
    const size_t F = (size_t)c->model->shape.F;
    int status = ERR_OK;
    size_t bad;

    if (!model_has_features(&c->model->shape)) {
        memset(ret_E, 0, B * cols * sizeof(float));
        return ERR_OK;
    }
    for (size_t b = 0; b < B; b += c->rows) {
        size_t n = B - b < c->rows ? B - b : c->rows;

        if (whole)
            status = items_block(c, X + b * F, mask + b,
                                 n_interactions ? n_interactions + b : NULL, n, err);
        else
            features_block(c, X + b * F, mask + b, n);
        if (status != ERR_OK)
            return status;
        copy_rows(c->h, c->ldh, n, cols, ret_E + b * cols);
    }
    bad = first_not_finite(ret_E, B, cols);
    if (bad == NO_ROW)
        return ERR_OK;
    return err_fatal(err, EX_SOFTWARE,
                     "fuse with %s: item %zu of the batch gives a vector "
                     "that is not finite; the model or the item's features are damaged",
                     c->model->path, bad);
}

int fuse_items_in(struct fuse_context *c, const float *X, const uint8_t *mask, size_t B,
                  float *ret_E, struct err *err)
{
    return run_items(c, X, mask, NULL, B, (size_t)c->model->shape.D, true, ret_E, err);
}

int fuse_features_in(struct fuse_context *c, const float *X, const uint8_t *mask, size_t B,
                     float *ret_E, struct err *err)
{
    return run_items(c, X, mask, NULL, B, model_feature_width(&c->model->shape), false, ret_E,
                     err);
}

int fuse_columns_in(struct fuse_context *c, const float *X, const uint8_t *mask, size_t B,
                    float *ret_c, struct err *err)
{
    const struct model_shape *s = &c->model->shape;
    const size_t F = (size_t)s->F, C = (size_t)s->column_dim, width = model_column_width(s);
    size_t bad;

    for (size_t b = 0; b < B && C > 0; b += c->rows) {
        size_t n = B - b < c->rows ? B - b : c->rows;

        standardise(c, X + b * F, mask + b, n);
        columns_run(c, mask + b, n);
        for (size_t i = 0; i < n; i++) {
            float *row = ret_c + (b + i) * width;

            memcpy(row, c->e + i * c->ldh, C * sizeof(*row));
            memcpy(row + C, c->y + i * c->ldy, (width - C) * sizeof(*row));
        }
    }
    bad = C > 0 ? first_not_finite(ret_c, B, width) : NO_ROW;
    if (bad == NO_ROW)
        return ERR_OK;
    return err_fatal(
        err, EX_SOFTWARE,
        "content with %s: item %zu of the batch gives columns that are not finite; "
        "the model or the item's features are damaged",
        c->model->path, bad);
}

int fuse_norms(const struct model *model, const float *X, uint8_t mask, float *ret_s,
               struct fuse_norms *ret_norms, struct err *err)
{
    struct fuse_norms norms = {.n_layers = (size_t)model->shape.L};
    struct fuse_context *c;
    int status = fuse_context_new(model, 1, &c, err);

    if (status != ERR_OK)
        return status;
    if (norms.n_layers > 0) {
        standardise(c, X, &mask, 1);
        forward_block(c, c->x, c->ldx, 1, &norms);
        memcpy(ret_s, c->s, c->plan->S * sizeof(float));
    }
    fuse_context_free(c);
    *ret_norms = norms;
    return ERR_OK;
}

size_t fuse_similar_width(const struct fuse_context *c)
{
    return c->plan->similar == NULL ? 0 : similar_width(c->plan->similar);
}

int fuse_similar_in(struct fuse_context *c, const float *X, uint8_t mask, uint32_t *ret_items,
                    float *ret_values, size_t *ret_n, struct err *err)
{
    *ret_n = 0;
    if (c->plan->similar == NULL)
        return ERR_OK;
    standardise(c, X, &mask, 1);
    return similar_row(c->plan->similar, c->x, mask, ret_items, ret_values, ret_n, err);
}

int fuse_forward(const struct model *model, const float *X, size_t B, float *ret_E,
                 struct err *err)
{
    struct fuse_context *c;
    int status = fuse_context_new(model, B, &c, err);

    if (status != ERR_OK)
        return status;
    status = fuse_forward_in(c, X, B, ret_E, err);
    fuse_context_free(c);
    return status;
}

int fuse_later_items(const struct model *model, const float *X, const uint8_t *mask,
                     const uint32_t *n_interactions, size_t B, float *ret_E, struct err *err)
{
    struct fuse_context *c;
    int status = fuse_context_new(model, B, &c, err);

    if (status != ERR_OK)
        return status;
    status = run_items(c, X, mask, n_interactions, B, (size_t)model->shape.D, true, ret_E, err);
    fuse_context_free(c);
    return status;
}

int fuse_items(const struct model *model, const float *X, const uint8_t *mask, size_t B,
               float *ret_E, struct err *err)
{
    return fuse_later_items(model, X, mask, NULL, B, ret_E, err);
}

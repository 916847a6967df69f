/* Layout, memory and the way to and from model files; the mathematics is in fusenet_pass.c. */

#include "fusion/train/fusenet.h"

#include "fusion/math/gemm.h"
#include "fusion/model/internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static bool has_meta(const struct model_shape *shape)
{
    return shape->fusion == FUSION_DENSE || shape->fusion == FUSION_CP;
}

static size_t n_generated(const struct model_shape *shape, size_t out)
{
    if (shape->fusion == FUSION_DENSE)
        return (size_t)shape->S * out;
    return shape->fusion == FUSION_CP ? (size_t)shape->R : 0;
}

static size_t take(size_t *at, size_t n)
{
    size_t offset = *at;
    *at += n;
    return offset;
}

void fusenet_init(struct fusenet *net, const struct model_shape *shape)
{
    size_t S = (size_t)shape->S, R = (size_t)shape->R, at = 0;
    assert(shape->fusion != FUSION_NONE && shape->L > 0 && shape->L <= MODEL_LAYERS_MAX);
    *net = (struct fusenet){.shape = *shape};
    net->H = has_meta(shape) ? (size_t)shape->F : 0;
    for (int n = 0; n < shape->L; n++) {
        struct fusenet_layer *layer = &net->layer[n];
        layer->in = (size_t)shape->width[n];
        layer->out = layer->generated = (size_t)shape->width[n + 1];
        layer->n_cols = layer->out + n_generated(shape, layer->out);
        if (n == 0) {
            net->hidden = layer->n_cols;
            layer->n_cols += net->H;
        }
        layer->cat = take(&at, layer->in * layer->n_cols);
        if (shape->fusion == FUSION_CP) {
            layer->B = take(&at, R * layer->out);
            layer->C = take(&at, R * S);
        }
    }
    if (has_meta(shape)) {
        net->b0 = take(&at, net->H);
        net->W2 = take(&at, net->H * S);
        net->b2 = take(&at, S);
    }
    net->n_weights = at;
}

static float *carve(float **at, size_t n)
{
    float *here = *at;
    *at += (n + 15) / 16 * 16;
    return here;
}

/* With *at NULL-based it only counts. */
static void carve_all(struct fusenet *net, size_t B, float **at)
{
    size_t S = (size_t)net->shape.S, R = (size_t)net->shape.R, in = 0;
    size_t block = B < FUSENET_BLOCK ? B : FUSENET_BLOCK;
    for (int n = 0; n < net->shape.L; n++) {
        const struct fusenet_layer *layer = &net->layer[n];
        /* + 16: rows a multiple of 4096 bytes apart would share sets of the caches. */
        net->ld[n] = (layer->n_cols + 15) / 16 * 16 + 16;
        net->Z[n] = carve(at, B * net->ld[n]);
        net->G[n] = carve(at, B * R);
        net->Q[n] = carve(at, B * R);
        in = n && layer->in > in ? layer->in : in;
    }
    net->s = carve(at, B * S);
    net->ds = carve(at, B * S);
    net->mean = (double *)(void *)carve(at, 2 * S);
    net->scale = (double *)(void *)carve(at, 2 * S);
    net->dQ = carve(at, B * R);
    net->dh = carve(at, block * in);
    net->W2t = carve(at, S * net->H);
}

int fusenet_reserve(struct fusenet *net, size_t max_rows, struct err *err)
{
    float *at = NULL;
    if (max_rows <= net->max_rows)
        return ERR_OK;
    carve_all(net, max_rows, &at);
    size_t n_floats = (size_t)((uintptr_t)at / sizeof(float));
    free(net->workspace);
    net->max_rows = 0;
    net->workspace = gemm_alloc(n_floats);
    if (!net->workspace)
        return err_oom(err, "the fusion network's workspace");
    at = net->workspace;
    carve_all(net, max_rows, &at);
    net->max_rows = max_rows;
    return ERR_OK;
}

void fusenet_scale_item_specific(struct fusenet *net, float scale)
{
    size_t S = (size_t)net->shape.S, R = (size_t)net->shape.R;
    for (int n = 0; n < net->shape.L; n++) {
        const struct fusenet_layer *layer = &net->layer[n];
        if (net->shape.fusion == FUSION_CP)
            for (size_t i = 0; i < R * S; i++)
                net->w[layer->C + i] *= scale;
        for (size_t i = 0; net->shape.fusion == FUSION_DENSE && i < layer->in; i++)
            for (size_t j = 0; j < S * layer->out; j++)
                net->w[layer->cat + i * layer->n_cols + layer->out + j] *= scale;
    }
}

/* ---- model files ---- */

enum direction { TO_MODEL, FROM_MODEL };

/* One tensor (rows, cols) of the model against a part of ours: element (i, j) of the model is at
 * part[i * step_i + j * step_j]. */
struct part {
    size_t rows, cols;
    float *part;
    size_t step_i, step_j;
};

static int move(struct model *model, enum direction dir, const char *name, struct part p,
                struct err *err)
{
    float *data = NULL;
    if (dir == TO_MODEL) {
        int status = model_add(model, name, p.rows, p.cols, &data, err);
        if (status)
            return status;
    } else {
        const struct model_tensor *t = model_tensor(model, "%s", name);
        if (!t || t->n_elements != p.rows * (p.cols ? p.cols : 1))
            return err_fatal(err, EX_DATAERR,
                             "%s: tensor %s is missing, or does not have %zu × %zu "
                             "elements",
                             model->path, name, p.rows, p.cols);
        data = t->data;
    }
    size_t cols = p.cols ? p.cols : 1;
    for (size_t i = 0; i < p.rows; i++)
        for (size_t j = 0; j < cols; j++) {
            float *ours = p.part + i * p.step_i + j * p.step_j;
            if (dir == TO_MODEL)
                data[i * cols + j] = *ours;
            else
                *ours = data[i * cols + j];
        }
    return ERR_OK;
}

/* T_1 (S, in·out): row k is T_k, which we hold as columns [out·(k+1), out·(k+2)) of cat. */
static int move_dense(struct fusenet *net, int n, struct model *model, enum direction dir,
                      const char *name, struct err *err)
{
    const struct fusenet_layer *layer = &net->layer[n];
    size_t S = (size_t)net->shape.S, in = layer->in, out = layer->out, ld = layer->n_cols;
    float *data = NULL, *cat = net->w + layer->cat;
    if (dir == TO_MODEL) {
        int status = model_add(model, name, S, in * out, &data, err);
        if (status)
            return status;
    } else {
        const struct model_tensor *t = model_tensor(model, "%s", name);
        if (!t || t->n_elements != S * in * out)
            return err_fatal(err, EX_DATAERR,
                             "%s: tensor %s is missing, or does not have %zu × %zu "
                             "elements",
                             model->path, name, S, in * out);
        data = t->data;
    }
    for (size_t k = 0; k < S; k++)
        for (size_t i = 0; i < in; i++) {
            float *ours = cat + i * ld + (k + 1) * out, *theirs = data + (k * in + i) * out;
            memcpy(dir == TO_MODEL ? theirs : ours, dir == TO_MODEL ? ours : theirs,
                   out * sizeof(float));
        }
    return ERR_OK;
}

/* The authors' C (R·S, 1) is summed over the rank before the product: each row of ours is c_k =
 * Σ_r C[r·S + k]. */
static int expand_collapsed(struct fusenet *net, int n, const struct model *model,
                            const char *name, struct err *err)
{
    size_t S = (size_t)net->shape.S, R = (size_t)net->shape.R;
    float *C = net->w + net->layer[n].C;
    const struct model_tensor *t = model_tensor(model, "%s", name);
    if (!t || t->n_elements != R * S)
        return err_fatal(err, EX_DATAERR,
                         "%s: tensor %s is missing, or does not have %zu elements", model->path,
                         name, R * S);
    for (size_t k = 0; k < S; k++) {
        double sum = 0;
        for (size_t r = 0; r < R; r++)
            sum += (double)t->data[r * S + k];
        for (size_t r = 0; r < R; r++)
            C[r * S + k] = (float)sum;
    }
    return ERR_OK;
}

static const char *layer_name(char name[MODEL_NAME_BYTES], int n, const char *what)
{
    snprintf(name, MODEL_NAME_BYTES, "layer_%d.%s", n + 1, what);
    return name;
}

static int move_layer(struct fusenet *net, int n, struct model *model, enum direction dir,
                      struct err *err)
{
    const struct fusenet_layer *layer = &net->layer[n];
    size_t S = (size_t)net->shape.S, R = (size_t)net->shape.R, ld = layer->n_cols;
    size_t in = layer->in, out = layer->out;
    char name[MODEL_NAME_BYTES];
    float *cat = net->w + layer->cat;
    int status =
        move(model, dir, layer_name(name, n, "M_1"), (struct part){in, out, cat, ld, 1}, err);
    if (!status && net->shape.fusion == FUSION_DENSE)
        status = move_dense(net, n, model, dir, layer_name(name, n, "T_1"), err);
    if (status || net->shape.fusion != FUSION_CP)
        return status;
    status =
        move(model, dir, layer_name(name, n, "A"), (struct part){in, R, cat + out, ld, 1}, err);
    if (!status)
        status = move(model, dir, layer_name(name, n, "B"),
                      (struct part){R, out, net->w + layer->B, out, 1}, err);
    if (status)
        return status;
    if (dir == FROM_MODEL && model->shape.cp_collapsed)
        return expand_collapsed(net, n, model, layer_name(name, n, "C"), err);
    return move(model, dir, layer_name(name, n, "C"),
                (struct part){R, S, net->w + layer->C, S, 1}, err);
}

/* nn.Linear is (out, in); we hold (in, out). */
static int move_extractor(struct fusenet *net, struct model *model, enum direction dir,
                          struct err *err)
{
    size_t S = (size_t)net->shape.S, F = net->layer[0].in, ld = net->layer[0].n_cols;
    float *W0 = net->w + net->layer[0].cat + net->hidden;
    int status =
        move(model, dir, "mlp_signal.0.weight", (struct part){net->H, F, W0, 1, ld}, err);
    if (!status)
        status = move(model, dir, "mlp_signal.0.bias",
                      (struct part){net->H, 0, net->w + net->b0, 1, 1}, err);
    if (!status)
        status = move(model, dir, "mlp_signal.2.weight",
                      (struct part){S, net->H, net->w + net->W2, 1, S}, err);
    if (!status)
        status = move(model, dir, "mlp_signal.2.bias",
                      (struct part){S, 0, net->w + net->b2, 1, 1}, err);
    return status;
}

static int move_all(struct fusenet *net, struct model *model, enum direction dir,
                    struct err *err)
{
    int status = has_meta(&net->shape) ? move_extractor(net, model, dir, err) : ERR_OK;
    for (int n = 0; !status && n < net->shape.L; n++)
        status = move_layer(net, n, model, dir, err);
    return status;
}

/* (z W2 + b2 - mean) scale = z (W2 scale) + (b2 - mean) scale; the model's W2 is (S, H). */
static void fold_normalisation(const struct fusenet *net, struct model *model)
{
    float *W2 = model_tensor(model, "mlp_signal.2.weight")->data;
    float *b2 = model_tensor(model, "mlp_signal.2.bias")->data;
    for (size_t k = 0; k < (size_t)net->shape.S; k++) {
        for (size_t j = 0; j < net->H; j++)
            W2[k * net->H + j] = (float)((double)W2[k * net->H + j] * net->scale[k]);
        b2[k] = (float)(((double)b2[k] - net->mean[k]) * net->scale[k]);
    }
}

int fusenet_export(const struct fusenet *net, struct model *model, struct err *err)
{
    struct fusenet copy = *net;
    int status = move_all(&copy, model, TO_MODEL, err);
    if (!status && has_meta(&net->shape) && net->meta_gain > 0 && net->scale[0] > 0)
        fold_normalisation(net, model);
    return status;
}

int fusenet_import(struct fusenet *net, const struct model *model, struct err *err)
{
    struct model borrowed = *model;
    return move_all(net, &borrowed, FROM_MODEL, err);
}

void fusenet_done(struct fusenet *net)
{
    free(net->workspace);
    *net = (struct fusenet){0};
}

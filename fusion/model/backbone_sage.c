/* GraphSAGE: two convolutions with the mean of the neighbours (Hamilton et al., NIPS 2017; PyTorch
 * Geometric's SAGEConv), LeakyReLU between them:
 *
 *   conv(v) = W_l mean_{j∈N_v} x_j + b + W_r x_v
 *
 * Without edges the mean is zero; dropout is for training only. */

#include "fusion/model/backbone.h"
#include "fusion/model/fuse_plan.h"
#include "fusion/model/internal.h"
#include "fusion/model/neighbourhood_pass.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOPE 0.01F /* of LeakyReLU */

static const struct tensor_layout tensors[] = {
    {"conv1.lin_l.weight", 2, {TENSOR_EACH, TENSOR_NODE}},
    {"conv1.lin_l.bias", 1, {TENSOR_EACH}},
    {"conv1.lin_r.weight", 2, {TENSOR_EACH, TENSOR_NODE}},
    {"conv2.lin_l.weight", 2, {TENSOR_EACH, TENSOR_EACH}},
    {"conv2.lin_l.bias", 1, {TENSOR_EACH}},
    {"conv2.lin_r.weight", 2, {TENSOR_EACH, TENSOR_EACH}},
};
static const char *const signs[] = {"conv1.lin_r.weight", "conv2.lin_r.weight"};

/* ---- the file -------------------------------------------------------------------------------- */

/* convN: lin_l (mean of the neighbours, with bias), lin_r (the node itself); in → *ret_out. */
static int check_conv(const struct model *m, int n, size_t in, size_t *ret_out, struct err *err)
{
    const struct model_tensor *l, *r, *b;
    char name[3][32];
    int status;

    snprintf(name[0], sizeof(name[0]), "conv%d.lin_l.weight", n);
    snprintf(name[1], sizeof(name[1]), "conv%d.lin_r.weight", n);
    snprintf(name[2], sizeof(name[2]), "conv%d.lin_l.bias", n);
    status = model_matrix(m, name[1], "another part of the convolutions", &r, err);
    if (status == ERR_OK)
        status = model_matrix(m, name[0], name[1], &l, err);
    if (status != ERR_OK)
        return status;
    b = model_tensor(m, "%s", name[2]);
    if (b == NULL)
        return model_missing(m, name[2], name[0], err);
    status = model_expect(
        m, r, r->shape[0], in,
        n == 1 ? "the item embedding (last layer and item_E)" : "conv1.lin_r.weight", err);
    if (status == ERR_OK)
        status = model_expect(m, l, r->shape[0], in, name[1], err);
    if (status == ERR_OK)
        status = model_expect(m, b, r->shape[0], 0, name[1], err);
    *ret_out = r->shape[0];
    return status;
}

static int derive(struct model *m, size_t E, size_t *ret_B, struct err *err)
{
    size_t width = 0;
    int status = check_conv(m, 1, E, &width, err);

    m->shape.hops = 2;
    return status == ERR_OK ? check_conv(m, 2, width, ret_B, err) : status;
}

/* ---- an item without edges ------------------------------------------------------------------- */

static int pack(const struct model *m, struct fuse_plan *plan, struct err *err)
{
    int status = ERR_OK;

    for (int c = 0; c < 2 && status == ERR_OK; c++) {
        const struct model_tensor *r = model_tensor(m, "conv%d.lin_r.weight", c + 1);

        plan->own[c].bias = model_tensor(m, "conv%d.lin_l.bias", c + 1)->data;
        status =
            gemm_new_rows(r->data, r->shape[0], r->shape[1], r->shape[1], &plan->own[c].W, err);
        if (r->shape[0] > plan->hidden)
            plan->hidden = r->shape[0];
    }
    return status;
}

/* to = W_r from + b */
static void conv_alone(const struct fuse_linear *conv, const struct fuse_rows *rows,
                       const float *from, float *to)
{
    gemm_run(&conv->W, from, rows->ld, rows->n, to, rows->ld, false, rows->scratch);
    for (size_t b = 0; b < rows->n; b++)
        for (size_t o = 0; o < conv->W.N; o++)
            to[b * rows->ld + o] += conv->bias[o];
}

static void leaky_relu(float *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        v[i] = v[i] > 0 ? v[i] : v[i] * SLOPE;
}

static void alone(const struct fuse_plan *plan, const struct fuse_rows *rows)
{
    conv_alone(&plan->own[0], rows, rows->h, rows->e);
    for (size_t b = 0; b < rows->n; b++)
        leaky_relu(rows->e + b * rows->ld, plan->own[0].W.N);
    conv_alone(&plan->own[1], rows, rows->e, rows->h);
}

/* ---- a node among its neighbours ------------------------------------------------------------- */

struct conv {
    size_t in, out;
    float *l, *r; /* (in, out) transposed */
    const float *bias;
};

struct convs {
    struct conv conv[2];
    float *mean; /* (widest input) of a node's neighbours */
    float floats[];
};

/* Returns what follows it. */
static float *transpose(const struct model_tensor *W, float *to)
{
    size_t out = W->shape[0], in = W->shape[1];
    for (size_t o = 0; o < out; o++)
        for (size_t i = 0; i < in; i++)
            to[i * out + o] = W->data[o * in + i];
    return to + in * out;
}

static int begin(struct neighbourhood *h, const struct model *m, struct err *err)
{
    const struct model_tensor *l[2], *r[2];
    size_t n_floats = 0;
    for (int c = 0; c < 2; c++) {
        l[c] = model_tensor(m, "conv%d.lin_l.weight", c + 1);
        r[c] = model_tensor(m, "conv%d.lin_r.weight", c + 1);
        n_floats += 2 * l[c]->n_elements + l[c]->shape[1];
    }
    struct convs *own = malloc(sizeof(*own) + n_floats * sizeof(float));
    if (!own)
        return err_oom(err, "a neighbourhood");
    float *at = own->floats;
    for (int c = 0; c < 2; c++) {
        own->conv[c] = (struct conv){.in = l[c]->shape[1],
                                     .out = l[c]->shape[0],
                                     .bias = model_tensor(m, "conv%d.lin_l.bias", c + 1)->data};
        own->conv[c].l = at;
        own->conv[c].r = transpose(l[c], at);
        at = transpose(r[c], own->conv[c].r);
    }
    own->mean = at;
    h->own = own;
    return ERR_OK;
}

/* y (out) += x (in) W, W transposed. */
static void multiply_add(const float *x, size_t in, const float *W, size_t out, float *y)
{
    for (size_t i = 0; i < in; i++)
        for (size_t o = 0; o < out; o++)
            y[o] += x[i] * W[i * out + o];
}

static void convolve(const struct neighbourhood *h, const struct conv *conv, float *mean,
                     size_t n_rows, float *to)
{
    for (size_t i = 0; i < n_rows; i++) {
        const struct node *v = neighbourhood_pass_node(h, i);
        float *y = to + i * conv->out;
        neighbourhood_pass_gather(h, v, false, conv->in, mean);
        for (size_t j = 0; j < conv->in && v->degree; j++)
            mean[j] /= (float)v->degree;
        memcpy(y, conv->bias, conv->out * sizeof(*y));
        multiply_add(mean, conv->in, conv->l, conv->out, y);
        multiply_add(h->row[i], conv->in, conv->r, conv->out, y);
    }
}

static int pass(struct neighbourhood *h, struct err *err)
{
    const struct convs *own = h->own;
    size_t n_rows = h->prefix[1], width = own->conv[0].out;
    int status = neighbourhood_pass_layer(h, 0, n_rows * width, err);
    if (status != ERR_OK)
        return status;
    convolve(h, &own->conv[0], own->mean, n_rows, h->layer[0]);
    leaky_relu(h->layer[0], n_rows * width);
    for (size_t i = 0; i < n_rows; i++)
        h->row[i] = h->layer[0] + i * width;
    convolve(h, &own->conv[1], own->mean, h->prefix[0], h->Z);
    return ERR_OK;
}

const struct backbone backbone_sage = {
    .name = "sage",
    .vector = TENSOR_EACH,
    .tensors = tensors,
    .n_tensors = sizeof(tensors) / sizeof(tensors[0]),
    .signs = signs,
    .n_signs = sizeof(signs) / sizeof(signs[0]),
    .derive = derive,
    .pack = pack,
    .alone = alone,
    .begin = begin,
    .pass = pass,
};

/* Forward and backward, side by side. Shapes: h (B, in), Z = h·cat (B, n_cols), of which the
 * first `out` columns are h M, then h T_1 … h T_S (dense) or h A (CP), then the extractor's hidden
 * units (layer 1). Forward turns h M into the layer's own h where it is; backward puts the
 * gradient of every column in the column's place, so that one GEMM gives the gradient of every
 * weight that multiplies h, and one gives dh. */

#include "fusion/train/fusenet.h"

#include "fusion/math/blas.h"
#include "fusion/math/clones.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define SLOPE 0.01F /* of LeakyReLU */

/* Y (m, n) = X (m, k) · W (k, n) + beta·Y, leading dimensions given. */
static void mul(size_t m, size_t n, size_t k, const float *X, size_t ldx, const float *W,
                size_t ldw, float beta, float *Y, size_t ldy)
{
    if (m == 1)
        blas_mul_row(n, k, X, W, ldw, beta, Y);
    else
        blas_mul(m, n, k, X, ldx, W, ldw, beta, Y, ldy);
}

/* Y (m, n) = X (m, k) · W (n, k)ᵀ + beta·Y */
static void mul_wt(size_t m, size_t n, size_t k, const float *X, size_t ldx, const float *W,
                   size_t ldw, float beta, float *Y, size_t ldy)
{
    if (m == 1)
        blas_mul_wt_row(n, k, X, W, ldw, beta, Y);
    else
        blas_mul_wt(m, n, k, X, ldx, W, ldw, beta, Y, ldy);
}

/* Y (m, n) += X (k, m)ᵀ · W (k, n) */
static void add_xt(size_t m, size_t n, size_t k, const float *X, size_t ldx, const float *W,
                   size_t ldw, float *Y, size_t ldy)
{
    if (k == 1)
        blas_add_outer(m, n, X, W, Y, ldy);
    else
        blas_add_xt(m, n, k, X, ldx, W, ldw, Y, ldy);
}

/* ---- rows ---- */

CLONES static void add_relu(const float *restrict bias, size_t n, float *restrict z)
{
    for (size_t j = 0; j < n; j++) {
        float v = z[j] + bias[j];
        z[j] = v > 0 ? v : 0;
    }
}

CLONES static void leaky_relu(size_t n, float *z)
{
    for (size_t j = 0; j < n; j++)
        z[j] *= z[j] > 0 ? 1 : SLOPE;
}

/* z becomes dz, from dh: h's sign tells LeakyReLU's side. */
CLONES static void leaky_relu_backward(const float *restrict dh, size_t n, float *restrict z)
{
    for (size_t j = 0; j < n; j++)
        z[j] = dh[j] * (z[j] > 0 ? 1 : SLOPE);
}

CLONES static void add_scaled(float s, const float *restrict x, size_t n, float *restrict y)
{
    for (size_t j = 0; j < n; j++)
        y[j] += s * x[j];
}

/* Returns d·z, and z becomes s d. Eight partial sums, in a fixed order. */
CLONES static float dot_and_scale(float s, const float *restrict d, size_t n, float *restrict z)
{
    float part[8] = {0};
    size_t j = 0;
    for (; j + 8 <= n; j += 8)
        for (size_t i = 0; i < 8; i++) {
            part[i] += d[j + i] * z[j + i];
            z[j + i] = s * d[j + i];
        }
    for (; j < n; j++) {
        part[0] += d[j] * z[j];
        z[j] = s * d[j];
    }
    return ((part[0] + part[4]) + (part[1] + part[5])) +
           ((part[2] + part[6]) + (part[3] + part[7]));
}

/* z becomes its gradient where the ReLU was open: Σ_k ds_k W2t_k; db += it. */
CLONES static void hidden_backward(const float *restrict ds, const float *restrict W2t,
                                   size_t S, size_t H, float *restrict z, float *restrict db)
{
    enum { SOME = 256 };
    for (size_t first = 0; first < H; first += SOME) {
        size_t n = H - first < SOME ? H - first : SOME;
        float dz[SOME] = {0};
        for (size_t k = 0; k < S; k++)
            for (size_t j = 0; j < n; j++)
                dz[j] += ds[k] * W2t[k * H + first + j];
        for (size_t j = 0; j < n; j++) {
            z[first + j] = z[first + j] > 0 ? dz[j] : 0;
            db[first + j] += z[first + j];
        }
    }
}

/* ---- meta information: s = ReLU(Z_hidden + b0) W2 + b2 ---- */

/* s = (s - mean) scale, scale = gain / deviation, column by column (batch normalisation without a
 * learned scale; Ioffe and Szegedy, 2015). */
static void normalise_forward(struct fusenet *net, size_t B)
{
    size_t S = (size_t)net->shape.S;
    for (size_t k = 0; k < S; k++) {
        double sum = 0, squares = 0;
        for (size_t b = 0; b < B; b++)
            sum += (double)net->s[b * S + k];
        double mean = sum / (double)B;
        for (size_t b = 0; b < B; b++) {
            double d = (double)net->s[b * S + k] - mean;
            squares += d * d;
        }
        net->mean[k] = mean;
        net->scale[k] = (double)net->meta_gain / sqrt(squares / (double)B + 1e-6);
        for (size_t b = 0; b < B; b++)
            net->s[b * S + k] = (float)(((double)net->s[b * S + k] - mean) * net->scale[k]);
    }
}

/* ds = scale (ds - mean ds - s mean(ds s)/gain²) */
static void normalise_backward(struct fusenet *net, size_t B)
{
    size_t S = (size_t)net->shape.S;
    double gain = (double)net->meta_gain;
    for (size_t k = 0; k < S; k++) {
        double sum = 0, along = 0;
        for (size_t b = 0; b < B; b++) {
            sum += (double)net->ds[b * S + k];
            along += (double)net->ds[b * S + k] * (double)net->s[b * S + k];
        }
        sum /= (double)B;
        along /= (double)B * gain * gain;
        for (size_t b = 0; b < B; b++)
            net->ds[b * S + k] = (float)(net->scale[k] * ((double)net->ds[b * S + k] - sum -
                                                          along * (double)net->s[b * S + k]));
    }
}

static void meta_forward(struct fusenet *net, size_t B)
{
    size_t S = (size_t)net->shape.S, ld = net->ld[0];
    float *Z = net->Z[0] + net->hidden;
    for (size_t b = 0; b < B; b++) {
        add_relu(net->w + net->b0, net->H, Z + b * ld);
        memcpy(net->s + b * S, net->w + net->b2, S * sizeof(float));
    }
    mul(B, S, net->H, Z, ld, net->w + net->W2, S, 1, net->s, S);
    if (net->meta_gain > 0)
        normalise_forward(net, B);
}

/* From ds to the hidden columns; gradients of W2, b2, b0. */
static void meta_backward(struct fusenet *net, size_t B)
{
    size_t S = (size_t)net->shape.S, ld = net->ld[0];
    float *Z = net->Z[0] + net->hidden, *gb2 = net->g + net->b2;
    if (net->meta_gain > 0)
        normalise_backward(net, B);
    add_xt(net->H, S, B, Z, ld, net->ds, S, net->g + net->W2, S);
    for (size_t j = 0; j < net->H; j++)
        for (size_t k = 0; k < S; k++)
            net->W2t[k * net->H + j] = net->w[net->W2 + j * S + k];
    for (size_t b = 0; b < B; b++) {
        hidden_backward(net->ds + b * S, net->W2t, S, net->H, Z + b * ld, net->g + net->b0);
        for (size_t k = 0; k < S; k++)
            gb2[k] += net->ds[b * S + k];
    }
}

/* ---- dense: y = Z_M + Σ_k s_k Z_k ---- */

static void dense_forward(struct fusenet *net, int n, size_t B)
{
    size_t S = (size_t)net->shape.S, out = net->layer[n].out;
    for (size_t b = 0; b < B; b++) {
        float *z = net->Z[n] + b * net->ld[n];
        for (size_t k = 0; k < S; k++)
            add_scaled(net->s[b * S + k], z + (k + 1) * out, out, z);
    }
}

/* dZ_k = s_k dy, ds_k += dy · Z_k */
static void dense_backward(struct fusenet *net, int n, size_t B)
{
    size_t S = (size_t)net->shape.S, out = net->layer[n].out;
    for (size_t b = 0; b < B; b++) {
        float *z = net->Z[n] + b * net->ld[n];
        for (size_t k = 0; k < S; k++)
            net->ds[b * S + k] += dot_and_scale(net->s[b * S + k], z, out, z + (k + 1) * out);
    }
}

/* ---- CP: y = Z_M + Q B, Q = P ⊙ G, P = h A, G = s Cᵀ ---- */

static void cp_forward(struct fusenet *net, int n, size_t B)
{
    const struct fusenet_layer *layer = &net->layer[n];
    size_t S = (size_t)net->shape.S, R = (size_t)net->shape.R, ld = net->ld[n];
    mul_wt(B, R, S, net->s, S, net->w + layer->C, S, 0, net->G[n], R);
    for (size_t b = 0; b < B; b++) {
        const float *p = net->Z[n] + b * ld + layer->generated;
        for (size_t r = 0; r < R; r++)
            net->Q[n][b * R + r] = p[r] * net->G[n][b * R + r];
    }
    mul(B, layer->out, R, net->Q[n], R, net->w + layer->B, layer->out, 1, net->Z[n], ld);
}

/* dB += Qᵀ dy; dQ = dy Bᵀ; dP = dQ ⊙ G; dG = dQ ⊙ P; dC += dGᵀ s; ds += dG C */
static void cp_backward(struct fusenet *net, int n, size_t B)
{
    const struct fusenet_layer *layer = &net->layer[n];
    size_t S = (size_t)net->shape.S, R = (size_t)net->shape.R, out = layer->out;
    size_t ld = net->ld[n];
    add_xt(R, out, B, net->Q[n], R, net->Z[n], ld, net->g + layer->B, out);
    mul_wt(B, R, out, net->Z[n], ld, net->w + layer->B, out, 0, net->dQ, R);
    for (size_t b = 0; b < B; b++) {
        float *p = net->Z[n] + b * ld + layer->generated;
        for (size_t r = 0; r < R; r++) {
            float d = net->dQ[b * R + r];
            net->dQ[b * R + r] = d * p[r];
            p[r] = d * net->G[n][b * R + r];
        }
    }
    add_xt(R, S, B, net->dQ, R, net->s, S, net->g + layer->C, S);
    mul(B, S, R, net->dQ, R, net->w + layer->C, S, 1, net->ds, S);
}

/* ---- a layer, whatever generates its weights ---- */

/* h (B, in), rows ldh apart; the layer's own h is left in the first `out` columns of Z. */
static void layer_forward(struct fusenet *net, int n, const float *h, size_t ldh, size_t B)
{
    const struct fusenet_layer *layer = &net->layer[n];
    mul(B, layer->n_cols, layer->in, h, ldh, net->w + layer->cat, layer->n_cols, 0, net->Z[n],
        net->ld[n]);
    if (n == 0 && net->H)
        meta_forward(net, B);
    if (net->shape.fusion == FUSION_DENSE)
        dense_forward(net, n, B);
    else if (net->shape.fusion == FUSION_CP)
        cp_forward(net, n, B);
    for (size_t b = 0; b < B && n < net->shape.L - 1; b++)
        leaky_relu(layer->out, net->Z[n] + b * net->ld[n]);
}

/* The first `out` columns of Z are dy, before the activation; h as in layer_forward. */
static void layer_backward(struct fusenet *net, int n, const float *h, size_t ldh, size_t B)
{
    const struct fusenet_layer *layer = &net->layer[n];
    if (net->shape.fusion == FUSION_DENSE)
        dense_backward(net, n, B);
    else if (net->shape.fusion == FUSION_CP)
        cp_backward(net, n, B);
    if (n == 0 && net->H)
        meta_backward(net, B);
    add_xt(layer->in, layer->n_cols, B, h, ldh, net->Z[n], net->ld[n], net->g + layer->cat,
           layer->n_cols);
}

/* dh = dZ catᵀ, some rows at a time, and dy of the layer below in the place of its h. */
static void pass_down(struct fusenet *net, int n, size_t B)
{
    const struct fusenet_layer *layer = &net->layer[n];
    for (size_t first = 0; first < B; first += FUSENET_BLOCK) {
        size_t rows = B - first < FUSENET_BLOCK ? B - first : FUSENET_BLOCK;
        float *below = net->Z[n - 1] + first * net->ld[n - 1];
        mul_wt(rows, layer->in, layer->n_cols, net->Z[n] + first * net->ld[n], net->ld[n],
               net->w + layer->cat, layer->n_cols, 0, net->dh, layer->in);
        for (size_t b = 0; b < rows; b++)
            leaky_relu_backward(net->dh + b * layer->in, layer->in, below + b * net->ld[n - 1]);
    }
}

void fusenet_forward(struct fusenet *net, const float *X, size_t B, float *ret_E)
{
    int last = net->shape.L - 1;
    size_t out = net->layer[last].out;
    assert(B <= net->max_rows);
    for (int n = 0; n <= last; n++)
        layer_forward(net, n, n ? net->Z[n - 1] : X, n ? net->ld[n - 1] : net->layer[0].in, B);
    for (size_t b = 0; b < B; b++)
        memcpy(ret_E + b * out, net->Z[last] + b * net->ld[last], out * sizeof(float));
}

void fusenet_backward(struct fusenet *net, const float *X, size_t B, const float *dE)
{
    int last = net->shape.L - 1;
    size_t out = net->layer[last].out;
    memset(net->ds, 0, B * (size_t)net->shape.S * sizeof(float));
    for (size_t b = 0; b < B; b++)
        memcpy(net->Z[last] + b * net->ld[last], dE + b * out, out * sizeof(float));
    for (int n = last; n >= 0; n--) {
        layer_backward(net, n, n ? net->Z[n - 1] : X, n ? net->ld[n - 1] : net->layer[0].in, B);
        if (n)
            pass_down(net, n, B);
    }
}

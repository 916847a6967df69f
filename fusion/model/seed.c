/* The model before the first training. What it must do is keep distances: similar items near,
 * different ones apart. A plain Xavier network does not: each LeakyReLU keeps only about half of
 * the directions, and three of them bring the mean cosine of two unrelated items from 0 to 0.68, so
 * that every item resembles every other (docs/design/fusion/205-seeded-model.md).
 *
 * Hence mirrored pairs (the "looks-linear" initialisation of Balduzzi et al., "The shattered
 * gradients problem", 2017): a hidden layer of width d computes v and -v in its two halves, the
 * next layer reads them with weights q and -q, and since LeakyReLU(v) - LeakyReLU(-v) = 1.01 v
 * (slope 0.01), the whole of M is a linear random projection F → d_L, which keeps angles up to
 * about 1/sqrt(d_L) (Johnson and Lindenstrauss). Each entry by itself is Xavier uniform; the pairs
 * part as soon as training starts, because their activations differ. The item-specific part
 * (MLP, A, B, C, T) is plain Xavier. */

#include "fusion/math/gemm.h"
#include "fusion/math/rng.h"
#include "fusion/model/internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

struct seeder {
    struct model *model;
    struct rng rng;
    struct err *err;
};

/* Xavier uniform for (rows, cols): the bound sqrt(6 / (rows + cols)). */
static int add_xavier(struct seeder *s, const char *name, size_t rows, size_t cols,
                      float **ret_data)
{
    int status = model_add(s->model, name, rows, cols, ret_data, s->err);

    if (status == ERR_OK)
        rng_fill(&s->rng, *ret_data, rows * cols, sqrtf(6.0f / (float)(rows + cols)));
    return status;
}

/* The second half of the rows becomes the first half negated; an odd last row stays. */
static void mirror_rows(float *w, size_t rows, size_t cols)
{
    for (size_t i = 0; i < rows / 2; i++) {
        for (size_t j = 0; j < cols; j++)
            w[(rows / 2 + i) * cols + j] = -w[i * cols + j];
    }
}

static void mirror_cols(float *w, size_t rows, size_t cols)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < cols / 2; j++)
            w[i * cols + cols / 2 + j] = -w[i * cols + j];
    }
}

static int seed_mlp(struct seeder *s, const struct model_shape *shape)
{
    const size_t F = (size_t)shape->F, S = (size_t)shape->S;
    float *data;
    int status = add_xavier(s, "mlp_signal.0.weight", F, F, &data);

    if (status == ERR_OK)
        status = model_add(s->model, "mlp_signal.0.bias", F, 0, &data, s->err);
    if (status == ERR_OK)
        status = add_xavier(s, "mlp_signal.2.weight", S, F, &data);
    if (status == ERR_OK)
        status = model_add(s->model, "mlp_signal.2.bias", S, 0, &data, s->err);
    return status;
}

static int seed_layer(struct seeder *s, const struct model_shape *shape, int32_t n)
{
    const size_t in = (size_t)shape->width[n - 1], out = (size_t)shape->width[n];
    const size_t R = (size_t)shape->R, S = (size_t)shape->S;
    char name[32];
    float *data;
    int status;

    snprintf(name, sizeof(name), "layer_%d.M_1", n);
    status = add_xavier(s, name, in, out, &data);
    if (status != ERR_OK)
        return status;
    if (n < shape->L)
        mirror_cols(data, in, out);
    if (n > 1)
        mirror_rows(data, in, out);
    if (shape->fusion == FUSION_DENSE) {
        snprintf(name, sizeof(name), "layer_%d.T_1", n);
        return add_xavier(s, name, S, in * out, &data);
    }
    if (shape->fusion != FUSION_CP)
        return ERR_OK;
    for (int i = 0; i < 3 && status == ERR_OK; i++) {
        const size_t rows[] = {in, R, R}, cols[] = {R, out, S};

        snprintf(name, sizeof(name), "layer_%d.%c", n, "ABC"[i]);
        status = add_xavier(s, name, rows[i], cols[i], &data);
    }
    return status;
}

static int seed_statistics(struct seeder *s, size_t F)
{
    float *data;
    int status = model_add(s->model, "mmf.mean", F, 0, &data, s->err);

    if (status == ERR_OK)
        status = model_add(s->model, "mmf.std", F, 0, &data, s->err);
    for (size_t i = 0; status == ERR_OK && i < F; i++)
        data[i] = 1.0f;
    return status;
}

static int seed_all(struct seeder *s, const struct model_shape *shape)
{
    int status = ERR_OK;

    if (shape->fusion != FUSION_STATIC)
        status = seed_mlp(s, shape);
    for (int32_t n = 1; n <= shape->L && status == ERR_OK; n++)
        status = seed_layer(s, shape, n);
    if (status == ERR_OK)
        status = seed_statistics(s, (size_t)shape->F);
    if (status == ERR_OK)
        status = model_set_shape(s->model, shape, s->err);
    if (status == ERR_OK)
        status = model_finish(s->model, s->err);
    if (status == ERR_OK)
        status = model_prepare(s->model, s->err);
    return status;
}

/* Zero fields to their defaults. */
static struct model_shape complete(const struct model_shape *shape)
{
    static const int32_t widths[] = {1024, 512, 256, 32};
    struct model_shape s = *shape;

    s.F = 0;
    for (int i = 0; i < MODALITY_COUNT; i++)
        s.F += s.modality_dim[i];
    if (s.fusion == FUSION_NONE)
        s.fusion = FUSION_CP;
    if (s.S == 0)
        s.S = MODEL_S;
    if (s.R == 0)
        s.R = MODEL_R;
    if (s.L == 0) {
        s.L = 4;
        memcpy(s.width + 1, widths, sizeof(widths));
    }
    s.width[0] = s.F;
    if (s.id_dim == 0)
        s.id_dim = s.width[s.L];
    s.content_dim = 0; /* they need a catalogue */
    if (s.hops == 0)
        s.hops = 3;
    s.trained = false;
    s.fused_length = 1;
    return s;
}

int model_seed(const struct model_shape *shape, uint64_t seed, struct model **ret_model,
               struct err *err)
{
    struct seeder s = {.err = err};
    struct model_shape full = complete(shape);
    int status;

    if (full.F < 1 || full.L > MODEL_LAYERS_MAX)
        return err_fatal(err, EX_SOFTWARE,
                         "seed a model: %d feature columns and %d layers; at "
                         "least 1 and at most 8 are needed",
                         full.F, full.L);
    status = model_new_empty("(seeded)", &s.model, err);
    if (status != ERR_OK)
        return status;
    rng_init(&s.rng, seed);
    status = seed_all(&s, &full);
    if (status != ERR_OK) {
        model_free(s.model);
        return status;
    }
    *ret_model = s.model;
    return ERR_OK;
}

#include "fusion/model/content.h"

#include "fusion/math/blas.h"
#include "fusion/math/gemm.h"
#include "fusion/math/pca.h"
#include "fusion/model/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

/* Directions below this part of the strongest one are noise: whitening would blow them up. */
static const double floor_power = 1e-6;

/* The upper triangle of C = Xᵀ X / I. */
static int second_moments(const float *X, size_t n_items, size_t F, double *C, struct err *err)
{
    float *G = gemm_alloc(F * F + 1);

    if (!G)
        return err_oom(err, "the content columns");
    blas_moments(F, n_items, 1 / (float)n_items, X, G);
    for (size_t i = 0; i < F * F; i++)
        C[i] = (double)G[i];
    free(G);
    return ERR_OK;
}

int content_fit(const float *X, size_t n_items, size_t F, size_t C, float *ret_P,
                struct err *err)
{
    double *moments = malloc((F * F + C * F + C) * sizeof(*moments));

    if (!moments)
        return err_oom(err, "the content columns");
    double *V = moments + F * F, *power = V + C * F;
    int status = second_moments(X, n_items, F, moments, err);
    if (status == ERR_OK)
        status = pca_strongest(moments, F, C, power, V, err);
    for (size_t c = 0; status == ERR_OK && c < C; c++) {
        double scale = power[c] > floor_power * power[0] ? 1 / sqrt(power[c]) : 0;
        for (size_t f = 0; f < F; f++)
            ret_P[f * C + c] = (float)(scale * V[c * F + f]);
    }
    free(moments);
    return status;
}

void content_scale(float *c, size_t C, float scale)
{
    double sum = 0;
    for (size_t j = 0; j < C; j++)
        sum += (double)c[j] * (double)c[j];
    for (size_t j = 0; j < C && sum > 0; j++)
        c[j] = (float)((double)c[j] * (double)scale / sqrt(sum));
}

void content_rows(const float *X, size_t n, size_t F, const float *P, size_t C, float scale,
                  float *ret_c)
{
    blas_mul(n, C, F, X, F, P, C, 0, ret_c, C);
    for (size_t i = 0; i < n; i++)
        content_scale(ret_c + i * C, C, scale);
}

static int bad(const struct model *m, const char *what, struct err *err)
{
    return err_fatal(err, EX_DATAERR, "model %s: %s; train it again", m->path, what);
}

int content_derive(struct model *m, struct err *err)
{
    struct model_shape *s = &m->shape;
    const struct model_tensor *P = model_tensor(m, "mmf.content");
    const char *scale = model_text(m, "mmf.content_scale");
    char tail;
    if (!P && !scale)
        return ERR_OK;
    if (!P || !scale || s->L == 0 || !model_tensor(m, "mmf.mean"))
        return bad(m,
                   "one of mmf.content, mmf.content_scale, mmf.mean and layer_1.M_1 is missing",
                   err);
    if (P->n_dims != 2 || P->shape[0] != (size_t)s->F || P->shape[1] < 1 ||
        P->shape[1] > P->shape[0])
        return bad(m, "tensor mmf.content is not (F, C), F as layer_1.M_1 has it", err);
    if (sscanf(scale, "%f%c", &s->content_scale, &tail) != 1 || !isfinite(s->content_scale) ||
        s->content_scale <= 0)
        return bad(m, "mmf.content_scale is not a length", err);
    s->content_dim = (int32_t)P->shape[1];
    return ERR_OK;
}

#include "fusion/train/mapping_fit.h"

#include "fusion/math/blas.h"
#include "fusion/math/gemm.h"
#include "fusion/math/pca.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 2048, LAMBDAS = 9 };
/* A direction of the features that holds less than this of the first one is rounding, and so are
 * factors whose spread is less than this of their size. */
#define FLOOR 1e-9

struct work {
    const struct mapping_fit_task *t;
    size_t *item, n;      /* those that are fitted */
    size_t K;             /* directions */
    double *mean_y;       /* (A) */
    float *mean_x;        /* (F) */
    double *power;        /* (K) e */
    float *V;             /* (K, F) */
    float *B;             /* (K, A) zᵀ y */
    float *shrunk;        /* (K, A) B / (e + λ) */
    float *x, *z, *y, *m; /* (ROWS, F), (ROWS, K), (ROWS, A) centred, and what is predicted */
};

void mapping_fit_done(struct mapping_fit *fit)
{
    mapping_done(&fit->mapping);
    free(fit->left_out);
    *fit = (struct mapping_fit){0};
}

static void work_done(struct work *w)
{
    free(w->item);
    free(w->mean_y);
    free(w->mean_x);
    free(w->power);
    free(w->V);
    free(w->B);
    free(w->shrunk);
    free(w->x);
    free(w->z);
    free(w->y);
    free(w->m);
}

static int work_init(struct work *w, const struct mapping_fit_task *t, struct err *err)
{
    const size_t F = t->F, A = t->A, K = F < MAPPING_DIRECTIONS ? F : MAPPING_DIRECTIONS;

    w->t = t;
    w->K = K;
    w->item = malloc((t->n_items + 1) * sizeof(*w->item));
    w->mean_y = calloc(A + 1, sizeof(*w->mean_y));
    w->mean_x = calloc(F + 1, sizeof(*w->mean_x));
    w->power = malloc((K + 1) * sizeof(*w->power));
    w->V = malloc((K * F + 1) * sizeof(*w->V));
    w->B = calloc(K * A + 1, sizeof(*w->B));
    w->shrunk = malloc((K * A + 1) * sizeof(*w->shrunk));
    w->x = gemm_alloc(ROWS * F + 1);
    w->z = gemm_alloc(ROWS * K + 1);
    w->y = gemm_alloc(ROWS * A + 1);
    w->m = gemm_alloc(ROWS * A + 1);
    if (!w->item || !w->mean_y || !w->mean_x || !w->power || !w->V || !w->B || !w->shrunk ||
        !w->x || !w->z || !w->y || !w->m)
        return err_oom(err, "the mapping to factors");
    for (size_t i = 0; i < t->n_items; i++)
        if (t->warm[i] && t->mask[i] != 0)
            w->item[w->n++] = i;
    return ERR_OK;
}

/* ---- the basis ------------------------------------------------------------------------------- */

static int find_means(struct work *w, struct err *err)
{
    const struct mapping_fit_task *t = w->t;
    double *sum = calloc(t->F + 1, sizeof(*sum));

    if (!sum)
        return err_oom(err, "the mapping to factors");
    for (size_t i = 0; i < w->n; i++) {
        for (size_t f = 0; f < t->F; f++)
            sum[f] += (double)t->X[w->item[i] * t->F + f];
        for (size_t a = 0; a < t->A; a++)
            w->mean_y[a] += (double)t->Y[w->item[i] * t->A + a] / (double)w->n;
    }
    for (size_t f = 0; f < t->F; f++)
        w->mean_x[f] = (float)(sum[f] / (double)w->n);
    free(sum);
    return ERR_OK;
}

/* x and y of the rows from `first` on, centred. */
static size_t gather(struct work *w, size_t first)
{
    const struct mapping_fit_task *t = w->t;
    const size_t n = w->n - first < ROWS ? w->n - first : ROWS;

    for (size_t i = 0; i < n; i++) {
        const float *x = t->X + w->item[first + i] * t->F;
        const float *y = t->Y + w->item[first + i] * t->A;

        for (size_t f = 0; f < t->F; f++)
            w->x[i * t->F + f] = x[f] - w->mean_x[f];
        for (size_t a = 0; a < t->A; a++)
            w->y[i * t->A + a] = y[a] - (float)w->mean_y[a];
    }
    return n;
}

static int find_directions(struct work *w, struct err *err)
{
    const size_t F = w->t->F;
    double *moments = calloc(F * F, sizeof(*moments));
    double *V = malloc(w->K * F * sizeof(*V));
    float *G = gemm_alloc(F * F);
    int status = moments && V && G ? ERR_OK : err_oom(err, "the mapping to factors");

    for (size_t i = 0, n; status == ERR_OK && i < w->n; i += n) {
        n = gather(w, i);
        blas_moments(F, n, 1, w->x, G);
        for (size_t a = 0; a < F; a++)
            for (size_t b = a; b < F; b++)
                moments[a * F + b] += (double)G[a * F + b];
    }
    if (status == ERR_OK)
        status = pca_strongest(moments, F, w->K, w->power, V, err);
    if (status == ERR_OK) {
        while (w->K > 0 &&
               !(w->power[w->K - 1] > 0 && w->power[w->K - 1] >= FLOOR * w->power[0]))
            w->K--;
        for (size_t i = 0; i < w->K * F; i++)
            w->V[i] = (float)V[i];
    }
    free(moments);
    free(V);
    free(G);
    return status;
}

/* z of a block, whose y then is in place, too. */
static size_t turn(struct work *w, size_t first)
{
    const size_t n = gather(w, first), F = w->t->F;

    blas_mul_wt(n, w->K, F, w->x, F, w->V, F, 0, w->z, w->K);
    return n;
}

/* ---- the penalty ----------------------------------------------------------------------------- */

static float lambda_at(const struct work *w, int k)
{
    return (float)((double)w->n * pow(10, (k - LAMBDAS / 2) * .5));
}

static void shrink(struct work *w, float lambda)
{
    const size_t A = w->t->A;

    for (size_t k = 0; k < w->K; k++)
        for (size_t a = 0; a < A; a++)
            w->shrunk[k * A + a] =
                (float)((double)w->B[k * A + a] / (w->power[k] + (double)lambda));
}

/* 1 - h of a row. */
static double rest_of(const struct work *w, size_t i, float lambda)
{
    const float *z = w->z + i * w->K;
    double h = 1 / (double)w->n;

    for (size_t k = 0; k < w->K; k++)
        h += (double)z[k] * (double)z[k] / (w->power[k] + (double)lambda);
    return h < 1 - 1e-6 ? 1 - h : 1e-6;
}

/* What a block of left-out rows misses by each λ, added. */
static void add_errors(struct work *w, size_t n, double *error /* (LAMBDAS) */)
{
    const size_t A = w->t->A;

    for (int l = 0; l < LAMBDAS; l++) {
        const float lambda = lambda_at(w, l);

        shrink(w, lambda);
        blas_mul(n, A, w->K, w->z, w->K, w->shrunk, A, 0, w->m, A);
        for (size_t i = 0; i < n; i++) {
            const double rest = rest_of(w, i, lambda);
            double sum = 0;

            for (size_t a = 0; a < A; a++) {
                const double e = (double)(w->y[i * A + a] - w->m[i * A + a]) / rest;

                sum += e * e;
            }
            error[l] += sum;
        }
    }
}

/* The mean of the others misses y_i by y_i n / (n - 1), which is what error is measured by; 0 for
 * factors that differ by rounding alone. */
static double spread_of(const struct work *w)
{
    const struct mapping_fit_task *t = w->t;
    const double out = (double)w->n / (double)(w->n - 1);
    double sum = 0, whole = 0;

    for (size_t i = 0; i < w->n; i++)
        for (size_t a = 0; a < t->A; a++) {
            const double of = (double)t->Y[w->item[i] * t->A + a], y = of - w->mean_y[a];

            sum += y * y;
            whole += of * of;
        }
    return sum > FLOOR * whole ? sum * out * out : 0;
}

static void choose_lambda(struct work *w, struct mapping_fit *fit)
{
    const struct mapping_fit_task *t = w->t;
    double error[LAMBDAS] = {0};
    const double spread = spread_of(w);
    int best = LAMBDAS - 1;

    for (size_t i = 0, n; i < w->n; i += n) {
        n = turn(w, i);
        blas_add_xt(w->K, t->A, n, w->z, w->K, w->y, t->A, w->B, t->A);
    }
    for (size_t i = 0, n; i < w->n; i += n) {
        n = turn(w, i);
        add_errors(w, n, error);
    }
    for (int l = LAMBDAS - 1; l >= 0; l--)
        if (error[l] < error[best])
            best = l;
    fit->lambda = lambda_at(w, best);
    fit->error = spread > 0 ? error[best] / spread : 1;
}

/* ---- what comes out -------------------------------------------------------------------------- */

static int make_mapping(struct work *w, struct mapping_fit *fit, struct err *err)
{
    const size_t F = w->t->F, A = w->t->A;
    struct mapping m = {F, A, calloc(F * A, sizeof(float)), malloc(A * sizeof(float))};

    if (!m.weight || !m.bias) {
        mapping_done(&m);
        return err_oom(err, "the mapping to factors");
    }
    shrink(w, fit->lambda);
    blas_add_xt(F, A, w->K, w->V, F, w->shrunk, A, m.weight, A);
    for (size_t a = 0; a < A; a++) {
        double b = w->mean_y[a];

        for (size_t f = 0; f < F; f++)
            b -= (double)w->mean_x[f] * (double)m.weight[f * A + a];
        m.bias[a] = (float)b;
    }
    fit->mapping = m;
    return ERR_OK;
}

/* m_i^(-i) = y_i - (y_i - m_i) / (1 - h_i) over what mapping_rows gave. */
static void leave_out(struct work *w, struct mapping_fit *fit)
{
    const struct mapping_fit_task *t = w->t;
    const size_t A = t->A;

    for (size_t first = 0, n; first < w->n; first += n) {
        n = turn(w, first);
        for (size_t i = 0; i < n; i++) {
            const float *y = t->Y + w->item[first + i] * A;
            float *m = fit->left_out + w->item[first + i] * A;
            const double rest = rest_of(w, i, fit->lambda);

            for (size_t a = 0; a < A; a++)
                m[a] = (float)((double)y[a] - (double)(y[a] - m[a]) / rest);
        }
    }
}

static int fit_all(struct work *w, struct mapping_fit *fit, struct err *err)
{
    const struct mapping_fit_task *t = w->t;

    fit->n_fitted = w->n;
    fit->error = 1;
    if (w->n < MAPPING_ITEMS_MIN || t->F == 0 || t->A == 0)
        return ERR_OK;
    int status = find_means(w, err);
    if (status == ERR_OK)
        status = find_directions(w, err);
    if (status != ERR_OK || w->K == 0)
        return status;
    choose_lambda(w, fit);
    if (!(fit->error <= 1 - MAPPING_GAIN_MIN - MAPPING_CHANCE / (double)w->n))
        return ERR_OK;
    status = make_mapping(w, fit, err);
    if (status == ERR_OK && !(fit->left_out = malloc(t->n_items * t->A * sizeof(float))))
        status = err_oom(err, "the mapping to factors");
    if (status == ERR_OK)
        status = mapping_rows(&fit->mapping, t->X, t->mask, t->n_items, fit->left_out, err);
    if (status == ERR_OK)
        leave_out(w, fit);
    return status;
}

int mapping_fit(const struct mapping_fit_task *task, struct mapping_fit *ret, struct err *err)
{
    struct mapping_fit fit = {0};
    struct work w = {0};
    int status = work_init(&w, task, err);

    if (status == ERR_OK)
        status = fit_all(&w, &fit, err);
    work_done(&w);
    if (status == ERR_OK)
        *ret = fit;
    else
        mapping_fit_done(&fit);
    return status;
}

#include "fusion/model/columns.h"

#include "fusion/math/blas.h"
#include "fusion/math/gemm.h"
#include "fusion/math/pca.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FIT_ROWS = 2048 };

struct columns_plan {
    struct gemm_matrix project[MODALITY_COUNT]; /* (F_m, K_m), K 0 where there is none */
    struct gemm_matrix join;                    /* (K, C) */
    size_t first[MODALITY_COUNT];               /* a modality's first column of a row of x */
    size_t at[MODALITY_COUNT];                  /* and of a row of the parts */
    size_t width;                               /* of a row of the parts */
};

void columns_unit(float *c, size_t C)
{
    double sum = 0;

    for (size_t j = 0; j < C; j++)
        sum += (double)c[j] * (double)c[j];
    for (size_t j = 0; j < C && sum > 0; j++)
        c[j] = (float)((double)c[j] / sqrt(sum));
}

void columns_users(const struct csr *R, const float *c, size_t C, float *ret_c)
{
    memset(ret_c, 0, (size_t)R->n_rows * C * sizeof(*ret_c));
    for (uint32_t u = 0; u < R->n_rows; u++) {
        float *sum = ret_c + u * C;

        for (size_t e = R->start[u]; e < R->start[u + 1]; e++)
            for (size_t j = 0; j < C; j++)
                sum[j] += c[R->col[e] * C + j];
        columns_unit(sum, C);
    }
}

void columns_done(struct columns *columns)
{
    for (int m = 0; m < MODALITY_COUNT; m++)
        free(columns->project[m]);
    free(columns->join);
    *columns = (struct columns){0};
}

/* ---- rows ------------------------------------------------------------------------------------ */

static int pack(const float *w, size_t K, size_t N, struct gemm_matrix *ret_W, struct err *err)
{
    int status = gemm_new(K, N, NULL, ret_W, err);

    if (status == ERR_OK)
        gemm_pack(ret_W, 0, w, N, N, 1);
    return status;
}

/* The modalities; the matrix that joins them may not be there yet. */
static int pack_projections(const struct columns *columns, struct columns_plan *p,
                            struct err *err)
{
    size_t first = 0, at = 0;
    int status = ERR_OK;

    for (int m = 0; m < MODALITY_COUNT && status == ERR_OK; m++) {
        const size_t F = (size_t)columns->modality_dim[m], K = columns->kept[m];

        p->first[m] = first;
        p->at[m] = at;
        first += F;
        at += K;
        if (K == 0)
            continue;
        status = pack(columns->project[m], F, K, &p->project[m], err);
        if (status == ERR_OK && p->at[m] + gemm_padded(&p->project[m]) > p->width)
            p->width = p->at[m] + gemm_padded(&p->project[m]);
    }
    return status;
}

int columns_plan_new(const struct columns *columns, struct columns_plan **ret_plan,
                     struct err *err)
{
    struct columns_plan *p = calloc(1, sizeof(*p));
    int status =
        p != NULL ? pack_projections(columns, p, err) : err_oom(err, "content columns");

    if (status == ERR_OK)
        status = pack(columns->join, columns->K, columns->C, &p->join, err);
    if (status != ERR_OK) {
        columns_plan_free(p);
        return status;
    }
    *ret_plan = p;
    return ERR_OK;
}

void columns_plan_free(struct columns_plan *p)
{
    if (p == NULL)
        return;
    for (int m = 0; m < MODALITY_COUNT; m++)
        gemm_done(&p->project[m]);
    gemm_done(&p->join);
    free(p);
}

size_t columns_plan_parts(const struct columns_plan *plan)
{
    return plan->width;
}

size_t columns_plan_width(const struct columns_plan *plan)
{
    return gemm_padded(&plan->join);
}

/* A product writes whole panels, into the next modality's part: hence in this order. */
static void run_parts(const struct columns_plan *p, const struct columns_block *b)
{
    for (int m = 0; m < MODALITY_COUNT; m++) {
        const struct gemm_matrix *W = &p->project[m];

        if (W->K == 0)
            continue;
        gemm_run(W, b->x + p->first[m], b->ldx, b->n, b->parts + p->at[m], b->ldp, false,
                 b->scratch);
        for (size_t i = 0; i < b->n; i++) {
            float *part = b->parts + i * b->ldp + p->at[m];

            if (b->mask[i] & MODALITY_BIT(m))
                columns_unit(part, W->N);
            else
                memset(part, 0, W->N * sizeof(*part));
        }
    }
}

void columns_plan_run(const struct columns_plan *p, const struct columns_block *b)
{
    run_parts(p, b);
    gemm_run(&p->join, b->parts, b->ldp, b->n, b->c, b->ldc, false, b->scratch);
    for (size_t i = 0; i < b->n; i++)
        columns_unit(b->c + i * b->ldc, p->join.N);
}

/* A block with its memory, for a loop over many rows; parts alone when `c` is not wanted. */
static int block_new(const struct columns_plan *p, struct columns_block *ret, struct err *err)
{
    ret->ldp = p->width;
    ret->ldc = p->join.K ? gemm_padded(&p->join) : 0;
    ret->parts = gemm_alloc(GEMM_BLOCK_ROWS * ret->ldp + 1);
    ret->c = gemm_alloc(GEMM_BLOCK_ROWS * ret->ldc + 1);
    ret->scratch = gemm_alloc(GEMM_SCRATCH);
    return ret->parts && ret->c && ret->scratch ? ERR_OK : err_oom(err, "content columns");
}

static void block_done(struct columns_block *b)
{
    free(b->parts);
    free(b->c);
    free(b->scratch);
}

static size_t input_width(const struct columns *columns)
{
    size_t F = 0;

    for (int m = 0; m < MODALITY_COUNT; m++)
        F += (size_t)columns->modality_dim[m];
    return F;
}

int columns_rows(const struct columns *columns, const float *X, const uint8_t *mask, size_t n,
                 float *ret_c, struct err *err)
{
    const size_t F = input_width(columns), C = columns->C;
    struct columns_block b = {.ldx = F};
    struct columns_plan *plan = NULL;

    if (C == 0)
        return ERR_OK;
    int status = columns_plan_new(columns, &plan, err);
    if (status == ERR_OK)
        status = block_new(plan, &b, err);
    for (size_t i = 0; i < n && status == ERR_OK; i += b.n) {
        b.n = n - i < GEMM_BLOCK_ROWS ? n - i : GEMM_BLOCK_ROWS;
        b.x = X + i * F;
        b.mask = mask + i;
        columns_plan_run(plan, &b);
        for (size_t k = 0; k < b.n; k++)
            memcpy(ret_c + (i + k) * C, b.c + k * b.ldc, C * sizeof(*ret_c));
    }
    block_done(&b);
    columns_plan_free(plan);
    return status;
}

/* ---- fitting --------------------------------------------------------------------------------- */

/* Adds the upper triangle of the rows' second moments, by blocks: in double, and without a copy of
 * the whole. rows, G: room for FIT_ROWS of width n_cols, and for (n_cols, n_cols). */
static void add_moments(const float *X, size_t ldx, size_t n_rows, size_t n_cols, float *rows,
                        float *G, double *moments)
{
    for (size_t i = 0; i < n_rows; i += FIT_ROWS) {
        const size_t n = n_rows - i < FIT_ROWS ? n_rows - i : FIT_ROWS;

        for (size_t k = 0; k < n; k++)
            memcpy(rows + k * n_cols, X + (i + k) * ldx, n_cols * sizeof(*rows));
        blas_moments(n_cols, n, 1, rows, G);
        for (size_t a = 0; a < n_cols; a++)
            for (size_t b = a; b < n_cols; b++)
                moments[a * n_cols + b] += (double)G[a * n_cols + b];
    }
}

/* The n strongest directions of the rows of X, (n, n_cols), and what they hold per row. */
static int strongest(const float *X, size_t ldx, size_t n_rows, size_t n_cols, size_t n,
                     double *ret_power, double *ret_V, struct err *err)
{
    double *moments = calloc(n_cols * n_cols, sizeof(*moments));
    float *rows = malloc(FIT_ROWS * n_cols * sizeof(*rows)), *G = gemm_alloc(n_cols * n_cols);
    int status = moments && rows && G ? ERR_OK : err_oom(err, "content columns");

    if (status == ERR_OK) {
        add_moments(X, ldx, n_rows, n_cols, rows, G, moments);
        status = pca_strongest(moments, n_cols, n, ret_power, ret_V, err);
    }
    for (size_t k = 0; k < n && status == ERR_OK; k++)
        ret_power[k] /= (double)n_rows;
    free(moments);
    free(rows);
    free(G);
    return status;
}

/* V_m diag(σ_m)^-½, of which a constant factor makes no difference. */
static int fit_modality(const float *X, size_t ldx, size_t n_items, size_t F, size_t *ret_K,
                        float **ret_project, struct err *err)
{
    const size_t most = F < COLUMNS_KEPT ? F : COLUMNS_KEPT;
    double *power = malloc((most + most * F) * sizeof(*power)), *V;
    size_t K = 0;

    if (power == NULL)
        return err_oom(err, "content columns");
    V = power + most;
    int status = strongest(X, ldx, n_items, F, most, power, V, err);
    while (status == ERR_OK && K < most && power[K] > 0 &&
           power[K] >= COLUMNS_FLOOR * COLUMNS_FLOOR * power[0])
        K++;
    float *project = status == ERR_OK && K > 0 ? malloc(F * K * sizeof(*project)) : NULL;
    if (status == ERR_OK && K > 0 && project == NULL)
        status = err_oom(err, "content columns");
    for (size_t f = 0; f < F && project != NULL; f++)
        for (size_t k = 0; k < K; k++)
            project[f * K + k] = (float)(V[k * F + f] / sqrt(sqrt(power[k])));
    free(power);
    if (status != ERR_OK)
        return status;
    *ret_K = K;
    *ret_project = project;
    return ERR_OK;
}

/* The parts of all items side by side. */
static int all_parts(const struct columns *columns, const float *X, const uint8_t *mask,
                     size_t n_items, float *ret_parts /* (I, K) */, struct err *err)
{
    const size_t F = input_width(columns), K = columns->K;
    struct columns_block b = {.ldx = F};
    struct columns_plan plan = {0};
    int status = pack_projections(columns, &plan, err);

    if (status == ERR_OK)
        status = block_new(&plan, &b, err);
    for (size_t i = 0; i < n_items && status == ERR_OK; i += b.n) {
        b.n = n_items - i < GEMM_BLOCK_ROWS ? n_items - i : GEMM_BLOCK_ROWS;
        b.x = X + i * F;
        b.mask = mask + i;
        run_parts(&plan, &b);
        for (size_t k = 0; k < b.n; k++)
            memcpy(ret_parts + (i + k) * K, b.parts + k * b.ldp, K * sizeof(*ret_parts));
    }
    block_done(&b);
    for (int m = 0; m < MODALITY_COUNT; m++)
        gemm_done(&plan.project[m]);
    return status;
}

static int fit_join(const float *X, const uint8_t *mask, size_t n_items,
                    struct columns *columns, struct err *err)
{
    const size_t K = columns->K, C = columns->C;
    float *parts = gemm_alloc(n_items * K);
    double *power = malloc((C + C * K) * sizeof(*power));

    columns->join = malloc(K * C * sizeof(*columns->join));
    int status = parts != NULL && power != NULL && columns->join != NULL
                     ? all_parts(columns, X, mask, n_items, parts, err)
                     : err_oom(err, "content columns");
    if (status == ERR_OK)
        status = strongest(parts, K, n_items, K, C, power, power + C, err);
    for (size_t k = 0; k < K && status == ERR_OK; k++)
        for (size_t c = 0; c < C; c++)
            columns->join[k * C + c] = (float)power[C + c * K + k];
    free(parts);
    free(power);
    return status;
}

int columns_fit(const float *X, const uint8_t *mask, size_t n_items,
                const int32_t modality_dim[MODALITY_COUNT], size_t C, struct columns *ret,
                struct err *err)
{
    struct columns columns = {0};
    size_t first = 0;
    int status = ERR_OK;

    memcpy(columns.modality_dim, modality_dim, sizeof(columns.modality_dim));
    const size_t F = input_width(&columns);
    for (int m = 0; m < MODALITY_COUNT && status == ERR_OK && n_items > 0; m++) {
        if (modality_dim[m] > 0)
            status = fit_modality(X + first, F, n_items, (size_t)modality_dim[m],
                                  &columns.kept[m], &columns.project[m], err);
        columns.K += columns.kept[m];
        first += (size_t)modality_dim[m];
    }
    columns.C = C < columns.K ? C : columns.K;
    if (status == ERR_OK && columns.C > 0)
        status = fit_join(X, mask, n_items, &columns, err);
    if (status != ERR_OK) {
        columns_done(&columns);
        return status;
    }
    *ret = columns;
    return ERR_OK;
}

#include "fusion/model/mapping.h"

#include "fusion/math/gemm.h"

#include <stdlib.h>
#include <string.h>

struct mapping_plan {
    struct gemm_matrix weight; /* (F, A) */
    const float *bias;         /* (A) */
};

void mapping_done(struct mapping *m)
{
    free(m->weight);
    free(m->bias);
    *m = (struct mapping){0};
}

int mapping_plan_new(const struct mapping *m, struct mapping_plan **ret_plan, struct err *err)
{
    struct mapping_plan *p = calloc(1, sizeof(*p));
    int status = p != NULL ? gemm_new(m->F, m->A, NULL, &p->weight, err)
                           : err_oom(err, "the mapping to factors");

    if (status != ERR_OK) {
        free(p);
        return status;
    }
    gemm_pack(&p->weight, 0, m->weight, m->A, m->A, 1);
    p->bias = m->bias;
    *ret_plan = p;
    return ERR_OK;
}

void mapping_plan_free(struct mapping_plan *p)
{
    if (p == NULL)
        return;
    gemm_done(&p->weight);
    free(p);
}

size_t mapping_plan_width(const struct mapping_plan *p)
{
    return gemm_padded(&p->weight);
}

void mapping_plan_run(const struct mapping_plan *p, const float *x, size_t ldx,
                      const uint8_t *mask, size_t n, float *ret_m, size_t ldm, float *scratch)
{
    const size_t A = p->weight.N;

    gemm_run(&p->weight, x, ldx, n, ret_m, ldm, false, scratch);
    for (size_t i = 0; i < n; i++) {
        float *m = ret_m + i * ldm;

        for (size_t j = 0; j < A; j++)
            m[j] = mask[i] != 0 ? m[j] + p->bias[j] : 0;
    }
}

int mapping_rows(const struct mapping *m, const float *X, const uint8_t *mask, size_t n,
                 float *ret_m, struct err *err)
{
    struct mapping_plan *plan;
    int status = mapping_plan_new(m, &plan, err);

    if (status != ERR_OK)
        return status;
    const size_t ldm = mapping_plan_width(plan);
    float *rows = gemm_alloc(GEMM_BLOCK_ROWS * ldm), *scratch = gemm_alloc(GEMM_SCRATCH);
    if (rows == NULL || scratch == NULL)
        status = err_oom(err, "the mapping to factors");
    for (size_t i = 0; i < n && status == ERR_OK; i += GEMM_BLOCK_ROWS) {
        const size_t block = n - i < GEMM_BLOCK_ROWS ? n - i : GEMM_BLOCK_ROWS;

        mapping_plan_run(plan, X + i * m->F, m->F, mask + i, block, rows, ldm, scratch);
        for (size_t k = 0; k < block; k++)
            memcpy(ret_m + (i + k) * m->A, rows + k * ldm, m->A * sizeof(*rows));
    }
    free(rows);
    free(scratch);
    mapping_plan_free(plan);
    return status;
}

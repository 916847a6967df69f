#include "fusion/model/fold.h"

#include "fusion/math/clones.h"
#include "fusion/math/spd.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>
#include <sysexits.h>

/* Histories up to here go by products of their items, longer ones by the matrix of the width. */
static size_t narrow_max(size_t d)
{
    return d / 2;
}

/* Parts of the scratch, in floats. */
struct parts {
    float *M;       /* (D, D) or (N, N) */
    float *pack;    /* of spd.h's, the largest of all */
    float *inverse; /* (D) */
    float *sum;     /* (D) the right side; Σ_s x_s y_s */
    float *b;       /* (D) power + λ n, or the root of its inverse */
    float *x;       /* (D) what each item counts, x = K⁻¹ 1 */
};

static size_t pack_floats(size_t d)
{
    size_t D = spd_padded(d), depth = d / 2 > SPD_DEPTH ? d / 2 : SPD_DEPTH;

    return D * (depth + SPD_ALIGN);
}

static struct parts parts_of(const struct fold *f, float *scratch)
{
    const size_t D = spd_padded(f->d);
    struct parts p = {.M = scratch, .pack = scratch + D * D};

    p.inverse = p.pack + pack_floats(f->d);
    p.sum = p.inverse + D;
    p.b = p.sum + D;
    p.x = p.b + D;
    return p;
}

size_t fold_scratch(const struct fold *f)
{
    const size_t D = spd_padded(f->d);

    return D * D + pack_floats(f->d) + 4 * D;
}

int fold_check(const struct fold *f, struct err *err)
{
    if (f->d < 1 || f->d > FOLD_WIDTH_MAX)
        return err_fatal(err, EX_DATAERR, "a fold of %u columns, not 1 to %d", f->d,
                         FOLD_WIDTH_MAX);
    if (!(f->lambda > 0 && f->lambda <= FLT_MAX))
        return err_fatal(err, EX_DATAERR, "a fold's lambda is not a positive number");
    for (uint32_t a = 0; a < f->d; a++)
        if (!(f->power[a] > 0 && f->power[a] <= FLT_MAX))
            return err_fatal(err, EX_DATAERR, "a fold's power %u is not a positive number", a);
    return ERR_OK;
}

/* sum += x · y */
CLONES
static void add_row(const float *y, size_t d, float x, float *sum)
{
    for (size_t a = 0; a < d; a++)
        sum[a] += x * y[a];
}

CLONES
static void set_diagonal(const struct fold *f, size_t n, bool root, float *ret_b)
{
    const float shift = f->lambda * (float)n;

    for (size_t a = 0; a < f->d; a++)
        ret_b[a] = f->power[a] + shift;
    for (size_t a = 0; root && a < f->d; a++)
        ret_b[a] = 1.0f / sqrtf(ret_b[a]);
}

/* (1 + W B⁻¹ Wᵀ) x = 1, then v = B⁻¹ Wᵀ x */
static bool solve_narrow(const struct fold *f, const float *const *rows, size_t n,
                         struct parts *p)
{
    const struct gemm_kernel *kernel = gemm_kernel_best();
    const size_t N = spd_padded(n), n_factor = (n + SPD_STEP - 1) / SPD_STEP * SPD_STEP;
    float *x = p->x;

    set_diagonal(f, n, true, p->b);
    spd_products(kernel, rows, n, f->d, p->b, p->pack, p->M);
    for (size_t s = 0; s < n; s++) {
        x[s] = 1;
        p->M[s * N + s] += 1;
        memset(p->M + s * N + n, 0, (n_factor - n) * sizeof(float));
    }
    for (size_t s = n; s < n_factor; s++) {
        x[s] = 0;
        memset(p->M + s * N, 0, n_factor * sizeof(float));
        p->M[s * N + s] = 1;
    }
    if (!spd_factor(kernel, p->M, n_factor, N, p->pack, p->inverse))
        return false;
    spd_solve(p->M, n_factor, N, p->inverse, x);
    memset(p->sum, 0, f->d * sizeof(float));
    for (size_t s = 0; s < n; s++)
        add_row(rows[s], f->d, x[s], p->sum);
    for (size_t a = 0; a < f->d; a++)
        p->sum[a] *= p->b[a] * p->b[a];
    return true;
}

static bool solve_wide(const struct fold *f, const float *const *rows, size_t n,
                       struct parts *p)
{
    const struct gemm_kernel *kernel = gemm_kernel_best();
    const size_t D = spd_padded(f->d), n_factor = (f->d + SPD_STEP - 1) / SPD_STEP * SPD_STEP;

    set_diagonal(f, n, false, p->b);
    memset(p->M, 0, D * D * sizeof(float));
    memset(p->sum, 0, D * sizeof(float));
    for (size_t a = 0; a < n_factor; a++)
        p->M[a * D + a] = a < f->d ? p->b[a] : 1;
    for (size_t s = 0; s < n; s++)
        add_row(rows[s], f->d, 1, p->sum);
    spd_add_rows(kernel, rows, n, f->d, p->pack, p->M);
    if (!spd_factor(kernel, p->M, n_factor, D, p->pack, p->inverse))
        return false;
    spd_solve(p->M, n_factor, D, p->inverse, p->sum);
    return true;
}

int fold_user(const struct fold *f, const float *const *rows, size_t n, float *scratch,
              float *ret_v, struct err *err)
{
    struct parts p = parts_of(f, scratch);
    bool ok;

    if (n == 0) {
        memset(ret_v, 0, f->d * sizeof(float));
        return ERR_OK;
    }
    ok = n <= narrow_max(f->d) ? solve_narrow(f, rows, n, &p) : solve_wide(f, rows, n, &p);
    for (size_t a = 0; ok && a < f->d; a++)
        ok = isfinite(p.sum[a]);
    if (!ok)
        return err_fatal(err, EX_DATAERR,
                         "a user's vector of %zu items is beyond the range of numbers", n);
    memcpy(ret_v, p.sum, f->d * sizeof(float));
    return ERR_OK;
}

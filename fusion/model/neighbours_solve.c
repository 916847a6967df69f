#include "fusion/model/neighbours_solve.h"

#include "fusion/math/clones.h"
#include "fusion/model/neighbours.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

const struct neighbours_options neighbours_defaults = {.n_max = 100,
                                                       .user_exponent = 0.5,
                                                       .pick_exponent = 0.25,
                                                       .scale_exponent = 0.25,
                                                       .ridge = 10};

void neighbours_check(const struct neighbours_options *o)
{
    assert(o->n_max >= 1 && o->n_max <= NEIGHBOURS_MAX);
    assert(isfinite(o->ridge) && o->ridge > 0);
    (void)o;
}

double neighbours_power(size_t degree, double exponent)
{
    return degree ? pow((double)degree, -exponent) : 0;
}

double neighbours_pick(const struct neighbours_options *o, double diagonal)
{
    return diagonal > 0 ? pow(diagonal, -o->pick_exponent) : 0;
}

/* ---- the choice ------------------------------------------------------------------------------ */

int neighbours_choice_init(struct neighbours_choice *c, size_t n_max, struct err *err)
{
    *c = (struct neighbours_choice){.n_max = n_max};
    c->best = malloc(n_max * sizeof(*c->best));
    return c->best ? ERR_OK : err_oom(err, "neighbours");
}

static bool is_worse(const struct neighbours_chosen *a, const struct neighbours_chosen *b)
{
    return a->score < b->score || (a->score == b->score && a->id > b->id);
}

static void sink_root(struct neighbours_choice *c, struct neighbours_chosen one)
{
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < c->n && is_worse(&c->best[child + 1], &c->best[child]))
            child++;
        if (child >= c->n || !is_worse(&c->best[child], &one))
            break;
        c->best[at] = c->best[child];
        at = child;
    }
    c->best[at] = one;
}

void neighbours_choice_offer(struct neighbours_choice *c, struct neighbours_chosen one)
{
    if (c->n == c->n_max) {
        if (is_worse(&c->best[0], &one))
            sink_root(c, one);
        return;
    }
    size_t at = c->n++;
    for (; at > 0 && is_worse(&one, &c->best[(at - 1) / 2]); at = (at - 1) / 2)
        c->best[at] = c->best[(at - 1) / 2];
    c->best[at] = one;
}

static int order_id(const void *a, const void *b)
{
    const struct neighbours_chosen *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

void neighbours_choice_sort(struct neighbours_choice *c)
{
    qsort(c->best, c->n, sizeof(*c->best), order_id);
}

void neighbours_choice_done(struct neighbours_choice *c)
{
    free(c->best);
}

/* ---- the equation ---------------------------------------------------------------------------- */

enum { LANES = 8 };

size_t neighbours_stride(size_t n_max)
{
    return (n_max + 1 + LANES - 1) / LANES * LANES;
}

/* y (n) -= Σ_r x_r0 x_r, rows of X four at a time, so that y is read and written once for them. */
CLONES static void subtract_rows(const float *restrict X, size_t stride, size_t n_rows,
                                 size_t n, float *restrict y)
{
    size_t r = 0;
    for (; r + 4 <= n_rows; r += 4) {
        const float *a = X + r * stride, *b = a + stride, *c = b + stride, *d = c + stride;
        for (size_t i = 0; i < n; i++)
            y[i] = y[i] - a[0] * a[i] - b[0] * b[i] - c[0] * c[i] - d[0] * d[i];
    }
    for (; r < n_rows; r++)
        for (size_t i = 0; i < n; i++)
            y[i] -= X[r * stride] * X[r * stride + i];
}

/* A + ridge 1 = CᵀC row by row, C in place of A; column n becomes y of Cᵀy = G_Sj. */
static void factorise(size_t n, size_t stride, float ridge, float *A)
{
    for (size_t i = 0; i < n; i++) {
        float *row = A + i * stride;
        row[i] += ridge;
        subtract_rows(A + i, stride, i, n + 1 - i, row + i);
        float pivot = row[i] > 0 ? row[i] : ridge;
        float root = sqrtf(pivot), inverse = 1 / root;
        row[i] = root;
        for (size_t k = i + 1; k <= n; k++)
            row[k] *= inverse;
    }
}

/* Σ a_k b_k by eight lanes, in one order everywhere. */
CLONES static float dot(const float *restrict a, const float *restrict b, size_t n)
{
    float lane[LANES] = {0}, sum = 0;
    size_t k = 0;
    for (; k + LANES <= n; k += LANES)
        for (size_t l = 0; l < LANES; l++)
            lane[l] += a[k + l] * b[k + l];
    for (; k < n; k++)
        lane[0] += a[k] * b[k];
    for (size_t l = 0; l < LANES; l++)
        sum += lane[l];
    return sum;
}

double neighbours_solve(size_t n, size_t stride, float ridge, float *A, float *ret_x)
{
    double explained = 0;
    factorise(n, stride, ridge, A);
    for (size_t i = n; i-- > 0;) {
        const float *row = A + i * stride, y = row[n];
        ret_x[i] = (y - dot(row + i + 1, ret_x + i + 1, n - i - 1)) / row[i];
        explained += (double)y * (double)y; /* gᵀ(CᵀC)⁻¹g = yᵀy */
    }
    return explained;
}

float neighbours_close(const struct neighbours_options *o, double diagonal, float ridge,
                       double explained, size_t n_users, size_t n, float *x)
{
    double left = diagonal + (double)ridge - explained;
    double residual = left > (double)ridge ? left : (double)ridge; /* but for rounding, it is */
    for (size_t k = 0; k < n; k++)
        x[k] = (float)((double)x[k] / residual);
    return (float)(residual * neighbours_power(n_users, o->scale_exponent));
}

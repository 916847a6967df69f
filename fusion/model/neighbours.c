#include "fusion/model/neighbours.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
struct cand { double s; uint32_t i; };
static int cmp(const void *a, const void *b)
{ const struct cand *x = a, *y = b; return x->s != y->s ? (x->s > y->s ? -1 : 1) : (x->i > y->i) - (x->i < y->i); }
static int cmpi(const void *a, const void *b)
{ const struct cand *x = a, *y = b; return (x->i > y->i) - (x->i < y->i); }
int neighbours_build(const struct csr *R, const struct neighbours_options *o, struct team *team,
                     struct csr *ret, float **ret_scale, float *ret_ridge, struct err *err)
{
    size_t I = R->n_cols;
    (void)team; 
    double *G = calloc(I * I, sizeof *G), *n = calloc(I, sizeof *n), rho = 0, users = 0;
    for (uint32_t u = 0; u < R->n_rows; u++) {
        double w = 1 / sqrt((double)csr_degree(R, u));
        for (size_t a = R->start[u]; a < R->start[u + 1]; a++) {
            n[R->col[a]]++;
            for (size_t b = R->start[u]; b < R->start[u + 1]; b++) G[R->col[a] * I + R->col[b]] += w;
        }
    }
    for (size_t i = 0; i < I; i++) if (n[i] > 0) { rho += G[i * I + i]; users++; }
    rho = users > 0 ? 10 * rho / users : 1;
    struct csr rows; int st = csr_new((uint32_t)I, (uint32_t)I, I * o->M, &rows, err);
    if (st) return st;
    rows.value = calloc(I * o->M + 1, sizeof(float));
    float *scale = calloc(I + 1, sizeof *scale);
    struct cand *c = calloc(I, sizeof *c); double *A = calloc((size_t)o->M * o->M, sizeof *A), *x = calloc(o->M, sizeof *x);
    size_t nnz = 0;
    for (size_t j = 0; j < I; j++) {
        size_t m = 0;
        rows.start[j] = nnz;
        if (n[j] <= 0) continue;
        for (uint32_t i = 0; i < I; i++) if (i != j && G[i * I + j] > 0) c[m++] = (struct cand){G[i * I + j] * pow(G[i * I + i], -.25), i};
        qsort(c, m, sizeof *c, cmp); m = m < o->M ? m : o->M; qsort(c, m, sizeof *c, cmpi);
        for (size_t a = 0; a < m; a++) { for (size_t b = 0; b < m; b++) A[a * m + b] = G[c[a].i * I + c[b].i] + (a == b ? rho : 0); x[a] = G[c[a].i * I + j]; }
        for (size_t k = 0; k < m; k++) for (size_t r = k + 1; r < m; r++) { double f = A[r * m + k] / A[k * m + k]; for (size_t q = k; q < m; q++) A[r * m + q] -= f * A[k * m + q]; x[r] -= f * x[k]; }
        for (size_t k = m; k-- > 0;) { for (size_t q = k + 1; q < m; q++) x[k] -= A[k * m + q] * x[q]; x[k] /= A[k * m + k]; }
        double r = G[j * I + j] + rho;
        for (size_t a = 0; a < m; a++) r -= G[c[a].i * I + j] * x[a];
        for (size_t a = 0; a < m; a++) { rows.col[nnz] = c[a].i; rows.value[nnz++] = (float)(x[a] / r); }
        scale[j] = (float)(r * pow(n[j], -.25));
    }
    rows.start[I] = nnz; rows.nnz = nnz;
    free(G); free(n); free(c); free(A); free(x);
    *ret = rows; *ret_scale = scale; *ret_ridge = (float)rho;
    return ERR_OK;
}

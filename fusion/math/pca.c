#include "fusion/math/pca.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* LAPACK's, which OpenBLAS brings without a header of its own; the last three are the lengths of
 * the strings, as gfortran hands them over. */
extern void dsyevr_(const char *jobz, const char *range, const char *uplo, const int *n,
                    double *a, const int *lda, const double *vl, const double *vu,
                    const int *il, const int *iu, const double *abstol, int *m, double *w,
                    double *z, const int *ldz, int *isuppz, double *work, const int *lwork,
                    int *iwork, const int *liwork, int *info, size_t, size_t, size_t);

/* The upper triangle of C = (X - mean)ᵀ (X - mean) / n */
static void covariance(const float *X, size_t n, size_t D, double *mean, double *C)
{
    for (size_t i = 0; i < n; i++)
        for (size_t a = 0; a < D; a++)
            mean[a] += (double)X[i * D + a] / (double)n;
    for (size_t i = 0; i < n; i++) {
        for (size_t a = 0; a < D; a++) {
            double da = (double)X[i * D + a] - mean[a];

            for (size_t b = a; b < D; b++)
                C[a * D + b] += da * ((double)X[i * D + b] - mean[b]) / (double)n;
        }
    }
}

int pca_strongest(double *C, size_t D, size_t n, double *ret_power, double *ret_V,
                  struct err *err)
{
    /* Room for blocks of 64; 26 and 10 are the least that dsyevr takes. */
    const int d = (int)D, first = 1, last = (int)n, lwork = 70 * d, liwork = 10 * d;
    const double none = 0;
    int n_found, info;

    assert(n >= 1 && n <= D && D <= INT_MAX / 70);
    double *work = malloc((D + (size_t)lwork) * sizeof(*work)), *w = NULL;
    int *iwork = malloc((2 * n + (size_t)liwork) * sizeof(*iwork)), *support = NULL;
    int status = work && iwork ? ERR_OK : err_oom(err, "principal directions");
    if (status == ERR_OK) {
        w = work + lwork;
        support = iwork + liwork;
        for (size_t i = 0; i < D * D; i++) /* it gives them in ascending order */
            C[i] = -C[i];
        /* "L": what is the upper triangle by rows is the lower one by columns. */
        dsyevr_("V", "I", "L", &d, C, &d, &none, &none, &first, &last, &none, &n_found, w,
                ret_V, &d, support, work, &lwork, iwork, &liwork, &info, 1, 1, 1);
        if (info != 0)
            status = err_fatal(err, EX_SOFTWARE, "principal directions: dsyevr: %d", info);
    }
    for (size_t i = 0; status == ERR_OK && i < n; i++)
        ret_power[i] = -w[i];
    free(work);
    free(iwork);
    return status;
}

static void project(const float *X, size_t n, size_t D, const double *mean, const double *v,
                    float *ret_y /* stride 2 */)
{
    size_t top = 0;
    double sign;

    for (size_t a = 0; a < D; a++)
        if (fabs(v[a]) > fabs(v[top]))
            top = a;
    sign = v[top] < 0 ? -1 : 1;
    for (size_t i = 0; i < n; i++) {
        double y = 0;

        for (size_t a = 0; a < D; a++)
            y += ((double)X[i * D + a] - mean[a]) * v[a];
        ret_y[2 * i] = (float)(sign * y);
    }
}

int pca_plane(const float *X, size_t n, size_t D, float *ret_Y, double ret_share[2],
              struct err *err)
{
    const size_t n_axes = D > 1 ? 2 : 1;
    double *C = calloc(D * D + 3 * D + 1, sizeof(*C)), power[2], total = 0;
    int status = ERR_OK;

    assert(D <= PCA_COLUMNS_MAX);
    if (C == NULL)
        return err_oom(err, "a map of embeddings");
    double *mean = C + D * D, *V = mean + D;
    memset(ret_Y, 0, 2 * n * sizeof(*ret_Y));
    ret_share[0] = ret_share[1] = 0;
    covariance(X, n, D, mean, C);
    for (size_t a = 0; a < D; a++)
        total += C[a * D + a];
    if (total > 0)
        status = pca_strongest(C, D, n_axes, power, V, err);
    for (size_t k = 0; status == ERR_OK && total > 0 && k < n_axes; k++) {
        project(X, n, D, mean, V + k * D, ret_Y + k);
        ret_share[k] = power[k] / total;
    }
    free(C);
    return status;
}

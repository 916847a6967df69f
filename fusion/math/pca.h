#ifndef MMF_FUSION_MATH_PCA_H
#define MMF_FUSION_MATH_PCA_H

/* The two directions in which rows differ most: a map of embeddings. Deterministic: the covariance
 * in double, its eigenvectors by LAPACK's dsyevr, each turned so that its largest element is
 * positive. Legend: n rows, D columns. */

#include "config/err.h"

#include <stddef.h>

#define PCA_COLUMNS_MAX 1024

/* ret_share: what part of the variance each direction holds; 0 for rows that are all the same. */
int pca_plane(const float *X /* (n, D) */, size_t n, size_t D, float *ret_Y /* (n, 2) */,
              double ret_share[2], struct err *err);

/* The n largest eigenvalues of the symmetric C (D, D), of which the upper triangle is read and all is
 * overwritten, largest first, and their eigenvectors, the rows of ret_V (n, D). */
int pca_strongest(double *C, size_t D, size_t n, double *ret_power /* (n) */,
                  double *ret_V /* (n, D) */, struct err *err);

#endif

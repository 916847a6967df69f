#include "planted.h"

#include "fusion/math/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LATENT = 8 };
static const double noise = 0.1, sharpness = 3;

static double uniform(struct rng *rng)
{
    return ((double)rng_float(rng) + 0.5 / (1 << 24));
}

/* Box and Muller, 1958. */
static double normal(struct rng *rng)
{
    double radius = sqrt(-2 * log(uniform(rng)));
    return radius * cos(6.283185307179586 * uniform(rng));
}

/* One modality: latent z (LATENT) of every item and its columns, `first` on, of X. */
static void make_modality(struct rng *rng, size_t first, double *ret_z, float *ret_X)
{
    double P[LATENT][PLANTED_COLUMNS];
    for (size_t k = 0; k < LATENT; k++)
        for (size_t j = 0; j < PLANTED_COLUMNS; j++)
            P[k][j] = normal(rng) / sqrt(LATENT);
    for (size_t i = 0; i < PLANTED_ITEMS; i++) {
        double *z = ret_z + i * LATENT;
        for (size_t k = 0; k < LATENT; k++)
            z[k] = normal(rng);
        for (size_t j = 0; j < PLANTED_COLUMNS; j++) {
            double x = noise * normal(rng);
            for (size_t k = 0; k < LATENT; k++)
                x += z[k] * P[k][j];
            ret_X[i * 2 * PLANTED_COLUMNS + first + j] = (float)x;
        }
    }
}

/* p over visual z. */
static void make_liked(bool is_item_specific, double *visual, const double *acoustic)
{
    for (size_t i = 0; i < PLANTED_ITEMS; i++) {
        double *v = visual + i * LATENT;
        const double *a = acoustic + i * LATENT;
        bool takes_acoustic = v[0] * a[0] <= 0;
        for (size_t k = 0; k < LATENT; k++) {
            if (!is_item_specific)
                v[k] = (v[k] + a[k]) / sqrt(2);
            else if (takes_acoustic)
                v[k] = a[k];
        }
    }
}

/* The PICKS items of highest weight + Gumbel noise: a draw without replacement. */
static void pick(struct rng *rng, uint32_t user, const double *p, struct csr_pair *ret_pairs)
{
    double q[LATENT], length = 0, best[PLANTED_PICKS];
    for (size_t k = 0; k < LATENT; k++) {
        q[k] = normal(rng);
        length += q[k] * q[k];
    }
    size_t n = 0;
    for (uint32_t i = 0; i < PLANTED_ITEMS; i++) {
        double score = -log(-log(uniform(rng)));
        for (size_t k = 0; k < LATENT; k++)
            score += sharpness / sqrt(length) * q[k] * p[i * LATENT + k];
        size_t at = n < PLANTED_PICKS ? n++ : PLANTED_PICKS - 1;
        if (at + 1 == PLANTED_PICKS && i >= PLANTED_PICKS && score <= best[at])
            continue;
        for (; at > 0 && best[at - 1] < score; at--) {
            best[at] = best[at - 1];
            ret_pairs[at] = ret_pairs[at - 1];
        }
        best[at] = score;
        ret_pairs[at] = (struct csr_pair){user, i};
    }
}

bool planted_make(bool is_item_specific, uint64_t seed, float **ret_X,
                  struct csr_pair **ret_pairs)
{
    struct rng rng;
    float *X = malloc((size_t)PLANTED_ITEMS * 2 * PLANTED_COLUMNS * sizeof(*X));
    struct csr_pair *pairs = malloc((size_t)PLANTED_USERS * PLANTED_PICKS * sizeof(*pairs));
    double *visual = malloc((size_t)PLANTED_ITEMS * LATENT * sizeof(*visual));
    double *acoustic = malloc((size_t)PLANTED_ITEMS * LATENT * sizeof(*acoustic));
    bool ok = X && pairs && visual && acoustic;
    rng_init(&rng, seed);
    if (ok) {
        make_modality(&rng, 0, visual, X);
        make_modality(&rng, PLANTED_COLUMNS, acoustic, X);
        make_liked(is_item_specific, visual, acoustic);
        for (uint32_t u = 0; u < PLANTED_USERS; u++)
            pick(&rng, u, visual, pairs + (size_t)u * PLANTED_PICKS);
        *ret_X = X;
        *ret_pairs = pairs;
    } else {
        free(X);
        free(pairs);
    }
    free(visual);
    free(acoustic);
    return ok;
}

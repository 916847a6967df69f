#ifndef MMF_FUSION_TRAIN_ALS_H
#define MMF_FUSION_TRAIN_ALS_H

/* Implicit alternating least squares: vectors of users and items from the interactions alone, each
 * half-sweep in closed form. Legend: U users, I items, d width, S the pairs, n_u and n_i pairs of a
 * user and of an item.
 *
 *   L = Σ_(u,i)∈S (v_u·y_i - 1)² + a0 Σ_u Σ_i (v_u·y_i)²
 *       + Σ_u λ (n_u + a0 I') |v_u|² + Σ_i λ (n_i + a0 U') |y_i|²
 *   a0 = ALS_EMPTY |S| / (U' I')      λ = c/5 (1/√(|S|/U') + 1/√(|S|/I'))
 *
 * (Hu, Koren, Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", 2008; λ scaled by
 * frequency as in Rendle et al., "Revisiting the Performance of iALS on Item Recommendation
 * Benchmarks", 2022, with ν = 1.) U' and I' count those with a pair only, so that a catalogue
 * full of new items changes nothing. a0 makes all the empty cells together weigh ALS_EMPTY times as
 * much as the pairs, and λ falls with the pairs that a vector rests on.
 *
 * Of a half-sweep the given side's vectors are first turned into the basis in which their Gram
 * matrix is diagonal (every score stays what it is), then each row is one fold_user (fold.h). The
 * last half-sweep is of the users: what comes out is in that basis, largest direction first, and
 * `fold` gives every user's vector again, to the byte. The eigenvectors of each half-sweep are LAPACK's
 * (pca.h): a training is the same for one number of BLAS threads on one kind of processor. */

#include "config/err.h"
#include "fusion/math/csr.h"
#include "fusion/model/fold.h"

#include <stdbool.h>
#include <stdint.h>

#define ALS_EMPTY 4

struct als_options {
    uint32_t d;       /* 1 to FOLD_WIDTH_MAX */
    uint32_t sweeps;  /* >= 1, each items and then users, after one half-sweep of the users */
    float c;          /* > 0 */
    uint64_t seed;    /* of the item rows at the start */
    unsigned threads; /* any number gives the same bytes */
    /* After each sweep, counted from 1; NULL = nobody asks. false: this one was the last, and what
     * comes out is what fewer sweeps give. */
    bool (*progress)(void *arg, uint32_t sweep);
    void *arg;
};

struct als {
    uint32_t n_users, n_items, d;
    float *users;     /* (U, d), zero without a pair */
    float *items;     /* (I, d), zero without a pair */
    float *power;     /* (d) fold.power */
    struct fold fold; /* of users; without any pair it is one whose every power is 1 */
    double seconds;   /* of the clock */
};

/* d 128, 12 sweeps, c .5, seed 1, one thread. */
void als_options_init(struct als_options *o);
/* R: users × items; its values are not looked at. ERR_RETRY without memory, ERR_FATAL EX_SOFTWARE
 * when LAPACK gives up. */
int als_train(const struct als_options *o, const struct csr *R, struct als *ret,
              struct err *err);
void als_done(struct als *als);

#endif

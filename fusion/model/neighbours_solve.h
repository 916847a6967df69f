#ifndef MMF_FUSION_MODEL_NEIGHBOURS_SOLVE_H
#define MMF_FUSION_MODEL_NEIGHBOURS_SOLVE_H

/* Inside fusion/: what both ways to a row (neighbours.h) have in common. */

#include "config/err.h"

#include <stddef.h>
#include <stdint.h>

struct neighbours_options;

void neighbours_check(const struct neighbours_options *o); /* asserts the ranges */
double neighbours_power(size_t degree, double exponent);   /* degree^-exponent, 0 for 0 */
double neighbours_pick(const struct neighbours_options *o, double diagonal); /* G_ii^-¼ */

/* The n_max best of what is offered, ties to the lower id. */
struct neighbours_choice {
    size_t n, n_max;
    struct neighbours_chosen {
        double score;
        int64_t id;
        uint32_t at; /* the caller's */
        float g;     /* the caller's */
    } * best;        /* (n_max) a heap, the worst one first */
};

int neighbours_choice_init(struct neighbours_choice *c, size_t n_max, struct err *err);
void neighbours_choice_offer(struct neighbours_choice *c, struct neighbours_chosen one);
/* By id, ascending: no longer a heap. */
void neighbours_choice_sort(struct neighbours_choice *c);
void neighbours_choice_done(struct neighbours_choice *c);

/* Floats from one row to the next of an equation of n_max unknowns. */
size_t neighbours_stride(size_t n_max);
/* A (n, stride): the upper triangle of G_SS and in column n, G_Sj; it is overwritten. x (n) with
 * (G_SS + ridge 1) x = G_Sj, by Cholesky's factors: one order of operations on every processor.
 * Returns G_Sj·x. G_SS is positive semidefinite but for rounding, ridge > 0. */
double neighbours_solve(size_t n, size_t stride, float ridge, float *A, float *ret_x);
/* x (n) → the row's values; returns the item's scale. explained: of neighbours_solve. */
float neighbours_close(const struct neighbours_options *o, double diagonal, float ridge,
                       double explained, size_t n_users, size_t n, float *x);

#endif

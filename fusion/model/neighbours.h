#ifndef MMF_FUSION_MODEL_NEIGHBOURS_H
#define MMF_FUSION_MODEL_NEIGHBOURS_H

/* Items that go with an item, in closed form: a ridge regression of each item on the M that share
 * most with it. After EASE (Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019,
 * eq. 8: B_ji = -P_ji / P_ii, P = (G + ρ1)⁻¹), of which each row is made from the block of G around
 * its item alone, so that it costs what its neighbourhood costs and can be made again by itself.
 *
 *   G = Rᵀ D_u^-½ R               users weigh by the root of their number of items
 *   S_j  the M items i ≠ j with the largest G_ij · G_ii^-¼ > 0, ties to the lower one
 *   (G_SS + ρ1) x = G_Sj          r_j = G_jj + ρ - G_Sj·x, the residual: P_jj = 1 / r_j
 *   value_ji = x_i / r_j          P is symmetric: -P_ji / P_ii = (x_i / r_j) · r_i
 *   scale_i = r_i · n_i^-¼        n_i users of item i: what is popular anyway counts for less
 *
 * and the item i is worth Σ_j value_ji · scale_i to a user who has the items j (rank.h: rank_extra).
 * ρ is a multiple of the mean of G's diagonal over the items with users, once for a model.
 *
 * An entry of G is a sum in double in the order of the users, rounded to float: the same bytes
 * whichever way it was made. Legend: U users, I items. */

#include "config/err.h"
#include "fusion/math/csr.h"
#include "fusion/math/team.h"
#include "fusion/model/neighbourhood_source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NEIGHBOURS_MAX 512 /* limit of n_max */

struct neighbours_options {
    uint32_t n_max;        /* M, 1 … NEIGHBOURS_MAX */
    double user_exponent;  /* of a user's number of items in G, as ½ above */
    double pick_exponent;  /* of G_ii in the choice of S */
    double scale_exponent; /* of n_i in the scale */
    double ridge;          /* ρ in means of the diagonal, > 0 */
};
extern const struct neighbours_options neighbours_defaults; /* 100, ½, ¼, ¼, 10 */

/* The rows of all items. R (U, I), without regard to values; options NULL = the defaults. ret_rows
 * (I, I) with value, rows of at most M; empty rows and scale 0 for items without users. Any number
 * of threads gives the same bytes.
 *
 * Time: Σ_u d_u² for G_Sj, d_u items of a user; M³/6 for the solution of each; G_SS from a table
 * for the 4,096 items whose users have most items, otherwise from the users of its rarer items, each
 * at the cost of its items, or of M searches where it has many: a user of 10⁴ items costs some
 * seconds in all. Memory beside the result: 64 MB for the table, 14 I bytes a thread. */
int neighbours_build(const struct csr *R, const struct neighbours_options *options,
                     struct team *team, struct csr *ret_rows, float **ret_scale /* (I) */,
                     float *ret_ridge /* ρ */, struct err *err);

/* ---- one row --------------------------------------------------------------------------------- */

struct neighbourhood; /* neighbourhood.h */
struct neighbours;

/* What single rows are made with; not thread-safe. Edges and degrees are asked of `source` (no other
 * function of it is called) and kept until neighbours_clear. */
int neighbours_new(const struct neighbourhood_source *source,
                   const struct neighbours_options *options, struct neighbours **ret_w,
                   struct err *err);
/* The same with the edges and degrees that h keeps, which must outlive it: whoever changes the graph
 * tells h (neighbourhood_forget). */
int neighbours_new_in(struct neighbourhood *h, const struct neighbours_options *options,
                      struct neighbours **ret_w, struct err *err);
void neighbours_clear(struct neighbours *w); /* forgets; nothing in a neighbourhood's */
void neighbours_free(struct neighbours *w);  /* takes NULL */

struct neighbours_row {
    const int64_t *items; /* (n) nodes, ascending; the workspace's until its next call */
    const float *values;  /* (n) */
    size_t n;
    float scale;
};

/* The row of an item (a node), ridge being ρ: as neighbours_build makes it, byte for byte where the
 * source gives edges in ascending order and items and users are numbered alike in both; otherwise to
 * 1e-5 but for what ties in the choice of S. *ret_too_big: more than max_edges edges would be looked
 * at, that is, those of the item's users, of what may be chosen, and of S; ret_row is left alone. */
int neighbours_row(struct neighbours *w, int64_t item, float ridge, size_t max_edges,
                   struct neighbours_row *ret_row, bool *ret_too_big, struct err *err);
/* Edges looked at by the last call. */
size_t neighbours_edges(const struct neighbours *w);

#endif

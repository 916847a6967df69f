#ifndef MMF_DAEMON_MODEL_BECAUSE_H
#define MMF_DAEMON_MODEL_BECAUSE_H

/* What the items that a user has say about others, as the store holds it (store/models.h), and which
 * of them say most: the neighbours' part of a list, and its "because".
 *
 *   part(i) = weight · Σ_{j ∈ history} value_ji · scale_i
 *
 * Rows are read of the history alone. Legend: I items of the list, J items of the history that have
 * a row. */

#include "config/err.h"
#include "fusion/math/csr.h"
#include "fusion/math/rank.h"
#include "store/models.h"

#include <stddef.h>
#include <stdint.h>

struct because {
    struct csr history; /* (1, J) */
    struct csr rows;    /* (J, I) value_ji */
    float *scale;       /* (I) */
    float weight;       /* 0 = the model has no neighbours */
    uint32_t *from;     /* (J) row of j in the list's items; RANK_NONE: it is not among them */
};

/* history (n): rids, ascending. items by rid. What a row names and the list has not is left out. */
int because_read(struct store *st, int64_t model_id, const int64_t *history, size_t n,
                 const struct store_rows *items, struct because *ret_b, struct err *err);
void because_done(struct because *b);
/* Borrows b. */
struct rank_extra because_extra(const struct because *b);

/* What an item's score has of it, and the items of the history with the largest parts above 0, largest first;
 * equal ones in the order of their rows. */
enum { BECAUSE_MAX = 3 };
struct because_part {
    double sum;
    size_t n;
    uint32_t from[BECAUSE_MAX]; /* rows of the list's items */
    double part[BECAUSE_MAX];
};
/* Of n different rows of the list's items. ret_parts (n). */
int because_parts(const struct because *b, const uint32_t *rows, size_t n,
                  struct because_part *ret_parts, struct err *err);

#endif

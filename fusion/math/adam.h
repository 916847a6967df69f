#ifndef MMF_FUSION_MATH_ADAM_H
#define MMF_FUSION_MATH_ADAM_H

/* Adam (Kingma and Ba, 2015) as PyTorch's torch.optim.Adam: beta 0.9 and 0.999, epsilon 1e-8, bias
 * corrected, weight decay added to the gradient (coupled L2). */

#include "fusion/math/team.h"

#include <stddef.h>
#include <stdint.h>

struct adam {
    float lr, decay;
    int64_t step; /* of the last update; the first one is 1 */
};

/* One update of n weights; g, m, v are (n). Call adam_begin once a step, then this for each
 * range of weights. g is left as it is. */
void adam_begin(struct adam *adam);
void adam_update(const struct adam *adam, struct team *team /* NULL = one thread */, float *w,
                 const float *g, float *m, float *v, size_t n);

#endif

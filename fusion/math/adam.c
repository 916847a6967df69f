/* Bound by memory: five streams of floats, read or written once. Every element is on its own, so
 * neither the vector width nor the number of threads changes a bit. */

#include "fusion/math/adam.h"

#include "fusion/math/clones.h"

#include <math.h>

#define BETA1   0.9F
#define BETA2   0.999F
#define EPSILON 1e-8F

enum { PART = 1 << 18 };

void adam_begin(struct adam *adam)
{
    adam->step++;
}

struct update {
    float *w, *m, *v;
    const float *g;
    size_t n;
    float decay, step_size, rsqrt_v;
};

CLONES static void update_range(float *restrict w, const float *restrict g, float *restrict m,
                                float *restrict v, size_t n, float decay, float step_size,
                                float rsqrt_v)
{
    for (size_t i = 0; i < n; i++) {
        float grad = g[i] + decay * w[i];
        m[i] = BETA1 * m[i] + (1 - BETA1) * grad;
        v[i] = BETA2 * v[i] + (1 - BETA2) * grad * grad;
        w[i] -= step_size * m[i] / (sqrtf(v[i]) * rsqrt_v + EPSILON);
    }
}

static void update_part(void *arg, size_t part)
{
    const struct update *u = arg;
    size_t at = part * PART, n = u->n - at < PART ? u->n - at : PART;
    update_range(u->w + at, u->g + at, u->m + at, u->v + at, n, u->decay, u->step_size,
                 u->rsqrt_v);
}

void adam_update(const struct adam *adam, struct team *team, float *w, const float *g, float *m,
                 float *v, size_t n)
{
    double t = (double)adam->step;
    struct update u = {
        .w = w,
        .m = m,
        .v = v,
        .g = g,
        .n = n,
        .decay = adam->decay,
        .step_size = (float)((double)adam->lr / (1 - pow((double)BETA1, t))),
        .rsqrt_v = (float)(1 / sqrt(1 - pow((double)BETA2, t))),
    };
    team_run(team, (n + PART - 1) / PART, update_part, &u);
}

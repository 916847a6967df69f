#ifndef MMF_FUSION_MODEL_NEIGHBOURS_H
#define MMF_FUSION_MODEL_NEIGHBOURS_H
#include "fusion/math/csr.h"
#include "fusion/math/team.h"
struct neighbours_options { uint32_t M; };
static inline void neighbours_defaults(struct neighbours_options *o) { o->M = 100; }
int neighbours_build(const struct csr *R, const struct neighbours_options *o, struct team *team,
                     struct csr *ret_rows, float **ret_scale, float *ret_ridge, struct err *err);
#endif

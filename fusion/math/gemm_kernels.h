#ifndef MMF_FUSION_MATH_GEMM_KERNELS_H
#define MMF_FUSION_MATH_GEMM_KERNELS_H

/* Inside fusion/: the kernels that gemm.c chooses from. */

#include "fusion/math/gemm.h"

extern const struct gemm_kernel gemm_kernel_scalar;
#if defined(__x86_64__)
extern const struct gemm_kernel gemm_kernel_avx2, gemm_kernel_avx512;
#endif

#endif

#ifndef MMF_FUSION_MATH_CLONES_H
#define MMF_FUSION_MATH_CLONES_H

/* Inside fusion/: an element-wise loop compiled twice, the loader takes the version that the
 * processor runs. -ffp-contract=off makes both the same arithmetic, byte for byte. Sanitizers
 * start before the loader could ask. */

#if defined(__x86_64__) && !defined(MMF_SANITIZE_BUILD)
#define CLONES __attribute__((target_clones("avx2", "default")))
#else
#define CLONES
#endif

#endif

#ifndef MMF_FUSION_FILE_HALF_H
#define MMF_FUSION_FILE_HALF_H

/* The two 16-bit floating-point formats of model and array files, as float. */

#include <stdint.h>
#include <string.h>

/* IEEE 754 binary16: 1 sign, 5 exponent (bias 15), 10 fraction bits. Exact. */
static inline float half_from_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = (h >> 10) & 0x1fu, fraction = h & 0x3ffu, bits;
    float f;

    if (exponent == 0) { /* zero and subnormals: fraction * 2^-24 */
        f = (float)fraction * 0x1p-24f;
        return sign != 0 ? -f : f;
    }
    bits = sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | fraction << 13;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

/* bfloat16 is the upper half of a binary32. Exact. */
static inline float half_from_bf16(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float f;

    memcpy(&f, &bits, sizeof(f));
    return f;
}

#endif

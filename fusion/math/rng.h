#ifndef MMF_FUSION_MATH_RNG_H
#define MMF_FUSION_MATH_RNG_H

/* The deterministic generator of everything random in fusion/: xoshiro256** (Blackman and
 * Vigna, "Scrambled linear pseudorandom number generators", 2018), its state filled by splitmix64
 * from one seed. Integer arithmetic only: the same seed gives the same numbers on every machine.
 * Plain data, so that a checkpoint stores the 32 bytes. Not thread-safe: one struct a thread. */

#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_init(struct rng *rng, uint64_t seed);
/* An independent stream of the same seed: seeds with a mix of both numbers. */
void rng_init_stream(struct rng *rng, uint64_t seed, uint64_t stream);
uint64_t rng_next(struct rng *rng);
/* Uniform in [0, n), without bias; n >= 1. */
uint64_t rng_below(struct rng *rng, uint64_t n);
/* Uniform in [0, 1), a multiple of 2^-24. */
float rng_float(struct rng *rng);
/* n values uniform in [-bound, bound). */
void rng_fill(struct rng *rng, float *ret_values, size_t n, float bound);
/* Fisher-Yates. */
void rng_shuffle(struct rng *rng, uint32_t *values, size_t n);

#endif

#include "fusion/math/rng.h"

#include <assert.h>

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void rng_init(struct rng *rng, uint64_t seed)
{
    for (size_t i = 0; i < 4; i++)
        rng->s[i] = splitmix64(&seed);
}

void rng_init_stream(struct rng *rng, uint64_t seed, uint64_t stream)
{
    uint64_t mixed = splitmix64(&stream);

    rng_init(rng, seed ^ mixed);
}

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

uint64_t rng_next(struct rng *rng)
{
    uint64_t *s = rng->s, result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint64_t rng_below(struct rng *rng, uint64_t n)
{
    uint64_t reject = (0 - n) % n; /* 2^64 mod n: the values that would favour small results */
    uint64_t x;

    assert(n >= 1);
    do {
        x = rng_next(rng);
    } while (x < reject);
    return x % n;
}

float rng_float(struct rng *rng)
{
    return (float)(rng_next(rng) >> 40) * 0x1p-24f;
}

void rng_fill(struct rng *rng, float *ret_values, size_t n, float bound)
{
    for (size_t i = 0; i < n; i++)
        ret_values[i] = (rng_float(rng) * 2.0f - 1.0f) * bound;
}

void rng_shuffle(struct rng *rng, uint32_t *values, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)rng_below(rng, i);
        uint32_t moved = values[i - 1];

        values[i - 1] = values[j];
        values[j] = moved;
    }
}

#ifndef MMF_BENCH_RECOMMEND_H
#define MMF_BENCH_RECOMMEND_H

/* What bench_recommend was asked for, and the data. */

#include "fusion/file/npy.h"
#include "fusion/train/train.h"

#include <stddef.h>
#include <stdint.h>

struct pairs {
    struct csr_pair *pair;
    size_t n;
};

struct bench {
    struct train_options train;
    const char *folder, *test;
    uint32_t runs, members, seed, held, hide, quiet, diagnose, floor;
    int32_t width[MODEL_LAYERS_MAX];
    struct npy image, audio;
    float *X;      /* (n_items, F) */
    uint8_t *mask; /* (n_items) */
    uint32_t n_users, n_items;
    struct pairs all, test_pairs;
};

/* Says what is wrong, and exits. */
_Noreturn void die(const char *what, const char *why);
/* DATA name=value …; the rest of b is zero. */
void bench_recommend_parse(struct bench *b, int argc, char **argv);

#endif

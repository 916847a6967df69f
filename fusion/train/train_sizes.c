#include "fusion/train/train_sizes.h"

enum { WIDTH_MAX = 1024, HIDDEN_MAX = 3, BATCH = 3000, BATCH_MIN = 64, STEPS_MIN = 16 };

void train_widths(int32_t F, int32_t out, struct model_shape *shape)
{
    int32_t width = WIDTH_MAX;

    while (width > F / 2)
        width /= 2;
    shape->L = 0;
    for (; shape->L < HIDDEN_MAX && width > out; width /= 2)
        shape->width[++shape->L] = width;
    shape->width[++shape->L] = out;
}

uint32_t train_batch(size_t n_pairs)
{
    size_t batch = n_pairs / STEPS_MIN;

    return batch > BATCH ? BATCH : batch < BATCH_MIN ? BATCH_MIN : (uint32_t)batch;
}

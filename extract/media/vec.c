/* vec.h. Sums run in double, in index order: the same numbers give the same bytes. */

#include "extract/media/vec.h"

#include "extract/wire/layout.h"

#include <math.h>

#define TINY 1e-12

void vec_root(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = copysignf(sqrtf(fabsf(x[i])), x[i]);
}

void vec_centre(float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i];
    float mean = n ? (float)(sum / (double)n) : 0;
    for (size_t i = 0; i < n; i++)
        x[i] -= mean;
}

/* x ← length · x/|x|; a block without content stays zero. */
static void unit(float *x, size_t n, float length)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    float scale = sum > TINY ? (float)((double)length / sqrt(sum)) : 0;
    for (size_t i = 0; i < n; i++)
        x[i] *= scale;
}

void vec_weigh(enum modality m, float *vec)
{
    size_t n_blocks;
    const struct layout_block *blocks = layout_blocks(m, &n_blocks);
    size_t offset = 0;
    for (size_t i = 0; i < n_blocks; i++) {
        unit(vec + offset, blocks[i].dim, blocks[i].weight);
        offset += blocks[i].dim;
    }
    unit(vec, offset, 1.0f);
}

void vec_mean_dev(const float *rows, size_t n_rows, size_t stride, size_t n, float *ret_mean,
                  float *ret_dev)
{
    for (size_t j = 0; j < n; j++) {
        double sum = 0, squares = 0;
        for (size_t i = 0; i < n_rows; i++)
            sum += (double)rows[i * stride + j];
        double mean = n_rows ? sum / (double)n_rows : 0;
        for (size_t i = 0; i < n_rows; i++) {
            double d = (double)rows[i * stride + j] - mean;
            squares += d * d;
        }
        ret_mean[j] = (float)mean;
        ret_dev[j] = n_rows ? (float)sqrt(squares / (double)n_rows) : 0;
    }
}

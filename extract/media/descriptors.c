/* descriptors.h. Sources: layout.c. All of it works on the canvas of 224² luma and 112² chroma
 * and on luma halved, so a picture costs about a quarter of a millisecond. */

#include "extract/media/descriptors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void halve(const uint8_t *src, int side, uint8_t *dst)
{
    int half = side / 2;
    for (int y = 0; y < half; y++) {
        const uint8_t *a = src + 2 * y * side, *b = a + side;
        for (int x = 0; x < half; x++)
            dst[y * half + x] =
                (uint8_t)((a[2 * x] + a[2 * x + 1] + b[2 * x] + b[2 * x + 1] + 2) >> 2);
    }
}

void pyramid_build(const struct canvas *c, struct pyramid *ret_pyramid)
{
    halve(c->y, CANVAS_SIDE, ret_pyramid->half);
    halve(ret_pyramid->half, 112, ret_pyramid->quarter);
    halve(ret_pyramid->quarter, 56, ret_pyramid->eighth);
}

/* Means of an 8×8 grid, less mid-grey. */
static void grid_means(const uint8_t *plane, int side, float ret[64])
{
    int cell = side / 8;
    for (int gy = 0; gy < 8; gy++) {
        unsigned sums[8] = {0};
        for (int y = gy * cell; y < (gy + 1) * cell; y++)
            for (int x = 0; x < side; x++)
                sums[x / cell] += plane[y * side + x];
        for (int gx = 0; gx < 8; gx++)
            ret[gy * 8 + gx] = (float)sums[gx] / (float)(cell * cell) - 128.0f;
    }
}

/* [k][n] = ½ cos((2n+1)kπ/16), the first row times 1/√2. */
static const float dct_basis[8][8] = {
    {0.35355339f, 0.35355339f, 0.35355339f, 0.35355339f, 0.35355339f, 0.35355339f, 0.35355339f,
     0.35355339f},
    {0.49039264f, 0.41573481f, 0.27778512f, 0.09754516f, -0.09754516f, -0.27778512f,
     -0.41573481f, -0.49039264f},
    {0.46193977f, 0.19134172f, -0.19134172f, -0.46193977f, -0.46193977f, -0.19134172f,
     0.19134172f, 0.46193977f},
    {0.41573481f, -0.09754516f, -0.49039264f, -0.27778512f, 0.27778512f, 0.49039264f,
     0.09754516f, -0.41573481f},
    {0.35355339f, -0.35355339f, -0.35355339f, 0.35355339f, 0.35355339f, -0.35355339f,
     -0.35355339f, 0.35355339f},
    {0.27778512f, -0.49039264f, 0.09754516f, 0.41573481f, -0.41573481f, -0.09754516f,
     0.49039264f, -0.27778512f},
    {0.19134172f, -0.46193977f, 0.46193977f, -0.19134172f, -0.19134172f, 0.46193977f,
     -0.46193977f, 0.19134172f},
    {0.09754516f, -0.27778512f, 0.41573481f, -0.49039264f, 0.49039264f, -0.41573481f,
     0.27778512f, -0.09754516f},
};

static const uint8_t zigzag[21] = {0,  1,  8,  16, 9, 2,  3,  10, 17, 24, 32,
                                   25, 18, 11, 4,  5, 12, 19, 26, 33, 40};

/* The first n coefficients of the 8×8 DCT-II in zigzag order. */
static void dct_zigzag(const float grid[64], int n, float *ret)
{
    float rows[64]; /* DCT along x */
    for (int y = 0; y < 8; y++)
        for (int k = 0; k < 8; k++) {
            float sum = 0;
            for (int x = 0; x < 8; x++)
                sum += grid[y * 8 + x] * dct_basis[k][x];
            rows[y * 8 + k] = sum;
        }
    for (int i = 0; i < n; i++) {
        int ky = zigzag[i] / 8, kx = zigzag[i] % 8;
        float sum = 0;
        for (int y = 0; y < 8; y++)
            sum += rows[y * 8 + kx] * dct_basis[ky][y];
        ret[i] = sum;
    }
}

void describe_colour_layout(const struct canvas *c, float ret[COLOUR_LAYOUT_DIM])
{
    float grid[64];
    grid_means(c->y, CANVAS_SIDE, grid);
    dct_zigzag(grid, 21, ret);
    grid_means(c->cb, CANVAS_CHROMA, grid);
    dct_zigzag(grid, 10, ret + 21);
    grid_means(c->cr, CANVAS_CHROMA, grid);
    dct_zigzag(grid, 10, ret + 31);
}

#define EDGE_THRESHOLD 11 /* of 255, the standard's value */

/* The kind of edge of a 2×2 block of means, -1 = none. The filters are those of the
 * standard. */
static int edge_kind(int a, int b, int c, int d)
{
    int strength[5] = {
        1000 * abs(a - b + c - d), 1000 * abs(a + b - c - d), 1414 * abs(a - d),
        1414 * abs(b - c),         2000 * abs(a - b - c + d),
    };
    int best = 0;
    for (int k = 1; k < 5; k++)
        if (strength[k] > strength[best])
            best = k;
    return strength[best] > 1000 * EDGE_THRESHOLD ? best : -1;
}

void describe_edges(const struct pyramid *p, float ret[EDGES_DIM])
{
    unsigned counts[EDGES_DIM] = {0};
    for (int y = 0; y < 56; y++) {
        for (int x = 0; x < 56; x++) {
            const uint8_t *q = p->half + 2 * y * 112 + 2 * x;
            int kind = edge_kind(q[0], q[1], q[112], q[113]);
            if (kind >= 0)
                counts[(y / 14 * 4 + x / 14) * 5 + kind]++;
        }
    }
    for (int i = 0; i < EDGES_DIM; i++)
        ret[i] = (float)counts[i] / (14.0f * 14.0f);
}

/* Orientation of (gx, gy) modulo 180°, in eighths, without a division: tan 22.5° = 0.41421. */
static int orientation(int gx, int gy)
{
    if (gy < 0 || (gy == 0 && gx < 0)) {
        gx = -gx;
        gy = -gy;
    }
    int ax = abs(gx), octant;
    if (gy * 100000 < 41421 * ax)
        octant = 0;
    else if (gy < ax)
        octant = 1;
    else if (gy * 41421 < ax * 100000)
        octant = 2;
    else
        octant = 3;
    return gx >= 0 ? octant : 7 - octant;
}

/* One scale: 4×4 cells × 8 orientations, summing to 1. */
static void gradient_scale(const uint8_t *plane, int side, float ret[128], float ret_cells[16])
{
    float sums[128] = {0}, total = 0;
    int cell = side / 4;
    for (int y = 1; y < side - 1; y++) {
        for (int x = 1; x < side - 1; x++) {
            const uint8_t *q = plane + y * side + x;
            int gx = q[1] - q[-1], gy = q[side] - q[-side];
            int energy = gx * gx + gy * gy;
            if (energy <= 16)
                continue;
            float magnitude = sqrtf((float)energy);
            sums[(y / cell * 4 + x / cell) * 8 + orientation(gx, gy)] += magnitude;
            total += magnitude;
        }
    }
    for (int i = 0; i < 128; i++)
        ret[i] = total > 0 ? sums[i] / total : 0;
    for (int i = 0; i < 16; i++) {
        ret_cells[i] = 0;
        for (int k = 0; k < 8; k++)
            ret_cells[i] += ret[i * 8 + k];
    }
}

void describe_gradients(const struct pyramid *p, float ret[GRADIENTS_DIM],
                        float ret_cells[GRADIENT_CELLS])
{
    gradient_scale(p->half, 112, ret, ret_cells);
    gradient_scale(p->quarter, 56, ret + 128, ret_cells + 16);
    gradient_scale(p->eighth, 28, ret + 256, ret_cells + 32);
}

static float limit(float v, float low, float high)
{
    return v < low ? low : v > high ? high : v;
}

struct rgb {
    float r, g, b; /* 0 … 255 */
};

/* BT.601 full range at quarter size: chroma by the mean of 2×2. */
static struct rgb quarter_rgb(const struct canvas *c, const struct pyramid *p, int x, int y)
{
    int i = 2 * y * CANVAS_CHROMA + 2 * x;
    float luma = p->quarter[y * 56 + x];
    float cb = (float)(c->cb[i] + c->cb[i + 1] + c->cb[i + 112] + c->cb[i + 113]) / 4 - 128;
    float cr = (float)(c->cr[i] + c->cr[i + 1] + c->cr[i + 112] + c->cr[i + 113]) / 4 - 128;
    return (struct rgb){limit(luma + 1.402f * cr, 0, 255),
                        limit(luma - 0.344136f * cb - 0.714136f * cr, 0, 255),
                        limit(luma + 1.772f * cb, 0, 255)};
}

static int hue_bin(struct rgb c)
{
    float high = fmaxf(c.r, fmaxf(c.g, c.b)), low = fminf(c.r, fminf(c.g, c.b));
    float chroma = high - low;
    if (high < 24 || chroma < 0.12f * high)
        return (int)fminf(high / 32.0f, 7);
    float h; /* in sixths of the circle */
    if (high == c.r)
        h = (c.g - c.b) / chroma;
    else if (high == c.g)
        h = 2 + (c.b - c.r) / chroma;
    else
        h = 4 + (c.r - c.g) / chroma;
    int hue = (int)floorf((h < 0 ? h + 6 : h) * (14.0f / 6.0f));
    hue = hue > 13 ? 13 : hue;
    return 8 + hue * 4 + (chroma > 0.45f * high) * 2 + (high > 128);
}

void describe_hue(const struct canvas *c, const struct pyramid *p, float ret[HUE_DIM])
{
    unsigned counts[HUE_DIM] = {0};
    for (int y = 0; y < 56; y++)
        for (int x = 0; x < 56; x++)
            counts[hue_bin(quarter_rgb(c, p, x, y))]++;
    for (int i = 0; i < HUE_DIM; i++)
        ret[i] = (float)counts[i] / (56.0f * 56.0f);
}

struct moments {
    double sum, squares;
};

static void add(struct moments *m, float v)
{
    m->sum += (double)v;
    m->squares += (double)v * (double)v;
}

static float mean_of(const struct moments *m, double n)
{
    return (float)(m->sum / n);
}

static float dev_of(const struct moments *m, double n)
{
    double mean = m->sum / n, variance = m->squares / n - mean * mean;
    return variance > 0 ? (float)sqrt(variance) : 0;
}

/* Mean |Laplacian| at half size: what blur takes away. */
static float sharpness(const uint8_t *q)
{
    unsigned sum = 0;
    for (int y = 1; y < 111; y++)
        for (int x = 1; x < 111; x++) {
            const uint8_t *c = q + y * 112 + x;
            sum += (unsigned)abs(4 * c[0] - c[1] - c[-1] - c[112] - c[-112]);
        }
    return fminf((float)sum / (110.0f * 110.0f * 64.0f), 1);
}

void describe_light(const struct canvas *c, const struct pyramid *p, float ret[LIGHT_DIM])
{
    struct moments luma = {0}, rg = {0}, yb = {0}, saturation = {0}, warmth = {0};
    unsigned n_dark = 0, n_bright = 0;
    double n = 56.0 * 56.0;
    for (int y = 0; y < 56; y++) {
        for (int x = 0; x < 56; x++) {
            float v = p->quarter[y * 56 + x];
            struct rgb s = quarter_rgb(c, p, x, y);
            float high = fmaxf(s.r, fmaxf(s.g, s.b)), low = fminf(s.r, fminf(s.g, s.b));
            add(&luma, v / 255);
            add(&rg, (s.r - s.g) / 255);
            add(&yb, (0.5f * (s.r + s.g) - s.b) / 255);
            add(&saturation, high > 0 ? (high - low) / high : 0);
            add(&warmth, (s.r - s.b) / 255);
            n_dark += v < 48;
            n_bright += v > 208;
        }
    }
    ret[0] = mean_of(&luma, n);
    ret[1] = 2 * dev_of(&luma, n);
    ret[2] = (float)((double)n_dark / n);
    ret[3] = (float)((double)n_bright / n);
    ret[4] = mean_of(&saturation, n);
    ret[5] = hypotf(dev_of(&rg, n), dev_of(&yb, n)) +
             0.3f * hypotf(mean_of(&rg, n), mean_of(&yb, n));
    ret[6] = mean_of(&warmth, n);
    ret[7] = sharpness(p->half);
}

void describe_change(const struct pyramid *a, const struct pyramid *b, float ret[MOTION_DIM])
{
    unsigned sums[MOTION_DIM] = {0};
    for (int y = 0; y < 56; y++)
        for (int x = 0; x < 56; x++)
            sums[y / 14 * 4 + x / 14] +=
                (unsigned)abs(a->quarter[y * 56 + x] - b->quarter[y * 56 + x]);
    for (int i = 0; i < MOTION_DIM; i++)
        ret[i] = (float)sums[i] / (14.0f * 14.0f * 255.0f);
}

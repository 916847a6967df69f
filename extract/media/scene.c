/* scene.h. The background is made once, a quarter larger than the picture, and copied row by row
 * with a moving offset: that is fast enough for 1080p, and its detail costs a decoder about what
 * real footage does. */

#include "extract/media/scene.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SHAPES  7
#define OCTAVES 5
#define SHOT_US 3700000
#define TONES   4
#define NOTE_HZ 110.0

struct shape {
    int y, cb, cr;
    bool round;
    double size, speed_x, speed_y, phase_x, phase_y; /* shares of the picture */
};

struct scene {
    int width, height;
    int back_width, back_height;
    uint8_t *luma;    /* (back_height, back_width) */
    uint8_t *cb, *cr; /* (back_height/2, back_width/2) */
    struct shape shapes[SHAPES];
    double pan_x, pan_y;
};

static uint64_t mix(uint64_t h)
{
    h += 0x9e3779b97f4a7c15u;
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
    return h ^ (h >> 31);
}

/* 0 … 1, a function of its arguments. */
static double chance(uint64_t a, uint64_t b, uint64_t c)
{
    return (double)(mix(mix(mix(a) ^ b) ^ c) >> 11) / 9007199254740992.0;
}

static double lattice(uint64_t key, int x, int y)
{
    return chance(key, (uint64_t)(uint32_t)x, (uint64_t)(uint32_t)y);
}

/* Value noise of one octave, 0 … 1. */
static double noise(uint64_t key, double x, double y)
{
    int ix = (int)floor(x), iy = (int)floor(y);
    double fx = x - ix, fy = y - iy;
    fx = fx * fx * (3 - 2 * fx);
    fy = fy * fy * (3 - 2 * fy);
    double top = lattice(key, ix, iy) * (1 - fx) + lattice(key, ix + 1, iy) * fx;
    double low = lattice(key, ix, iy + 1) * (1 - fx) + lattice(key, ix + 1, iy + 1) * fx;
    return top * (1 - fy) + low * fy;
}

/* Octaves with the scene's own weights; stretched so that scenes have a grain. */
static double texture(unsigned scene, double x, double y)
{
    double stretch = 0.35 + 2.0 * chance(scene, 1, 0), sum = 0, weights = 0;
    double angle = M_PI * chance(scene, 1, 1);
    double u = (x * cos(angle) - y * sin(angle)) * stretch, v = x * sin(angle) + y * cos(angle);
    for (int k = 0; k < OCTAVES; k++) {
        double weight = pow(0.55, k) * (0.3 + chance(scene, 2, (uint64_t)k));
        sum += weight * noise(scene * 64 + (unsigned)k, u * (3 << k), v * (3 << k));
        weights += weight;
    }
    return sum / weights;
}

static uint8_t byte_of(double v)
{
    return (uint8_t)(v < 16 ? 16 : v > 235 ? 235 : v);
}

struct ground {
    double base, contrast, cb, cr, slope;
    int step; /* pictures beyond 1080p are coarser: tests make huge ones */
};

static void paint_row(struct scene *s, unsigned scene, const struct ground *g, int y)
{
    double t = 0, v = (double)y / s->width;
    for (int x = 0; x < s->back_width; x++) {
        double u = (double)x / s->width;
        if (x % g->step == 0)
            t = texture(scene, u, v) - 0.5;
        s->luma[y * s->back_width + x] = byte_of(g->base + g->contrast * t + g->slope * v);
        if (x % 2 || y % 2)
            continue;
        int i = y / 2 * (s->back_width / 2) + x / 2;
        s->cb[i] = byte_of(g->cb + 60 * t);
        s->cr[i] = byte_of(g->cr - 50 * t + g->slope * (u - 0.5));
    }
}

static void repeat_row(struct scene *s, int y)
{
    size_t width = (size_t)s->back_width;
    memcpy(s->luma + (size_t)y * width, s->luma + (size_t)(y - 1) * width, width);
    if (y % 2 || y < 2)
        return;
    size_t row = (size_t)(y / 2) * (width / 2);
    memcpy(s->cb + row, s->cb + row - width / 2, width / 2);
    memcpy(s->cr + row, s->cr + row - width / 2, width / 2);
}

static void make_background(struct scene *s, unsigned scene)
{
    struct ground g = {.base = 60 + 110 * chance(scene, 3, 0),
                       .contrast = 90 + 160 * chance(scene, 3, 1),
                       .cb = 128 + 90 * (chance(scene, 3, 2) - 0.5),
                       .cr = 128 + 90 * (chance(scene, 3, 3) - 0.5),
                       .slope = 60 * (chance(scene, 3, 4) - 0.5),
                       .step = 1 + s->width / 2048};
    for (int y = 0; y < s->back_height; y++) {
        if (y % g.step == 0)
            paint_row(s, scene, &g, y);
        else
            repeat_row(s, y);
    }
}

static void make_shapes(struct scene *s, unsigned scene, uint64_t seed)
{
    for (unsigned i = 0; i < SHAPES; i++) {
        struct shape *p = &s->shapes[i];
        p->y = (int)(30 + 190 * chance(scene, 10 + i, 0));
        p->cb = (int)(60 + 136 * chance(scene, 10 + i, 1));
        p->cr = (int)(60 + 136 * chance(scene, 10 + i, 2));
        p->round = chance(scene, 10 + i, 3) < 0.5;
        p->size = 0.04 + 0.14 * chance(scene, 10 + i, 4);
        p->speed_x = 0.02 + 0.12 * chance(scene, 10 + i, 5);
        p->speed_y = 0.02 + 0.12 * chance(scene, 10 + i, 6);
        p->phase_x = chance(scene, 10 + i, 7) + 0.1 * chance(seed, i, 1);
        p->phase_y = chance(scene, 10 + i, 8) + 0.1 * chance(seed, i, 2);
    }
    s->pan_x = 0.02 + 0.05 * chance(scene, 4, 0);
    s->pan_y = 0.01 + 0.03 * chance(scene, 4, 1);
}

int scene_new(unsigned scene, uint64_t seed, int width, int height, struct scene **ret_scene,
              struct err *err)
{
    struct scene *s = calloc(1, sizeof(*s));
    if (!s)
        return err_oom(err, "scene");
    s->width = width;
    s->height = height;
    s->back_width = (width + width / 4 + 4) & ~1;
    s->back_height = (height + height / 4 + 4) & ~1;
    size_t n = (size_t)s->back_width * (size_t)s->back_height;
    s->luma = malloc(n);
    s->cb = malloc(n / 4 + 1);
    s->cr = malloc(n / 4 + 1);
    if (!s->luma || !s->cb || !s->cr) {
        scene_free(s);
        return err_oom(err, "scene");
    }
    make_background(s, scene);
    make_shapes(s, scene, seed);
    *ret_scene = s;
    return ERR_OK;
}

void scene_free(struct scene *s)
{
    if (!s)
        return;
    free(s->luma);
    free(s->cb);
    free(s->cr);
    free(s);
}

/* 0 … 1 … 0, period 2: things turn round at the edges. */
static double bounce(double v)
{
    double part = fmod(fabs(v), 2.0);
    return part < 1 ? part : 2 - part;
}

static void copy_plane(const uint8_t *src, int src_stride, int x, int y, uint8_t *dst,
                       int dst_stride, int width, int height)
{
    for (int row = 0; row < height; row++)
        memcpy(dst + row * dst_stride, src + (row + y) * src_stride + x, (size_t)width);
}

static void fill_spans(uint8_t *plane, int stride, int width, int height, double cx, double cy,
                       double r, bool round, int value)
{
    int from = (int)floor(cy - r), to = (int)ceil(cy + r);
    for (int y = from < 0 ? 0 : from; y < to && y < height; y++) {
        double dy = y + 0.5 - cy;
        double half = !round ? r : dy * dy < r * r ? sqrt(r * r - dy * dy) : 0;
        int x0 = (int)(cx - half), x1 = (int)(cx + half);
        x0 = x0 < 0 ? 0 : x0;
        x1 = x1 > width ? width : x1;
        if (x1 > x0)
            memset(plane + y * stride + x0, value, (size_t)(x1 - x0));
    }
}

static void draw_shape(const struct scene *s, const struct shape *p, double t,
                       uint8_t *const planes[], const int strides[])
{
    double cx = bounce(p->phase_x * 2 + p->speed_x * t) * s->width;
    double cy = bounce(p->phase_y * 2 + p->speed_y * t) * s->height;
    double r = p->size * s->height;
    int chroma_width = (s->width + 1) / 2, chroma_height = (s->height + 1) / 2;
    fill_spans(planes[0], strides[0], s->width, s->height, cx, cy, r, p->round, p->y);
    fill_spans(planes[1], strides[1], chroma_width, chroma_height, cx / 2, cy / 2, r / 2,
               p->round, p->cb);
    fill_spans(planes[2], strides[2], chroma_width, chroma_height, cx / 2, cy / 2, r / 2,
               p->round, p->cr);
}

void scene_draw(const struct scene *s, int64_t at_us, uint8_t *const planes[],
                const int strides[])
{
    double t = (double)at_us / 1e6;
    int64_t shot = at_us / SHOT_US;
    int room_x = s->back_width - s->width - 2, room_y = s->back_height - s->height - 2;
    int x = (int)(bounce(s->pan_x * t + 0.37 * (double)shot) * room_x) & ~1;
    int y = (int)(bounce(s->pan_y * t + 0.61 * (double)shot) * room_y) & ~1;
    copy_plane(s->luma, s->back_width, x, y, planes[0], strides[0], s->width, s->height);
    int half = s->back_width / 2;
    int chroma_width = (s->width + 1) / 2, chroma_height = (s->height + 1) / 2;
    copy_plane(s->cb, half, x / 2, y / 2, planes[1], strides[1], chroma_width, chroma_height);
    copy_plane(s->cr, half, x / 2, y / 2, planes[2], strides[2], chroma_width, chroma_height);
    for (int i = 0; i < SHAPES; i++)
        draw_shape(s, &s->shapes[i], t + 1.3 * (double)shot, planes, strides);
}

float scene_sound(unsigned scene, uint64_t seed, int64_t sample, int rate_hz, int gain_db)
{
    if (gain_db <= -200)
        return 0;
    double t = (double)sample / rate_hz;
    double beat = 1.5 + 4 * chance(scene, 20, 0),
           phase = fmod(t * beat + chance(seed, 3, 0), 1);
    double envelope = exp(-phase * (1 + 6 * chance(scene, 20, 1))), sum = 0;
    for (unsigned k = 0; k < TONES; k++) {
        double note = floor(40 * chance(scene, 21, k));
        double hz = NOTE_HZ * pow(2, note / 12);
        double strength = 0.1 + chance(scene, 22, k);
        sum += strength * sin(2 * M_PI * hz * t) * (k % 2 ? envelope : 1);
    }
    double hiss = chance((uint64_t)sample, scene, seed) - 0.5;
    sum = 0.15 * sum + hiss * envelope * 0.5 * chance(scene, 23, 0);
    return (float)(tanh(sum) * 0.8 * pow(10, gain_db / 20.0));
}

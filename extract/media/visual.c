/* The built-in visual encoder: descriptors of each sampled frame, mean and deviation over the
 * frames. Each block is rooted, centred where its numbers cannot be negative (the common part of
 * all pictures says nothing), and brought to its weight.
 *
 * Memory: one scratch area, made with the encoder. */

#include "extract/media/encoder.h"

#include "extract/media/descriptors.h"
#include "extract/media/vec.h"
#include "extract/wire/layout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CUT_DISTANCE 0.22f /* mean of Σ|Δhue|/2 and the scaled layout distance */

struct frame_row {
    float colour_layout[COLOUR_LAYOUT_DIM];
    float edges[EDGES_DIM];
    float gradients[GRADIENTS_DIM];
    float cells[GRADIENT_CELLS];
    float hue[HUE_DIM];
    float light[LIGHT_DIM];
};
#define ROW_FLOATS (sizeof(struct frame_row) / sizeof(float))

struct visual {
    struct frame_row rows[FRAMES_MAX];
    float motion[FRAMES_MAX][MOTION_DIM]; /* (n_motion): of the frames that have a follower */
    size_t n_motion;
    struct pyramid now, next;
};

static void describe_frame(struct visual *v, const struct encoder_frame *f,
                           struct frame_row *row)
{
    pyramid_build(&f->now, &v->now);
    describe_colour_layout(&f->now, row->colour_layout);
    describe_edges(&v->now, row->edges);
    describe_gradients(&v->now, row->gradients, row->cells);
    describe_hue(&f->now, &v->now, row->hue);
    describe_light(&f->now, &v->now, row->light);
    if (f->next_us <= 0)
        return;
    float *motion = v->motion[v->n_motion++];
    pyramid_build(&f->next, &v->next);
    describe_change(&v->now, &v->next, motion);
    /* Change grows about with the root of time: a wide GOP's follower is further away. */
    float scale = sqrtf(40000.0f / (float)f->next_us);
    for (int i = 0; i < MOTION_DIM; i++)
        motion[i] *= scale;
}

/* How different two samples are: 0 the same, about 1 nothing in common. */
static float frame_distance(const struct frame_row *a, const struct frame_row *b)
{
    float hue = 0, layout = 0;
    for (int i = 0; i < HUE_DIM; i++)
        hue += fabsf(a->hue[i] - b->hue[i]);
    for (int i = 0; i < COLOUR_LAYOUT_DIM; i++)
        layout += fabsf(a->colour_layout[i] - b->colour_layout[i]);
    return 0.25f * hue + fminf(layout / 4000.0f, 1) * 0.5f;
}

static void describe_shots(const struct visual *v, size_t n, float ret[6])
{
    const struct frame_row *rows = v->rows;
    float distances[FRAMES_MAX], mean = 0, dev = 0, motion_mean, motion_dev;
    float motion[FRAMES_MAX], most = 0;
    unsigned n_cuts = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        distances[i] = frame_distance(&rows[i], &rows[i + 1]);
        most = fmaxf(most, distances[i]);
        n_cuts += distances[i] > CUT_DISTANCE;
    }
    for (size_t i = 0; i < v->n_motion; i++) {
        motion[i] = 0;
        for (int k = 0; k < MOTION_DIM; k++)
            motion[i] += v->motion[i][k] / MOTION_DIM;
    }
    if (n > 1)
        vec_mean_dev(distances, n - 1, 1, 1, &mean, &dev);
    vec_mean_dev(motion, v->n_motion, 1, 1, &motion_mean, &motion_dev);
    ret[0] = mean;
    ret[1] = dev;
    ret[2] = most;
    ret[3] = n > 1 ? (float)n_cuts / (float)(n - 1) : 0;
    ret[4] = motion_mean;
    ret[5] = motion_dev;
}

/* Writes mean (and deviation, unless NULL) of one descriptor over the frames. */
static void pool(size_t n, const float *first_row, size_t dim, float *ret_mean, float *ret_dev)
{
    float unused[GRADIENTS_DIM];

    vec_mean_dev(first_row, n, ROW_FLOATS, dim, ret_mean, ret_dev ? ret_dev : unused);
}

static void root_and_centre(float *x, size_t n)
{
    vec_root(x, n);
    vec_centre(x, n);
}

static void fill_light(const struct visual *v, size_t n, float ret[12])
{
    static const int spread[4] = {0, 1, 4, 6};
    float dev[LIGHT_DIM];
    pool(n, v->rows[0].light, LIGHT_DIM, ret, dev);
    for (int i = 0; i < 4; i++)
        ret[LIGHT_DIM + i] = dev[spread[i]];
}

static void fill_vector(const struct visual *v, size_t n, float *vec)
{
    float *at = vec, cells[GRADIENT_CELLS], unused[MOTION_DIM];
    const struct frame_row *r = &v->rows[0];
    pool(n, r->colour_layout, COLOUR_LAYOUT_DIM, at, at + COLOUR_LAYOUT_DIM);
    vec_root(at, COLOUR_LAYOUT_DIM);
    root_and_centre(at + COLOUR_LAYOUT_DIM, COLOUR_LAYOUT_DIM);
    at += (size_t)2 * COLOUR_LAYOUT_DIM;
    pool(n, r->edges, EDGES_DIM, at, at + EDGES_DIM);
    root_and_centre(at, EDGES_DIM);
    root_and_centre(at + EDGES_DIM, EDGES_DIM);
    at += (size_t)2 * EDGES_DIM;
    pool(n, r->gradients, GRADIENTS_DIM, at, NULL);
    root_and_centre(at, GRADIENTS_DIM);
    at += GRADIENTS_DIM;
    pool(n, r->cells, GRADIENT_CELLS, cells, at);
    root_and_centre(at, GRADIENT_CELLS);
    at += GRADIENT_CELLS;
    pool(n, r->hue, HUE_DIM, at, NULL);
    root_and_centre(at, HUE_DIM);
    at += HUE_DIM;
    vec_mean_dev(v->motion[0], v->n_motion, MOTION_DIM, MOTION_DIM, at, unused);
    root_and_centre(at, MOTION_DIM);
    at += MOTION_DIM;
    fill_light(v, n, at);
    at += 12;
    describe_shots(v, n, at);
}

static int visual_encode(void *state, const struct encoder_input *in, float *ret_vec,
                         bool *ret_present, struct err *err)
{
    (void)err;
    struct visual *v = state;
    *ret_present = in->n_frames > 0;
    if (!*ret_present)
        return ERR_OK;
    v->n_motion = 0;
    for (size_t i = 0; i < in->n_frames; i++)
        describe_frame(v, &in->frames[i], &v->rows[i]);
    fill_vector(v, in->n_frames, ret_vec);
    vec_weigh(MODALITY_VISUAL, ret_vec);
    return ERR_OK;
}

int visual_encoder(struct encoder *ret_encoder, struct err *err)
{
    struct visual *v = calloc(1, sizeof(*v));
    if (!v)
        return err_oom(err, "visual encoder");
    *ret_encoder = (struct encoder){.identity = layout_identity(MODALITY_VISUAL),
                                    .state = v,
                                    .reentrant = true,
                                    .encode = visual_encode,
                                    .free = free};
    return ERR_OK;
}

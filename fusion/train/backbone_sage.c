/* Two convolutions (sage.h), dropout behind each. */

#include "fusion/math/gemm.h"
#include "fusion/train/backbone.h"
#include "fusion/train/sage.h"
#include "fusion/train/trainee.h"

#include <stdlib.h>

struct state {
    size_t in[2], out[2];
    size_t at[2];             /* of each convolution's weights, behind t->own_at */
    float *hidden, *d_hidden; /* (N, out[0]) */
    float *work;
    uint8_t *kept[2]; /* (N, out): which activations are */
    uint64_t seed[2]; /* of this step's dropout */
};

static int allocate(struct state *s, size_t n_nodes, struct err *err)
{
    size_t work = 0;
    for (int c = 0; c < 2; c++) {
        size_t some = sage_work_floats(s->in[c], s->out[c]);
        work = some > work ? some : work;
        s->kept[c] = malloc(n_nodes * s->out[c] + 1);
    }
    s->hidden = gemm_alloc(n_nodes * s->out[0] + 1);
    s->d_hidden = gemm_alloc(n_nodes * s->out[0] + 1);
    s->work = gemm_alloc(work);
    return s->kept[0] && s->kept[1] && s->hidden && s->d_hidden && s->work
               ? ERR_OK
               : err_oom(err, "the training workspace");
}

/* The weights of a convolution are [W_l | W_r | b] (sage.h); a file has the bias between them. */
static size_t lay_out(const struct state *s, int c, size_t at, struct trainee_weights *own)
{
    size_t in = s->in[c], out = s->out[c];
    own[0] = (struct trainee_weights){.rows = out, .cols = in, .at = at};
    own[1] = (struct trainee_weights){.rows = out, .at = at + 2 * out * in};
    own[2] = (struct trainee_weights){.rows = out, .cols = in, .at = at + out * in};
    return at + 2 * out * in + out;
}

static int new_state(struct trainee *t, struct err *err)
{
    struct state *s = calloc(1, sizeof(*s));
    if (!s)
        return err_oom(err, "the training workspace");
    t->state = s;
    for (int c = 0; c < 2; c++) {
        s->in[c] = c ? s->out[0] : t->E;
        s->out[c] = t->o.sage_width[c] ? (size_t)t->o.sage_width[c] : t->E;
        s->at[c] = t->n_own;
        t->n_own = lay_out(s, c, s->at[c], t->own + 3 * c);
    }
    t->D = s->out[1];
    return allocate(s, t->graph.n_nodes, err);
}

static void free_state(struct trainee *t)
{
    struct state *s = t->state;
    if (!s)
        return;
    free(s->hidden);
    free(s->d_hidden);
    free(s->work);
    free(s->kept[0]);
    free(s->kept[1]);
    free(s);
}

static struct sage_conv conv(const struct trainee *t, int c, bool training)
{
    const struct state *s = t->state;
    return (struct sage_conv){.g = t->step_graph,
                              .team = t->team,
                              .in = s->in[c],
                              .out = s->out[c],
                              .w = t->w + t->own_at + s->at[c],
                              .dw = t->g + t->own_at + s->at[c],
                              .work = s->work,
                              .leaky = c == 0,
                              .dropout = training ? t->o.sage_dropout[c] : 0,
                              .seed = s->seed[c],
                              .kept = s->kept[c]};
}

static void forward(struct trainee *t, const struct graph_rows *rows, bool training)
{
    struct state *s = t->state;
    for (int c = 0; c < 2 && training; c++)
        s->seed[c] = rng_next(&t->rng);
    struct sage_conv first = conv(t, 0, training), second = conv(t, 1, training);
    sage_forward(&first, t->in, NULL, s->hidden);
    sage_forward(&second, s->hidden, rows, t->out);
}

static void backward(struct trainee *t, bool training)
{
    struct state *s = t->state;
    struct sage_conv first = conv(t, 0, training), second = conv(t, 1, training);
    sage_backward(&second, s->hidden, t->out, t->near, t->d_out, s->d_hidden);
    sage_backward(&first, t->in, s->hidden, NULL, s->d_hidden, t->d_in);
}

const struct backbone_training backbone_training_sage = {.hops = 2,
                                                         .in_place = true,
                                                         .open = new_state,
                                                         .close = free_state,
                                                         .forward = forward,
                                                         .backward = backward};

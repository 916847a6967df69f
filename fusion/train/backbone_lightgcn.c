/* Propagation is linear and symmetric: the same call makes the vectors and the gradient. */

#include "fusion/train/backbone.h"
#include "fusion/train/trainee.h"

static void forward(struct trainee *t, const struct graph_rows *rows, bool training)
{
    (void)training;
    graph_lightgcn(t->step_graph, (uint32_t)t->o.shape.hops, t->in, t->E, NULL, rows, t->team,
                   t->out, t->work);
}

static void backward(struct trainee *t, bool training)
{
    (void)training;
    graph_lightgcn(t->step_graph, (uint32_t)t->o.shape.hops, t->d_out, t->E, t->near, NULL,
                   t->team, t->d_in, t->work);
}

const struct backbone_training backbone_training_lightgcn = {.hops = 2,
                                                             .takes_hops = true,
                                                             .decays_batch = true,
                                                             .forward = forward,
                                                             .backward = backward};

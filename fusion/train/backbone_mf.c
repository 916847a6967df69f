#include "fusion/train/backbone.h"
#include "fusion/train/trainee.h"

#include <string.h>

static void forward(struct trainee *t, const struct graph_rows *rows, bool training)
{
    (void)rows;
    (void)training;
    memcpy(t->out, t->in, t->graph.n_nodes * t->D * sizeof(float));
}

static void backward(struct trainee *t, bool training)
{
    (void)training;
    memcpy(t->d_in, t->d_out, t->graph.n_nodes * t->D * sizeof(float));
}

const struct backbone_training backbone_training_mf = {.forward = forward,
                                                       .backward = backward};

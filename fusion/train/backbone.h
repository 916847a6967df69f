#ifndef MMF_FUSION_TRAIN_BACKBONE_H
#define MMF_FUSION_TRAIN_BACKBONE_H

/* The half of a backbone that trains; the half that serves is fusion/model/backbone.h. Legend as in
 * trainee.h. */

#include "fusion/math/graph.h"
#include "fusion/model/backbone.h"

struct trainee;

struct backbone_training {
    int32_t hops;      /* layers of propagation where nobody chooses */
    bool takes_hops;   /* they may be chosen */
    bool decays_batch; /* without fusion it trains as published: DECAY_BATCH */
    bool in_place; /* backward is done with d_out before it makes d_in: one array where E = D */
    /* Once E and the graph are known: t->D (E otherwise), the sizes of its own weights (t->own), and
     * t->state, memory of its own. NULL = none of these. */
    int (*open)(struct trainee *t, struct err *err);
    void (*close)(struct trainee *t); /* also after an open that failed; NULL = nothing to do */
    /* t->out (N, D) from t->in (N, E) over t->step_graph, the rows of `rows`, NULL = all. training:
     * with dropout. */
    void (*forward)(struct trainee *t, const struct graph_rows *rows, bool training);
    /* t->d_in from t->d_out, which counts as zero outside t->near; adds the gradients of its own
     * weights to t->g. */
    void (*backward)(struct trainee *t, bool training);
};

const struct backbone_training *backbone_training_of(enum backbone_kind kind);

#endif

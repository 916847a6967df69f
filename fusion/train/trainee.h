#ifndef MMF_FUSION_TRAIN_TRAINEE_H
#define MMF_FUSION_TRAIN_TRAINEE_H

/* A model while it trains: its weights in one flat array, and one step over the whole graph.
 * Legend: U users, I items, N = U+I nodes (users first), F input columns, E = d_L + id_dim width of
 * a node's input, D width of its output.
 *
 *   x_u = user row
 *   x_i = [fuse(X_i) ‖ ID row, hidden at random with id_dropout]; the fused half at the length that
 *         the shape says
 *   Z   = backbone(x)                backbone.h
 *   Y_i = Z_i + strength Σ_j S_ij Z_j      the item-item graph, when there is one
 *         Y_i is published, and judged, at the length of cold.h, and trained without
 *   L   = mean log(1 + Σ_k exp(Y_u·Y_jk - Y_u·Y_i))   over pairs (u, i), each with K negatives j:
 *         a sampled softmax; with K = 1 BPR, softplus(-(Y_u·Y_i - Y_u·Y_j))
 *
 * Matrix products are OpenBLAS's, on as many threads as it was told. */

#include "config/err.h"
#include "fusion/math/adam.h"
#include "fusion/math/csr.h"
#include "fusion/math/graph.h"
#include "fusion/math/knn.h"
#include "fusion/math/rng.h"
#include "fusion/math/team.h"
#include "fusion/model/cold.h"
#include "fusion/model/model.h"
#include "fusion/train/backbone.h"
#include "fusion/train/fusenet.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TRAINEE_NEGATIVES_MAX = 64 };

/* What `decay` does. At the same number the kinds differ by orders of magnitude, because Adam
 * divides by the gradient's size (docs/design/fusion/219-weight-decay.md). */
enum decay_kind {
    DECAY_AUTO, /* BATCH for lightgcn without fusion, else COUPLED */
    DECAY_COUPLED, /* every weight's gradient += decay·w: torch.optim.Adam's weight_decay, MetaMMF's */
    DECAY_BATCH, /* loss += decay/(2B) Σ |w|² over the ID rows of pairs and negatives: LightGCN's */
};

/* A new field that changes what is learned also belongs in checkpoint_key (checkpoint.c). */
struct trainee_options {
    struct model_shape
        shape; /* fusion, backbone, modality_dim, widths …; zero = the defaults */
    uint64_t seed;
    float lr, decay;
    enum decay_kind decay_kind;
    float
        id_std; /* of the ID rows at the start; 0 = .1 with DECAY_BATCH (LightGCN's), else Xavier */
    bool reference_loss;       /* BPR as -log(σ(x) + 1e-10), the authors'; for parity, K = 1 */
    float net_lr;              /* of the fusion network; 0 = lr */
    float id_dropout;          /* share of the items whose ID half is hidden in a step */
    float item_specific_scale; /* of T or C at the start, relative to Xavier */
    uint32_t negatives;        /* K, at most TRAINEE_NEGATIVES_MAX; 0 = 1 with DECAY_BATCH
                                * (LightGCN's BPR), else 8 */
    bool hide_positives;       /* the pairs of a step (of a batch above a quarter of
                                * all pairs: its first ones) are no edges in it; not with DECAY_BATCH,
                                * which is LightGCN as published */
    bool item_graph;
    struct knn_options knn;
    float knn_strength;
    float cold_length; /* cold.h, in mean lengths of the items with interactions; 0 = none. Not
                        * without fusion, where an item without interactions is noise, and not under mf,
                        * where interactions move no item and the length would never fade */
    float meta_gain;   /* deviation of each number of the meta information over the catalogue,
                          * whose mean is then 0 (fusenet.h); 0 = as the extractor gives it */
    /* Steps that share one pass through the fusion network, which is 88 to 95 % of a step at
     * MovieLens size and then moves by their mean gradient; 1 = the paper's schedule. */
    uint32_t fuse_every;
    float average; /* decay of the moving average of the weights, 0 = none; the average is
                          * what is judged and published */
    float sage_dropout[2]; /* after conv1's activation, on the output */
    int32_t sage_width[2]; /* outputs of conv1 and conv2, 0 = E */
    unsigned threads;      /* of the graph and the optimiser; any number gives the same bytes */
};

/* The recipe of docs/measured/lists-quality.md; how it was chosen:
 * docs/design/fusion/210-choosing-the-recipe.md. */
void trainee_options_init(struct trainee_options *o);
/* The paper's schedule: lr 1e-3, every step through the network, no average, s as it is; without an
 * item graph. For parity and as the baseline of measurements. */
void trainee_options_paper(struct trainee_options *o);

struct trainee_data {
    const float *X; /* (n_items, F) raw features; NULL with fusion none and no item graph */
    const uint8_t *mask; /* (n_items) MODALITY_BITs */
    uint32_t n_users, n_items;
    const struct csr_pair *pairs; /* (user row, item row), the training pairs, all distinct */
    size_t n_pairs;
    const float *strength; /* (n_pairs) > 0: how often an epoch takes each; NULL = all once */
    const struct csr
        *item_graph; /* of these items by these options, when somebody has it already
                                   * (trainee_take_item_graph); NULL = it is built */
};

/* One tensor of a backbone's own weights. */
struct trainee_weights {
    size_t rows, cols; /* cols 0 = one dimension */
    size_t at;         /* behind own_at */
};

enum { TRAINEE_OWN_MAX = 8 };

/* A new field that lasts from one step to the next also belongs in checkpoint.c. */
struct trainee {
    struct trainee_options o;
    const struct trainee_data *data;
    struct rng rng;
    struct adam adam, net_adam; /* of identities and backbone, of the network */
    struct graph graph;
    struct graph masked;            /* room for it without the pairs of a step; or empty */
    const struct graph *step_graph; /* what the backbone sees, one of the two */
    uint32_t *n_interactions;       /* (I) training pairs of each item */
    struct team *team;
    struct graph_rows batch;        /* the nodes of the step's loss */
    struct graph_rows *near, reach; /* with those that they borrow from; &batch or &reach */
    struct csr knn;                 /* the item-item graph; empty without */
    bool knn_is_borrowed;           /* it is somebody else's */
    struct fusenet net;             /* unused with fusion none */
    size_t E, D, n_fused;           /* widths; n_fused = d_L, 0 with fusion none */
    const struct backbone_training *backbone;
    void *state;                                 /* the backbone's */
    struct trainee_weights own[TRAINEE_OWN_MAX]; /* as `tensors` of fusion/model/backbone.h */
    size_t n_own;                                /* floats of them */
    size_t n_weights, user, item, own_at;        /* offsets in w */
    float *w, *g, *m, *v;  /* (n_weights) weights, gradients, Adam's moments */
    float *average;        /* (n_weights), NULL without */
    float *mean, *std_dev; /* (F) */
    float *X;              /* (I, F) standardised, missing modalities zero */
    float *H, *dH;       /* (I, d_L) the last layer's h; its gradient since the window began */
    uint32_t window;     /* steps since the network last moved */
    bool is_fused;       /* H and the network's activations belong to the weights w */
    float *in, *out;     /* (N, E), (N, D) */
    float *d_in, *d_out; /* their gradients; may be one array (backbone.in_place) */
    float *work;         /* (N, E) or (I, D); after trainee_forward with an item graph the
                          * items' Z (I, D) */
    uint8_t *id_kept;    /* (I) */
};

int trainee_new(const struct trainee_options *o, const struct trainee_data *data,
                struct trainee **ret_t, struct err *err);
/* One optimiser step on a batch; returns the mean loss. Rows: users, positives (B), negatives
 * (B, K). */
double trainee_step(struct trainee *t, const uint32_t *users, const uint32_t *positives,
                    const uint32_t *negatives, size_t B);
/* Without dropout: t->out (N, D) holds what is published. */
void trainee_forward(struct trainee *t);
/* An item without a training pair loses its identity, as one that arrives tomorrow has none; and
 * trainee_forward. */
void trainee_forget_cold(struct trainee *t);
/* Those of t->out, which trainee_forward has brought to the length that goes with the model. */
struct cold_items trainee_items(const struct trainee *t);
/* Exchanges the weights and their average; nothing without one. Between two calls evaluation and
 * export see the average. */
void trainee_swap_average(struct trainee *t);
/* One pass without the update: fills t->g; of t->out only the rows of t->near are made. For tests
 * of the gradient. */
double trainee_gradient(struct trainee *t, const uint32_t *users, const uint32_t *positives,
                        const uint32_t *negatives, size_t B, bool training);
/* The model as a file holds it: network, IDs, users, statistics, the item-item graph. After
 * trainee_forward. It has no packed weights yet: fuse_* wants model_prepare (model/internal.h). */
int trainee_export(const struct trainee *t, struct model **ret_model, struct err *err);
/* Starts from another model's weights where names and shapes agree: the network, and the rows of
 * users and items named by the maps (row here → row there, UINT32_MAX = new); NULL = same rows. */
int trainee_warm_start(struct trainee *t, const struct model *from, const uint32_t *user_map,
                       const uint32_t *item_map, struct err *err);
/* The item-item graph goes over to the caller, who keeps it for as long as t. */
struct csr trainee_take_item_graph(struct trainee *t);
void trainee_free(struct trainee *t);

#endif

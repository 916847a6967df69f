#ifndef MMF_FUSION_MODEL_BACKBONE_H
#define MMF_FUSION_MODEL_BACKBONE_H

/* What joins users and items: the half of a backbone that serves. The half that trains is
 * fusion/train/backbone.h. A new backbone is a kind here, a row in backbone.c and a file
 * backbone_NAME.c, a row and a file of the same names in fusion/train, and a word in config/ for
 * retraining; nothing else asks which backbone a model has.
 *
 * Legend: E width of a node's input [fused ‖ content ‖ ID], D of its vector, hops the layers of
 * propagation: an item's vector depends on the nodes within so many hops, 0 = on nobody else. */

#include "config/err.h"

#include <stdbool.h>
#include <stddef.h>

enum backbone_kind { BACKBONE_MF, BACKBONE_SAGE, BACKBONE_LIGHTGCN, BACKBONE_KINDS };

struct model;
struct fuse_plan;
struct fuse_rows;
struct neighbourhood;

/* How one dimension of a tensor lies in a model of several members (fusion/train/ensemble.h). */
enum tensor_axis {
    TENSOR_SHARED, /* the same for all members: features, users, items */
    TENSOR_EACH,   /* member after member */
    TENSOR_NODE,   /* a node's input: the members' fused halves, then their identities */
    TENSOR_VECTOR, /* a node's vector: NODE or EACH, as the backbone says */
};

struct tensor_layout {
    const char *name;
    int n_dims; /* in the file */
    enum tensor_axis axis[3];
};

struct backbone {
    const char *name;
    enum tensor_axis vector; /* how a node's vector lies: TENSOR_NODE or TENSOR_EACH */
    bool weighs;             /* an edge counts by the degrees of both its ends */

    /* Tensors of its own, in the order of a file. A file that holds one of `signs` is of this
     * backbone; the columns of the first sign are a node's input. */
    const struct tensor_layout *tensors;
    size_t n_tensors;
    const char *const *signs;
    size_t n_signs;

    /* shape.hops and B from tensors and metadata, every tensor of its own checked. NULL: hops 0,
     * B = E. */
    int (*derive)(struct model *m, size_t E, size_t *ret_B, struct err *err);

    /* An item without edges. pack: weights into plan->own and the widest row of `alone` into
     * plan->hidden. alone: rows of E numbers become rows of B. NULL: no weights; the input itself. */
    int (*pack)(const struct model *m, struct fuse_plan *plan, struct err *err);
    void (*alone)(const struct fuse_plan *plan, const struct fuse_rows *rows);

    /* A node among its neighbours (neighbourhood_pass.h). begin: h->own, one piece of memory for
     * free(); NULL = nothing to keep. pass: h->Z of the wanted nodes from their inputs h->row. */
    int (*begin)(struct neighbourhood *h, const struct model *m, struct err *err);
    int (*pass)(struct neighbourhood *h, struct err *err);
};

const struct backbone *backbone_of(enum backbone_kind kind);
const char *backbone_kind_name(enum backbone_kind kind); /* "mf", "sage", "lightgcn" */
int backbone_kind_parse(const char *name);               /* -1 */

#endif

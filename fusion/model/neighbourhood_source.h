#ifndef MMF_FUSION_MODEL_NEIGHBOURHOOD_SOURCE_H
#define MMF_FUSION_MODEL_NEIGHBOURHOOD_SOURCE_H

/* What a neighbourhood asks for (neighbourhood.h), and how it names a node. */

#include "config/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A node is named by its side and id: 2·uid for users, 2·rid + 1 for items. */
static inline int64_t neighbourhood_user(int64_t uid)
{
    return 2 * uid;
}
static inline int64_t neighbourhood_item(int64_t rid)
{
    return 2 * rid + 1;
}
static inline bool neighbourhood_is_item(int64_t node)
{
    return node & 1;
}
static inline int64_t neighbourhood_id(int64_t node)
{
    return node >> 1;
}

/* What is returned by pointer belongs to the source and lives until its next call. */
struct neighbourhood_source {
    void *arg;
    /* The nodes on the other side, each once. */
    int (*edges)(void *arg, int64_t node, const int64_t **ret_nodes, size_t *ret_n,
                 struct err *err);
    int (*degree)(void *arg, int64_t node, uint32_t *ret_degree, struct err *err);
    /* [e⁰ ‖ factors ‖ columns] of n items: ret_x (n, E + A + model_column_width), all of it: their
     * row of signals_factors, zeros without, and fuse_columns_in. */
    int (*items)(void *arg, const int64_t *nodes, size_t n, float *ret_x, struct err *err);
    /* e⁰ (E) of a user, which lives as long as the neighbourhood; NULL = not in the model. */
    const float *(*user)(void *arg, int64_t node);
    /* An item's row of the item-item graph; NULL = the model has none. */
    int (*similar)(void *arg, int64_t node, const int64_t **ret_nodes, const float **ret_values,
                   size_t *ret_n, struct err *err);
};

#endif

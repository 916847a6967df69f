#ifndef MMF_FUSION_MODEL_ITEM_GRAPH_H
#define MMF_FUSION_MODEL_ITEM_GRAPH_H

/* The rows of the item-item graph that a model was trained with, as its file keeps them: what an item
 * of the model borrows is then a matter of its own row, whatever the size of the catalogue. Legend:
 * I items of the model (rows of item_E). An item that came later: similar.h.
 *
 * In the file: mmf.graph.item (I, width) with a column's number or -1, exact below 2^24;
 * mmf.graph.value (I, width); metadata mmf.item_graph "knn", mmf.graph.k, mmf.graph.weight
 * "0.7,0.3,0.3", mmf.graph.strength. */

#include "config/err.h"
#include "config/modality.h"
#include "fusion/math/csr.h"
#include "fusion/math/knn.h"
#include "fusion/model/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Adds it to a model that is being built. */
int item_graph_put(struct model *model, const struct csr *S, const struct knn_options *options,
                   float strength, struct err *err);

struct item_graph {
    struct knn_options knn;
    float strength;
    size_t n_items, width;
    const float *item, *value; /* (I, width), the model's */
};
/* Whether the model has one. ERR_FATAL EX_DATAERR for one that is damaged. */
int item_graph_read(const struct model *model, bool *ret_has, struct item_graph *ret_graph,
                    struct err *err);
/* A row of it: at most width entries. */
size_t item_graph_row(const struct item_graph *graph, uint32_t row, uint32_t *ret_items,
                      float *ret_values);

#endif

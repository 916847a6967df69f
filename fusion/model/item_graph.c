#include "fusion/model/item_graph.h"

#include "fusion/model/internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

enum { ROW_MAX = 4096 };

/* ---- in the file ------------------------------------------------------------------------------ */

static size_t widest_row(const struct csr *S)
{
    size_t width = 1;
    for (uint32_t i = 0; i < S->n_rows; i++)
        width = csr_degree(S, i) > width ? csr_degree(S, i) : width;
    return width;
}

static int put_options(struct model *model, const struct knn_options *o, float strength,
                       struct err *err)
{
    char k[16], weight[96], text[32];
    snprintf(k, sizeof(k), "%u", o->k);
    snprintf(weight, sizeof(weight), "%.9g,%.9g,%.9g", (double)o->weight[0],
             (double)o->weight[1], (double)o->weight[2]);
    snprintf(text, sizeof(text), "%.9g", (double)strength);
    int status = model_set(model, "mmf.item_graph", "knn", err);
    if (!status)
        status = model_set(model, "mmf.graph.k", k, err);
    if (!status)
        status = model_set(model, "mmf.graph.weight", weight, err);
    return status ? status : model_set(model, "mmf.graph.strength", text, err);
}

int item_graph_put(struct model *model, const struct csr *S, const struct knn_options *options,
                   float strength, struct err *err)
{
    size_t width = widest_row(S);
    float *item, *value;
    if (S->n_cols > 1U << 24)
        return err_fatal(err, EX_DATAERR,
                         "an item-item graph of %u items: at most 16777216 fit a model file; "
                         "train with --item-graph none",
                         S->n_cols);
    int status = put_options(model, options, strength, err);
    if (!status)
        status = model_add(model, "mmf.graph.item", S->n_rows, width, &item, err);
    if (!status)
        status = model_add(model, "mmf.graph.value", S->n_rows, width, &value, err);
    for (size_t i = 0; !status && i < S->n_rows; i++)
        for (size_t e = 0; e < width; e++) {
            size_t at = S->start[i] + e;
            bool there = at < S->start[i + 1];
            item[i * width + e] = there ? (float)S->col[at] : -1;
            value[i * width + e] = there ? S->value[at] : 0;
        }
    return status;
}

static int damaged(const struct model *model, struct err *err)
{
    return err_fatal(err, EX_DATAERR,
                     "model %s: the item-item graph (mmf.graph.*) does not fit the model",
                     model->path);
}

static bool read_options(const struct model *model, struct item_graph *g)
{
    const char *k = model_text(model, "mmf.graph.k");
    const char *weight = model_text(model, "mmf.graph.weight");
    const char *strength = model_text(model, "mmf.graph.strength");
    float *w = g->knn.weight;
    if (!k || !weight || !strength || sscanf(k, "%u", &g->knn.k) != 1 ||
        sscanf(weight, "%f,%f,%f", &w[0], &w[1], &w[2]) != MODALITY_COUNT ||
        sscanf(strength, "%f", &g->strength) != 1)
        return false;
    return g->knn.k >= 1 && g->knn.k <= ROW_MAX / MODALITY_COUNT && w[0] > 0 && w[1] > 0 &&
           w[2] > 0 && isfinite(g->strength);
}

int item_graph_read(const struct model *model, bool *ret_has, struct item_graph *ret_graph,
                    struct err *err)
{
    const char *kind = model_text(model, "mmf.item_graph");
    const struct model_tensor *item = model_tensor(model, "mmf.graph.item");
    const struct model_tensor *value = model_tensor(model, "mmf.graph.value");
    const struct model_tensor *ids = model_tensor(model, "item_E");
    struct item_graph g = {0};
    *ret_has = kind && strcmp(kind, "knn") == 0;
    if (!*ret_has)
        return ERR_OK;
    if (!item || !value || !ids || item->n_dims != 2 || value->n_dims != 2 ||
        item->shape[0] != ids->shape[0] || value->shape[0] != item->shape[0] ||
        value->shape[1] != item->shape[1] || item->shape[1] > ROW_MAX ||
        !read_options(model, &g))
        return damaged(model, err);
    for (size_t i = 0; i < item->n_elements; i++)
        if (!(item->data[i] >= -1 && item->data[i] < (float)item->shape[0]))
            return damaged(model, err);
    g.n_items = item->shape[0];
    g.width = item->shape[1];
    g.item = item->data;
    g.value = value->data;
    *ret_graph = g;
    return ERR_OK;
}

size_t item_graph_row(const struct item_graph *graph, uint32_t row, uint32_t *ret_items,
                      float *ret_values)
{
    const float *item = graph->item + row * graph->width;
    const float *value = graph->value + row * graph->width;
    size_t n = 0;
    for (size_t e = 0; e < graph->width; e++)
        if (item[e] >= 0) {
            ret_items[n] = (uint32_t)item[e];
            ret_values[n++] = value[e];
        }
    return n;
}

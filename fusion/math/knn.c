/* The similarities are a full ranking of the items against themselves (rank.c: blocked, nothing of
 * size I² is kept); an item's own row comes out of its list afterwards, so k + 1 are asked for. */

#include "fusion/math/knn.h"

#include "fusion/math/rank.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4096 };

struct edge_list {
    struct csr_pair *pair; /* (n) row-major in rows, columns unordered */
    float *value;
    size_t n;
};

/* The rows of one modality that are present, at unit length; absent or zero rows stay zero. */
static void unit_rows(const float *X, size_t F, const uint8_t *mask, unsigned bit,
                      uint32_t n_items, size_t first, size_t D, float *ret_U)
{
    for (uint32_t i = 0; i < n_items; i++) {
        const float *x = X + (size_t)i * F + first;
        float *u = ret_U + (size_t)i * D;
        double sum = 0;
        for (size_t j = 0; j < D; j++)
            sum += (double)x[j] * (double)x[j];
        float scale = (mask[i] & bit) && sum > 0 ? (float)(1 / sqrt(sum)) : 0;
        for (size_t j = 0; j < D; j++)
            u[j] = scale * x[j];
    }
}

/* One item's list → edges whose values sum to `weight`. */
static void add_edges(struct edge_list *edges, uint32_t item, const uint32_t *ids,
                      const float *scores, uint32_t n_listed, uint32_t k, float weight)
{
    uint32_t n = 0;
    size_t first = edges->n;
    double sum = 0;
    for (uint32_t at = 0; at < n_listed && n < k; at++) {
        if (ids[at] == item || ids[at] == RANK_NONE || scores[at] <= 0)
            continue;
        edges->pair[edges->n] = (struct csr_pair){item, ids[at]};
        edges->value[edges->n++] = scores[at];
        sum += (double)scores[at];
        n++;
    }
    for (size_t e = first; e < edges->n; e++)
        edges->value[e] *= weight / (float)sum;
}

static float weight_of(const struct knn_options *o, unsigned mask, int m,
                       const int32_t dim[MODALITY_COUNT])
{
    float sum = 0;
    for (int i = 0; i < MODALITY_COUNT; i++)
        if (dim[i] && (mask & MODALITY_BIT(i)))
            sum += o->weight[i];
    return sum > 0 ? o->weight[m] / sum : 0;
}

static int add_modality(const float *unit, const uint8_t *mask, uint32_t n_items, int m,
                        const int32_t dim[MODALITY_COUNT], const struct knn_options *o,
                        struct edge_list *edges, struct err *err)
{
    size_t D = (size_t)dim[m];
    uint32_t k = o->k + 1;
    struct gemm_matrix packed;
    uint32_t *ids = malloc((size_t)n_items * k * sizeof(*ids) + 1);
    float *scores = malloc((size_t)n_items * k * sizeof(*scores) + 1);
    int status = ids && scores ? ERR_OK : err_oom(err, "the item-item graph");
    if (!status && !(status = rank_pack(unit, n_items, D, &packed, err))) {
        for (size_t i = 0, n; !status && i < n_items; i += n) {
            n = n_items - i < BLOCK ? n_items - i : BLOCK;
            status = rank_topk(&packed, unit + i * D, n, NULL, 0, NULL, k, ids + i * k,
                               scores + i * k, err);
            if (o->on_block)
                o->on_block(o->on_block_arg, i + n, n_items);
        }
        gemm_done(&packed);
    }
    for (uint32_t i = 0; !status && i < n_items; i++)
        if (mask[i] & MODALITY_BIT(m))
            add_edges(edges, i, ids + (size_t)i * k, scores + (size_t)i * k, k, o->k,
                      weight_of(o, mask[i], m, dim));
    free(ids);
    free(scores);
    return status;
}

/* Values of edges that two modalities share are added. */
static int join(const struct edge_list *edges, uint32_t n_items, struct csr *ret_S,
                struct err *err)
{
    struct csr S;
    int status = csr_from_pairs(edges->pair, edges->n, n_items, n_items, &S, err);
    if (status)
        return status;
    S.value = calloc(S.nnz + 1, sizeof(*S.value));
    if (!S.value) {
        csr_done(&S);
        return err_oom(err, "the item-item graph");
    }
    for (size_t e = 0; e < edges->n; e++) {
        size_t lo = S.start[edges->pair[e].row], hi = S.start[edges->pair[e].row + 1];
        while (lo < hi && S.col[lo] != edges->pair[e].col)
            lo++;
        S.value[lo] += edges->value[e];
    }
    *ret_S = S;
    return ERR_OK;
}

int knn_build(const float *X, const uint8_t *mask, uint32_t n_items,
              const int32_t modality_dim[MODALITY_COUNT], const struct knn_options *options,
              struct csr *ret_S, struct err *err)
{
    size_t F = 0, first = 0, room = (size_t)n_items * options->k * MODALITY_COUNT + 1;
    for (int m = 0; m < MODALITY_COUNT; m++)
        F += (size_t)modality_dim[m];
    struct edge_list edges = {malloc(room * sizeof(*edges.pair)),
                              malloc(room * sizeof(*edges.value)), 0};
    float *unit = malloc((size_t)n_items * F * sizeof(*unit) + 1);
    int status =
        edges.pair && edges.value && unit ? ERR_OK : err_oom(err, "the item-item graph");
    for (int m = 0; !status && m < MODALITY_COUNT; m++) {
        size_t D = (size_t)modality_dim[m];
        if (!D)
            continue;
        unit_rows(X, F, mask, MODALITY_BIT(m), n_items, first, D, unit);
        status = add_modality(unit, mask, n_items, m, modality_dim, options, &edges, err);
        first += D;
    }
    if (!status)
        status = join(&edges, n_items, ret_S, err);
    free(edges.pair);
    free(edges.value);
    free(unit);
    return status;
}
